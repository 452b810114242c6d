// child_process on spawnd: what Node's own JavaScript asks of its lower half, done by a daemon. A pipe and an IPC channel are
// sockets between this process and the child, so streams, messages and handles are Node's own and need no relay.
'use strict';
const { AsyncResource } = require('node:async_hooks');
const os = require('node:os');
const path = require('node:path');
const { Blocking, pairs, newKey } = require('./blocking');
const { SpawndError } = require('./errors');
const place = require('./place');
const proto = require('./proto');
const { Waiter } = require('./waiter');

const blocking = new Blocking();
const waiter = new Waiter();

const KIND_PIPE = 1;
const KIND_NULL = 2;
const KIND_FD = 4;
const KIND_NONE = 7;
const ORIGIN_EMPTY = 1;
const SCOPE_CHILD = 1;
const KEEP = 3;
const REASON_TIMEOUT = 3;
const NEVER_MS = 9 * 365 * 24 * 3600 * 1000;
const FIRST_STDIN = 1 << 20;
const PIECE = 1 << 18;

const { EBADF, EAGAIN, EPERM, ENOENT, ESRCH, ETIMEDOUT, ENOBUFS } = os.constants.errno;
const SIGNAL_NAMES = Object.fromEntries(Object.entries(os.constants.signals).reverse().map(([name, number]) => [number, name]));
const bytes = (text) => Buffer.from(String(text));

// What Node would have got from the kernel: a negative errno. Throws what has no number, such as that there is no daemon.
function errnoOf(error) {
  if (!(error instanceof SpawndError)) throw error;
  if (error.errno) return error.errno;
  if (error.status === 'INVALID_ARGUMENT' && error.field?.includes('.fd.')) return -EBADF;
  if (error.status === 'RESOURCE_EXHAUSTED') return -EAGAIN;
  if (error.status === 'PERMISSION_DENIED') return -EPERM;
  if (error.status === 'NOT_FOUND') return -ENOENT;
  throw error;
}

// Everything of a spec but stdio.
function specOf(options) {
  const [argv0, ...rest] = options.args?.length ? options.args : [options.file];
  const env = options.envPairs ?? Object.entries(process.env).map(([name, value]) => `${name}=${value}`);
  const spec = {
    argv: [options.file, ...rest].map(bytes),
    cwd: bytes(path.resolve(options.cwd || process.cwd())),
    env: { origin: ORIGIN_EMPTY, set: env.map(bytes) },
    umask: place.umask(),
    onDisconnect: KEEP,
    noTree: true,
    killScope: SCOPE_CHILD,
  };
  if (argv0 !== options.file) spec.argv0 = bytes(argv0);
  if (Number.isInteger(options.uid)) spec.uid = options.uid;
  if (Number.isInteger(options.gid)) spec.gid = options.gid;
  if (spec.uid !== undefined || spec.gid !== undefined) spec.groups = [spec.gid ?? process.getgid()];
  return spec;
}

// What of stdio is there already; undefined for what has to be made.
function existing(entry, slot) {
  if (entry.type === 'ignore') return { slot, kind: slot < 3 ? KIND_NULL : KIND_NONE };
  if (entry.type === 'inherit') return { slot, kind: KIND_FD, fd: { number: entry.fd ?? slot } };
  if (entry.type === 'fd') return { slot, kind: KIND_FD, fd: { number: entry.fd } };
  if (entry.type === 'wrap') return { slot, kind: KIND_FD, fd: { number: entry.handle.fd } };
  return undefined;
}

// ---- spawn ----

function start(options) {
  const spec = specOf(options);
  const made = options.stdio.filter((entry, slot) => !existing(entry, slot));
  const keys = pairs(blocking.reach(), made.map((entry) => entry.handle));
  spec.stdio = options.stdio.map((entry, slot) => existing(entry, slot) ?? { slot, kind: KIND_FD, fd: { session: keys[made.indexOf(entry)] } });
  return blocking.call('Processes', 'Start', 'StartRequest', { spec, idempotencyKey: newKey().toString('hex') }, 'Process');
}

// Makes a handle of Node's Process class the handle of a process of spawnd.
function adopt(handle, id) {
  const ended = AsyncResource.bind((exit) => {
    const code = proto.has(exit, 'code') ? exit.code : null;
    const signal = proto.has(exit, 'signal') ? SIGNAL_NAMES[exit.signal] ?? String(exit.signal) : '';
    handle.onexit(signal ? 0 : code, signal);
  });
  const wait = waiter.wait(id, ended);
  handle.kill = (signal) => kill(id, signal);
  handle.ref = wait.ref;
  handle.unref = wait.unref;
  handle.hasRef = wait.hasRef;
  handle.close = () => {};
}

// A child whose end was not told yet can be signalled, as a zombie can.
function kill(id, signal) {
  try {
    blocking.call('Processes', 'Signal', 'SignalRequest',
      { process: { id }, signal, scope: SCOPE_CHILD, idempotencyKey: newKey().toString('hex') }, 'KillReply');
    return 0;
  } catch (error) {
    const errno = error.status === 'NOT_FOUND' ? -ESRCH : errnoOf(error);
    return errno === -ESRCH ? 0 : errno;
  }
}

