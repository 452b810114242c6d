import childProcess from './child_process.js';

export const { ChildProcess, exec, execFile, execFileSync, execSync, fork, spawn, spawnSync } = childProcess;
export default childProcess;
