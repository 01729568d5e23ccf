// What goes wrong, and what callers are told.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe } from 'node:test';
import {
  alive, daemonPids, kill, linux, manyFiles, project, rejects, require, root, runtimeDir, script, signal, startScript, tempDir, test, texts, until,
  useOwnRuntime, windows, within,
} from './support.mjs';

const { connect } = useOwnRuntime();

describe('invalid arguments are named', () => {
  let client;
  before(async () => (client = await connect({ project: project({ 'a.txt': 'a\n' }) })));

  const check = (name, call, ...parts) => test(name, () => rejects(call(), 'INVALID_ARGUMENT', ...parts));

  check('connect: no object', () => connect('dir'), 'connect');
  check('connect: null', () => connect(null), 'connect');
  check('connect: unknown option', () => connect({ projcet: '.' }), '"projcet"', 'project');
  check('connect: project is no string', () => connect({ project: 1 }), 'project');
  check('connect: project does not exist', () => connect({ project: path.join(root, 'no', 'such', 'place') }), 'such');
  check('connect: project is a file', () => connect({ project: path.join(root, 'package.json') }), 'not a directory');
  check('connect: project with a NUL', () => connect({ project: 'a\0b' }), 'a');
  check('connect: empty project', () => connect({ project: '' }), 'directory');
  check('connect: no signal', () => connect({ signal: {} }), 'signal');
  check('connect: timeout', () => connect({ timeoutMs: -1 }), 'timeoutMs');

  for (const value of [undefined, null, 1, {}, [], Buffer.from('x'), new String('x')]) {
    check(`embed(${JSON.stringify(value)})`, () => client.embed(value), 'embed');
    check(`search(${JSON.stringify(value)})`, () => client.search(value), 'search');
  }
  for (const value of [undefined, null, 'text', [1], ['a', null], [undefined], [['a']], new Set(['a']), { length: 1, 0: 'a' }]) {
    check(`embedBatch(${JSON.stringify(value)})`, () => client.embedBatch(value), 'embedBatch');
  }
  check('embedBatch: a hole', () => client.embedBatch(['a', , 'b']), 'embedBatch'); // eslint-disable-line no-sparse-arrays

  const methods = {
    embed: (options) => client.embed('x', options),
    embedBatch: (options) => client.embedBatch(['x'], options),
    emptyBatch: (options) => client.embedBatch([], options),
    index: (options) => client.index(options),
    search: (options) => client.search('x', options),
    status: (options) => client.status(options),
    clearCache: (options) => client.clearCache(options),
    ping: (options) => client.ping(options),
    shutdown: (options) => client.shutdown(options),
  };
  for (const [name, call] of Object.entries(methods)) {
    for (const options of [null, 'text', 1, true]) check(`${name}: options ${JSON.stringify(options)}`, () => call(options), 'object');
    check(`${name}: unknown option`, () => call({ tiemoutMs: 1 }), '"tiemoutMs"');
    for (const timeoutMs of [-1, 0.5, NaN, Infinity, '10', 2 ** 32, null]) check(`${name}: timeoutMs ${timeoutMs}`, () => call({ timeoutMs }), 'timeoutMs');
    for (const signal of [null, {}, 'signal', new EventTarget()]) check(`${name}: signal ${signal}`, () => call({ signal }), 'signal');
  }
  for (const kind of ['documents', null, 1]) check(`kind ${kind}`, () => client.embed('x', { kind }), 'kind');
  for (const specialTokens of ['raw', null, true]) check(`specialTokens ${specialTokens}`, () => client.embed('x', { specialTokens }), 'specialTokens');
  check('kind in an empty batch', () => client.embedBatch([], { kind: 'documents' }), 'kind');
  for (const rebuild of ['yes', 1, null]) check(`rebuild ${rebuild}`, () => client.index({ rebuild }), 'rebuild');
  check('onProgress', () => client.index({ onProgress: 'log' }), 'onProgress');
  for (const mode of ['fuzzy', 1, null, '', 'Hybrid']) check(`mode ${mode}`, () => client.search('x', { mode }), 'mode');
  for (const limit of [0, -1, 1.5, 1001, '10', null, NaN]) check(`limit ${limit}`, () => client.search('x', { limit }), 'limit');
  for (const list of ['src', [1], null, {}]) {
    check(`globs ${JSON.stringify(list)}`, () => client.search('x', { globs: list }), 'globs');
    check(`languages ${JSON.stringify(list)}`, () => client.search('x', { languages: list }), 'languages');
  }
  check('stored', () => client.clearCache({ stored: 'yes' }), 'stored');
  test('index() throws nothing where it is called', () => {
    const run = client.index({ bogus: 1 });
    return rejects(run, 'INVALID_ARGUMENT', 'bogus');
  });
  test('a glob that is none', async () => {
    await client.index();
    await rejects(client.search('x', { globs: ['a[', 'b'] }), 'INVALID_ARGUMENT', 'a[');
  });
  test('a query beyond reason', () => rejects(client.search('x'.repeat((64 << 10) + 1)), 'TOO_LARGE', 'query'));
  test('a text beyond what fits a message', async () => {
    await rejects(client.embed('x'.repeat(65 << 20)), 'TOO_LARGE', 'text 0');
    assert.equal((await client.embed('small')).truncated, false);
  });
});

