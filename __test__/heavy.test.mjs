// No model, inference or index in Node: what the addon contains, how much it costs to load and to use. Figures are printed;
// OFFHEAP_TEST_FULL=1 runs the full size.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import { linux, nodeArgs, root, script, sidecar, start, test, useOwnRuntime } from './support.mjs';

useOwnRuntime();

const MB = 1e6;
const N_TEXTS = process.env.OFFHEAP_TEST_FULL === '1' ? 1000 : 300;

const addon = (() => {
  const found = readdirSync(root).filter((name) => /^offheap\..*\.node$/.test(name));
  assert.equal(found.length, 1, `one addon is built: ${found}`);
  return path.join(root, found[0]);
})();

/** The files of lib/ that `require('offheap')` loads. */
const LIB = [
  'abort.js', 'config.js', 'environment.json', 'errors.js', 'index-run.js', 'options.js', 'read-regular.js', 'realm.js', 'retry.js', 'start.js', 'supervisor.js', 'vectors.js',
];

/** Names of crates, formats and tensors that a binary with inference, tokenising, chunking or an index contains. */
const TELLTALES = ['tantivy', 'gguf', 'tree-sitter', 'tree_sitter', 'candle', 'redb', 'memmap', 'wordpiece', 'token_embd', 'attn_q', 'hf-hub', 'rmcp', 'instant-distance'];

/** The names of `TELLTALES` that a binary contains, in upper or lower case. */
function telltales(file) {
  const text = readFileSync(file).toString('latin1').toLowerCase();
  return TELLTALES.filter((name) => text.includes(name));
}

/** The libraries that an ELF file asks the dynamic linker for. */
function needed(file) {
  const bytes = readFileSync(file);
  assert.equal(bytes.toString('latin1', 0, 4), '\x7fELF');
  assert.deepEqual([bytes[4], bytes[5]], [2, 1], '64 bits, little endian');
  const at = (offset) => Number(bytes.readBigUInt64LE(offset));
  const segments = Array.from({ length: bytes.readUInt16LE(0x38) }, (_, i) => {
    const header = at(0x20) + i * bytes.readUInt16LE(0x36);
    return { type: bytes.readUInt32LE(header), offset: at(header + 8), address: at(header + 16), size: at(header + 32) };
  });
  const inFile = (address) => {
    const load = segments.find(({ type, address: base, size }) => type === 1 && address >= base && address < base + size);
    return load.offset + address - load.address;
  };
  const dynamic = segments.find(({ type }) => type === 2);
  const entries = Array.from({ length: dynamic.size / 16 }, (_, i) => [at(dynamic.offset + i * 16), at(dynamic.offset + i * 16 + 8)]);
  const strings = inFile(entries.find(([tag]) => tag === 5)[1]);
  return entries.filter(([tag]) => tag === 1).map(([, name]) => bytes.toString('latin1', strings + name, bytes.indexOf(0, strings + name)));
}

