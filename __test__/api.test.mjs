// What every method returns.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe } from 'node:test';
import { cli, dot, fields, manyFiles, project, rejects, root, test, texts, useOwnRuntime, within, write } from './support.mjs';

const { connect } = useOwnRuntime();
const offheapVersion = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).version;

const length = (row) => Math.sqrt(dot(row, row));
const bits = (row) => [...new Uint32Array(row.buffer, row.byteOffset, row.length)];

/** Asserts that a row has 384 finite numbers and length 1. */
function assertUnit(row, what = 'the vector') {
  assert.ok(row instanceof Float32Array);
  assert.equal(row.length, 384);
  assert.ok(Math.abs(length(row) - 1) < 1e-5, `${what} has length ${length(row)}`);
}

describe('embed', () => {
  let client;
  before(async () => (client = await connect()));

  test('gives a unit vector and says what it is', async () => {
    const result = await client.embed('How do I open a socket?');
    assertUnit(result.vector);
    assert.equal(result.tokens, 9); // [CLS] how do i open a socket ? [SEP]
    assert.equal(result.truncated, false);
    assert.match(result.space, /^all-MiniLM-L6-v2:[0-9a-f]{16}$/);
    for (const [name, ms] of Object.entries(result.timing)) assert.ok(ms >= 0, name);
    assert.deepEqual(Object.keys(result.timing), ['queueMs', 'tokeniseMs', 'modelMs']);
  });

  test('near things are near', async () => {
    const [a, b, c] = await client.embedBatch(['connect to a network socket', 'open a TCP connection', 'a recipe for apple pie']);
    assert.ok(dot(a, b) > 0.5, `${dot(a, b)}`);
    assert.ok(dot(a, c) < 0.2, `${dot(a, c)}`);
  });

  test('a batch is flat, ordered, and the same bits as its texts alone', async () => {
    const input = ['one', 'a somewhat longer text about sockets', 'one', '', 'three'.repeat(50), 'one'];
    const batch = await client.embedBatch(input);
    assert.equal(batch.length, input.length);
    assert.equal(batch.dim, 384);
    assert.ok(batch.values instanceof Float32Array && batch.tokens instanceof Uint32Array);
    assert.equal(batch.values.length, input.length * 384);
    assert.equal(batch.tokens.length, input.length);
    assert.deepEqual(batch.truncated, input.map(() => false));
    assert.ok(Object.isFrozen(batch));
    const rows = [...batch];
    assert.equal(rows.length, input.length);
    for (const [i, row] of rows.entries()) {
      assert.equal(row.buffer, batch.values.buffer, 'rows are views');
      assert.deepEqual(bits(row), bits(batch.row(i)));
      assertUnit(row, `row ${i}`);
      const alone = await client.embed(input[i]);
      assert.deepEqual(bits(row), bits(alone.vector), `"${input[i]}" alone`);
      assert.equal(batch.tokens[i], alone.tokens);
      assert.equal(batch.space, alone.space);
    }
    assert.deepEqual(bits(rows[0]), bits(rows[2]));
    assert.deepEqual(bits(rows[0]), bits(rows[5]));
    for (const i of [-1, 6, 0.5, NaN, '0', undefined]) assert.throws(() => batch.row(i), RangeError);
  });

  test('a batch larger than one request keeps its order', async () => {
    const input = texts(600, 3);
    const batch = await client.embedBatch(input);
    assert.equal(batch.length, 600);
    for (const i of [0, 255, 256, 257, 511, 512, 599]) {
      assert.deepEqual(bits(batch.row(i)), bits((await client.embed(input[i])).vector), `row ${i}`);
    }
  });

  test('an empty batch is empty', async () => {
    const batch = await client.embedBatch([]);
    assert.equal(batch.length, 0);
    assert.equal(batch.dim, 0);
    assert.equal(batch.values.length, 0);
    assert.deepEqual([...batch], []);
    assert.equal(batch.timing, null);
    assert.throws(() => batch.row(0), RangeError);
  });

  test('kind is taken; this model prefixes neither', async () => {
    const document = await client.embed('parse a header', { kind: 'document' });
    const query = await client.embed('parse a header', { kind: 'query' });
    assert.deepEqual(bits(query.vector), bits(document.vector));
  });

  test('special tokens of strangers are text where asked', async () => {
    const parsed = await client.embed('a [SEP] b');
    const text = await client.embed('a [SEP] b', { specialTokens: 'text' });
    assert.equal(parsed.tokens, 5); // [CLS] a [SEP] b [SEP]
    assert.ok(text.tokens > parsed.tokens, `${text.tokens}`);
    assert.notDeepEqual(bits(text.vector), bits(parsed.vector));
  });

  describe('odd texts have a defined vector', () => {
    test('the empty one', async () => {
      const { vector, tokens, truncated } = await client.embed('');
      assertUnit(vector);
      assert.deepEqual({ tokens, truncated }, { tokens: 2, truncated: false });
    });
    test('10 MB: its beginning, and says so', async () => {
      const word = 'embedding ';
      const long = await client.embed(word.repeat(1 << 20));
      assertUnit(long.vector);
      assert.equal(long.truncated, true);
      assert.equal(long.tokens, 512);
      const cut = await client.embed(word.repeat(600));
      assert.deepEqual(bits(cut.vector), bits(long.vector));
      const [short, other] = (await client.embedBatch(['short', word.repeat(1 << 20)])).truncated;
      assert.deepEqual([short, other], [false, true]);
    });
    test('one word of 1 MB', async () => {
      assertUnit((await client.embed('x'.repeat(1 << 20))).vector);
    });
    test('lone surrogates are what they are in UTF-8', async () => {
      for (const [odd, utf8] of [['a \ud800 b', 'a \ufffd b'], ['\udc00', '\ufffd'], ['\ud800\ud800', '\ufffd\ufffd']]) {
        assert.deepEqual(bits((await client.embed(odd)).vector), bits((await client.embed(utf8)).vector));
      }
    });
    test('NULs neither end a text nor hurt its neighbours', async () => {
      const batch = await client.embedBatch(['be\0fore', 'before', 'after', '\0', 'a\0 b', 'a']);
      for (const row of batch) assertUnit(row);
      assert.deepEqual(bits(batch.row(2)), bits((await client.embed('after')).vector));
      assert.notDeepEqual(bits(batch.row(4)), bits(batch.row(5)), 'what follows a NUL counts');
    });
    test('emoji, right-to-left, combining marks, control characters', async () => {
      for (const row of await client.embedBatch(['👩‍👩‍👧‍👦 family', 'שלום עולם', 'e\u0301'.repeat(100), '\u0001\u001f\u007f', '\ufeff', '漢字'])) assertUnit(row);
    });
  });

  test('agrees with the float32 reference', async () => {
    const file = path.join(root, 'sidecar/engine/tests/fixtures/parity-all-minilm-l6-v2.json');
    const { items } = JSON.parse(readFileSync(file, 'utf8'));
    assert.equal(items.length, 68);
    const batch = await client.embedBatch(items.map((item) => item.text));
    const far = [];
    for (const [i, item] of items.entries()) {
      const cosine = dot(batch.row(i), item.embedding) / length(item.embedding);
      if (!(cosine >= 0.9995)) far.push(`item ${i}: ${cosine.toFixed(6)} ${JSON.stringify(item.text.slice(0, 40))}`);
      assert.equal(batch.tokens[i], item.token_ids.length, `tokens of item ${i}`);
    }
    assert.deepEqual(far, [], 'cosine below 0.9995');
  });

  test('space does not depend on who asks', async () => {
    const other = await connect();
    assert.equal((await other.embed('x')).space, (await client.embed('x')).space);
    await other.close();
  });
});