describe('abort', () => {
  let client;
  before(async () => {
    client = await connect();
    await client.embed('warm');
  });
  const busy = () => until('the daemon is busy', async () => (await client.status()).queued > 0);
  const idle = () => until('the daemon has dropped the work', async () => (await client.status()).queued === 0);

  test('before anything was asked', async () => {
    const reason = new Error('changed my mind');
    const options = { signal: AbortSignal.abort(reason) };
    for (const call of [client.embed('x', options), client.embedBatch(['x'], options), client.embedBatch([], options), client.ping(options), client.status(options), connect(options)]) {
      const error = await rejects(call, 'CANCELLED');
      assert.equal(error.cause, reason);
    }
  });

  test('during embedBatch: the daemon drops the work and goes on serving', async () => {
    const controller = new AbortController();
    const bulk = client.embedBatch(texts(3000, 40), { signal: controller.signal });
    bulk.catch(() => {});
    await busy();
    controller.abort(new Error('enough'));
    const error = await within(10_000, 'the call ends', rejects(bulk, 'CANCELLED'));
    assert.equal(error.cause.message, 'enough');
    await within(20_000, 'the work ends', idle());
    assert.equal((await client.embed('next')).vector.length, 384);
  });

  test('of one call leaves the others alone', async () => {
    const controller = new AbortController();
    const cancelled = client.embedBatch(texts(600, 20, 1), { signal: controller.signal });
    const other = client.embedBatch(texts(40, 20, 2), { signal: new AbortController().signal });
    cancelled.catch(() => {});
    await busy();
    controller.abort();
    await rejects(cancelled, 'CANCELLED');
    assert.equal((await other).length, 40);
  });

  test('after the answer does nothing, and leaves no listener', async () => {
    const controller = new AbortController();
    const { getEventListeners } = require('node:events');
    await client.embed('x', { signal: controller.signal });
    await client.ping({ signal: controller.signal });
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    controller.abort();
    assert.ok(await client.ping());
  });

  test('by one signal of many calls at once prints no warning', async () => {
    const body = `
      process.on('warning', (warning) => out(warning.name));
      const client = await connect();
      const controller = new AbortController();
      const { getEventListeners } = require('node:events');
      const calls = Array.from({ length: 40 }, (_, i) => client.embed('text ' + i, { signal: controller.signal }));
      out(getEventListeners(controller.signal, 'abort').length);
      await Promise.all(calls);
      out(getEventListeners(controller.signal, 'abort').length);
      const more = Array.from({ length: 40 }, (_, i) => client.embed('long text '.repeat(300) + i, { signal: controller.signal }).catch((error) => error.code));
      controller.abort();
      out([...new Set(await Promise.all(more))]);`;
    assert.deepEqual(await script(body), [1, 0, ['CANCELLED']]);
  });

  test('at any moment: the call ends, soon, with CANCELLED or its answer', async () => {
    const moments = {
      'the same tick': (abort) => abort(),
      'a microtask': (abort) => queueMicrotask(abort),
      'two microtasks': (abort) => queueMicrotask(() => queueMicrotask(abort)),
      'five microtasks': async (abort) => { for (let i = 0; i < 5; i++) await null; abort(); },
      'next tick': (abort) => process.nextTick(abort),
      immediate: (abort) => setImmediate(abort),
      'a millisecond': (abort) => setTimeout(abort, 1),
    };
    for (const [moment, when] of Object.entries(moments)) {
      const controller = new AbortController();
      const call = client.embedBatch(texts(1500, 60), { signal: controller.signal });
      call.catch(() => {});
      when(() => controller.abort());
      const outcome = await Promise.race([call.then(() => 'answered', (error) => error.code), until('', () => false, 5_000).catch(() => 'still running after 5 s')]);
      assert.equal(outcome, 'CANCELLED', `aborted after ${moment}`);
      await idle();
    }
  });

  test('in the same tick: the daemon is told, too', async () => {
    // The cancel frame came right behind the request, was read before the request's task had begun, and found nothing.
    const own = await connect({ project: project({}) });
    await own.embed('warm');
    const { pid } = await own.status({ timeoutMs: 30_000 });
    try {
      for (let round = 0; round < 3; round++) {
        const controller = new AbortController();
        const bulk = own.embedBatch(texts(300, 450, round + 1), { signal: controller.signal });
        controller.abort();
        await rejects(bulk, 'CANCELLED');
        await until('the work is dropped', async () => (await own.status()).queued === 0, 4_000);
      }
    } finally {
      await kill(pid); // it may have minutes of work left
    }
  });

  test('of an index run lets the next one begin', async () => {
    const indexed = await connect({ project: project(manyFiles(200)) });
    for (let round = 0; round < 3; round++) {
      const controller = new AbortController();
      const run = indexed.index({ signal: controller.signal, onProgress: ({ phase, done }) => phase === 'embed' && done > 0 && controller.abort() });
      await run.catch(() => {}); // cancelled, or over before
      assert.ok((await indexed.search('socket', { mode: 'text' })).hits.length > 0, 'at once');
      const next = new AbortController();
      const after = indexed.index({ signal: next.signal, onProgress: () => next.abort() });
      assert.ok(['done', 'CANCELLED'].includes(await after.then(() => 'done', (error) => error.code)), 'not INDEX_BUSY');
    }
    await indexed.index();
  });

  test('by what onProgress throws: the run ends with it, and the process lives', async () => {
    const indexed = await connect({ project: project(manyFiles(60)) });
    const mine = new Error('mine');
    const run = indexed.index({
      onProgress: () => {
        throw mine;
      },
    });
    assert.equal(await run.catch((error) => error), mine);
    const { chunks, vectors } = await indexed.index();
    assert.ok(vectors > 0 && vectors === chunks);
  });

  test('during index: what is done is kept, the next run finishes', async () => {
    const files = manyFiles(400);
    const indexed = await connect({ project: project(files) });
    const controller = new AbortController();
    const run = indexed.index({ signal: controller.signal, onProgress: ({ phase, done }) => phase === 'embed' && done > 0 && controller.abort() });
    await within(60_000, 'the run ends', rejects(run, 'CANCELLED'));
    await until('the daemon has stopped indexing', async () => !(await indexed.status({ timeoutMs: 30_000 })).indexing);
    const partial = await indexed.search('socket', { mode: 'text' });
    assert.ok(partial.hits.length > 0, 'text search answers already');
    assert.ok(partial.coverage.vectors > 0 && partial.coverage.vectors < partial.coverage.chunks, JSON.stringify(partial.coverage));
    const hybrid = await indexed.search('socket');
    assert.match(hybrid.degraded, /of \d+ chunks have vectors/);
    const report = await indexed.index();
    assert.equal(report.filesChanged, 0, 'no file is read twice');
    assert.equal(report.vectors, report.chunks);
    assert.equal(report.embedded, report.chunks - partial.coverage.vectors, 'no vector is computed twice');
    const whole = await (await connect({ project: project(files) })).index();
    assert.deepEqual([report.files, report.chunks, report.vectors], [whole.files, whole.chunks, whole.vectors]);
  });
});

