// node:child_process with its processes in spawnd; the module of Node itself stays as it is.
'use strict';
const node = require('node:child_process');
const { promisify } = require('node:util');
const { within } = require('./lib/switch');

const inside = (call) => function (...args) {
  return within(() => Reflect.apply(call, this, args));
};

function wrap(name) {
  const wrapped = inside(node[name]);
  Object.defineProperty(wrapped, 'name', { value: name, configurable: true });
  Object.defineProperty(wrapped, 'length', { value: node[name].length, configurable: true });
  const promised = node[name][promisify.custom];
  if (promised) Object.defineProperty(wrapped, promisify.custom, { value: inside(promised), enumerable: false });
  return wrapped;
}

class ChildProcess extends node.ChildProcess {
  spawn(options) {
    return within(() => super.spawn(options));
  }

  static [Symbol.hasInstance](value) {
    return value instanceof node.ChildProcess;
  }
}

module.exports = {
  ChildProcess,
  exec: wrap('exec'),
  execFile: wrap('execFile'),
  execFileSync: wrap('execFileSync'),
  execSync: wrap('execSync'),
  fork: wrap('fork'),
  spawn: wrap('spawn'),
  spawnSync: wrap('spawnSync'),
};
