// How fast embeddings reach JavaScript, through the public package. `npm run bench`; README.md beside this file.
//
// Prints a table on stderr and one line of JSON per run on stdout, so that `npm run -s bench > runs.jsonl` keeps them.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PEERS = process.env.OFFHEAP_PEERS;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
/** The figures that are compared, by the peers' names, and whether more is better. */
const ROWS = [
  ['first_ms', 'first embedding, ms', 'less'],
  ['single_p50_ms', 'one query, p50 ms', 'less'],
  ['single_p99_ms', 'one query, p99 ms', 'less'],
  ['ten_p50_ms', 'ten queries, p50 ms', 'less'],
  ['chunks_per_s', 'chunks/s', 'more'],
  ['node_rss_added_mb', 'RSS added to Node, MB', 'less'],
  ['daemon_anon_mb', 'daemon RssAnon, MB', 'less'],
  ['ping_p50_ms', 'ping, p50 ms', 'less'],
  ['ping_p99_ms', 'ping, p99 ms', 'less'],
];

const round = (x) => Math.round(x * 100) / 100;
const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];
const median = (values) => quantile(values, 0.5);

/** How long each call took, milliseconds. */
async function times(items, call) {
  const taken = [];
  for (const item of items) {
    const start = performance.now();
    await call(item);
    taken.push(performance.now() - start);
  }
  return taken;
}

/** One run in this process, which has not used the package or a daemon before. */
async function measure() {
  const own = path.join(HERE, 'texts.mjs');
  const theirs = PEERS && path.join(PEERS, 'texts.mjs');
  const source = theirs && existsSync(theirs) ? theirs : own;
  const { chunks, queries } = await import(pathToFileURL(source));
  const rss = process.memoryUsage().rss;

  // As in a peer's `measure`, the first embedding is `open` and one text.
  const start = performance.now();
  const { connect } = createRequire(import.meta.url)('../index.js');
  const client = await connect();
  try {
    await client.embed('hello world');
    const first = performance.now() - start;

    // Other texts than the measured ones, so that no cache can help.
    const embed = (text) => client.embed(text);
    const embedBatch = (texts) => client.embedBatch(texts);
    await times(queries(20, 11), embed);
    const single = await times(queries(200), embed);
    const tens = queries(200, 12);
    const ten = await times(Array.from({ length: 20 }, (_, i) => tens.slice(10 * i, 10 * i + 10)), embedBatch);
    await embedBatch(chunks(40, 13));
    const texts = chunks(400);
    const bulk = performance.now();
    const vectors = await embedBatch(texts);
    const seconds = (performance.now() - bulk) / 1000;
    const ping = await times(Array.from({ length: 1000 }), () => client.ping());

    const memory = process.memoryUsage();
    const { model, pid } = await client.status();
    return {
      name: 'offheap',
      kernel: model.kernel,
      threads: model.threads,
      quantisation: model.quantisation,
      texts: source === own ? 'own' : 'peers',
      first_ms: round(first),
      single_p50_ms: round(median(single)),
      single_p99_ms: round(quantile(single, 0.99)),
      ten_p50_ms: round(median(ten)),
      chunks_per_s: round(texts.length / seconds),
      // Evidence that the work was done: the number of rows, their length and the number of tokens.
      values: vectors.values.length,
      tokens: vectors.tokens.reduce((sum, n) => sum + n, 0),
      node_rss_mb: round(memory.rss / 1e6),
      node_rss_added_mb: round((memory.rss - rss) / 1e6),
      node_heap_mb: round(memory.heapUsed / 1e6),
      daemon_anon_mb: anonymous(pid),
      ping_p50_ms: round(median(ping)),
      ping_p99_ms: round(quantile(ping, 0.99)),
    };
  } finally {
    await client.shutdown();
  }
}

/** The daemon's anonymous memory. Null where the system does not tell. */
function anonymous(pid) {
  try {
    return round((Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024) / 1e6);
  } catch {
    return null;
  }
}

/** Runs a measurement in a new process with its own runtime directory. Its last line of output is the result. */
function run(file, args = [], cwd = HERE) {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ob-'));
  try {
    const child = spawnSync(process.execPath, [file, ...args], {
      cwd,
      encoding: 'utf8',
      env: { ...process.env, OFFHEAP_RUNTIME_DIR: dir },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) throw new Error(`${file} ended with ${child.signal ?? child.status}`);
    const result = { ...JSON.parse(child.stdout.trimEnd().split('\n').at(-1)), load: round(os.loadavg()[0]) };
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return result;
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

function table(ours, peers) {
  const names = ['offheap', ...peers.map(([name]) => name)];
  const lines = [['', ...names, ...names.slice(1).map((name) => `vs ${name}`)]];
  for (const [key, label, better] of ROWS) {
    const all = [ours, ...peers.map(([, runs]) => runs)].map((runs) => {
      const found = runs.map((run) => run[key]).filter((value) => typeof value === 'number');
      return found.length > 0 ? median(found) : null;
    });
    const ratio = (theirs) => (all[0] && theirs ? `${round(better === 'more' ? all[0] / theirs : theirs / all[0])}x` : '');
    lines.push([label, ...all.map((value) => (value === null ? '' : String(value))), ...all.slice(1).map(ratio)]);
  }
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[i]))).join('  ')).join('\n');
}

if (process.argv[2] === '--once') {
  process.stdout.write(`${JSON.stringify(await measure())}\n`);
} else {
  const cpu = os.cpus()[0]?.model ?? 'unknown processor';
  const say = (text) => process.stderr.write(`${text}\n`);
  say(`${cpu}, ${os.availableParallelism()} cores; Node ${process.version}; ${commit()}; load ${round(os.loadavg()[0])}`);
  if (os.loadavg()[0] > 1) say('note: something else uses the processor; compare ratios only');
  const rivals = PEERS ? [['transformers.js', path.resolve(PEERS, 'transformers.mjs')]] : [];
  const ours = [];
  const peers = rivals.map(([name]) => [name, []]);
  // In turn, so that other load on the machine affects all of them.
  for (let i = 0; i < ROUNDS; i++) {
    ours.push(run(fileURLToPath(import.meta.url), ['--once']));
    rivals.forEach(([, file], k) => peers[k][1].push(run(file, [], path.dirname(file))));
  }
  say(`\n${table(ours, peers)}\n\nmedians of ${ROUNDS} runs, each in a fresh process${PEERS ? ', in turn' : ''}; ratios above 1 are in our favour`);
}
