// How programs that use the package end, whatever is pending then; and when the daemon ends.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, readdirSync } from 'node:fs';
import path from 'node:path';
import {
  alive, daemonPids, linux, logsOf, manyFiles, project, root, runtimeDir, scriptSync, sidecar, start, startScript, tempDir, test, until, useOwnRuntime, windows,
} from './support.mjs';

useOwnRuntime();

/** A program that takes longer than this to end hangs. */
const PROMPT_MS = 10_000;

/** Runs a script whose last output is `out('end')`. It must end soon after that. */
async function endsPromptly(body, { code = 0, ...options } = {}) {
  const { done, line } = startScript(body, options);
  let text;
  do text = JSON.parse(await line());
  while (text !== 'end');
  const t0 = performance.now();
  const end = await done;
  const ms = performance.now() - t0;
  assert.equal(end.signal ?? end.code, code, end.stderr);
  assert.equal(end.stderr, '', 'nothing is unhandled, nothing warns');
  assert.ok(ms < PROMPT_MS, `it went on for ${Math.round(ms)} ms`);
  return end;
}

const BULK = "Array.from({ length: 2000 }, (_, i) => `${i} ` + 'socket buffer parse '.repeat(20))";

describe('a program ends by itself', () => {
  test('without close()', () => endsPromptly("const client = await connect(); await client.embed('x'); out('end');"));
  test('with close()', () => endsPromptly("const client = await connect(); await client.embed('x'); await client.close(); out('end');"));
  test('when it started the daemon', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    await endsPromptly("await connect(); out('end');", { env });
    const [pid] = daemonPids(env.OFFHEAP_RUNTIME_DIR);
    assert.ok(alive(pid), 'the daemon goes on without it');
  });
  test('with a signal and a deadline that never came', () =>
    endsPromptly("const client = await connect({ timeoutMs: 3_600_000 }); await client.embed('x', { timeoutMs: 3_600_000, signal: new AbortController().signal }); out('end');"));
  test('after an aborted call', () =>
    endsPromptly(`const client = await connect(); const controller = new AbortController();
      const call = client.embedBatch(${BULK}, { signal: controller.signal }).catch((error) => error.code);
      setTimeout(() => controller.abort(), 20); if ((await call) !== 'CANCELLED') throw new Error(await call); out('end');`));
  test('after a call that timed out', () =>
    endsPromptly(`const client = await connect();
      const code = await client.embedBatch(${BULK}, { timeoutMs: 20 }).catch((error) => error.code);
      if (code !== 'TIMEOUT') throw new Error(code); out('end');`));
  test('after the daemon left', () => endsPromptly("const client = await connect(); await client.shutdown(); out('end');"));
  test('after an index run whose progress was not read to the end', () =>
    endsPromptly(`const { mkdtempSync, writeFileSync } = require('node:fs');
      const client = await connect({ project: process.argv[1] });
      for await (const progress of client.index()) break;
      const report = await client.index().catch((error) => error.code);
      await client.shutdown(); out('end');`, { args: [runtimeDir()] }));
});

describe('process.exit()', () => {
  for (const [what, pending] of Object.entries({
    'an embedBatch': `client.embedBatch(${BULK}).catch(() => {});`,
    '50 embeds': "for (let i = 0; i < 50; i++) client.embed('x' + i).catch(() => {});",
    'a ping': 'client.ping().catch(() => {});',
    'a connect': 'connect().catch(() => {});',
    'an aborted embedBatch': `const c = new AbortController(); client.embedBatch(${BULK}, { signal: c.signal }).catch(() => {}); c.abort();`,
  })) {
    test(`with ${what} pending`, async () => {
      for (const later of ['', 'await new Promise(setImmediate);', 'await new Promise((resolve) => setTimeout(resolve, 30));']) {
        await endsPromptly(`const client = await connect(); await client.embed('x'); ${pending} ${later} require('fs').writeSync(1, '"end"\\n'); process.exit(3);`, { code: 3 });
      }
    });
  }
  for (const [when, where] of [
    ['in a progress callback', 'process.exit(3);'],
    ['with progress on its way', 'setImmediate(() => process.exit(3));'],
  ]) {
    test(when, () =>
      endsPromptly(
        `const client = await connect({ project: process.argv[1] });
         client.index({ onProgress: () => { require('fs').writeSync(1, '"end"\\n'); ${where} } }).catch(() => {});
         setInterval(() => {}, 1e6);`,
        { code: 3, args: [project(manyFiles(200))] },
      ));
  }
  test('in the middle of a start', () =>
    endsPromptly(`connect().catch(() => {}); require('fs').writeSync(1, '"end"\\n'); process.exit(3);`, { code: 3, env: { OFFHEAP_RUNTIME_DIR: runtimeDir() } }));
});

