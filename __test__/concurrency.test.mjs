// Many calls, threads and processes at once, also while their daemon is killed.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  alive, cli, daemonPids, dot, kill, manyFiles, project, random, rejects, root, runtimeDir, script, startScript, test, texts, until, useOwnRuntime, within,
} from './support.mjs';

const { connect } = useOwnRuntime();

const bits = (row) => [...new Uint32Array(row.buffer, row.byteOffset, row.length)];
const pidOf = async (client) => (await client.status({ timeoutMs: 30_000 })).pid;
const busy = (client) => until('the daemon is busy', async () => ((await client.status())?.queued ?? 0) > 0);

describe('one process', () => {
  test('100 embeds at once: each gets its own vector, over one connection', async () => {
    const client = await connect();
    const input = texts(100, 6);
    const results = await Promise.all(input.map((text) => client.embed(text)));
    const batch = await client.embedBatch(input);
    results.forEach((result, i) => assert.deepEqual(bits(result.vector), bits(batch.row(i)), `text ${i}`));
    assert.equal((await client.status()).connections, 1);
  });

  test('50 clients share one connection', async () => {
    const clients = await Promise.all(Array.from({ length: 50 }, () => connect()));
    await Promise.all(clients.map((client) => client.embed('x')));
    assert.equal((await clients[0].status()).connections, 1);
  });

  test('a question passes a bulk job', async () => {
    const client = await connect();
    let bulkDone = false;
    const bulk = client.embedBatch(texts(1200, 30)).then(() => (bulkDone = true));
    await busy(client);
    await client.embed('a short question', { kind: 'query' });
    assert.equal(bulkDone, false);
    await bulk;
  });

  test('clients of several projects use a daemon each', async () => {
    const [a, b] = await Promise.all([connect({ project: project(manyFiles(4, 4, 1)) }), connect({ project: project(manyFiles(4, 4, 2)) })]);
    const reports = await Promise.all([a.index(), b.index()]);
    assert.ok(reports.every((report) => report.vectors === report.chunks && report.chunks > 0));
    assert.notEqual(await pidOf(a), await pidOf(b));
  });
});

