// Between JavaScript and what travels. Lines of stdin: "json|advanced in SOURCE" to base64, "json|advanced out BASE64" to inspect().
'use strict';
const v8 = require('node:v8');
const { inspect } = require('node:util');
for (const line of require('node:fs').readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue;
  const [format, way, ...rest] = line.split(' ');
  const text = rest.join(' ');
  if (way === 'in') {
    const value = (0, eval)(`(${text})`);
    console.log((format === 'json' ? Buffer.from(JSON.stringify(value)) : v8.serialize(value)).toString('base64'));
  } else {
    const bytes = Buffer.from(text, 'base64');
    console.log(JSON.stringify(inspect(format === 'json' ? JSON.parse(bytes) : v8.deserialize(bytes), { depth: 10 })));
  }
}
