// Failures, and the errors that callers get for them.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe } from 'node:test';
import {
  alive, daemonPids, kill, linux, project, rejects, root, runtimeDir, script, signal, startScript, tempDir, test, useOwnRuntime, windows, within,
} from './support.mjs';

const { connect, OffheapError } = useOwnRuntime();

test('errors are errors', () => {
  const cause = new Error('why');
  const error = new OffheapError('IO', 'it broke', 'mend it', cause);
  assert.ok(error instanceof Error);
  assert.deepEqual([error.name, error.code, error.hint, error.cause], ['OffheapError', 'IO', 'mend it', cause]);
  assert.equal(String(error), 'OffheapError: it broke (mend it)');
  assert.equal(new OffheapError('IO', 'it broke').message, 'it broke');
  assert.ok(!('cause' in new OffheapError('IO', 'it broke')));
});

describe('invalid arguments are named', () => {
  let client;
  before(async () => (client = await connect({ project: project({ 'a.txt': 'a\n' }) })));

  const check = (name, call, ...parts) => test(name, () => rejects(call(), 'INVALID_ARGUMENT', ...parts));

  check('connect: no object', () => connect('dir'), 'connect');
  check('connect: null', () => connect(null), 'connect');
  check('connect: unknown option', () => connect({ projcet: '.' }), '"projcet"', 'project');
  check('connect: name is empty', () => connect({ name: ' ' }), 'name');
  check('connect: name is too long', () => connect({ name: 'x'.repeat(65) }), 'name', '64');
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

/** Runs one call in a process with its own environment. Returns the error. */
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

  /** Makes a shell script that replaces the sidecar. */
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

  test('an error of its start names the caller, for each call that waited for the start', async () => {
    const body = `
      async function firstCaller() { await connect(); }
      async function secondCaller() { await connect(); }
      const [first, second] = (await Promise.allSettled([firstCaller(), secondCaller()])).map(({ reason }) => reason);
      out({ code: first.code, first: first.stack.includes('firstCaller'), second: second.stack.includes('secondCaller') });`;
    const [outcome] = await script(body, { env: { OFFHEAP_SIDECAR: stub('exit 7'), OFFHEAP_RUNTIME_DIR: runtimeDir() } });
    assert.deepEqual(outcome, { code: 'DAEMON_START_FAILED', first: true, second: true });
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
    // Regression: the pipe kept Node alive while the replaced sidecar slept.
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

  // Regression: `.offheap/config.json -> /dev/zero` blocked Node's one thread for ever.
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
