// What an application does with child_process, after its documentation. Rows are those of Node's API that a scenario covers.
'use strict';
const childProcess = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { promisify } = require('node:util');

const { spawn, exec, execFile, fork, spawnSync, execSync, execFileSync, ChildProcess } = childProcess;
const CHILD = path.join(__dirname, 'child.js');

// All events of a child in their order; output once, when its stream has ended. Resolves at 'close'; a child without streams whose
// channel this side has ended has none: at its exit.
function follow(child, log) {
  child.stdio?.forEach((stream, slot) => {
    if (!stream || slot === 0) return;
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (data) => (text += data));
    stream.on('end', () => text && log('output', slot, text));
  });
  child.stdin?.on('error', () => {});
  for (const event of ['spawn', 'error', 'disconnect']) child.on(event, (...args) => log(event, ...args));
  child.on('message', (message) => log('message', message));
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      log('exit', code, signal, child.exitCode, child.signalCode);
      if (child.channel === null && !child.stdout) setTimeout(resolve, 50);
    });
    child.on('close', (code, signal) => {
      log('close', code, signal);
      resolve();
    });
  });
}

// Order between unlike events that has no rule is none: sorted.
async function sorted(child, log) {
  const seen = [];
  await follow(child, (...what) => seen.push(what));
  for (const what of seen.sort((a, b) => (String(a) < String(b) ? -1 : 1))) log(...what);
}

function thrown(log, act) {
  try {
    const done = act();
    done?.on?.('error', () => {});
    log('did not throw', typeof done);
  } catch (error) {
    log('thrown', error);
  }
}

const run = (command, args, options) => (log) => sorted(spawn(command, args, options), log);
const line = (text, options) => run('sh', ['-c', text], options);
const throws = (act) => async (log) => thrown(log, act);
const sync = (command, args, options) => async (log) => {
  const { pid, ...rest } = spawnSync(command, args, options);
  log(typeof pid, pid > 0);
  for (const [name, value] of Object.entries(rest)) log(name, value);
};
const syncLine = (text, options) => sync('sh', ['-c', text], options);
const collected = (act) => (log) => new Promise((resolve) => act((...result) => {
  log('callback', ...result);
  resolve();
}));
const promised = (act) => async (log) => {
  const promise = act();
  log('child', promise.child instanceof ChildProcess);
  log('fulfilled', await promise);
};
const forked = (act, args, options, more) => async (log) => {
  const child = fork(CHILD, [act, ...args], options);
  const done = sorted(child, log);
  await more?.(child, log);
  await done;
};

