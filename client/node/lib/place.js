// Where a daemon is found, by the rule of docs/PROTOCOL.md section 1, and what this process tells it about itself.
'use strict';
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { SpawndError } = require('./errors');

const PATH_MAX = 107; // bytes that a socket address takes

function socketPath(named) {
  const { SPAWND_SOCKET, XDG_RUNTIME_DIR } = process.env;
  let place;
  if (named || SPAWND_SOCKET) place = named || SPAWND_SOCKET;
  else if (XDG_RUNTIME_DIR) place = path.join(XDG_RUNTIME_DIR, 'spawnd', 'spawnd.sock');
  else if (process.geteuid() === 0) place = '/run/spawnd/spawnd.sock';
  else place = path.join(os.tmpdir(), `spawnd-${process.geteuid()}`, 'spawnd.sock');
  const size = Buffer.byteLength(place);
  if (size > PATH_MAX) {
    throw new SpawndError('INVALID_ARGUMENT', `${place}: the path of a socket may have ${PATH_MAX} bytes, this one has ${size}`);
  }
  return place;
}

// Throws unless the directory of the socket is this user's or root's, and nobody else can write to it.
function checkDirectory(socket) {
  const directory = path.dirname(socket);
  const { uid, mode } = fs.statSync(directory);
  const strangers = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
  if ((uid !== process.geteuid() && uid !== 0) || strangers) {
    throw new SpawndError('PERMISSION_DENIED', `${directory}: a socket there is not to be trusted, others than its user can write to it`);
  }
}

// The umask without changing it: process.umask() would, for a moment and for every thread.
function umask() {
  const line = /^Umask:\s*([0-7]+)$/m.exec(fs.readFileSync('/proc/self/status', 'latin1'));
  return line ? parseInt(line[1], 8) : undefined;
}

const RLIMITS = {
  'Max cpu time': 'cpu', 'Max file size': 'fsize', 'Max data size': 'data', 'Max stack size': 'stack', 'Max core file size': 'core',
  'Max resident set': 'rss', 'Max processes': 'nproc', 'Max open files': 'nofile', 'Max locked memory': 'memlock',
  'Max address space': 'as', 'Max file locks': 'locks', 'Max pending signals': 'sigpending', 'Max msgqueue size': 'msgqueue',
  'Max nice priority': 'nice', 'Max realtime priority': 'rtprio', 'Max realtime timeout': 'rttime',
};
const UNLIMITED = '18446744073709551615';

function rlimits() {
  const limits = [];
  for (const line of fs.readFileSync('/proc/self/limits', 'latin1').split('\n')) {
    const found = /^(Max [a-z ]*?[a-z])\s{2,}(\S+)\s+(\S+)/.exec(line);
    if (!found || !RLIMITS[found[1]]) continue;
    const value = (text) => (text === 'unlimited' ? UNLIMITED : text);
    limits.push({ name: RLIMITS[found[1]], soft: value(found[2]), hard: value(found[3]) });
  }
  return limits;
}

function currentDirectory() {
  try {
    return process.cwd();
  } catch {
    return undefined; // it was removed
  }
}

// What children get unless their spec says otherwise.
function context() {
  const cwd = currentDirectory();
  return {
    cwd: cwd && Buffer.from(cwd),
    env: Object.entries(process.env).map(([name, value]) => Buffer.from(`${name}=${value}`)),
    umask: umask(),
    rlimits: rlimits(),
  };
}

module.exports = { socketPath, checkDirectory, umask, context };