describe('timeoutMs', () => {
  let client;
  before(async () => {
    client = await connect();
    await client.embed('warm');
  });

  test('ends a call with TIMEOUT; the daemon goes on serving', async () => {
    const error = await within(15_000, 'the call ends', rejects(client.embedBatch(texts(3000, 40), { timeoutMs: 50 }), 'TIMEOUT', '50 ms'));
    assert.equal(error.cause, undefined);
    assert.equal((await client.embed('next')).vector.length, 384);
    await until('the work is dropped', async () => (await client.status()).queued === 0);
  });

  test('is for the whole call, however many messages it takes', async () => {
    const t0 = performance.now();
    await client.embedBatch(texts(512, 6, 1));
    const part = performance.now() - t0;
    // 512 texts are a pair of messages; these are eight pairs, of which each would be in time.
    const timeoutMs = Math.ceil(part * 3);
    await rejects(client.embedBatch(texts(4096, 6, 2), { timeoutMs }), 'TIMEOUT');
  });

  test('is far enough away at its largest', async () => {
    assert.ok(await client.ping({ timeoutMs: 2 ** 32 - 1 }));
    const fresh = await connect({ project: project({ 'a.txt': '' }), timeoutMs: 2 ** 32 - 1 });
    assert.ok(await fresh.ping());
  });
});