describe('the addon', () => {
  test('is small', (t) => {
    const { size } = statSync(addon);
    t.diagnostic(`${path.basename(addon)}: ${(size / MB).toFixed(2)} MB`);
    assert.ok(size < 3 * MB, `${size} bytes`);
  });

  test('contains no inference and no index code', () => {
    assert.deepEqual(telltales(addon), []);
  });

  test('that check finds such code where it is', () => {
    const found = telltales(sidecar);
    for (const name of ['tantivy', 'gguf', 'redb', 'memmap', 'token_embd']) assert.ok(found.includes(name), `${name}: the sidecar has ${found}`);
    assert.ok(found.some((name) => /^tree.sitter$/.test(name)), `${found}`);
  });

  test('links system libraries only', { skip: !linux && 'reads ELF' }, (t) => {
    const libraries = needed(addon);
    t.diagnostic(libraries.join(' '));
    assert.ok(libraries.some((name) => /^libc\.(so|musl)/.test(name)), 'the reader works');
    for (const name of libraries) assert.match(name, /^(lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d+|libc\.musl-.*\.so\.\d+|ld-linux.*\.so\.\d+)$/);
  });

  test('JavaScript that comes with it is small, and loads nothing else', async () => {
    const [loaded] = await script(
      `out({ cached: Object.keys(require.cache), shared: process.report.getReport().sharedObjects.filter((file) => /offheap|onnx|llama|torch/i.test(file)) });`,
    );
    const ours = loaded.cached.map((file) => path.relative(root, file)).sort();
    assert.deepEqual(ours, ['index.js', 'native.js', ...LIB.map((name) => path.join('lib', name)), path.basename(addon)].sort());
    assert.equal(loaded.shared.length, 1);
  });

  // Counted in pages of 4 or 16 KiB, because time depends on what else the machine does.
  test('touches few pages when it is loaded', async (t) => {
    const body = `
      const touched = () => process.resourceUsage().minorPageFault;
      const before = touched(); require(${JSON.stringify(root)}); process.stdout.write(String(touched() - before));`;
    const { code, stdout, stderr } = await start(process.execPath, ['-e', body]).done;
    assert.equal(code, 0, stderr);
    t.diagnostic(`require: ${stdout} pages`);
    assert.ok(Number(stdout) < 1_000, `${stdout} pages`);
  });

  test('starts no threads of its own but the one for the socket', { skip: !linux && 'reads /proc' }, async (t) => {
    const body = `
      const { readdirSync, readFileSync } = require('node:fs');
      const names = () => readdirSync('/proc/self/task').map((id) => { try { return readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim(); } catch { return ''; } });
      const client = await connect();
      for (let i = 0; i < 20; i++) await client.embed('x' + i);
      out(names().filter((name) => name.startsWith('offheap')));`;
    const [threads] = await script(body);
    t.diagnostic(`threads: ${threads.join(' ')}`);
    assert.ok(threads.length <= 2, `${threads}`);
  });
});

/** Code for the child process: makes texts like chunks, of about 220 tokens, all different. */
const CHUNKS = `
  const words = 'parse load flush merge retry encode verify schedule resolve acquire socket buffer request index token segment session cursor payload header'.split(' ');
  let state = 1;
  const pick = () => words[(state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % words.length];
  const chunk = (i) => Array.from({ length: 12 }, (_, line) => '    ' + pick() + '_' + pick() + ' = self.' + pick() + '(' + pick() + ', limit=' + (i * 12 + line) + ')').join('\\n');
`;