describe('many processes', () => {
  test('two Node processes and the command line share one daemon', async () => {
    const body = `
      const client = await connect();
      const result = await client.embed('the same text');
      out({ pid: (await client.status()).pid, vector: [...result.vector] });`;
    const ours = await connect();
    const [[a], [b], c] = await Promise.all([script(body), script(body), cli(['embed', 'the same text', '--json'])]);
    assert.equal(c.code, 0, c.stderr);
    const vector = [...(await ours.embed('the same text')).vector];
    assert.deepEqual(a.vector, vector);
    assert.deepEqual(b.vector, vector);
    assert.ok(dot(c.json.vectors[0], vector) > 0.999999);
    const status = await cli(['status', '--json'], { cwd: project({}) });
    assert.deepEqual(new Set([a.pid, b.pid, status.json.pid]), new Set([await pidOf(ours)]));
  });

  test('the command line and Node share a project, its index included', async () => {
    const dir = project(manyFiles(8));
    const indexed = await cli(['index', '--json', '--quiet', '--project', dir]);
    assert.equal(indexed.code, 0, indexed.stderr);
    const client = await connect({ project: dir });
    const { hits } = await client.search('work_3');
    const found = await cli(['search', 'work_3', '--json', '--project', dir]);
    assert.equal(found.code, 0, found.stderr);
    assert.equal(found.json.hits[0].path, hits[0].path);
    const status = await cli(['status', '--json', '--project', dir]);
    assert.equal(status.json.pid, await pidOf(client));
    const stopped = await cli(['stop', '--json', '--project', dir]);
    assert.equal(stopped.code, 0);
    assert.equal(await client.status({ timeoutMs: 30_000 }), null);
    assert.equal((await client.search('work_3')).hits[0].path, hits[0].path, 'a new daemon answers');
  });

  test('8 processes that start at once, cold: one daemon, no error', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    // All processes load the package first, then connect at the same moment.
    const body = `while (Date.now() < Number(process.argv[1])) await null;
      const client = await connect(); await client.embed('x'); out((await client.status()).pid);`;
    const at = String(Date.now() + 1500);
    const answers = await Promise.all(Array.from({ length: 8 }, () => script(body, { env, args: [at] })));
    const pids = new Set(answers.flat());
    assert.equal(pids.size, 1, `${[...pids]}`);
    assert.deepEqual(daemonPids(env.OFFHEAP_RUNTIME_DIR), [...pids]);
  });

  test('search while another process indexes', async () => {
    const dir = project({ 'a.js': 'export function firstOfAll() {}\n' });
    const client = await connect({ project: dir });
    await client.index();
    const { write } = await import('./support.mjs');
    write(dir, manyFiles(300));
    const indexer = startScript("const client = await connect({ project: process.argv[1] }); out('begin'); out(await client.index());", { args: [dir] });
    assert.equal(JSON.parse(await indexer.line()), 'begin');
    let over = false;
    const done = indexer.done.then((end) => {
      over = true;
      return end;
    });
    let generation = 0;
    let answers = 0;
    let during = 0;
    while (!over) {
      const result = await within(30_000, 'a search', client.search('firstOfAll'));
      assert.equal(result.hits[0].path, 'a.js');
      assert.ok(result.generation >= generation, 'generations do not go back');
      generation = result.generation;
      answers++;
      if (result.coverage.vectors < result.coverage.chunks) {
        during++;
        assert.match(result.degraded, /chunks have vectors/);
      }
    }
    const { code, stdout, stderr } = await done;
    assert.equal(code, 0, stderr);
    const report = JSON.parse(stdout.trim().split('\n')[1]);
    assert.equal(report.vectors, report.chunks);
    assert.ok(answers > 1 && during > 0, `${answers} answers, ${during} of them before all vectors were there`);
    assert.equal((await client.search('firstOfAll')).degraded, undefined);
  });

  test('two processes that index the same project: one does, the other is told', async () => {
    const dir = project(manyFiles(120));
    const body = "const client = await connect({ project: process.argv[1] }); out(await client.index().then((report) => report.vectors - report.chunks, (error) => error.code));";
    const answers = (await Promise.all([script(body, { args: [dir] }), script(body, { args: [dir] })])).flat();
    // If the second run began after the first had ended, both succeed.
    assert.ok(answers.includes(0) && answers.every((answer) => answer === 0 || answer === 'INDEX_BUSY'), `${answers}`);
  });
});

