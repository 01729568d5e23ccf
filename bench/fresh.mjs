// How soon searches see a change, and how long an index run without changes takes: `node bench/fresh.mjs [DIR]`.
//
// At most `FILES` source files of DIR (default: Python's standard library) are copied into a temporary project. Vectors are computed
// for a small part only, because their speed is not measured here.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const require = createRequire(import.meta.url);
const { connect } = require('../index.js');

const FILES = Number(process.env.FILES) || 2_000;
const SMALL_FILES = Number(process.env.SMALL_FILES) || 30;
const ROUNDS = Number(process.env.ROUNDS) || 15;
const from = process.argv[2] ?? spawnSync('python3', ['-c', 'import sysconfig; print(sysconfig.get_paths()["stdlib"])'], { encoding: 'utf8' }).stdout.trim();

const temp = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'ohb-')));
process.env.OFFHEAP_RUNTIME_DIR = path.join(temp, 'run');
mkdirSync(process.env.OFFHEAP_RUNTIME_DIR, { mode: 0o700 });

/** Source files below `dir`, sorted. */
function* sources(dir, rel = '') {
  for (const entry of readdirSync(path.join(dir, rel), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = path.join(rel, entry.name);
    if (entry.isDirectory() && !/^(__pycache__|site-packages|dist-packages|\.git|node_modules|target|test)$/.test(entry.name)) yield* sources(dir, name);
    else if (entry.isFile() && /\.(py|rs|js|ts|go)$/.test(entry.name) && statSync(path.join(dir, name)).size < 1 << 20) yield name;
  }
}

function copy(count, name, largest = 1 << 20) {
  const dir = path.join(temp, name);
  const files = [];
  for (const file of sources(from)) {
    if (files.length === count) break;
    if (statSync(path.join(from, file)).size > largest) continue;
    mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
    copyFileSync(path.join(from, file), path.join(dir, file));
    files.push(file);
  }
  return { dir, files };
}

/** Clients whose daemons are ended at the end, also after a failure. */
const clients = [];
const open = async (dir) => {
  const client = await connect({ project: dir });
  clients.push(client);
  return client;
};
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => Promise.all(clients.map((client) => client.shutdown().catch(() => {}))).then(() => process.exit(1)));

const p = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
const say = (what, values) => console.log(`${what.padEnd(62)} p50 ${p(values, 0.5).toFixed(0).padStart(5)} ms   max ${Math.max(...values).toFixed(0).padStart(5)} ms`);
const timed = async (work) => {
  const t0 = performance.now();
  const value = await work();
  return { ms: performance.now() - t0, value };
};

/** Adds a line to a file. Returns the time until a search with 'stale-ok' finds it. */
async function editToVisible(client, { dir, files }, mode, waits) {
  const values = [];
  for (let i = 0; i < ROUNDS; i++) {
    const rel = files[(i * 7) % files.length];
    const file = path.join(dir, rel);
    const name = `edited_${mode}_${waits ? 'w' : 'p'}_${i}_`;
    const body = `\ndef ${name}(value):\n    return value\n`;
    const t0 = performance.now();
    writeFileSync(file, readFileSync(file, 'utf8') + body);
    for (;;) {
      const { hits } = await client.search(name, { mode, limit: 100, globs: [`/${rel}`], ...(waits && { fresh: { waitMs: 30_000 } }) });
      if (hits.some((hit) => hit.text.includes(name) && !hit.stale)) break;
      if (performance.now() - t0 > 30_000) throw new Error(`${name} does not appear`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    values.push(performance.now() - t0);
    await client.search(name, { fresh: { waitMs: 30_000 } });
  }
  say(`one line added -> ${mode} ${waits ? 'answer that waits for it' : 'search finds it'}`, values);
}

async function small() {
  const tree = copy(SMALL_FILES, 'small', 8 << 10);
  const client = await open(tree.dir);
  const { ms, value } = await timed(() => client.index());
  console.log(`small tree: ${value.files} files, ${value.chunks} chunks with vectors, first run ${(ms / 1000).toFixed(1)} s`);
  await client.search('x', { fresh: { waitMs: 60_000 } });
  for (const mode of ['text', 'semantic', 'hybrid']) await editToVisible(client, tree, mode, false);
  for (const mode of ['text', 'hybrid']) await editToVisible(client, tree, mode, true);
}

async function large() {
  const tree = copy(FILES, 'large');
  const client = await open(tree.dir);
  const stop = new AbortController();
  let text = Infinity;
  const t0 = performance.now();
  const run = client.index({ signal: stop.signal }).catch((error) => error.code);
  for (;;) {
    try {
      await client.search('open a file', { mode: 'text' });
      text = performance.now() - t0;
      break;
    } catch (error) {
      if (error.code !== 'NO_INDEX') throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  stop.abort();
  await run;
  const { coverage } = await client.search('x', { mode: 'text', fresh: { waitMs: 60_000 } });
  console.log(`large tree: ${coverage.files} files, ${coverage.chunks} chunks; first text answer after ${text.toFixed(0)} ms`);
  await editToVisible(client, tree, 'text', false);
  await editToVisible(client, tree, 'text', true);
  const waits = [];
  for (let i = 0; i < ROUNDS; i++) waits.push((await timed(() => client.search('open a file', { mode: 'text', fresh: { waitMs: 30_000 } }))).ms);
  say('nothing changed: text answer that waits', waits);
  // The work of an index run without vectors: without watching, a search that waits scans the whole tree.
  writeFileSync(path.join(tree.dir, '.offheap', 'config.json'), JSON.stringify({ index: { watch: false } }));
  await client.search('x', { mode: 'text', fresh: { waitMs: 60_000 } });
  const nothing = [];
  for (let i = 0; i < ROUNDS; i++) nothing.push((await timed(() => client.search('x', { mode: 'text', fresh: { waitMs: 60_000 } }))).ms);
  say('nothing changed: looking at the whole tree', nothing);
  const later = new Date(Date.now() + 60_000);
  for (const file of tree.files) utimesSync(path.join(tree.dir, file), later, later);
  const touched = await timed(() => client.search('x', { mode: 'text', fresh: { waitMs: 60_000 } }));
  console.log(`all files touched: looking at the whole tree ${touched.ms.toFixed(0)} ms`);
  const patterns = [];
  for (let i = 0; i < ROUNDS; i++) patterns.push((await timed(() => client.search('def \\w+_file\\(', { mode: 'regex', limit: 1000 }))).ms);
  say('regex over the tree', patterns);
  const symbols = [];
  for (const name of ['open', 'HTTPServer', 'parse_arg', 'tmpfl', 'conect', 'dict']) symbols.push((await timed(() => client.search(name, { mode: 'symbol' }))).ms);
  say('symbol search, six kinds of names', symbols);
}

try {
  console.log(`${os.cpus()[0].model}, ${os.availableParallelism()} processors, node ${process.version}, from ${path.basename(from)}`);
  await small();
  await large();
} finally {
  for (const client of clients) await client.shutdown().catch(() => {});
  rmSync(temp, { recursive: true, force: true, maxRetries: 30 });
}