const scenarios = {
  'output, errors and a code': line('echo out; echo err >&2; exit 3'),
  'a signal of its own': line('kill -KILL $$'),
  'input': async (log) => {
    const child = spawn('sort');
    child.stdin.write('b\n');
    child.stdin.end('a\n');
    await sorted(child, log);
  },
  'input ended in the turn of the spawn': async (log) => {
    const child = spawn('cat');
    child.stdin.end();
    await sorted(child, log);
  },
  'much input and output': async (log) => {
    const child = spawn('cat');
    let size = 0;
    child.stdout.on('data', (data) => (size += data.length));
    child.stdin.end(Buffer.alloc(3000000, 'x'));
    await once(child, 'close');
    log('bytes', size);
  },
  'order of spawn, exit and close': async (log) => {
    const child = spawn('true');
    log('pid', typeof child.pid, 'connected', child.connected, 'exitCode', child.exitCode);
    for (const event of ['spawn', 'exit', 'close']) child.on(event, () => log(event));
    await once(child, 'close');
    log('pid stays', typeof child.pid, child.killed);
  },
  'a program that does not exist': async (log) => {
    const child = spawn('no-such-program', ['a', 'b']);
    log('pid', child.pid, child.spawnfile, child.spawnargs, 'streams', child.stdout !== null);
    await follow(child, log);
  },
  'a file that is not executable': run('/etc/passwd', []),
  'a missing directory': run('true', [], { cwd: '/nonexistent' }),
  'a directory': line('pwd', { cwd: '/usr' }),
  'a directory as a URL': line('pwd', { cwd: new URL('file:///usr') }),
  'an environment': run('/usr/bin/env', [], { env: { A: '1', B: 'two words', C: undefined, D: 4 } }),
  'PATH of the environment given': run('true', [], { env: { PATH: '/nonexistent' } }),
  'argv0': line('tr "\\0" " " </proc/$$/cmdline', { argv0: 'other' }),
  'a shell': run('echo $((6 * 7)); exit 5', [], { shell: true }),
  'a shell by its path': run('echo $0', [], { shell: '/bin/bash' }),
  'a shell that does not exist': run('true', [], { shell: '/nonexistent' }),
  'arguments that are joined for a shell': run('echo', ['a', '"b  c"'], { shell: true }),
  'unread output does not hold up close': async (log) => {
    const child = spawn('seq', ['20000']);
    const closed = once(child, 'close'); // it may come in the same turn
    log('exit', ...await once(child, 'exit'));
    log('close', ...await closed);
  },
  'an ignored stdin': line('cat; echo done', { stdio: ['ignore', 'pipe', 'pipe'] }),
  'all ignored': line('echo lost', { stdio: 'ignore' }),
  'overlapped': line('echo out', { stdio: 'overlapped' }),
  'a third pipe, both ways': async (log) => {
    const child = spawn('sh', ['-c', 'read word <&3; echo "got $word" >&3'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    child.stdio[3].write('a word\n');
    await sorted(child, log);
  },
  'a gap in stdio': line('[ -e /dev/fd/3 ] && echo three; [ -e /dev/fd/4 ] && echo four', { stdio: ['ignore', 'pipe', 'ignore', 'ignore', 'pipe'] }),
  'a descriptor': async (log) => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'node')), 'f');
    const fd = fs.openSync(file, 'w');
    await sorted(spawn('echo', ['to a file'], { stdio: ['ignore', fd, fd] }), log);
    fs.closeSync(fd);
    log(fs.readFileSync(file, 'utf8'));
  },
  'a stream of a file': async (log) => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'node')), 'f');
    const stream = fs.createWriteStream(file);
    await once(stream, 'open');
    await sorted(spawn('echo', ['streamed'], { stdio: ['ignore', stream, 'ignore'] }), log);
    log(fs.readFileSync(file, 'utf8'));
  },
  'a stream of a file that is not open': throws(() => spawn('true', { stdio: [fs.createReadStream('/dev/null')] })),
  'output of one is input of another': async (log) => {
    const first = spawn('echo', ['piped']);
    const second = spawn('cat', { stdio: [first.stdout, 'pipe', 'ignore'] });
    await sorted(second, log);
  },
  'a descriptor that is not open': throws(() => spawn('true', { stdio: ['ignore', 987, 'ignore'] })),
  'kill': async (log) => {
    const child = spawn('sleep', ['1000']);
    log('probe', child.kill(0), child.killed);
    log('kill', child.kill(), child.killed);
    await sorted(child, log);
    log('again', child.kill());
  },
  'kill by name and number': async (log) => {
    for (const signal of ['SIGKILL', 1, 'SIGUSR1']) {
      const child = spawn('sleep', ['1000']);
      log(child.kill(signal));
      await sorted(child, log);
    }
  },
  'a signal that is none': throws(() => {
    const child = spawn('true');
    return child.kill('SIGNOTHING');
  }),
  'only the child is killed': async (log) => {
    const child = spawn('sh', ['-c', 'sleep 0.2 & echo started; wait']);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    const closed = once(child, 'close'); // it may come in the same turn
    log('exit', ...await once(child, 'exit'));
    log('close', ...await closed);
  },
  'timeout': run('sleep', ['1000'], { timeout: 50 }),
  'timeout with a signal': run('sleep', ['1000'], { timeout: 50, killSignal: 'SIGKILL' }),
  'abort': async (log) => {
    const controller = new AbortController();
    const child = spawn('sleep', ['1000'], { signal: controller.signal });
    child.once('spawn', () => controller.abort(new Error('enough')));
    await sorted(child, log);
  },
  'aborted before': async (log) => {
    const child = spawn('sleep', ['1000'], { signal: AbortSignal.abort() });
    await sorted(child, log);
  },
  'dispose': async (log) => {
    if (!Symbol.dispose || !ChildProcess.prototype[Symbol.dispose]) return;
    const child = spawn('sleep', ['1000']);
    child[Symbol.dispose]();
    await sorted(child, log);
  },
  'detached': line('[ "$(cut -d" " -f6 /proc/$$/stat)" = $$ ] && echo leader', { detached: true }),
  'umask of the parent': async (log) => {
    const before = process.umask(0o027);
    const child = spawn('sh', ['-c', 'umask']);
    process.umask(before);
    await sorted(child, log);
  },
  'own uid and gid': line('id -u; id -g', { uid: process.getuid(), gid: process.getgid() }),
  'signals are as at the start': line('grep -E "Sig(Blk|Ign)" /proc/self/status'),
  'many at once': async (log) => {
    const codes = await Promise.all(Array.from({ length: 30 }, async (_, i) => (await once(spawn('sh', ['-c', `exit ${i}`]), 'close'))[0]));
    log(codes);
  },
  'async local storage': async (log) => {
    const { AsyncLocalStorage } = require('node:async_hooks');
    const storage = new AsyncLocalStorage();
    await new Promise((resolve) => storage.run('here', () => spawn('true').on('exit', () => {
      log(storage.getStore());
      resolve();
    })));
  },
  'ChildProcess by itself': async (log) => {
    const child = new ChildProcess();
    log('returned', child.spawn({ file: 'echo', args: ['echo', 'by hand'], stdio: ['ignore', 'pipe', 'ignore'] }));
    await sorted(child, log);
  },
  'diagnostics channel': async (log) => {
    const channel = require('node:diagnostics_channel').channel('child_process');
    const heard = ({ process: child }) => log('published', child instanceof ChildProcess);
    channel.subscribe(heard);
    await once(spawn('true'), 'close');
    channel.unsubscribe(heard);
  },
  'unref': async (log) => {
    const child = spawn('true');
    child.unref();
    child.ref();
    log(...await once(child, 'close'));
  },

  // what is refused at once
  'no file': throws(() => spawn()),
  'an empty file': throws(() => spawn('')),
  'arguments that are none': throws(() => spawn('true', 'a')),
  'options that are none': throws(() => spawn('true', [], 1)),
  'a NUL in the file': throws(() => spawn('a\0b')),
  'a NUL in an argument': throws(() => spawn('true', ['a\0b'])),
  'a NUL in the environment': throws(() => spawn('true', { env: { A: 'a\0b' } })),
  'a NUL in cwd': throws(() => spawn('true', { cwd: 'a\0b' })),
  'a wrong cwd': throws(() => spawn('true', { cwd: 1 })),
  'a wrong detached': throws(() => spawn('true', { detached: 1 })),
  'a wrong uid': throws(() => spawn('true', { uid: 'x' })),
  'a wrong gid': throws(() => spawn('true', { gid: 1.5 })),
  'a wrong shell': throws(() => spawn('true', { shell: 1 })),
  'a wrong argv0': throws(() => spawn('true', { argv0: 1 })),
  'a wrong timeout': throws(() => spawn('true', { timeout: -1 })),
  'a wrong signal option': throws(() => spawn('true', { signal: 1 })),
  'a wrong killSignal': throws(() => spawn('true', { killSignal: 'SIGX' })),
  'a wrong stdio': throws(() => spawn('true', { stdio: 'foo' })),
  'a wrong stdio entry': throws(() => spawn('true', { stdio: ['foo'] })),
  'a buffer in stdio': throws(() => spawn('true', { stdio: [Buffer.from('a')] })),
  'two channels': throws(() => spawn('true', { stdio: ['ipc', 'ipc'] })),
  'a wrong serialization': throws(() => spawn('true', { stdio: ['ipc'], serialization: 'foo' })),
  'a wrong maxBuffer': throws(() => execFile('true', { maxBuffer: 'a' })),
  'a wrong callback': throws(() => execFile('true', [], {}, 'a')),
  'fork without a module': throws(() => fork()),
  'fork without a channel': throws(() => fork(CHILD, { stdio: ['pipe', 'pipe', 'pipe'] })),
  'spawnSync with a channel': throws(() => spawnSync('true', { stdio: ['ipc'] })),
  'spawnSync with a wrong input': throws(() => spawnSync('true', { input: 1 })),
  'execSync without a command': throws(() => execSync()),

  // exec and execFile
  'exec': collected((done) => exec('echo out; echo err >&2', done)),
  'exec that fails': collected((done) => exec('echo out; echo err >&2; exit 4', done)),
  'exec that is killed': collected((done) => exec('kill -TERM $$', done)),
  'exec with a timeout': collected((done) => exec('exec sleep 1000', { timeout: 50 }, done)),
  'exec with buffers': collected((done) => exec('printf "\\377"', { encoding: 'buffer' }, done)),
  'exec with an encoding': collected((done) => exec('printf ab', { encoding: 'hex' }, done)),
  'exec in a directory': collected((done) => exec('pwd', { cwd: '/usr' }, done)),
  'execFile': collected((done) => execFile('echo', ['a b', 'c'], done)),
  'execFile without arguments': collected((done) => execFile('true', done)),
  'execFile of nothing': collected((done) => execFile('no-such-program', ['x'], done)),
  'execFile with a shell': collected((done) => execFile('echo $((1 + 1))', { shell: true }, done)),
  'maxBuffer': collected((done) => exec('exec seq 100000', { maxBuffer: 10 }, done)),
  'maxBuffer of stderr': collected((done) => exec('exec seq 100000 >&2', { maxBuffer: 10 }, done)),
  'maxBuffer that is enough': collected((done) => exec('printf 0123456789', { maxBuffer: 10 }, done)),
  'maxBuffer without an end': collected((done) => exec('seq 30', { maxBuffer: Infinity }, done)),
  'exec promised': promised(() => promisify(exec)('echo out; echo err >&2')),
  'exec promised that fails': promised(() => promisify(exec)('echo out; exit 2')),
  'execFile promised': promised(() => promisify(execFile)('echo', ['a'])),
  'execFile promised of nothing': promised(() => promisify(execFile)('no-such-program')),
  'execFile promised and aborted': promised(() => promisify(execFile)('sleep', ['1000'], { signal: AbortSignal.timeout(50) })),
  'execFile aborted before': promised(() => promisify(execFile)('sleep', ['1000'], { signal: AbortSignal.abort() })),

  // the Sync functions
  'spawnSync': syncLine('echo out; echo err >&2; exit 3'),
  'spawnSync with input': sync('cat', [], { input: 'in', encoding: 'utf8' }),
  'spawnSync with a buffer': sync('cat', [], { input: Buffer.from([1, 2, 3]) }),
  'spawnSync with a typed array': sync('cat', [], { input: new Uint16Array([0x4142]), encoding: 'latin1' }),
  'spawnSync with much input': async (log) => {
    const { stdout, status, error } = spawnSync('cat', { input: Buffer.alloc(3000000, 'y'), maxBuffer: Infinity });
    log(stdout.length, stdout.every((byte) => byte === 121), status, error);
  },
  'spawnSync without input': sync('cat', []),
  'spawnSync of nothing': sync('no-such-program', ['a']),
  'spawnSync in no directory': sync('true', [], { cwd: '/nonexistent' }),
  'spawnSync of what is not executable': sync('/etc/passwd', []),
  'spawnSync that is killed': syncLine('kill -KILL $$'),
  'spawnSync with a timeout': sync('sleep', ['1000'], { timeout: 50 }),
  'spawnSync with a timeout and a signal': sync('sleep', ['1000'], { timeout: 50, killSignal: 'SIGKILL' }),
  'spawnSync that survives its timeout': syncLine('trap "exit 7" TERM; echo ready; while :; do sleep 0.01; done', { timeout: 300 }),
  'spawnSync beyond maxBuffer': syncLine('printf 0123456789; exec sleep 1000', { maxBuffer: 4 }),
  'spawnSync with a shell': sync('echo $((6 * 7))', [], { shell: true, encoding: 'utf8' }),
  'spawnSync with an environment': async (log) => log(spawnSync('/usr/bin/env', { env: { A: 'b' }, encoding: 'utf8' }).stdout),
  'spawnSync with ignored stdio': syncLine('echo lost', { stdio: 'ignore' }),
  'spawnSync with a descriptor': async (log) => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'node')), 'f');
    const fd = fs.openSync(file, 'w+');
    log(spawnSync('echo', ['synced'], { stdio: ['ignore', fd, 'inherit'] }).status, fs.readFileSync(file, 'utf8'));
  },
  'spawnSync with argv0': syncLine('tr "\\0" " " </proc/$$/cmdline', { argv0: 'zero', encoding: 'utf8' }),
  'execSync': async (log) => log(execSync('echo out', { encoding: 'utf8' }), execSync('echo buffer')),
  'execSync that fails': throws(() => execSync('echo out; echo err >&2; exit 6', { stdio: 'pipe' })),
  'execSync with a timeout': throws(() => execSync('exec sleep 1000', { timeout: 50 })),
  'execFileSync': async (log) => log(execFileSync('echo', ['a', 'b'], { encoding: 'utf8' })),
  'execFileSync of nothing': throws(() => execFileSync('no-such-program', ['a'])),
  'execFileSync that fails': throws(() => execFileSync('sh', ['-c', 'echo e >&2; exit 9'], { stdio: 'pipe' })),
  'execFileSync beyond maxBuffer': throws(() => execFileSync('sh', ['-c', 'echo 12345; exec sleep 1000'], { maxBuffer: 1 })),

  // fork
  'fork': forked('greet', ['a', 'b'], {}),
  'fork with execArgv': forked('greet', [], { execArgv: ['--no-warnings'] }),
  'fork that echoes': forked('echo', [], {}, async (child, log) => {
    for (const message of ['text', 1, true, null, { deep: [{ a: 'ü€😀' }] }, { nothing: undefined }]) {
      log('sent', child.send(message));
      await once(child, 'message');
    }
    child.disconnect();
    log('connected', child.connected);
  }),
  'fork with V8 values': forked('value', [], { serialization: 'advanced' }),
  'fork echoing V8 values': forked('echo', [], { serialization: 'advanced' }, async (child) => {
    for (const message of [new Map([[1, 2]]), 10n, new Date(0), Buffer.from('bytes'), new Error('sent'), undefined, NaN].filter((m) => m !== undefined)) {
      child.send(message);
      await once(child, 'message');
    }
    child.disconnect();
  }),
  'fork with a large message': forked('echo', [], {}, async (child, log) => {
    child.send('x'.repeat(1000000));
    const [message] = await once(child, 'message');
    child.removeAllListeners('message');
    log('length', message.length);
    child.disconnect();
  }),
  'fork that exits': forked('exit', ['5'], {}),
  'fork in silence': forked('print', [], { silent: true }),
  'fork has no channel in its environment': forked('environment', [], {}),
  'fork that is killed': forked('idle', [], {}, async (child) => {
    await once(child, 'spawn');
    child.kill('SIGKILL');
  }),
  'messages wait for a listener': async (log) => {
    const child = fork(CHILD, ['echo']);
    child.send('kept');
    child.send('too');
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.on('message', (message) => {
      log('late', message);
      if (message === 'too') setImmediate(() => child.disconnect());
    });
    await once(child, 'exit');
  },
  'send after disconnect': async (log) => {
    const child = fork(CHILD, ['idle']);
    child.disconnect();
    log('sent', child.send('x', (error) => log('callback', error)));
    child.on('error', (error) => log('error', error));
    child.send('y');
    child.disconnect();
    log(...await once(child, 'exit'));
  },
  'send what cannot be sent': async (log) => {
    const child = fork(CHILD, ['idle']);
    thrown(log, () => child.send());
    thrown(log, () => child.send(() => {}));
    thrown(log, () => child.send('x', {}));
    thrown(log, () => child.send('x', undefined, 1));
    child.disconnect();
    await once(child, 'exit');
  },
  'the callback of send': async (log) => {
    const child = fork(CHILD, ['idle']);
    log(await new Promise((resolve) => child.send('x', resolve)));
    child.disconnect();
    await once(child, 'exit');
  },
  'a server goes to the child': async (log) => {
    const child = fork(CHILD, ['server']);
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    child.send('server', server);
    await once(child, 'message');
    server.close();
    const socket = net.connect(port, '127.0.0.1');
    log('read', String((await once(socket, 'data'))[0]));
    child.send('close');
    log(...await once(child, 'exit'));
  },
  'a socket goes to the child': async (log) => {
    const child = fork(CHILD, ['socket']);
    const server = net.createServer((socket) => child.send('asked,', socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = net.connect(server.address().port, '127.0.0.1');
    log('read', String((await once(socket, 'data'))[0]));
    log(...await once(child, 'exit'));
    server.close();
  },
  'a server comes from the child': async (log) => {
    const child = fork(CHILD, ['listen']);
    const [message, server] = await once(child, 'message');
    log(message, server instanceof net.Server, server.listening);
    server.close();
    child.send('close');
    log(...await once(child, 'exit'));
  },
  'spawn with a channel elsewhere': async (log) => {
    const child = spawn(process.execPath, [CHILD, 'greet'], { stdio: ['ignore', 'ignore', 'ignore', 'ignore', 'ipc'] });
    await sorted(child, log);
  },
  'a channel with a shell script': async (log) => {
    const child = spawn('sh', ['-c', 'echo \'{"from":"sh"}\' >&$NODE_CHANNEL_FD; read line <&$NODE_CHANNEL_FD; echo "$line"'],
      { stdio: ['ignore', 'pipe', 'ignore', 'ipc'] });
    child.on('message', () => child.send({ to: 'sh' }));
    await sorted(child, log);
  },
  'ref and unref of a channel': async (log) => {
    const child = fork(CHILD, ['idle']);
    child.channel.unref();
    child.channel.ref();
    log(typeof child.channel.ref, child.connected);
    child.disconnect();
    log(child.channel);
    await once(child, 'exit');
  },
};

module.exports = scenarios;
