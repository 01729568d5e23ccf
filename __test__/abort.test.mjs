// Calls that are aborted by a signal or end at their deadline.

import assert from 'node:assert/strict';
import { before, describe } from 'node:test';
import { kill, manyFiles, project, rejects, require, script, test, texts, until, useOwnRuntime, within } from './support.mjs';

const { connect } = useOwnRuntime();

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
    // Regression: the daemon read the cancel frame before the request's task had begun, and ignored it.
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
      await kill(pid); // It may have minutes of work left.
    }
  });

  test('of an index run lets the next one begin', async () => {
    const indexed = await connect({ project: project(manyFiles(200)) });
    for (let round = 0; round < 3; round++) {
      const controller = new AbortController();
      const run = indexed.index({ signal: controller.signal, onProgress: ({ phase, done }) => phase === 'embed' && done > 0 && controller.abort() });
      await run.catch(() => {}); // It was cancelled, or had ended before.
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
    // 512 texts are two messages. These are sixteen, of which each two alone would be in time.
    const timeoutMs = Math.ceil(part * 3);
    await rejects(client.embedBatch(texts(4096, 6, 2), { timeoutMs }), 'TIMEOUT');
  });

  test('is far enough away at its largest', async () => {
    assert.ok(await client.ping({ timeoutMs: 2 ** 32 - 1 }));
    const fresh = await connect({ project: project({ 'a.txt': '' }), timeoutMs: 2 ** 32 - 1 });
    assert.ok(await fresh.ping());
  });
});
