// Frames of ttrpc, docs/PROTOCOL.md section 2.
'use strict';

const HEADER = 10;
const REQUEST = 1;
const RESPONSE = 2;
const DATA = 3;
const REMOTE_OPEN = 2;

function frame(stream, type, flags, payload) {
  const size = payload ? payload.length : 0;
  const bytes = Buffer.allocUnsafe(HEADER + size);
  bytes.writeUInt32BE(size, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes[8] = type;
  bytes[9] = flags;
  if (size) bytes.set(payload, HEADER);
  return bytes;
}

// Frames out of pieces of any size.
class Parser {
  #bytes = Buffer.alloc(0);

  push(chunk) {
    this.#bytes = this.#bytes.length ? Buffer.concat([this.#bytes, chunk]) : chunk;
  }

  // Bytes that are wanted until something can be given.
  get wanted() {
    const have = this.#bytes.length;
    return have < HEADER ? HEADER - have : Math.max(0, HEADER + this.#bytes.readUInt32BE(0) - have);
  }

  // The next whole frame, or null.
  next() {
    if (this.wanted > 0) return null;
    const bytes = this.#bytes;
    const end = HEADER + bytes.readUInt32BE(0);
    const found = { stream: bytes.readUInt32BE(4), type: bytes[8], flags: bytes[9], payload: bytes.subarray(HEADER, end) };
    this.#bytes = bytes.subarray(end);
    return found;
  }
}

module.exports = { frame, Parser, REQUEST, RESPONSE, DATA, REMOTE_OPEN };
