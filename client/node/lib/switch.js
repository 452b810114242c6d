// Which calls of Node's child_process go to spawnd: all of them, or those made inside of `within`.
'use strict';
const launch = require('./launch');
const native = require('./native');

let always = false;
let depth = 0;

native.replace({
  spawn: (handle, options) => (always || depth > 0 ? launch.spawn(handle, options) : undefined),
  spawnSync: (options) => (always || depth > 0 ? launch.spawnSync(options) : undefined),
});

function within(act) {
  depth++;
  try {
    return act();
  } finally {
    depth--;
  }
}

function everywhere() {
  always = true;
}

module.exports = { within, everywhere };
