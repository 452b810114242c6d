// The same work by Node's child_process. Each verb prints one number; the verbs are those of raw.c, and
//   spawn-big COUNT     one at a time from a process with 2 GiB resident: spawns per second
//   idle COUNT          COUNT silent children with three pipes: resident bytes of this process
'use strict';
const { spawn } = require('node:child_process');
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
  default: process.exitCode = 2;
}
