// Runs every scenario, one after the other, and prints what each saw as JSON. Which child_process they get is not its business.
'use strict';
const fs = require('node:fs');
const scenarios = require('./scenarios.js');
const { describe } = require('./describe.js');

const PATIENCE_MS = 20000;

async function one(act) {
  const seen = [];
  const log = (...what) => seen.push(what.map(describe));
  let timer;
  const tooLong = new Promise((_, reject) => (timer = setTimeout(reject, PATIENCE_MS, new Error('it does not end'))));
  try {
    await Promise.race([act(log), tooLong]);
  } catch (error) {
    log('rejected', error);
  }
  clearTimeout(timer);
  return seen;
}

(async () => {
  const all = {};
  for (const [name, act] of Object.entries(scenarios)) {
    all[name] = await one(act);
    if (process.env.TELL) process.stderr.write(`${Date.now() % 100000} ${name}\n`);
  }
  fs.writeSync(1, JSON.stringify(all));
  process.exit(0);
})();
