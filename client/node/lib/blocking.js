// Calls that answer before they return: a connection of its own, read and written while everything else stands still. It is lost
// and made again without anybody noticing; a request that changes something carries its key and is said again.
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const autostart = require('./autostart');
const { ConnectionLost, SpawndError } = require('./errors');
const { frame, Parser, REQUEST, RESPONSE, DATA, REMOTE_OPEN } = require('./frame');
const native = require('./native');
const place = require('./place');
const proto = require('./proto');

const CLIENT = `node ${require('../package.json').version}`;
const PATIENCE_MS = 10000; // an engine that is replaced has that long
const PAUSE_MS = 10;
const CHUNK = 65536;

const clock = new Int32Array(new SharedArrayBuffer(4));
const pause = () => Atomics.wait(clock, 0, 0, PAUSE_MS);
const newKey = () => crypto.randomBytes(16);

function write(fd, bytes) {
  try {
    for (let at = 0; at < bytes.length;) at += fs.writeSync(fd, bytes, at);
  } catch (error) {
    throw ['EPIPE', 'ECONNRESET', 'ENOTCONN'].includes(error.code) ? new ConnectionLost() : error;
  }
}

function read(fd, buffer, size) {
  try {
    const got = fs.readSync(fd, buffer, 0, size, null);
    if (got > 0) return got;
  } catch (error) {
    if (!['ECONNRESET', 'ENOTCONN'].includes(error.code)) throw error;
  }
  throw new ConnectionLost();
}

// Exactly one frame, so that whatever follows is still in the socket.
function readFrame(fd) {
  const parser = new Parser();
  for (;;) {
    const found = parser.next();
    if (found) return found;
    const buffer = Buffer.allocUnsafe(Math.min(parser.wanted, CHUNK));
    parser.push(buffer.subarray(0, read(fd, buffer, buffer.length)));
  }
}

const hello = (fields) => proto.request('Admin', 'Hello',
  proto.encode('spawnd.v1.HelloRequest', { client: CLIENT, version: 1, ...fields }));

// Whether a daemon takes connections there; starts one when none does.
function reach(path) {
  try {
    autostart.start(path);
  } catch (error) {
    return error;
  }
  return null;
}

class Blocking {
  #path = null;
  #pipe = null;
  #stream = 1;
  #parser = null;

  get #fd() {
    return this.#pipe.fd;
  }

  #drop() {
    this.#pipe?.close();
    this.#pipe = null;
  }

  // One attempt; throws ConnectionLost when nobody answers.
  #open() {
    const pipe = native.newPipe();
    this.#pipe = pipe;
    this.#parser = new Parser();
    this.#stream = 1;
    const error = native.connect(pipe, this.#path);
    if (error || pipe.fd < 0) throw new ConnectionLost();
    pipe.unref();
    pipe.setBlocking(true);
    place.checkDirectory(this.#path);
    write(this.#fd, frame(this.#take(), REQUEST, 0, hello({ context: place.context() })));
    proto.unwrap(readFrame(this.#fd).payload);
  }

  #take() {
    const stream = this.#stream;
    this.#stream += 2;
    return stream;
  }

  #connect(deadline) {
    this.#path ??= place.socketPath();
    let started = false;
    let why = new ConnectionLost();
    for (;;) {
      try {
        if (!this.#pipe) this.#open();
        return;
      } catch (error) {
        this.#drop();
        if (!(error instanceof ConnectionLost)) throw error;
      }
      if (!started && !isThere(this.#path)) {
        started = true;
        why = reach(this.#path) ?? why;
        if (why.code === autostart.NO_PROGRAM) throw why;
      } else if (Date.now() >= deadline) {
        throw why;
      } else {
        pause();
      }
    }
  }

  // Runs `act`, again and again while connections break.
  #persist(act) {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      this.#connect(deadline);
      try {
        return act();
      } catch (error) {
        if (!(error instanceof ConnectionLost) || Date.now() >= deadline) {
          if (!(error instanceof SpawndError) || error instanceof ConnectionLost) this.#drop();
          throw error;
        }
        this.#drop();
      }
    }
  }

  // A unary call: types are names of messages in spawnd.v1.
  call(service, method, requestType, request, replyType) {
    const payload = proto.request(service, method, proto.encode(`spawnd.v1.${requestType}`, request));
    return this.#persist(() => {
      const stream = this.#take();
      write(this.#fd, frame(stream, REQUEST, 0, payload));
      return proto.decode(`spawnd.v1.${replyType}`, proto.unwrap(this.#frameOf(stream).payload));
    });
  }

  // A stream: start() gives its first message, on(event, send) is called for every reply until it answers something.
  stream(service, method, requestType, replyType, start, on) {
    return this.#persist(() => {
      const stream = this.#take();
      const send = (message) => write(this.#fd, frame(stream, DATA, 0, proto.encode(`spawnd.v1.${requestType}`, message)));
      write(this.#fd, frame(stream, REQUEST, REMOTE_OPEN, proto.request(service, method)));
      send(start());
      for (;;) {
        const found = this.#frameOf(stream);
        if (found.type === RESPONSE) proto.unwrap(found.payload);
        const answer = on(proto.decode(`spawnd.v1.${replyType}`, found.payload), send);
        if (answer !== undefined) return answer;
      }
    });
  }

  #frameOf(stream) {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (;;) {
      const found = this.#parser.next();
      if (found?.stream === stream) return found;
      if (found) continue; // the rest of a stream that we left
      this.#parser.push(Buffer.from(buffer.subarray(0, read(this.#fd, buffer, CHUNK))));
    }
  }

  // Makes sure of a daemon; the path of its socket.
  reach() {
    this.#persist(() => {});
    return this.#path;
  }
}

function isThere(path) {
  try {
    return fs.statSync(path).isSocket() && isListening(path);
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}

// Of a socket file that a dead daemon has left nobody listens: the kernel lists those that are bound.
function isListening(path) {
  try {
    return fs.readFileSync('/proc/net/unix', 'latin1').split('\n').some((line) => line.endsWith(` ${path}`));
  } catch {
    return true;
  }
}

// Makes socket pairs of these pipe handles: the daemon holds the other ends, under the keys that are returned.
function pairs(path, handles) {
  const keys = handles.map(() => newKey());
  handles.forEach((handle, i) => {
    const error = native.connect(handle, path);
    if (error || handle.fd < 0) throw new ConnectionLost();
    handle.setBlocking(true);
    write(handle.fd, frame(1, REQUEST, 0, hello({ sessionKey: keys[i] })));
  });
  for (const handle of handles) {
    proto.unwrap(readFrame(handle.fd).payload);
    handle.setBlocking(false);
  }
  return keys;
}

module.exports = { Blocking, pairs, newKey };
