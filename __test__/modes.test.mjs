// The modes `regex` (lines of the files) and `symbol` (definitions by name), and what every mode says about its answers.

import assert from 'node:assert/strict';
import { before, describe } from 'node:test';
import { cli, project, rejects, test, useOwnRuntime, write } from './support.mjs';

const { connect } = useOwnRuntime();

const FILES = {
  'src/http/client.rs': 'pub struct HttpClient;\n\nimpl HttpClient {\n    pub fn connect(&self) {}\n    pub fn connect_timeout(&self) {}\n}\n',
  'src/map.ts': 'export class HashMapBuilder {\n  build(): void {}\n}\nexport function connectAll(): void {}\n',
  'lib/tool.py': 'def Connect():\n    return "naïve 😀 connect"\n\ndef conect_again():\n    pass\n',
  'dos.txt': 'first line\r\nconnect here\r\nlast line\r\n',
  'gen/out.txt': 'connect\n',
  'pic.txt': Buffer.from('connect\0\0\0\0'),
  '.gitignore': 'gen/\n',
};

describe('mode regex', () => {
  let client;
  let dir;
  before(async () => {
    dir = project(FILES);
    client = await connect({ project: dir });
  });
  const lines = (result) => result.hits.map((hit) => `${hit.path}:${hit.matches[0].line}:${hit.matches[0].start}-${hit.matches[0].end}`);

  test('needs neither an index nor a model', async () => {
    const result = await client.search('connect', { mode: 'regex' });
    assert.deepEqual(lines(result), [
      'dos.txt:2:1-8', 'lib/tool.py:1:5-12', 'lib/tool.py:2:22-29', 'src/http/client.rs:4:12-19', 'src/http/client.rs:5:12-19', 'src/map.ts:4:17-24',
    ]);
    assert.deepEqual([result.mode, result.truncated, result.generation, result.degraded], ['regex', false, 0, undefined]);
    assert.deepEqual(result.coverage, { files: 5, chunks: 0, vectors: 0, textOnly: 0, skippedTotal: 1, skippedByReason: [{ reason: 'binary', files: 1 }], fresh: true });
    const status = await client.status();
    assert.deepEqual([status.model, status.index], [undefined, undefined]);
  });

  test('a hit is its line, with columns as JavaScript counts and context as asked', async () => {
    const [hit] = (await client.search('connect"', { mode: 'regex' })).hits;
    const [{ line, start, end }] = hit.matches;
    assert.equal(hit.text.slice(start - 1, end - 1), 'connect"');
    assert.deepEqual([hit.path, line, hit.startLine, hit.endLine, hit.language, hit.stale], ['lib/tool.py', 2, 2, 2, 'python', false]);
    const [wide] = (await client.search('^connect here$', { mode: 'regex', context: 1 })).hits;
    assert.deepEqual([wide.text, wide.startLine, wide.endLine], ['first line\nconnect here\nlast line', 1, 3]);
    const [twice] = (await client.search('[lt]', { mode: 'regex', globs: ['dos.txt'] })).hits;
    assert.deepEqual(twice.matches, [{ line: 1, start: 5, end: 6 }, { line: 1, start: 7, end: 8 }]);
  });

  test('case is smart unless said', async () => {
    const count = async (pattern, options) => (await client.search(pattern, { mode: 'regex', ...options })).hits.length;
    assert.equal(await count('Connect'), 1);
    assert.equal(await count('Connect', { case: 'insensitive' }), 6);
    assert.equal(await count('connect', { case: 'sensitive' }), 5);
  });

  test('filters, limit, and whether there is more', async () => {
    const find = (options) => client.search('connect', { mode: 'regex', ...options });
    assert.deepEqual(new Set((await find({ globs: ['src/**'] })).hits.map((hit) => hit.path)), new Set(['src/http/client.rs', 'src/map.ts']));
    assert.deepEqual((await find({ languages: ['python'] })).hits.length, 2);
    const first = await find({ limit: 2 });
    assert.deepEqual([lines(first), first.truncated], [['dos.txt:2:1-8', 'lib/tool.py:1:5-12'], true]);
    assert.equal((await find({ limit: 6 })).truncated, false);
  });

  test('sees a file the moment it is written', async () => {
    write(dir, { 'new.md': 'a zebra\n' });
    assert.deepEqual(lines(await client.search('zebra', { mode: 'regex' })), ['new.md:1:3-8']);
  });

  test('what cannot be a pattern is said', async () => {
    await rejects(client.search('a(', { mode: 'regex' }), 'INVALID_ARGUMENT', 'a(', /unclosed group/);
    await rejects(client.search('(\\w{1000}){1000}', { mode: 'regex' }), 'INVALID_ARGUMENT', /size limit/);
    await rejects(client.search('(?=x)', { mode: 'regex' }), 'INVALID_ARGUMENT', /look/);
    await rejects(client.search('x', { mode: 'regex', case: 'odd' }), 'INVALID_ARGUMENT', 'case');
    await rejects(client.search('x', { mode: 'regex', context: 21 }), 'INVALID_ARGUMENT', 'context');
    await rejects(client.search('x', { mode: 'text', context: 1 }), 'INVALID_ARGUMENT', "mode 'regex'");
    await rejects(client.search('x', { mode: 'regex', signal: AbortSignal.abort() }), 'CANCELLED');
  });

  test('the command line prints what grep prints', async () => {
    const { code, stdout, stderr } = await cli(['search', '--project', dir, '--mode', 'regex', 'fn connect\\b']);
    assert.deepEqual([code, stdout], [0, 'src/http/client.rs:4:9:     pub fn connect(&self) {}\n']);
    assert.match(stderr, /^1 line matches in 6 files read; 1 file skipped \(1 binary\): /);
    const wide = await cli(['search', '--project', dir, '--mode', 'regex', '-C', '1', 'connect here']);
    assert.match(wide.stdout, /^dos.txt:2:1\n {5}1 {2}first line\n {5}2> connect here\n {5}3 {2}last line\n$/);
    const { json } = await cli(['search', '--project', dir, '--json', '--mode', 'regex', '--case', 'sensitive', 'Connect']);
    assert.deepEqual([json.hits[0].matches, json.truncated, json.coverage.fresh], [[{ line: 1, start: 5, end: 12 }], false, true]);
    assert.equal((await cli(['search', '--project', dir, '--mode', 'regex', 'nowhere'])).code, 3);
    assert.equal((await cli(['search', '--project', dir, '--mode', 'text', '-C', '1', 'x'])).code, 1);
  });
});