describe('memory', () => {
  test('Node stays light and the daemon holds the weights in the mapped file', { timeout: 600_000 }, async (t) => {
    const body = `
      ${CHUNKS}
      const { readFileSync } = require('node:fs');
      const texts = Array.from({ length: ${N_TEXTS} }, (_, i) => chunk(i));
      // Measured is the addon, not the texts, the script's compiled code or V8's first growth.
      const settle = async () => { for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 20)); } };
      let client = await connect();
      await client.embed('warm');
      await settle();
      const warm = process.memoryUsage();
      const { pid } = await client.status();
      const field = (name) => { try { return Number(new RegExp(name + ':\\\\s+(\\\\d+) kB').exec(readFileSync('/proc/' + pid + '/status', 'utf8'))[1]) * 1024; } catch { return null; } };
      let peak = 0; let anon = 0; let samples = 0;
      const timer = setInterval(() => { samples++; peak = Math.max(peak, process.memoryUsage().rss); anon = Math.max(anon, field('RssAnon') ?? 0); }, 50);
      const t0 = performance.now();
      const batch = await client.embedBatch(texts);
      const ms = performance.now() - t0;
      clearInterval(timer);
      const status = await client.status();
      let maps = null;
      try {
        maps = readFileSync('/proc/' + pid + '/smaps', 'utf8').split(/\\n(?=[0-9a-f]+-[0-9a-f]+ )/).filter((map) => map.split('\\n')[0].endsWith(status.model.path))
          .map((map) => Object.fromEntries([['flags', map.split(' ')[1]], ...['Size', 'Rss', 'Private_Dirty', 'Anonymous'].map((name) => [name, Number(new RegExp('^' + name + ':\\\\s+(\\\\d+) kB', 'm').exec(map)[1]) * 1024])]));
      } catch {}
      out({ before: globalThis.before, warm, peak, samples, anon, ms, n: batch.length, tokens: batch.tokens.reduce((a, b) => a + b) / batch.length, model: status.model, anonAfter: status.anonBytes, maps });`;
    const [flag, e, code0] = nodeArgs(body, [], ['--expose-gc']);
    // Measured before the package is required.
    const measured = `gc(); gc(); globalThis.before = process.memoryUsage();\n${code0}`;
    const { code, stdout, stderr } = await start(process.execPath, [flag, e, measured], { timeoutMs: 590_000 }).done;
    assert.equal(code, 0, stderr);
    const m = JSON.parse(stdout);
    const mb = (bytes) => `${(bytes / MB).toFixed(1)} MB`;
    t.diagnostic(`${m.n} texts of ${m.tokens.toFixed(0)} tokens: ${(m.n / (m.ms / 1000)).toFixed(1)}/s (${m.model.kernel}, ${m.model.threads} threads)`);
    t.diagnostic(`Node: RSS ${mb(m.before.rss)}, connected ${mb(m.warm.rss)}, at most ${mb(m.peak)} in ${m.samples} samples`);
    t.diagnostic(`daemon: RssAnon at most ${mb(m.anon)}, after ${mb(m.anonAfter ?? 0)}`);
    assert.equal(m.n, N_TEXTS);
    assert.ok(m.tokens > 150, `${m.tokens} tokens`);
    assert.ok(m.peak - m.before.rss <= 15 * MB, `Node grew by ${mb(m.peak - m.before.rss)}`);
    if (!linux) return;
    assert.ok(m.anon > 0 && m.anon <= 80 * MB, `anonymous memory of the daemon: ${mb(m.anon)}`);
    const fileBytes = statSync(m.model.path).size;
    const mapped = m.maps.reduce((sum, map) => sum + map.Size, 0);
    t.diagnostic(`the model: ${mb(fileBytes)}, mapped ${mb(mapped)}, resident ${mb(m.maps.reduce((sum, map) => sum + map.Rss, 0))}, dirty 0`);
    assert.ok(mapped >= fileBytes, 'the whole file is mapped');
    for (const map of m.maps) {
      assert.match(map.flags, /^r--/, 'read-only');
      assert.deepEqual([map.Private_Dirty, map.Anonymous], [0, 0], 'no page of it is a copy');
    }
    assert.ok(m.anon < fileBytes * 3, 'the weights are not on the heap several times over');
  });

  test('requiring the package costs Node little', async (t) => {
    const rss = async (code) => {
      const { stdout } = await start(process.execPath, ['--expose-gc', '-e', `${code}; gc(); process.stdout.write(String(process.memoryUsage().rss))`]).done;
      return Number(stdout);
    };
    const median = async (code) => {
      const all = [];
      for (let i = 0; i < 5; i++) all.push(await rss(code));
      return all.sort((a, b) => a - b)[2];
    };
    const [bare, loaded] = [await median(''), await median(`require(${JSON.stringify(root)})`)];
    t.diagnostic(`RSS: Node ${(bare / MB).toFixed(1)} MB, with the package ${(loaded / MB).toFixed(1)} MB`);
    assert.ok(loaded - bare <= 10 * MB, `${((loaded - bare) / MB).toFixed(1)} MB`);
  });

  test('thousands of answers leave nothing behind', { timeout: 300_000 }, async (t) => {
    const body = `
      const client = await connect();
      const settle = async () => { for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 20)); } };
      const ask = async (n) => { for (let i = 0; i < n; i += 50) await Promise.all(Array.from({ length: 50 }, (_, k) => k % 2 ? client.ping({ signal: new AbortController().signal, timeoutMs: 60_000 }) : client.status())); };
      await ask(2000); await client.embedBatch(Array(2000).fill('x')); await settle();
      const before = process.memoryUsage();
      await ask(6000); for (let i = 0; i < 10; i++) await client.embedBatch(Array(2000).fill('x')); await settle();
      const after = process.memoryUsage();
      out({ before, after });`;
    const { code, stdout, stderr } = await start(process.execPath, nodeArgs(body, [], ['--expose-gc'])).done;
    assert.equal(code, 0, stderr);
    const { before, after } = JSON.parse(stdout);
    const grown = (name) => (after[name] - before[name]) / MB;
    t.diagnostic(`grown: heap ${grown('heapUsed').toFixed(2)} MB, external ${grown('external').toFixed(2)} MB, RSS ${grown('rss').toFixed(1)} MB`);
    assert.ok(grown('heapUsed') < 2 && grown('external') < 5 && grown('rss') < 40);
  });
});