const FILES = {
  'src/net/socket.rs': '/// Opens a TCP connection to a remote host and retries when it is refused.\npub fn open_connection(host: &str, port: u16) -> std::io::Result<TcpStream> {\n    TcpStream::connect((host, port))\n}\n',
  'src/cache.ts': '/** Forgets the least recently used entry when the cache is full. */\nexport function evictOldest(cache: Map<string, number>): void {\n  const [oldest] = cache.keys();\n  cache.delete(oldest);\n}\n',
  'lib/checksum.py': 'def crc_of_file(path):\n    """Compute the checksum of a file in blocks."""\n    value = 0\n    with open(path, "rb") as file:\n        for block in iter(lambda: file.read(65536), b""):\n            value = zlib.crc32(block, value)\n    return value\n',
  'docs/guide.md': '# Guide\n\nHow to bake an apple pie: peel apples, make dough, bake for an hour.\n',
  'empty.txt': '',
  'picture.png': Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 0, 0, 0]),
  'strange.txt': Buffer.alloc(3000, 0xe4),
  'latin1.txt': Buffer.from([0x66, 0xfc, 0x72, 0x0a]),
  'huge.txt': 'x'.repeat((32 << 20) + 1),
  'secret.log': 'ignored_identifier\n',
  '.gitignore': '*.log\n',
};

