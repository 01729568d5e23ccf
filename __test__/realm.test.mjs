// The package inside environments that are not Node's main context: Jest, jsdom and `vm` contexts load its files with other
// constructors, other timers and fewer globals.
import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { describe, test } from 'node:test';
import vm from 'node:vm';
import { project, rejects, root, useOwnRuntime } from './support.mjs';

const main = useOwnRuntime();
const require = createRequire(import.meta.url);

/** Loads the package in a context of its own, as Jest does: every file anew, Node's modules and the addon from outside. */
function loadIn(globals) {
  const context = vm.createContext(globals);
  const loaded = new Map();
  const load = (file) => {
    // The loader that napi generates reads `process`, which a bare context does not have.
    if (file.endsWith('.node') || path.basename(file) === 'native.js') return require(file);
    if (file.endsWith('.json')) return vm.runInContext(`(${readFileSync(file, 'utf8')})`, context);
    if (loaded.has(file)) return loaded.get(file).exports;
    const module = { exports: vm.runInContext('({})', context) };
    loaded.set(file, module);
    const body = vm.runInContext(`(function (exports, require, module) {${readFileSync(file, 'utf8')}\n})`, context, { filename: file });
    const fromHere = (name) => (/^\.\.?\//.test(name) ? load(path.resolve(path.dirname(file), name)) : require(name));
    fromHere.resolve = require.resolve;
    body(module.exports, fromHere, module);
    return module.exports;
  };
  return { ...load(path.join(root, 'index.js')), run: (code) => vm.runInContext(code, context) };
}

/** What a page has: timers that are numbers, an AbortController that is no EventTarget of Node's, none of Node's own globals. */
function page() {
  let timers = 0;
  class PageSignal {
    aborted = false;
    reason = undefined;
    callbacks = [];
    addEventListener(_, callback) {
      this.callbacks.push(callback); // It does not know `once`.
    }
    removeEventListener(_, callback) {
      this.callbacks = this.callbacks.filter((each) => each !== callback);
    }
  }
  class PageController {
    signal = new PageSignal();
    abort(reason) {
      this.signal.aborted = true;
      this.signal.reason = reason;
      for (const callback of this.signal.callbacks) callback({ type: 'abort' });
    }
  }
  const number = () => ++timers; // A timer that never fires, as those of a fake clock.
  return { setTimeout: number, clearTimeout() {}, performance: { now: () => 0 }, AbortController: PageController, AbortSignal: PageSignal, console };
}

const environments = { 'a bare context': () => ({}), 'a page': page };
const dir = project({ 'a.py': 'def alpha():\n    return 1\n', 'b.py': 'def beta():\n    return 2\n' });

for (const [name, globals] of Object.entries(environments)) {
  describe(name, () => {
    const offheap = loadIn(globals());
    const isOurs = (value, type) => offheap.run(`(value) => value instanceof ${type}`)(value);

    test('starts the daemon, embeds, indexes and searches', async () => {
      const client = await offheap.connect({ project: dir, timeoutMs: 60_000 });
      // Contexts have no `Symbol.asyncDispose` where the language has none yet.
      const dispose = offheap.run("Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')");
      assert.equal(typeof client[dispose], 'function');
      const { vector, tokens } = await client.embed('some text');
      assert.ok(isOurs(vector, 'Float32Array') && vector.length === 384 && tokens > 0);
      const batch = await client.embedBatch(['one', 'two']);
      assert.ok(isOurs(batch.values, 'Float32Array') && isOurs(batch.row(1), 'Float32Array') && isOurs(batch.tokens, 'Uint32Array'));
      const events = [];
      const report = await client.index({ onProgress: (event) => events.push(event) });
      assert.equal(report.files, 2);
      assert.ok(events.every((event) => isOurs(event, 'Object')));
      const { hits } = await client.search('alpha', { mode: 'text' });
      assert.ok(isOurs(hits, 'Array') && isOurs(hits[0], 'Object') && hits[0].path === 'a.py');
      assert.ok(isOurs(hits[0].symbols, 'Array'));
      await client.shutdown();
      // The daemon is started again: that code has timers, too.
      assert.ok((await client.ping()) >= 0);
      await client.close();
    });

    test('its errors are errors, here and in the main context', async () => {
      const error = await offheap.connect({ project: dir, nonsense: 1 }).catch((thrown) => thrown);
      assert.ok(isOurs(error, 'Error'));
      assert.ok(error instanceof offheap.OffheapError && error instanceof main.OffheapError);
      assert.ok(!(new Error('other') instanceof main.OffheapError) && !(null instanceof main.OffheapError));
    });
  });
}

test('a subclass of the error class has its own instances only', () => {
  class Special extends main.OffheapError {}
  const plain = new main.OffheapError('IO', 'text');
  assert.ok(new Special('IO', 'text') instanceof Special && new Special('IO', 'text') instanceof main.OffheapError);
  assert.ok(!(plain instanceof Special));
});

test('a signal of another realm, of a page or of a polyfill cancels', async () => {
  const client = await main.connect({ project: dir });
  const { AbortController: PageController } = page();
  const other = vm.runInContext('new AbortController()', vm.createContext({ AbortController }));
  for (const controller of [new PageController(), other, new AbortController()]) {
    const running = client.search('alpha', { mode: 'text', fresh: { waitMs: 20_000 }, signal: controller.signal });
    controller.abort('enough');
    const error = await rejects(running, 'CANCELLED');
    assert.equal(error.cause, 'enough');
    await rejects(client.embed('text', { signal: controller.signal }), 'CANCELLED');
    await rejects(client.index({ signal: controller.signal }), 'CANCELLED');
  }
  const controller = new PageController();
  const { signal } = controller;
  await client.ping({ signal });
  assert.equal(signal.callbacks.length, 0, 'nothing is left in it');
  for (const signal of [{}, 'text', null, { aborted: false }]) await rejects(client.ping({ signal }), 'INVALID_ARGUMENT', 'signal');
  await client.close();
});

test('closes with `await using`', async () => {
  const key = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');
  const client = await main.connect();
  assert.equal(typeof client[key], 'function');
  assert.ok(!Object.getOwnPropertyNames(Object.getPrototypeOf(client)).includes('undefined'));
  await client[key]();
  await rejects(client.ping(), 'CLOSED');
});

test('global timers and clocks that a test replaces are not used', async () => {
  const { setTimeout, setImmediate, performance, AbortController } = globalThis;
  const client = await main.connect();
  try {
    for (const name of ['setTimeout', 'setImmediate', 'performance', 'AbortController']) {
      Object.defineProperty(globalThis, name, { value: undefined, configurable: true, writable: true });
    }
    const { vector } = await client.embed('text', { timeoutMs: 30_000 });
    assert.equal(vector.length, 384);
  } finally {
    for (const [name, value] of Object.entries({ setTimeout, setImmediate, performance, AbortController })) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
  }
  await client.close();
});
