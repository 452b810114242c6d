// Runs one fork scenario (argv[2], JSON) by Node's own fork() and prints what was seen as JSON. argv[3]: the script.
'use strict';
const { fork } = require('node:child_process');
const { inspect } = require('node:util');
const scenario = JSON.parse(process.argv[2]);
const seen = { order: [], messages: [] };
const value = (text) => (0, eval)(`(${text})`); // values that JSON has not are written as in JavaScript
const child = fork(process.argv[3], scenario.args ?? [], { serialization: scenario.serialization ?? 'json', silent: true });
const log = (what) => { if (seen.order.at(-1) !== what) seen.order.push(what); };
child.on('spawn', () => log('spawned'));
child.on('message', (message) => {
  log('message');
  seen.messages.push(inspect(message, { depth: 10 }));
  if (seen.messages.length === scenario.disconnect_after) child.disconnect();
  if (seen.messages.length === scenario.kill_after) child.kill();
});
child.on('disconnect', () => log('disconnected'));
child.on('exit', (code, signal) => { seen.code = code; seen.signal = signal; });
child.on('close', () => log('closed'));
// after the parent's own disconnect() Node has no 'close': the end of this process is what always comes
process.on('exit', () => console.log(JSON.stringify(seen)));
child.stdout.resume();
child.stderr.resume();
for (const text of scenario.sends ?? []) child.send(value(text));
if (scenario.disconnect_after === 0) child.once('spawn', () => child.disconnect());