describe('index and search', () => {
  let client;
  let dir;
  before(async () => {
    dir = project(FILES);
    client = await connect({ project: dir });
  });

  test('search before any index says so', async () => {
    await rejects(client.search('anything'), 'NO_INDEX');
  });

  test('index() reports what it did', async () => {
    const report = await client.index();
    assert.deepEqual(Object.keys(report).sort(), [...fields('IndexReport').keys()].sort());
    const skipped = Object.fromEntries(report.skipped.map(({ path, reason }) => [path, reason]));
    assert.deepEqual(skipped, { 'huge.txt': 'too_large', 'picture.png': 'binary', 'strange.txt': 'unknown_encoding' });
    assert.ok(report.files >= 4, `${report.files}`);
    assert.equal(report.filesChanged, report.files);
    assert.equal(report.filesRemoved, 0);
    assert.ok(report.chunks >= 4 && report.vectors === report.chunks);
    assert.equal(report.embedded + report.reused, report.chunks);
    assert.ok(report.tokens > 0 && report.generation > 0 && report.totalMs >= report.textMs);
  });

  test('a second run has nothing to do, a changed and a removed file are seen', async () => {
    const first = await client.index();
    assert.deepEqual([first.filesChanged, first.filesRemoved, first.embedded], [0, 0, 0]);
    write(dir, { 'src/new.js': '/** Sorts the basilisks. */\nexport function sortBasilisks(list) {\n  return list.sort();\n}\n' });
    const second = await client.index();
    assert.deepEqual([second.filesChanged, second.filesRemoved], [1, 0]);
    assert.ok(second.embedded >= 1 && second.generation > first.generation);
    const { hits } = await client.search('sortBasilisks');
    assert.equal(hits[0].path, 'src/new.js');
    write(dir, { '.offheapignore': 'src/new.js\n' });
    const third = await client.index();
    assert.equal(third.filesRemoved, 1);
    assert.ok(!(await client.search('sortBasilisks')).hits.some((hit) => hit.path === 'src/new.js'));
  });

  test('rebuild gives the same index, from stored embeddings', async () => {
    const before = (await client.status()).index;
    const report = await client.index({ rebuild: true });
    assert.deepEqual([report.files, report.chunks, report.vectors], [before.files, before.chunks, before.vectors]);
    assert.deepEqual([report.embedded, report.reused], [0, report.chunks]);
  });

  test('every mode finds; the answer says what it is', async () => {
    const check = async (query, options, expected, mode) => {
      const result = await client.search(query, options);
      assert.equal(result.hits[0]?.path, expected, `${query} ${JSON.stringify(options)}`);
      assert.equal(result.mode, mode);
      assert.equal(result.degraded, undefined);
      assert.equal(result.coverage.vectors, result.coverage.chunks);
      assert.equal(result.space === undefined, mode === 'text');
      assert.ok(result.generation > 0 && result.searchMs >= 0 && result.embedMs >= 0);
      assert.ok(Object.keys(result).every((key) => fields('SearchResult').has(key)), `${Object.keys(result)}`);
    };
    await check('connect to a server', {}, 'src/net/socket.rs', 'hybrid');
    await check('establish a network link with another machine', { mode: 'semantic' }, 'src/net/socket.rs', 'semantic');
    await check('evictOldest', { mode: 'text' }, 'src/cache.ts', 'text');
    await check('evictOldest', { mode: 'hybrid' }, 'src/cache.ts', 'hybrid');
    await check('dessert recipe', {}, 'docs/guide.md', 'hybrid');
  });

  test('a hit is the code, with its place', async () => {
    const [hit] = (await client.search('crc_of_file')).hits;
    const always = [...fields('Hit')].filter(([, optional]) => !optional).map(([name]) => name);
    assert.deepEqual(Object.keys(hit).sort(), always.sort());
    assert.equal(hit.path, 'lib/checksum.py');
    assert.equal(hit.language, 'python');
    assert.ok(hit.symbols.includes('crc_of_file'), `${hit.symbols}`);
    assert.equal(hit.stale, false);
    const lines = FILES['lib/checksum.py'].split('\n').slice(hit.startLine - 1, hit.endLine);
    assert.equal(hit.text.trimEnd(), lines.join('\n').trimEnd());
  });

  test('a file that changed since is marked', async () => {
    write(dir, { 'lib/checksum.py': `# changed\n${FILES['lib/checksum.py']}` });
    const [hit] = (await client.search('crc_of_file')).hits;
    assert.equal(hit.stale, true);
    write(dir, { 'lib/checksum.py': FILES['lib/checksum.py'] });
    await client.index();
  });

  test('filters and limit work before ranking', async () => {
    const paths = async (options) => (await client.search('connection cache checksum pie', options)).hits.map((hit) => hit.path);
    assert.ok((await paths({})).length >= 4);
    assert.equal((await paths({ limit: 1 })).length, 1);
    assert.deepEqual(new Set(await paths({ languages: ['python'], limit: 1 })), new Set(['lib/checksum.py']));
    assert.deepEqual(new Set(await paths({ languages: ['python', 'typescript'] })), new Set(['lib/checksum.py', 'src/cache.ts']));
    assert.deepEqual(new Set(await paths({ globs: ['src/**'] })), new Set(['src/cache.ts', 'src/net/socket.rs']));
    assert.deepEqual(new Set(await paths({ globs: ['*.ts'] })), new Set(['src/cache.ts']));
    assert.ok(!(await paths({ globs: ['!docs/'] })).includes('docs/guide.md'));
    assert.deepEqual(await paths({ globs: ['nowhere/**'] }), []);
    assert.deepEqual((await client.search('pie', { globs: ['nowhere/**', 'src/**', '!gone'] })).unmatched, ['nowhere/**', '!gone']);
    assert.deepEqual(new Set(await paths({ languages: ['PY', 'ts'] })), new Set(['lib/checksum.py', 'src/cache.ts']));
    await rejects(client.search('pie', { languages: ['pyhton'] }), 'INVALID_ARGUMENT', 'python');
    assert.deepEqual((await client.search('ignored_identifier', { mode: 'text' })).hits, []);
  });

  test('odd queries are answered', async () => {
    for (const query of ['', ' ', '"', 'a AND (', '\0', '\ud800', '*:*', '!@#$%^&*()', 'x'.repeat(10_000), 'path:src']) {
      for (const mode of ['hybrid', 'text', 'semantic']) assert.ok(Array.isArray((await client.search(query, { mode })).hits), `${mode} ${query}`);
    }
  });

  test('clearCache drops the model and, if asked, the stored embeddings; results stay the same', async () => {
    const before = await client.search('evictOldest');
    assert.deepEqual(await client.clearCache(), { embeddings: 0 });
    assert.equal((await client.status()).model, undefined);
    const { embeddings } = await client.clearCache({ stored: true });
    assert.ok(embeddings >= 4, `${embeddings}`);
    const again = await client.search('evictOldest');
    assert.deepEqual(again.hits, before.hits);
    const report = await client.index({ rebuild: true });
    assert.deepEqual([report.reused, report.embedded], [0, report.chunks]);
  });

  test('status tells what the daemon holds', async () => {
    await client.search('warm');
    const status = await client.status();
    assert.ok(Object.keys(status).every((key) => fields('Status').has(key)), `${Object.keys(status)}`);
    for (const [name, optional] of fields('Status')) assert.ok(optional || name in status, name);
    assert.equal(status.project, client.project);
    assert.equal(client.project, dir);
    assert.equal(status.version, offheapVersion);
    assert.ok(status.pid !== process.pid && status.pid > 0);
    assert.equal(status.indexing, false);
    assert.ok(status.connections >= 1 && status.requests > 0 && status.queued === 0);
    assert.deepEqual([status.model.dim, status.model.architecture, status.model.contextLength], [384, 'bert', 512]);
    assert.match(status.model.fingerprint, /^[0-9a-f]{64}$/);
    assert.ok(status.index.bytes > 0 && status.index.chunks === status.index.vectors);
    assert.deepEqual(Object.keys(status.index).sort(), [...fields('IndexStatus').keys()].sort());
    assert.deepEqual([status.index.textSearch, status.index.vectorSearch], [true, true]);
    assert.deepEqual(Object.keys(status.embeddingCache).sort(), [...fields('CacheStatus').keys()].sort());
    assert.ok(status.embeddingCache.misses > 0, 'the first run computed every embedding');
    assert.ok(status.clients.some(({ name, connections }) => name === `offheap-node ${offheapVersion}` && connections === 1), JSON.stringify(status.clients));
    assert.ok(Object.keys(status.idle).every((key) => fields('IdleStatus').has(key)));
    assert.ok(status.idle.lastUseMs >= 0 && status.idle.leaveInMs > 0 && status.idle.unloadInMs > 0, JSON.stringify(status.idle));
    const { load } = status;
    assert.deepEqual(Object.keys(load).sort(), [...fields('LoadStatus').keys()].sort());
    for (const latency of [load.embed, load.search]) {
      assert.deepEqual(Object.keys(latency).sort(), [...fields('Latency').keys()].sort());
      assert.ok(latency.p50Ms <= latency.p90Ms && latency.p90Ms <= latency.p99Ms && latency.p99Ms <= latency.maxMs);
    }
    assert.ok(load.search.buckets.reduce((sum, n) => sum + n) > 0 && load.search.maxMs > 0);
    assert.ok(load.requests.search > 0 && load.requests.index > 0 && load.requests.other > 0);
    assert.deepEqual([load.waitingBytes, load.cutOff], [0, { malformed: 0, slowReader: 0, slowSender: 0 }]);
    const fromCli = await cli(['status', '--json', '--project', dir]);
    assert.deepEqual(Object.keys(fromCli.json.load).sort(), Object.keys(load).sort());
    assert.deepEqual(Object.keys(fromCli.json.load.embed).sort(), Object.keys(load.embed).sort());
  });

  test('a directory inside a project is that project', async () => {
    const inside = await connect({ project: path.join(dir, 'src', 'net') });
    assert.equal(inside.project, dir);
    assert.equal((await inside.status()).pid, (await client.status()).pid);
    const report = await inside.search('evictOldest');
    assert.equal(report.hits[0].path, 'src/cache.ts');
  });
});

