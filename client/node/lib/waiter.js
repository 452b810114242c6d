// Who waits for the ends of children: one connection for all of them, which keeps the loop alive while a child does.
'use strict';
const net = require('node:net');
const { frame, Parser, REQUEST } = require('./frame');
const place = require('./place');
const proto = require('./proto');

const RETRY_MS = 20;
const PATIENCE_MS = 10000;
const NOT_KNOWN = { reason: 8 };

class Waiter {
  #socket = null;
  #parser = null;
  #stream = 1;
  #waits = new Map(); // by process
  #byStream = new Map();
  #lostAt = 0;

  // Calls ended(ExitRecord) once. The object that is returned has ref() and unref().
  wait(process, ended) {
    const wait = { process, ended, held: true };
    this.#waits.set(process, wait);
    this.#connect();
    this.#ask(wait);
    this.#hold();
    const hold = (held) => {
      wait.held = held;
      this.#hold();
    };
    return { ref: () => hold(true), unref: () => hold(false), hasRef: () => wait.held };
  }

  #connect() {
    if (this.#socket) return;
    const socket = net.connect({ path: place.socketPath() });
    this.#socket = socket;
    this.#parser = new Parser();
    this.#stream = 1;
    this.#byStream.clear();
    socket.on('error', () => {});
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('close', () => this.#lost());
  }

  #ask(wait) {
    const payload = proto.encode('spawnd.v1.WaitRequest', { process: { id: wait.process } });
    this.#byStream.set(this.#stream, wait);
    this.#socket.write(frame(this.#stream, REQUEST, 0, proto.request('Processes', 'Wait', payload)));
    this.#stream += 2;
  }

  #read(chunk) {
    this.#lostAt = 0;
    this.#parser.push(chunk);
    for (let found = this.#parser.next(); found; found = this.#parser.next()) {
      const wait = this.#byStream.get(found.stream);
      this.#byStream.delete(found.stream);
      if (wait) this.#end(wait, record(found.payload));
    }
    this.#hold();
  }

  #end(wait, exit) {
    this.#waits.delete(wait.process);
    process.nextTick(wait.ended, exit);
  }

  // Asks anew on another connection; whose children are still unknown to any daemon after a while has lost them.
  #lost() {
    this.#socket = null;
    if (this.#waits.size === 0) return;
    this.#lostAt ||= Date.now();
    if (Date.now() - this.#lostAt > PATIENCE_MS) {
      for (const wait of [...this.#waits.values()]) this.#end(wait, NOT_KNOWN);
      return;
    }
    setTimeout(() => {
      this.#connect();
      for (const wait of this.#waits.values()) this.#ask(wait);
      this.#hold();
    }, RETRY_MS);
  }

  #hold() {
    if (!this.#socket) return;
    if ([...this.#waits.values()].some((wait) => wait.held)) this.#socket.ref();
    else this.#socket.unref();
  }
}

function record(payload) {
  try {
    return proto.decode('spawnd.v1.Process', proto.unwrap(payload)).exit;
  } catch {
    return NOT_KNOWN;
  }
}

module.exports = { Waiter };
