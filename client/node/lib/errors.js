// One class of errors, in the shape of Node's system errors.
'use strict';

const STATUS = ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS',
  'UNAUTHENTICATED'];

class SpawndError extends Error {
  // status: a name of gRPC's codes; detail: a spawnd.v1.ErrorDetail or nothing
  constructor(status, message, detail) {
    super(message);
    this.name = status === 'CANCELLED' ? 'AbortError' : 'SpawndError';
    this.status = status;
    this.code = detail?.code || status;
    if (detail?.errnum) this.errno = -detail.errnum;
    if (detail?.syscall) this.syscall = detail.syscall;
    if (detail?.path?.length) this.path = detail.path.toString();
    if (detail?.field) this.field = detail.field;
    if (detail?.spawnargs?.length) this.spawnargs = detail.spawnargs.map(String);
  }
}

// The connection broke: what was asked for may or may not have been done.
class ConnectionLost extends SpawndError {
  constructor() {
    super('UNAVAILABLE', 'the connection to spawnd was lost');
  }
}

module.exports = { SpawndError, ConnectionLost, STATUS };
