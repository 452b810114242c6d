// node --require spawnd/register app.js (or --import): an unmodified application has its processes in spawnd.
// SPAWND_REGISTER names the modules, separated by commas; child_process is all there is, and the default.
'use strict';
const KNOWN = ['child_process'];
const wanted = (process.env.SPAWND_REGISTER ?? 'child_process').split(',').map((name) => name.trim()).filter(Boolean);
const unknown = wanted.filter((name) => !KNOWN.includes(name));

if (unknown.length > 0) {
  throw new Error(`SPAWND_REGISTER: spawnd/register does not know ${unknown.join(', ')}; there is: ${KNOWN.join(', ')}`);
}
if (wanted.includes('child_process')) require('./lib/switch').everywhere();