/** Runs one call in a process with an environment of its own; gives the error. */
async function failing(env, body) {
  const [outcome] = await script(`try { ${body}; out({ code: 'none' }); } catch (error) { out(plain(error)); }`, {
    env: { OFFHEAP_RUNTIME_DIR: runtimeDir(), ...env },
    timeoutMs: 60_000,
  });
  return outcome;
}

function assertFault(error, code, ...parts) {
  assert.equal(error.code, code, JSON.stringify(error));
  assert.ok(error.typed && error.name === 'OffheapError' && typeof error.hint === 'string');
  for (const part of parts) assert.ok(`${error.message} ${error.hint}`.includes(part), `"${error.message}" does not name "${part}"`);
}

describe('the model', () => {
  let model;
  before(async () => {
    const client = await connect();
    await client.embed('load it');
    model = (await client.status()).model.path;
  });

  test('missing: says which; what needs no model works', async () => {
    const missing = path.join(tempDir(), 'no-such-model.gguf');
    const env = { OFFHEAP_MODEL: missing, OFFHEAP_RUNTIME_DIR: runtimeDir() };
    assertFault(await failing(env, "await (await connect()).embed('x')"), 'MODEL_NOT_FOUND', missing);
    assertFault(await failing({ ...env, OFFHEAP_MODEL: 'surprise', OFFHEAP_RUNTIME_DIR: runtimeDir() }, "await (await connect()).embed('x')"), 'MODEL_NOT_FOUND', 'surprise');
    const dir = project({ 'a.js': 'export function findMe() {}\n' });
    const [ping, index, text, hybrid, semantic] = await script(
      `const client = await connect({ project: process.argv[1] });
       out((await client.ping()) > 0);
       out(await client.index().catch(plain));
       out((await client.search('findMe', { mode: 'text' })).hits.map((hit) => hit.path));
       out(await client.search('findMe'));
       out(await client.search('findMe', { mode: 'semantic' }).catch(plain));`,
      { args: [dir], env },
    );
    assert.equal(ping, true);
    assertFault(index, 'MODEL_NOT_FOUND', missing);
    assert.deepEqual(text, ['a.js'], 'text search answers without a model');
    assert.equal(hybrid.hits[0].path, 'a.js');
    assert.equal(hybrid.mode, 'text');
    assert.match(hybrid.degraded, /MODEL_NOT_FOUND/);
    assertFault(semantic, 'MODEL_NOT_FOUND', missing);
  });

  test('damaged: typed, and the daemon survives it', async () => {
    const dir = tempDir();
    const whole = statSync(model).size;
    const head = Buffer.alloc(Math.min(4 << 20, whole));
    readSync(openSync(model, 'r'), head, 0, head.length, 0);
    const flipped = Buffer.from(head);
    flipped.fill(0xff, 8, 24);
    const files = { 'empty.gguf': Buffer.alloc(0), 'garbage.gguf': Buffer.from('this is no model\n'.repeat(100)), 'magic.gguf': Buffer.from('GGUF'), 'cut.gguf': head, 'counts.gguf': flipped };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(path.join(dir, name), content);
      const [first, second, alive] = await script(
        `const client = await connect();
         out(await client.embed('x').catch(plain));
         out(await client.embedBatch(['x', 'y']).catch(plain));
         const { pid } = await client.status();
         await client.ping();
         out(pid === (await client.status()).pid);`,
        { env: { OFFHEAP_MODEL: path.join(dir, name), OFFHEAP_RUNTIME_DIR: runtimeDir() } },
      );
      assertFault(first, 'MODEL_DAMAGED', '');
      assertFault(second, 'MODEL_DAMAGED', '');
      assert.ok(alive, name);
    }
  });

  test('a repository names no file outside itself', async () => {
    const outside = path.relative(tempDir(), model);
    const dir = project({ 'a.txt': 'a\n' }, { model: path.join('..', outside) });
    const env = { OFFHEAP_MODEL: '' };
    const error = await failing(env, `await (await connect({ project: ${JSON.stringify(dir)} })).embed('x')`);
    assert.ok(['CONFIG_INVALID', 'MODEL_NOT_FOUND'].includes(error.code), JSON.stringify(error));
  });
});