/** Copies the files that `require` of the package needs. */
function copyPackage(to) {
  const addons = readdirSync(root).filter((name) => name.endsWith('.node'));
  for (const name of ['index.js', 'native.js', 'package.json', 'lib', ...addons]) cpSync(path.join(root, name), path.join(to, name), { recursive: true });
}

describe('a second copy of the package in one process', () => {
  test('works beside the first, and both end', async () => {
    const copy = tempDir('ohy-');
    copyPackage(copy);
    copyFileSync(sidecar, path.join(copy, path.basename(sidecar)));
    await endsPromptly(
      `const other = require(process.argv[1]);
       if (other.connect === connect) throw new Error('one copy only');
       const clients = [await connect(), await other.connect()];
       const vectors = await Promise.all(clients.map((client) => client.embed('the same text')));
       if (!vectors[0].vector.every((value, i) => value === vectors[1].vector[i])) throw new Error('two answers');
       const pids = await Promise.all(clients.map(async (client) => (await client.status()).pid));
       if (pids[0] !== pids[1]) throw new Error('two daemons');
       const wrong = await clients[1].embed(1).catch((error) => error);
       if (!(wrong instanceof other.OffheapError) || !(wrong instanceof OffheapError)) throw new Error('an error of one copy is one of the other');
       clients[0].embedBatch(${BULK}).catch(() => {});
       clients[1].embedBatch(${BULK}).catch(() => {});
       require('fs').writeSync(1, '"end"\\n'); process.exit(0);`,
      { args: [copy] },
    );
    await endsPromptly("const other = await require(process.argv[1]).connect(); const own = await connect(); await Promise.all([own, other].map((client) => client.embed('x'))); out('end');", { args: [copy] });
  });
});