describe('mode symbol', () => {
  let client;
  let dir;
  before(async () => {
    dir = project(FILES);
    client = await connect({ project: dir });
  });
  const names = async (query, options) => {
    const result = await client.search(query, { mode: 'symbol', ...options });
    assert.equal(result.mode, 'symbol');
    return result.hits.map((hit) => `${hit.symbol.fit} ${hit.symbol.kind} ${hit.symbol.name} ${hit.path}:${hit.symbol.line}`);
  };

  test('needs an index', async () => {
    await rejects(client.search('connect', { mode: 'symbol' }), 'NO_INDEX');
    await client.index();
  });

  test('exact first, then any case, beginnings, near misses', async () => {
    assert.deepEqual(await names('connect'), [
      'exact method connect src/http/client.rs:4',
      'case function Connect lib/tool.py:1',
      'prefix function connectAll src/map.ts:4',
      'prefix method connect_timeout src/http/client.rs:5',
    ]);
    assert.deepEqual((await names('Connect')).slice(0, 2), ['exact function Connect lib/tool.py:1', 'case method connect src/http/client.rs:4']);
    assert.deepEqual(await names('connect_agin'), ['fuzzy function conect_again lib/tool.py:4']);
    assert.deepEqual(await names('HmB'), ['humps class HashMapBuilder src/map.ts:1']);
    assert.deepEqual(await names('hashmapbuidler'), ['fuzzy class HashMapBuilder src/map.ts:1']);
    assert.deepEqual(await names('HttpClient.connect', { limit: 1 }), ['exact method connect src/http/client.rs:4']);
  });

  test('each definition once, filters and limit apply, odd names find nothing', async () => {
    const all = await names('c', { limit: 1000 });
    assert.equal(new Set(all).size, all.length);
    assert.deepEqual(await names('connect', { languages: ['typescript'] }), ['prefix function connectAll src/map.ts:4']);
    const one = await client.search('connect', { mode: 'symbol', limit: 1 });
    assert.deepEqual([one.hits.length, one.truncated], [1, true]);
    for (const odd of ['', ' ', '::', '\0', 'x'.repeat(5_000), '*']) assert.deepEqual(await names(odd), [], odd);
  });

  test('never loads the model', async () => {
    await client.clearCache();
    const result = await client.search('connect', { mode: 'symbol', explain: true });
    assert.equal((await client.status()).model, undefined);
    assert.deepEqual([result.space, result.degraded], [undefined, undefined]);
    assert.deepEqual(result.hits[0].why, [{ name: 'exact', value: 1 }]);
    assert.ok(result.hits.every((hit, i) => i === 0 || hit.score <= result.hits[i - 1].score));
  });

  test('the command line names the definition', async () => {
    const { stdout } = await cli(['search', '--project', dir, '--mode', 'symbol', '--no-text', '-n', '2', 'connect']);
    assert.equal(stdout, 'src/http/client.rs:4  method connect\nlib/tool.py:1  function Connect (case)\n');
    const { json } = await cli(['search', '--project', dir, '--json', '--mode', 'symbol', '--explain', 'HashMapBuilder']);
    assert.deepEqual(json.hits[0].symbol, { name: 'HashMapBuilder', kind: 'class', line: 1, fit: 'exact' });
    assert.deepEqual(json.hits[0].why, [{ name: 'exact', value: 1 }]);
  });
});

describe('every mode', () => {
  test('says what its scores are made of only when asked', async () => {
    const client = await connect({ project: project(FILES) });
    await client.index();
    for (const mode of ['hybrid', 'semantic', 'text', 'symbol', 'regex']) {
      for (const hit of (await client.search('connect', { mode })).hits) assert.ok(!('why' in hit), mode);
      for (const hit of (await client.search('connect', { mode, explain: true })).hits) {
        for (const part of hit.why ?? []) assert.ok(typeof part.name === 'string' && Number.isFinite(part.value), mode);
      }
    }
    await rejects(client.search('x', { explain: 1 }), 'INVALID_ARGUMENT', 'explain');
    await rejects(client.search('x', { mode: 'fuzzy' }), 'INVALID_ARGUMENT', "'symbol'");
    for (const fresh of ['now', 5, true, null, {}, { waitMs: -1 }, { waitMs: 1.5 }, { waitMs: 1, more: 1 }]) {
      await rejects(client.search('x', { fresh }), 'INVALID_ARGUMENT', 'fresh');
    }
  });
});
