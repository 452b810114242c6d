// The messages of proto/, read when they are first needed. Packages carry a copy of the files.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const protobuf = require('protobufjs');
const { SpawndError, STATUS } = require('./errors');

const PLACES = [path.join(__dirname, '..', 'proto'), path.join(__dirname, '..', '..', '..', 'proto')];

function load() {
  const place = PLACES.find((directory) => fs.existsSync(path.join(directory, 'ttrpc.proto')));
  const root = new protobuf.Root();
  root.resolvePath = (_, target) => path.join(place, target);
  return root.loadSync(['ttrpc.proto', 'spawnd/v1/processes.proto', 'spawnd/v1/admin.proto']);
}

const root = load();
const types = new Map();

function type(name) {
  let found = types.get(name);
  if (!found) types.set(name, (found = root.lookupType(name)));
  return found;
}

function encode(name, message) {
  const found = type(name);
  return found.encode(found.fromObject(message)).finish();
}

const decode = (name, bytes) => type(name).decode(bytes);

// What 64-bit fields are: numbers where they fit, which ids, offsets and sizes do.
const number = (value) => (typeof value === 'object' && value !== null ? value.toNumber() : value);

// Whether an optional field is there.
const has = (message, field) => Object.prototype.hasOwnProperty.call(message, field) && message[field] !== null;

function errorOf(status) {
  const packed = status.details?.find((any) => any.typeUrl === 'type.googleapis.com/spawnd.v1.ErrorDetail');
  return new SpawndError(STATUS[status.code] ?? 'UNKNOWN', status.message, packed && decode('spawnd.v1.ErrorDetail', packed.value));
}

// The payload of a Response; throws its status.
function unwrap(bytes) {
  const response = decode('ttrpc.Response', bytes);
  if (response.status?.code) throw errorOf(response.status);
  return response.payload;
}

const request = (service, method, payload) => encode('ttrpc.Request', { service: `spawnd.v1.${service}`, method, payload });

module.exports = { encode, decode, number, has, unwrap, request };
