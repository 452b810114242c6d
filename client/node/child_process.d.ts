// The types are those of node:child_process, which @types/node has.
import childProcess = require('node:child_process');
export = childProcess;