describe('an index run', () => {
  test('can be watched by callback and by iteration, to its last phase', async () => {
    const client = await connect({ project: project(manyFiles(240)) });
    const called = [];
    const run = client.index({ onProgress: (event) => called.push(event) });
    const iterated = [];
    for await (const event of run) iterated.push(event);
    const report = await run;
    assert.ok(report.chunks >= 60 && report.vectors === report.chunks, JSON.stringify(report));
    for (const events of [called, iterated]) {
      const phases = new Set(events.map((event) => event.phase));
      assert.ok(phases.has('embed'), `${[...phases]}`);
      // Progress comes ten times a second, so a short phase may be missing; the last phase may not.
      assert.ok([...phases].every((phase) => ['scan', 'text', 'embed'].includes(phase)), `${[...phases]}`);
      for (const event of events) {
        assert.deepEqual(Object.keys(event).sort(), [...fields('Progress').keys()].sort());
        assert.ok(event.total === 0 || event.done <= event.total, JSON.stringify(event));
      }
      const order = ['scan', 'text', 'embed', 'done'];
      const ranks = events.map((event) => order.indexOf(event.phase));
      assert.deepEqual(ranks, [...ranks].sort(), 'phases do not go back');
    }
    const embedding = called.filter((event) => event.phase === 'embed');
    assert.ok(embedding.every((event, i) => i === 0 || event.done >= embedding[i - 1].done), 'progress does not go back');
    assert.ok(called.length <= 10 * (report.totalMs / 1000) + 5, `${called.length} events in ${report.totalMs} ms`);
  });

  test('is a promise in every respect', async () => {
    const client = await connect({ project: project({ 'a.js': 'export const a = 1;\n' }) });
    let finallyRan = false;
    const report = await client.index().finally(() => (finallyRan = true));
    assert.ok(finallyRan && report.files === 1);
    assert.equal((await Promise.all([client.index().then((r) => r.files), client.ping()]))[0], 1);
    assert.equal(await client.index({ signal: AbortSignal.abort() }).catch((error) => error.code), 'CANCELLED');
    // An iteration that ends early does not stop the run. An iteration after the end ends at once.
    const run = client.index();
    for await (const _ of run) break;
    assert.equal((await run).files, 1);
    await within(10_000, 'the iteration ends', (async () => { for await (const _ of run); })());
    const failed = client.index({ signal: AbortSignal.abort() });
    await rejects((async () => { for await (const _ of failed); })(), 'CANCELLED');
  });

  test('two at once: one runs, the other is told', async () => {
    const client = await connect({ project: project(manyFiles(120)) });
    const outcomes = await Promise.allSettled([client.index(), client.index()]);
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected').map((outcome) => outcome.reason.code);
    assert.deepEqual(failed, ['INDEX_BUSY']);
  });

  test('an empty project has an empty index', async () => {
    const client = await connect({ project: project({}) });
    const report = await client.index();
    assert.deepEqual([report.files, report.chunks, report.vectors, report.skipped.length], [0, 0, 0, 0]);
  });
});

