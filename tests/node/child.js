// The child of the scenarios that fork: does what its first argument names.
'use strict';
const acts = {
  echo: () => process.on('message', (message) => process.send(message)),
  greet: () => process.send({ hello: process.argv.slice(3), execArgv: process.execArgv, connected: process.connected }, () => process.disconnect()),
  idle: () => process.on('message', () => {}),
  exit: () => process.exit(Number(process.argv[3])),
  environment: () => process.send({ fd: process.env.NODE_CHANNEL_FD ?? null, mode: process.env.NODE_CHANNEL_SERIALIZATION_MODE ?? null }, () => process.disconnect()),
  value: () => process.send(new Map([['a', new Set([1n, /x/])]]), () => process.disconnect()),
  server: () => process.once('message', (message, server) => {
    server.on('connection', (socket) => socket.end('from the child'));
    process.send('listening');
    process.on('message', () => server.close(() => process.disconnect()));
  }),
  socket: () => process.on('message', (message, socket) => socket.end(`${message} answered`, () => process.disconnect())),
  listen: () => {
    const server = require('node:net').createServer();
    server.listen(0, '127.0.0.1', () => process.send('server', server));
    process.on('message', () => server.close(() => process.disconnect()));
  },
  print: () => {
    process.stdout.write('printed');
    process.stderr.write('complained');
  },
};
acts[process.argv[2]]();