describe('the sidecar', { skip: windows && 'the stand-ins are shell scripts' }, () => {
  const strays = [];
  after(() => strays.filter(existsSync).forEach((file) => signal(Number(readFileSync(file, 'utf8')), 'SIGKILL')));

  /** A stand-in for the sidecar. */
  function stub(body) {
    const file = path.join(tempDir(), 'sidecar');
    writeFileSync(file, `#!/bin/sh\necho $$ > "$0.pid"\n${body}\n`, { mode: 0o755 });
    strays.push(`${file}.pid`);
    return file;
  }

  test('missing', async () => {
    const error = await failing({ OFFHEAP_SIDECAR: '/no/such/sidecar' }, 'await connect()');
    assertFault(error, 'SIDECAR_NOT_FOUND', '/no/such/sidecar', 'OFFHEAP_SIDECAR');
  });

  test('not executable', async () => {
    const file = path.join(tempDir(), 'sidecar');
    writeFileSync(file, 'text', { mode: 0o644 });
    assertFault(await failing({ OFFHEAP_SIDECAR: file }, 'await connect()'), 'DAEMON_START_FAILED', file);
  });

  test('exits at once', async () => {
    assertFault(await failing({ OFFHEAP_SIDECAR: stub('exit 7') }, 'await connect()'), 'DAEMON_START_FAILED', 'exit code 7', '.log');
    assertFault(await failing({ OFFHEAP_SIDECAR: stub('kill -9 $$') }, 'await connect()'), 'DAEMON_START_FAILED', 'SIGKILL');
  });

  test('prints something else', async () => {
    assertFault(await failing({ OFFHEAP_SIDECAR: stub('echo "Segmentation fault"') }, 'await connect()'), 'DAEMON_START_FAILED', 'Segmentation fault');
    assertFault(await failing({ OFFHEAP_SIDECAR: stub('printf "no end of line"') }, 'await connect()'), 'DAEMON_START_FAILED');
    for (const line of ['null', '7', '[]', '"ready"', '{}', '{"error":null}', '{"error":7}']) {
      const error = await failing({ OFFHEAP_SIDECAR: stub(`echo '${line}'`) }, 'await connect()');
      assert.ok(['DAEMON_START_FAILED', 'DAEMON_NOT_RUNNING'].includes(error.code), `${line}: ${JSON.stringify(error)}`);
    }
  });

  test('gives a reason: it is passed on', async () => {
    const line = '{"error":{"code":"IO","message":"the disk is on fire","hint":"leave the building"}}';
    const error = await failing({ OFFHEAP_SIDECAR: stub(`echo '${line}'`) }, 'await connect()');
    assertFault(error, 'IO', 'the disk is on fire');
    assert.equal(error.hint, 'leave the building');
  });

  test('floods the pipe', async () => {
    const error = await failing({ OFFHEAP_SIDECAR: stub('head -c 20000000 /dev/zero | tr "\\\\0" x; exec sleep 60') }, 'await connect({ timeoutMs: 20_000 })');
    assert.ok(['DAEMON_START_FAILED', 'TIMEOUT'].includes(error.code), JSON.stringify(error));
    assert.ok(error.message.length < 1000);
  });

  test('says nothing: the caller decides how long to wait, and the process ends', async () => {
    // Its pipe kept Node alive for as long as the stand-in slept.
    const t0 = performance.now();
    const env = { OFFHEAP_SIDECAR: stub('exec sleep 600'), OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { done } = startScript(
      `try { await connect({ timeoutMs: 300 }); } catch (error) { out(plain(error)); }
       try { await connect({ signal: AbortSignal.timeout(300) }); } catch (error) { out(plain(error)); }`,
      { env, timeoutMs: 25_000 },
    );
    const { code, stdout } = await done;
    assert.equal(code, 0, `it did not end: ${stdout}`);
    const [timeout, abort] = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assertFault(timeout, 'TIMEOUT', '300 ms');
    assertFault(abort, 'CANCELLED');
    assert.ok(performance.now() - t0 < 20_000);
  });

  test('never says that it is ready: there is an end to waiting', async () => {
    const error = await failing({ OFFHEAP_SIDECAR: stub('exec sleep 600') }, 'await connect()');
    assertFault(error, 'DAEMON_START_FAILED', '20 s');
  });
});

describe('surroundings', () => {
  test('a runtime directory that others can enter is refused', { skip: windows && 'no modes there' }, async () => {
    for (const mode of [0o755, 0o770, 0o701]) {
      const dir = tempDir();
      chmodSync(dir, mode);
      const error = await failing({ OFFHEAP_RUNTIME_DIR: dir }, 'await connect()');
      assertFault(error, 'FORBIDDEN', dir, 'OFFHEAP_RUNTIME_DIR');
    }
  });

  test('a runtime directory that cannot be made', { skip: windows && 'no such file there' }, async () => {
    const error = await failing({ OFFHEAP_RUNTIME_DIR: '/dev/null/run' }, 'await connect()');
    assert.ok(['FORBIDDEN', 'DAEMON_START_FAILED'].includes(error.code), JSON.stringify(error));
    assert.ok(error.message.includes('/dev/null/run'), error.message);
  });

  test('a runtime directory with too long a name', { skip: windows && 'no such limit there' }, async () => {
    assertFault(await failing({ OFFHEAP_RUNTIME_DIR: `/tmp/${'x'.repeat(90)}` }, 'await connect()'), 'INVALID_ARGUMENT', 'OFFHEAP_RUNTIME_DIR');
  });

  // `.offheap/config.json -> /dev/zero` had blocked Node's one thread for ever.
  test('a configuration that is none is refused by name, and Node is not blocked', { skip: windows && 'no such links there' }, async () => {
    const make = {
      'a device': (file) => symlinkSync('/dev/zero', file),
      'a link': (file) => symlinkSync(path.join(root, 'package.json'), file),
      'a pipe': (file) => assert.equal(spawnSync('mkfifo', [file]).status, 0),
      'a directory': (file) => mkdirSync(file),
      'long': (file) => writeFileSync(file, ' '.repeat(300_000)),
    };
    for (const [name, place] of Object.entries(make)) {
      const dir = project({ 'a.txt': 'a\n' });
      mkdirSync(path.join(dir, '.offheap'), { recursive: true });
      const file = path.join(dir, '.offheap', 'config.json');
      rmSync(file, { force: true });
      place(file);
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const error = await connect({ project: dir, timeoutMs: 20_000 }).then(() => null, (error) => error);
      clearInterval(timer);
      assert.equal(error?.code, 'UNSAFE_PATH', `${name}: ${error}`);
      assert.ok(error.message.includes('config.json'), error.message);
      assert.ok(ticks > 0, `${name}: timers went on`);
    }
  });

  test('daemon.enabled = false: none is started, and that is said at once', async () => {
    const dir = project({ 'a.txt': 'a\n' }, { daemon: { enabled: false, retry_delays_ms: [60_000] } });
    const error = await within(20_000, 'the refusal', rejects(connect({ project: dir }), 'DAEMON_NOT_RUNNING', 'daemon.enabled'));
    assert.ok(error.hint.includes('.offheap/config.json'));
  });

  const wrong = {
    'not JSON': ['{', 'config.json'],
    'unknown key': ['{"modle":"x"}', 'modle'],
    'newer version': ['{"version":"9.0.0"}', '9.0.0'],
    'wrong type': ['{"daemon":{"ttl_minutes":"soon"}}', 'soon'],
    'out of range': ['{"daemon":{"ttl_minutes":0}}', 'ttl_minutes'],
    'not an object': ['null', 'config.json'],
    'daemon is null': ['{"daemon":null}', 'config.json'],
  };
  for (const [name, [text, part]] of Object.entries(wrong)) {
    test(`configuration: ${name}`, async () => {
      const error = await rejects(connect({ project: project({}, text) }), 'CONFIG_INVALID', part);
      assert.ok(error.hint.length > 0);
    });
  }

  test('an unwritable project can be used, but not indexed', { skip: (windows || process.getuid() === 0) && 'no such thing for this user' }, async () => {
    const dir = project({ 'a.txt': 'a\n' });
    chmodSync(dir, 0o500);
    try {
      const client = await connect({ project: dir });
      assert.ok(await client.ping());
      await rejects(client.index(), 'IO', dir);
    } finally {
      chmodSync(dir, 0o700);
    }
  });

  test('an environment of secrets stays in its process', { skip: !linux && 'read from /proc' }, async () => {
    const dir = runtimeDir();
    await script('await connect()', { env: { OFFHEAP_RUNTIME_DIR: dir, MY_API_KEY: 'hunter2' } });
    const [pid] = daemonPids(dir);
    assert.ok(alive(pid));
    assert.ok(!readFileSync(`/proc/${pid}/environ`, 'utf8').includes('hunter2'));
  });
});
