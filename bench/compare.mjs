// Measures this package and its peers in turn, on equal texts and with the peers' own measurement.
//
//     OFFHEAP_PEERS=<folder> node bench/compare.mjs [--out RESULTS.json] [--svg PLOT.svg]
//     node bench/compare.mjs --from RESULTS.json [--svg PLOT.svg]       # draws only, without measuring
//
// The table is on stdout, in Markdown. OFFHEAP_KERNELS=avx2,portable gives each kernel a column; BENCH_ROUNDS=5.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { plot, table } from './compare/report.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const round = (x) => Math.round(x * 100) / 100;
const say = (text) => process.stderr.write(`${text}\n`);

/** Runs one engine in a new process with its own runtime directory. Returns its lines of JSON, merged. */
function run({ file, env }) {
  const load = round(os.loadavg()[0]);
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ob-'));
  try {
    const child = spawnSync(process.execPath, [file], {
      cwd: path.dirname(file),
      encoding: 'utf8',
      env: { ...process.env, OFFHEAP_PEERS: path.resolve(process.env.OFFHEAP_PEERS), OFFHEAP_RUNTIME_DIR: dir, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) throw new Error(`${file} ended with ${child.error?.message ?? child.signal ?? child.status}`);
    const lines = child.stdout.split('\n').filter((line) => line.startsWith('{'));
    return Object.assign({}, ...lines.map((line) => JSON.parse(line)), { load });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: HERE, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

/** Runs all engines in turn, `rounds` times, so that other load on the machine affects all of them. */
function measure(rounds) {
  const kernels = process.env.OFFHEAP_KERNELS?.split(',') ?? [''];
  const ours = kernels.map((kernel) => ({ file: path.join(HERE, 'peers/offheap.mjs'), env: kernel && { OFFHEAP_KERNEL: kernel }, peer: false }));
  const theirs = ['transformers.mjs', 'llama.mjs'].map((name) => ({ file: path.resolve(process.env.OFFHEAP_PEERS, name), peer: true }));
  const engines = [...ours, ...theirs.filter(({ file }) => existsSync(file))].map((engine) => ({ ...engine, runs: [] }));
  const started = commit(); // Read now: the tree may change while this runs.
  for (let i = 0; i < rounds; i++) {
    for (const engine of engines) {
      engine.runs.push(run(engine));
      const { name, kernel = '', chunks_per_s: speed, load } = engine.runs.at(-1);
      say(`round ${i + 1} of ${rounds}: ${name} ${kernel}: ${speed} chunks/s, load ${load} before`);
    }
  }
  const { model } = os.cpus()[0] ?? { model: 'unknown processor' };
  return {
    machine: { cpu: model, cores: os.availableParallelism(), node: process.version.slice(1), system: `${process.platform} ${process.arch}` },
    commit: started,
    date: new Date().toISOString().slice(0, 10),
    rounds,
    engines: engines.map(({ peer, runs }) => ({ name: peer ? runs[0].name : `${runs[0].name} ${runs[0].kernel}`, peer, runs })),
  };
}

const option = { type: 'string' };
const { values } = parseArgs({ options: { from: option, out: option, svg: option } });
const rounds = Number(process.env.BENCH_ROUNDS ?? 5);
if (!values.from && !process.env.OFFHEAP_PEERS) {
  say('OFFHEAP_PEERS names the folder of measure.mjs and of the peers; --from draws what was measured before');
  process.exit(2);
}
const results = values.from ? JSON.parse(readFileSync(values.from, 'utf8')) : measure(rounds);
if (values.out) writeFileSync(values.out, `${JSON.stringify(results, null, 1)}\n`);
if (values.svg) writeFileSync(values.svg, plot(results));
const { machine, engines } = results;
process.stdout.write(`${table(results)}\n`);
const load = Math.max(...engines.flatMap(({ runs }) => runs.map((run) => run.load)));
say(`${machine.cpu}, ${machine.cores} cores; Node ${machine.node}; ${results.commit}; ${results.date}; medians of ${results.rounds}; load up to ${load}`);