function spawn(handle, options) {
  try {
    const started = start(options);
    handle.pid = started.pid;
    adopt(handle, proto.number(started.id));
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

// ---- the Sync functions ----

// One run of a program with all of its output and input in memory.
class SyncRun {
  #options;
  #spec;
  #key = newKey().toString('hex');
  #output;
  #offsets = new Map();
  #inputs = new Map(); // by slot: what is sent, how far, and how far it may go
  #total = 0;
  #error = 0;
  #pid = 0;
  #known = false;

  constructor(options) {
    this.#options = options;
    this.#spec = specOf(options);
    this.#spec.stdio = options.stdio.map((entry, slot) => existing(entry, slot) ?? this.#pipe(entry, slot));
    this.#spec.killSignal = options.killSignal || 0;
    this.#spec.graceMs = NEVER_MS;
    this.#spec.drainTimeoutMs = NEVER_MS;
    if (options.timeout > 0) this.#spec.timeoutMs = Math.ceil(options.timeout);
    this.#output = options.stdio.map((entry) => (entry.type === 'pipe' && entry.writable ? [] : null));
  }

  #pipe(entry, slot) {
    if (entry.readable) this.#inputs.set(slot, { bytes: inputOf(entry), sent: 0, allowed: FIRST_STDIN, ended: false });
    return { slot, kind: KIND_PIPE, direction: entry.readable && entry.writable ? 3 : entry.readable ? 1 : 2 };
  }

  run() {
    try {
      return blocking.stream('Processes', 'Spawn', 'SpawnRequest', 'ProcessEvent', () => this.#start(), (event, send) => this.#on(event, send));
    } catch (error) {
      return { error: errnoOf(error), pid: 0, status: null, signal: null, output: null };
    }
  }

  #start() {
    const from = [...this.#offsets].map(([slot, offset]) => ({ slot, offset }));
    return { start: { spec: this.#spec, idempotencyKey: this.#key, from, resume: this.#known } };
  }

  #on(event, send) {
    if (event.spawned) this.#begin(event.spawned, send);
    else if (event.output) this.#take(event.output, send);
    else if (event.stdinGrant) this.#feed(event.stdinGrant.slot ?? 0, proto.number(event.stdinGrant.bytes), send);
    else if (event.exited && (this.#error || event.exited.exit.reason === REASON_TIMEOUT)) return this.#result(event.exited.exit);
    else if (event.closed) return this.#result(event.closed.exit);
    return undefined;
  }

  #begin(spawned, send) {
    this.#known = true;
    this.#pid = spawned.pid;
    for (const [slot, input] of this.#inputs) {
      const taken = spawned.stdin.find((each) => each.slot === slot);
      input.sent = taken ? proto.number(taken.offset) : 0;
      input.allowed = input.sent + FIRST_STDIN;
      input.ended = false;
      this.#feed(slot, 0, send);
    }
  }

  #feed(slot, granted, send) {
    const input = this.#inputs.get(slot);
    if (!input) return;
    input.allowed += granted;
    while (!input.ended && (input.sent < input.allowed || input.sent === input.bytes.length)) {
      const end = Math.min(input.sent + PIECE, input.allowed, input.bytes.length);
      input.ended = end === input.bytes.length;
      send({ control: { stdin: { slot, offset: input.sent, data: input.bytes.subarray(input.sent, end), eof: input.ended } } });
      input.sent = end;
    }
  }

  #take(output, send) {
    const { slot, data } = output;
    this.#output[slot].push(data);
    this.#offsets.set(slot, proto.number(output.offset) + data.length);
    this.#total += data.length;
    send({ control: { grant: { bytes: data.length, messages: 1 } } });
    const { maxBuffer, killSignal } = this.#options;
    if (this.#error || !(maxBuffer > 0) || this.#total <= maxBuffer) return;
    this.#error = -ENOBUFS;
    send({ control: { signal: { signal: killSignal || os.constants.signals.SIGTERM, scope: SCOPE_CHILD } } });
  }

  #result(exit) {
    const error = this.#error || (exit.reason === REASON_TIMEOUT ? -ETIMEDOUT : 0);
    return {
      pid: this.#pid,
      ...(error && { error }),
      status: proto.has(exit, 'signal') || !proto.has(exit, 'code') ? null : exit.code,
      signal: proto.has(exit, 'signal') ? SIGNAL_NAMES[exit.signal] ?? null : null,
      output: this.#output.map((pieces) => pieces && Buffer.concat(pieces)),
    };
  }
}

function inputOf(entry) {
  const { input } = entry;
  if (input === undefined || input === null) return Buffer.alloc(0);
  return typeof input === 'string' ? Buffer.from(input) : Buffer.from(input.buffer, input.byteOffset, input.byteLength);
}

const spawnSync = (options) => new SyncRun(options).run();

module.exports = { spawn, spawnSync };