describe('a daemon that is killed', () => {
  test('between two calls: the next one succeeds, on a new daemon', async () => {
    const client = await connect();
    const { vector } = await client.embed('before and after');
    const before = await pidOf(client);
    await kill(before);
    const again = await within(60_000, 'the answer', client.embed('before and after'));
    assert.deepEqual(bits(again.vector), bits(vector));
    assert.notEqual(await pidOf(client), before);
  });

  test('during embedBatch: the call succeeds, with the right vectors', async () => {
    const client = await connect();
    const input = texts(700, 12);
    const before = await pidOf(client);
    const bulk = client.embedBatch(input);
    bulk.catch(() => {});
    await busy(client);
    await kill(before);
    const batch = await within(100_000, 'the answer', bulk);
    assert.equal(batch.length, 700);
    for (const i of [0, 350, 699]) assert.deepEqual(bits(batch.row(i)), bits((await client.embed(input[i])).vector), `row ${i}`);
    assert.notEqual(await pidOf(client), before);
  });

  test('under 20 calls at once: all succeed, on one new daemon', async () => {
    const client = await connect();
    const before = await pidOf(client);
    const calls = texts(20, 60).map((text, i) => client.embedBatch(texts(30, 30, i).concat(text)));
    calls.forEach((call) => call.catch(() => {}));
    await busy(client);
    await kill(before);
    assert.ok((await Promise.all(calls)).every((batch) => batch.length === 31));
    assert.equal(daemonPids().filter(alive).filter((pid) => pid !== before).includes(await pidOf(client)), true);
  });

  test('with every daemon that follows: an error, not a loop', async () => {
    const client = await connect();
    let killed = 0;
    let over = false;
    const bulk = client.embedBatch(texts(4000, 60)).finally(() => (over = true));
    const refused = rejects(bulk, 'POISONED');
    while (!over) {
      const status = await client.status().catch(() => null); // The daemon was killed meanwhile.
      if (over || !status || status.queued === 0) continue;
      process.kill(status.pid, 'SIGKILL');
      killed++;
      await until('it is gone', () => !alive(status.pid));
    }
    await refused;
    assert.equal(killed, 2, `${killed} daemons`);
    assert.equal((await client.embed('and now')).vector.length, 384);
  });

  test('during index, at several moments: the index is whole in the end', async () => {
    const dir = project(manyFiles(240));
    const client = await connect({ project: dir });
    const next = random(7);
    for (let round = 0; round < 3; round++) {
      const at = Math.floor(next() * 60);
      let struck = false;
      const pid = await client.ping().then(() => lastPid(dir, client));
      const run = client.index({
        onProgress: ({ phase, done }) => {
          if (struck || phase !== 'embed' || done < at) return;
          struck = true;
          process.kill(pid, 'SIGKILL');
        },
      });
      // The call is repeated on a new daemon: it succeeds although its first daemon died.
      const report = await within(100_000, 'the run', run);
      assert.equal(report.vectors, report.chunks);
    }
    const report = await client.index();
    assert.deepEqual([report.filesChanged, report.embedded], [0, 0]);
    const whole = await (await connect({ project: project(manyFiles(240)) })).index();
    assert.deepEqual([report.files, report.chunks, report.vectors], [whole.files, whole.chunks, whole.vectors]);
    assert.equal((await client.search('work_17')).degraded, undefined);
  });

  test('under a client that forbids retries: DAEMON_LOST', async () => {
    const client = await connect({ project: project({}, { daemon: { max_retries: 0 } }) });
    const pid = await pidOf(client);
    const bulk = client.embedBatch(texts(1500, 30));
    bulk.catch(() => {});
    await busy(client);
    await kill(pid);
    await rejects(bulk, 'DAEMON_LOST');
  });
});

/** The process identifier of a project's daemon. */
async function lastPid(dir, client) {
  const status = await client.status({ timeoutMs: 30_000 });
  assert.equal(status.project, dir);
  return status.pid;
}

