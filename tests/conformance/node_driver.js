// Runs one scenario (argv[2], JSON) by Node's child_process and prints what was seen as JSON.
'use strict';
const { spawn } = require('node:child_process');
const scenario = JSON.parse(process.argv[2]);
const seen = { order: [], output: {} };

function finish() {
  for (const [slot, pieces] of Object.entries(seen.output)) seen.output[slot] = Buffer.concat(pieces).toString('base64');
  console.log(JSON.stringify(seen));
}

const options = {
  cwd: scenario.cwd, env: scenario.env, argv0: scenario.argv0,
  timeout: scenario.timeout_ms, killSignal: scenario.kill_signal,
  stdio: [scenario.ignore_stdin ? 'ignore' : 'pipe', 'pipe', 'pipe', ...(scenario.extra_pipe ? ['pipe'] : [])],
};
let child;
try {
  child = scenario.shell_command === undefined
    ? spawn(scenario.argv[0], scenario.argv.slice(1), options)
    : spawn(scenario.shell_command, [], { ...options, shell: scenario.shell ?? true });
} catch (error) {
  seen.thrown = error.code;
  finish();
  process.exit(0);
}
child.on('spawn', () => seen.order.push('spawned'));
child.on('error', (error) => {
  seen.error = { code: error.code, errno: error.errno, syscall: error.syscall, path: error.path, spawnargs: error.spawnargs, message: error.message };
});
child.on('exit', (code, signal) => {
  seen.order.push('exited');
  seen.code = code;
  seen.signal = signal;
});
child.on('close', () => {
  if (!seen.error) seen.order.push('closed');
  finish();
});
child.stdio.forEach((stream, slot) => {
  if (slot === 0) {
    stream?.on('error', () => {});
    stream?.end(scenario.input ?? '');
  } else if (stream) {
    seen.output[slot] = [];
    stream.on('data', (data) => seen.output[slot].push(data));
  }
});
