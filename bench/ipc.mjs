// How long a message to the daemon and back takes: `node bench/ipc.mjs`, PINGS=10000 PROCESSES=16.
//
// Pings one at a time through the public package, as a program measures them, from one process and then from many at
// once. Prints a table on stderr and one line of JSON on stdout.

import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PINGS = Number(process.env.PINGS ?? 10_000);
const PROCESSES = Number(process.env.PROCESSES ?? 16);
const WARM_UP = 1_000;
/** Limits for a single process. */
const BUDGET = { p50: 0.1, p99: 0.5 };

const round = (x) => Math.round(x * 1000) / 1000;

async function pings(client, n) {
  const taken = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const start = performance.now();
    await client.ping();
    taken[i] = performance.now() - start;
  }
  return taken;
}

function figures(taken) {
  const sorted = taken.toSorted();
  const at = (q) => round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]);
  return { n: sorted.length, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1) };
}

/** Starts many processes at the same moment. Returns the times of all their pings. */
async function together() {
  const children = Array.from({ length: PROCESSES }, () => fork(fileURLToPath(import.meta.url), ['--child'], { serialization: 'advanced' }));
  await Promise.all(children.map((child) => once(child, 'message')));
  const start = performance.now();
  const lists = await Promise.all(
    children.map(async (child) => {
      child.send('go');
      return (await once(child, 'message'))[0];
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  const all = new Float64Array(lists.reduce((sum, list) => sum + list.length, 0));
  let filled = 0;
  for (const list of lists) {
    all.set(list, filled);
    filled += list.length;
  }
  return { ...figures(all), per_s: Math.round(all.length / seconds) };
}

function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: HERE, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

async function child(connect) {
  const client = await connect();
  await pings(client, WARM_UP);
  process.send('ready');
  await once(process, 'message');
  process.send(await pings(client, PINGS), () => process.disconnect());
}

async function main(connect) {
  const say = (text) => process.stderr.write(`${text}\n`);
  const load = round(os.loadavg()[0]);
  const machine = `${os.cpus()[0]?.model ?? 'unknown processor'}, ${os.availableParallelism()} cores, ${os.type()} ${os.release()}`;
  say(`${machine}; Node ${process.version}; ${commit()}; load ${load}`);
  const client = await connect();
  try {
    await pings(client, WARM_UP);
    const one = figures(await pings(client, PINGS));
    const many = await together();
    for (const [name, { n, p50_ms, p99_ms, max_ms }] of [['1 process', one], [`${PROCESSES} processes`, many]]) {
      say(`${name.padEnd(14)} ${String(n).padStart(7)} pings   p50 ${p50_ms} ms   p99 ${p99_ms} ms   max ${max_ms} ms`);
    }
    const kept = one.p50_ms <= BUDGET.p50 && one.p99_ms <= BUDGET.p99;
    say(`budget for one process: p50 ${BUDGET.p50} ms, p99 ${BUDGET.p99} ms: ${kept ? 'kept' : 'MISSED'}`);
    process.stdout.write(`${JSON.stringify({ machine, node: process.version, commit: commit(), load, one, many, kept })}\n`);
  } finally {
    await client.shutdown();
  }
}

if (process.argv[2] === '--child') {
  await child(createRequire(import.meta.url)('../index.js').connect);
} else {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ob-'));
  // Set before the package is loaded: the addon reads the process's environment.
  process.env.OFFHEAP_RUNTIME_DIR = dir;
  try {
    await main(createRequire(import.meta.url)('../index.js').connect);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