describe('the client', () => {
  test('ping gives milliseconds', async () => {
    const client = await connect();
    const ms = await client.ping();
    assert.ok(ms > 0 && ms < 10_000, `${ms}`);
  });

  test('without a project it cannot index or search', async () => {
    const client = await connect();
    assert.equal(client.project, null);
    await rejects(client.search('x'), 'NO_PROJECT', 'search');
    await rejects(client.index(), 'NO_PROJECT', 'index');
    assert.equal((await client.status()).project, undefined);
  });

  test('close: what runs is answered, what comes is refused', async () => {
    const client = await connect({ project: project({ 'a.txt': 'a\n' }) });
    const pending = client.embed('still answered');
    await client.close();
    assertUnit((await pending).vector);
    const calls = {
      embed: () => client.embed('x'),
      embedBatch: () => client.embedBatch(['x']),
      emptyBatch: () => client.embedBatch([]),
      index: () => client.index(),
      search: () => client.search('x'),
      status: () => client.status(),
      clearCache: () => client.clearCache(),
      ping: () => client.ping(),
      shutdown: () => client.shutdown(),
    };
    for (const call of Object.values(calls)) await rejects(call(), 'CLOSED');
    await client.close();
    const other = await connect();
    await other.ping(); // The daemon still runs.
  });

  test('is disposed of by `await using`', async () => {
    const client = await connect();
    assert.equal(typeof client[Symbol.asyncDispose], 'function');
    await client[Symbol.asyncDispose]();
    await rejects(client.ping(), 'CLOSED');
  });

  test('shutdown and status never start a daemon; the next question does', async () => {
    const client = await connect({ project: project({ 'a.txt': 'a\n' }) });
    const { pid } = await client.status();
    assert.equal(await client.shutdown(), true);
    assert.equal(await client.shutdown(), false);
    assert.equal(await client.status(), null);
    await client.ping();
    assert.notEqual((await client.status()).pid, pid);
  });
});