describe('a process that may start no thread', () => {
  // Regression: loading the addon aborted Node. The limit does not hold for root, so the child runs as another user.
  const stranger = ['--reuid=54321', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', process.execPath];
  const mayTry = linux && process.getuid() === 0 && spawnSync('prlimit', ['--version']).status === 0 && spawnSync('setpriv', [...stranger, '-v']).status === 0;
  test('is told so', { skip: !mayTry && 'needs root, setpriv and prlimit' }, async () => {
    const copy = tempDir('ohy-');
    chmodSync(copy, 0o755);
    copyPackage(copy);
    const body = `
      require('node:child_process').spawnSync('prlimit', ['--pid', String(process.pid), '--nproc=1:1']);
      const offheap = require(process.argv[1]);
      offheap.connect().then(() => console.log('connected'), (error) => console.log(error.code + ' ' + error.message));`;
    const { code, signal, stdout, stderr } = await start('setpriv', [...stranger, '-e', body, '--', copy], { cwd: copy }).done;
    assert.deepEqual([signal ?? code, stderr], [0, ''], stdout);
    assert.match(stdout, /^IO a thread for the connection cannot be started/);
  });
});

describe('requests that no caller waits for', () => {
  test('do not crash and are not unhandled', () =>
    endsPromptly(`process.on('unhandledRejection', (error) => { console.error('unhandled', error); process.exit(9); });
      const client = await connect();
      client.embed('x'); client.embedBatch(['a', 'b']); client.ping(); client.status(); out('end');`));
  test('that fail are unhandled rejections, as of any promise', async () => {
    const { done } = startScript("const client = await connect(); client.embed(1);");
    const { code, stderr } = await done;
    assert.equal(code, 1);
    assert.match(stderr, /INVALID_ARGUMENT/);
  });
  test('a daemon that dies under them does not take Node down', { skip: windows && 'no signals' }, () =>
    endsPromptly(`const client = await connect();
      await client.embed('x');
      const bulk = client.embedBatch(${BULK.replace('2000', '300')});
      process.kill((await client.status()).pid, 'SIGKILL');
      if ((await bulk).length !== 300) throw new Error('lost');
      out('end');`, { env: { OFFHEAP_RUNTIME_DIR: runtimeDir() } }));
});

describe('the daemon holds nothing of the process that started it', () => {
  test('spawnSync with pipes returns: Node', () => {
    const t0 = performance.now();
    const { status, stdout, stderr, error } = scriptSync("const client = await connect(); await client.embed('x'); out((await client.status()).pid);", {
      env: { OFFHEAP_RUNTIME_DIR: runtimeDir() },
      timeoutMs: 60_000,
    });
    assert.equal(error, undefined);
    assert.equal(status, 0, stderr);
    assert.ok(alive(Number(stdout)), 'the daemon runs');
    assert.ok(performance.now() - t0 < 60_000);
  });

  test('spawnSync with pipes returns: the command line', () => {
    const env = { ...process.env, OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { status, stdout, error } = spawnSync(sidecar, ['embed', 'x', '--json'], { env, encoding: 'utf8', timeout: 60_000, cwd: env.OFFHEAP_RUNTIME_DIR });
    assert.equal(error, undefined);
    assert.equal(status, 0);
    assert.equal(JSON.parse(stdout).dim, 384);
    assert.ok(alive(daemonPids(env.OFFHEAP_RUNTIME_DIR)[0]));
  });

  test('the end of its starter, even by SIGKILL, is not its end', { skip: windows && 'no signals' }, async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { child, line, done } = startScript("const client = await connect(); await client.embed('x'); out((await client.status()).pid); setInterval(() => {}, 1e6);", { env });
    const pid = Number(await line());
    child.kill('SIGKILL');
    await done;
    assert.ok(alive(pid));
    const again = scriptSync('out((await (await connect()).status()).pid)', { env });
    assert.equal(Number(again.stdout), pid);
  });
});

describe('the daemon leaves', () => {
  test('when idle; a client does not notice', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_TTL_MS: '50' };
    const { done } = startScript(
      `const client = await connect();
       const before = (await client.embed('x')).vector;
       const { pid } = await client.status();
       for (;;) { try { process.kill(pid, 0); } catch { break; } await new Promise((resolve) => setTimeout(resolve, 5)); }
       const after = (await client.embed('x')).vector;
       out(before.every((value, i) => value === after[i]));
       out('end');`,
      { env, timeoutMs: 60_000 },
    );
    const { code, stdout, stderr } = await done;
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split('\n'), ['true', '"end"']);
    await until('both daemons have left', () => daemonPids(env.OFFHEAP_RUNTIME_DIR).every((pid) => !alive(pid)), 30_000);
    assert.match(logsOf(env.OFFHEAP_RUNTIME_DIR).join(), /idle for/);
  });

  test('while calls keep coming: none fails', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { done } = startScript(
      `const clients = await Promise.all([connect(), connect()]);
       await clients[0].embed('warm');
       let over = false;
       let answers = 0;
       const calling = (async () => { while (!over) { await clients[0].embed('text ' + answers % 7); answers++; } })();
       for (let i = 0; i < 5; i++) { const n = answers; await clients[1].shutdown(); while (answers < n + 3) await new Promise(setImmediate); }
       over = true;
       await calling;
       out(answers >= 15);`,
      { env },
    );
    const { code, stdout, stderr } = await done;
    assert.equal(code, 0, stderr);
    assert.equal(stdout.trim(), 'true');
  });

  test('on SIGTERM, with its work done', { skip: windows && 'no signals' }, async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { done } = startScript(
      `const client = await connect();
       await client.embed('x');
       const call = client.embedBatch(${BULK.replace('2000', '60')});
       process.kill((await client.status()).pid, 'SIGTERM');
       out((await call).length);`,
      { env },
    );
    const { code, stdout, stderr } = await done;
    assert.equal(code, 0, stderr);
    assert.equal(Number(stdout), 60);
  });
});
