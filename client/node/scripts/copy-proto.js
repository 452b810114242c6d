// Puts proto/ into the package that is being made.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const from = path.join(__dirname, '..', '..', '..', 'proto');
const to = path.join(__dirname, '..', 'proto');
for (const file of ['ttrpc.proto', 'spawnd/v1/common.proto', 'spawnd/v1/processes.proto', 'spawnd/v1/admin.proto']) {
  fs.mkdirSync(path.dirname(path.join(to, file)), { recursive: true });
  fs.copyFileSync(path.join(from, file), path.join(to, file));
}
