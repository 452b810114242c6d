// The same work by Node's child_process. Each verb prints one number; the verbs are those of raw.c, and
//   spawn-big COUNT     one at a time from a process with 2 GiB resident: spawns per second
//   idle COUNT          COUNT silent children with three pipes: resident bytes of this process
//   round-trip COUNT    messages to a forked child and back, one at a time: median microseconds
//   messages COUNT      messages to a forked child: messages per second
// The children of both, of Node and of spawnd, say once that they are there:
//   echo                sends back what comes
//   sink COUNT          says when COUNT messages have come
'use strict';
const { fork, spawn } = require('node:child_process');
const [verb, ...args] = process.argv.slice(2);
const seconds = () => Number(process.hrtime.bigint()) / 1e9;

function one() {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/true');
    child.stdout.resume();
    child.stderr.resume();
    child.on('error', reject);
    child.on('close', resolve);
  });
}

async function rate(count, flight) {
  const begin = seconds();
  let left = count;
  await Promise.all(Array.from({ length: flight }, async () => {
    while (left-- > 0) await one();
  }));
  console.log(count / (seconds() - begin));
}

async function latency(count) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const begin = seconds();
    await one();
    times.push((seconds() - begin) * 1e6);
  }
  console.log(times.sort((a, b) => a - b)[count >> 1]);
}

function pipe(raw, bytes, chunk) {
  const begin = seconds();
  const child = spawn(raw, ['write', bytes, chunk], { stdio: ['ignore', 'pipe', 'inherit'] });
  let got = 0;
  child.stdout.on('data', (data) => { got += data.length; });
  child.on('close', () => console.log(got / (seconds() - begin)));
}

async function idle(count) {
  const children = [];
  for (let i = 0; i < count; i++) {
    children.push(await new Promise((resolve) => {
      const child = spawn('/bin/sleep', ['1000']);
      child.on('spawn', () => resolve(child));
    }));
  }
  console.log(process.memoryUsage().rss);
  for (const child of children) child.kill();
}

const letter = { type: 'request', id: 123456, path: '/index.html', headers: { host: 'localhost' } };
const answer = (child) => new Promise((resolve) => { child.once('message', resolve); });

async function roundTrip(count) {
  const child = fork(__filename, ['echo']);
  const times = [];
  await answer(child);
  for (let i = 0; i < count; i++) {
    const begin = seconds();
    child.send(letter);
    await answer(child);
    times.push((seconds() - begin) * 1e6);
  }
  console.log(times.sort((a, b) => a - b)[count >> 1]);
  child.disconnect();
}

async function messages(count) {
  const child = fork(__filename, ['sink', count]);
  await answer(child);
  const begin = seconds();
  const all = answer(child);
  for (let left = count; left > 0; left--) {
    if (left % 1000) child.send(letter);
    else await new Promise((resolve) => { child.send(letter, resolve); });
  }
  await all;
  console.log(count / (seconds() - begin));
  child.disconnect();
}

function echo() {
  process.on('message', (message) => process.send(message));
  process.send('here');
}

function sink(count) {
  process.on('message', () => { if (--count === 0) process.send('all'); });
  process.send('here');
}

switch (verb) {
  case 'spawn': rate(Number(args[0]), Number(args[1])); break;
  case 'spawn-big': {
    const ballast = Buffer.alloc(2 ** 31, 1);
    rate(Number(args[0]), 1).then(() => ballast.length);
    break;
  }
  case 'latency': latency(Number(args[0])); break;
  case 'pipe': pipe(...args); break;
  case 'idle': idle(Number(args[0])); break;
  case 'round-trip': roundTrip(Number(args[0])); break;
  case 'messages': messages(Number(args[0])); break;
  case 'echo': echo(); break;
  case 'sink': sink(Number(args[0])); break;
  default: process.exitCode = 2;
}
