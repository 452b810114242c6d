// The only file that knows the insides of Node: the classes below child_process. All else of Node that spawnd/child_process needs
// is Node's own JavaScript, which runs unchanged on top of them.
'use strict';
const { Process } = process.binding('process_wrap');
const { Pipe, PipeConnectWrap, constants } = process.binding('pipe_wrap');
const syncBinding = process.binding('spawn_sync');

const nativeSpawn = Process.prototype.spawn;
const nativeSpawnSync = syncBinding.spawn;

// What Process.spawn was given: one object until Node 24.20, a list since.
function optionsOf(args) {
  if (args.length === 1) return args[0];
  const [file, argv, cwd, envPairs, stdio, flags, uid, gid] = args;
  return { file, args: argv, cwd, envPairs, stdio, detached: (flags & 1) !== 0, uid, gid };
}

// Puts other functions in the place of Node's; each may answer undefined, and Node's own runs.
function replace({ spawn, spawnSync }) {
  Process.prototype.spawn = function (...args) {
    const done = spawn(this, optionsOf(args));
    return done === undefined ? nativeSpawn.apply(this, args) : done;
  };
  syncBinding.spawn = (options) => spawnSync(options) ?? nativeSpawnSync(options);
}

// Connects a pipe handle. The kernel has done it when this returns, libuv knows in the next turn of the loop: what it would forget
// in between, a shutdown, is kept for then. Returns 0 or a negative errno.
function connect(handle, path) {
  const request = new PipeConnectWrap();
  let shutdown = null;
  handle.shutdown = (wrap) => {
    shutdown = wrap;
    return 0;
  };
  request.oncomplete = (status) => {
    delete handle.shutdown;
    const error = shutdown && (status || handle.shutdown(shutdown));
    if (error) shutdown.oncomplete(error);
  };
  return handle.connect(request, path) ?? 0;
}

const newPipe = () => new Pipe(constants.SOCKET);

module.exports = { replace, connect, newPipe, spawnSync: nativeSpawnSync };
