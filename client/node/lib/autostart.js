// Starts a daemon where none runs: the program goes to the background, and what we start ends when the daemon is ready. Of many
// starters at once the daemon's own lock lets one through; the others connect to what that one started.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const util = require('node:util');
const { SpawndError } = require('./errors');
const native = require('./native');

const IDLE_EXIT = '10m';
const NO_PROGRAM = 'ERR_SPAWND_NOT_INSTALLED';

function environment() {
  return Object.entries(process.env)
    .filter(([name]) => name === 'HOME' || name === 'PATH' || name === 'USER' || name.startsWith('XDG_'))
    .map(([name, value]) => `${name}=${value}`);
}

// Throws what the daemon said.
function start(socket) {
  const program = process.env.SPAWND_DAEMON || 'spawnd';
  fs.mkdirSync(path.dirname(socket), { recursive: true, mode: 0o700 });
  const done = native.spawnSync({
    file: program, args: [program, '--socket', path.resolve(socket), '--idle-exit', IDLE_EXIT], cwd: '/', envPairs: environment(),
    detached: true, stdio: [{ type: 'ignore' }, { type: 'ignore' }, { type: 'pipe', readable: false, writable: true }],
  });
  if (!done.error && done.status === 0) return;
  const none = `no daemon runs at ${socket} and none could be started`;
  if (done.error) throw new SpawndError('UNAVAILABLE', `${none}: spawn ${program} ${util.getSystemErrorName(done.error)}`, { code: NO_PROGRAM });
  throw new SpawndError('UNAVAILABLE', `${none}: ${done.output[2].toString().trim() || 'it ended without a word'}`);
}

module.exports = { start, NO_PROGRAM };
