// Values as text that does not differ between two runs: no pids, no stacks.
'use strict';
const { inspect } = require('node:util');

const FIELDS = ['name', 'message', 'code', 'errno', 'syscall', 'path', 'spawnargs', 'cmd', 'killed', 'signal', 'status'];

function ofError(error) {
  const fields = FIELDS.filter((name) => name in error).map((name) => [name, error[name]]);
  if (error.cause) fields.push(['cause', String(error.cause)]);
  for (const name of ['stdout', 'stderr']) if (name in error) fields.push([name, error[name]?.toString()]);
  return inspect(Object.fromEntries(fields), { depth: 4 });
}

function describe(value) {
  if (value instanceof Error) return ofError(value);
  if (typeof value === 'string') return value.replace(/^SPAWND_ID=.*\n/gm, ''); // the one variable that every child of spawnd has besides
  if (Buffer.isBuffer(value)) return `buffer ${value.toString('latin1')}`;
  return inspect(value, { depth: 6 });
}

module.exports = { describe };