describe('worker threads', () => {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { connect } = require(workerData.root);
    (async () => {
      const client = await connect();
      const { vector } = await client.embed('from a worker');
      parentPort.postMessage([...vector]);
      if (workerData.bulk) {
        client.embedBatch(workerData.bulk).catch(() => {});
        parentPort.postMessage('asked');
      }
    })();`;
  const startWorker = (bulk, options = {}) => {
    const worker = new Worker(code, { eval: true, workerData: { root, bulk }, ...options });
    const messages = [];
    let failure = null;
    worker.on('message', (message) => messages.push(message));
    worker.on('error', (error) => (failure = error));
    const message = (n) =>
      until('the worker answers', () => {
        if (failure) throw failure;
        return messages.length > n;
      }).then(() => messages[n]);
    return { worker, message, ended: new Promise((resolve) => worker.on('exit', resolve)) };
  };

  test('use the connection of the process, end by themselves', async () => {
    const client = await connect();
    const vector = [...(await client.embed('from a worker')).vector];
    const workers = Array.from({ length: 4 }, () => startWorker());
    for (const { message, ended } of workers) {
      assert.deepEqual(await message(0), vector);
      assert.equal(await ended, 0);
    }
    assert.equal((await client.status()).connections, 1);
  });

  // Regression: a segmentation fault, so it runs in a process of its own.
  test('terminated mid-flight: nothing crashes, others are served', async () => {
    const answers = await script(
      `const { Worker } = require('node:worker_threads');
       const code = ${JSON.stringify(code)};
       const bulk = (seed) => Array.from({ length: 400 }, (_, i) => seed + ' ' + i + ' socket buffer parse'.repeat(7));
       const client = await connect();
       await client.embed('warm');
       for (let round = 0; round < 3; round++) {
         const workers = await Promise.all(Array.from({ length: 4 }, (_, i) => new Promise((resolve, reject) => {
           const worker = new Worker(code, { eval: true, workerData: { root: ${JSON.stringify(root)}, bulk: bulk(i) } });
           worker.on('message', (message) => message === 'asked' && resolve(worker));
           worker.on('error', reject);
         })));
         await Promise.all(workers.map((worker) => worker.terminate()));
         out((await client.embed('still here')).vector.length);
       }
       // Wait until the daemon has no more of the terminated workers' texts.
       while ((await client.status()).queued > 0) await new Promise((resolve) => setTimeout(resolve, 5));
       out((await client.embed('still here')).vector.length);`,
    );
    assert.deepEqual(answers, [384, 384, 384, 384]);
  });

  // The first half as most programs are; in the second nothing but workers ever loads the addon, so that its runtime goes
  // with the last of each batch and comes again with the next.
  for (const [where, main] of [['beside the main thread', true], ['alone', false]]) {
    test(`100 of them, ${where}, terminated mid-flight in batches`, async () => {
      const answers = await script(
        `${main ? "await (await connect()).embed('warm');" : ''}
         const { Worker } = require('node:worker_threads');
         const code = ${JSON.stringify(code)};
         const start = (bulk) => new Worker(code, { eval: true, workerData: { root: ${JSON.stringify(root)}, bulk } });
         const bulk = (seed) => Array.from({ length: 20 }, (_, i) => seed + ' ' + i + ' socket buffer parse'.repeat(7));
         let ended = 0;
         for (let batch = 0; batch < 10; batch++) {
           const workers = await Promise.all(Array.from({ length: 10 }, (_, i) => new Promise((resolve, reject) => {
             const worker = start(bulk(batch * 10 + i));
             worker.on('message', (message) => message === 'asked' && resolve(worker));
             worker.on('error', reject);
           })));
           // Terminate some one after another and the others at once, as programs do.
           for (const worker of workers.splice(0, 3)) await worker.terminate();
           await Promise.all(workers.map((worker) => worker.terminate()));
           ended += 10;
         }
         const last = start();
         out({ ended, length: await new Promise((resolve, reject) => last.on('message', (vector) => resolve(vector.length)).on('error', reject)) });`,
        { bare: !main },
      );
      assert.deepEqual(answers, [{ ended: 100, length: 384 }]);
    });
  }

  test('with an environment of their own reach the same daemon', async () => {
    // Regression: workers started daemons in another runtime directory than the addon's.
    const own = runtimeDir();
    const [outcome] = await script(
      `const { Worker } = require('node:worker_threads');
       const worker = new Worker(${JSON.stringify(code)}, { eval: true, workerData: { root: ${JSON.stringify(root)} }, env: { HOME: '/nowhere' } });
       worker.on('message', async (vector) => out({ n: vector.length, pid: (await (await connect()).status()).pid }));
       worker.on('error', (error) => out({ error: error.message }));`,
      { env: { OFFHEAP_RUNTIME_DIR: own } },
    );
    assert.equal(outcome.n, 384, outcome.error);
    assert.deepEqual(daemonPids(own), [outcome.pid]);
  });

  test('die in the middle of a start: the process goes on', async () => {
    const [answer] = await script(
      `const { Worker } = require('node:worker_threads');
       const code = 'require(' + JSON.stringify(${JSON.stringify(root)}) + ").connect(); require('node:worker_threads').parentPort.postMessage(1)";
       for (let i = 0; i < 4; i++) {
         const worker = new Worker(code, { eval: true });
         await new Promise((resolve) => worker.once('message', resolve));
         await worker.terminate();
       }
       out((await (await connect()).embed('x')).vector.length);`,
      { env: { OFFHEAP_RUNTIME_DIR: runtimeDir() } },
    );
    assert.equal(answer, 384);
  });
});
