// A daemon that crashes, hangs or cannot be started, as a Node program sees it.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import {
  alive, daemonPids, kill, linux, nodeArgs, project, rejects, runtimeDir, script, sidecar, signal, start, startScript, tempDir, test, texts,
  until, useOwnRuntime, windows,
} from './support.mjs';

const { connect } = useOwnRuntime();

/** Makes a shell script that replaces the sidecar and records the time of each start. */
function standIn(body) {
  const file = path.join(tempDir(), 'sidecar');
  writeFileSync(file, `#!/bin/sh\ndate +%s%N >> "$0.starts"\n${body}\n`, { mode: 0o755 });
  const starts = () => (existsSync(`${file}.starts`) ? readFileSync(`${file}.starts`, 'utf8').trim().split('\n').map((ns) => Number(BigInt(ns) / 1000n) / 1000) : []);
  return { file, starts };
}

/** The sidecar, made to die at a failpoint as by `kill -9`. */
const dying = (point) => standIn(`OFFHEAP_DIE_AT=${point} exec ${sidecar} "$@"`);

describe('a daemon that dies whenever it is started', { skip: windows && 'the stand-ins are shell scripts' }, () => {
  const outcomeOf = async (sidecar, body = 'await connect()') => {
    const [error] = await script(`try { ${body}; out({ code: 'none' }); } catch (error) { out(plain(error)); }`, {
      env: { OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_SIDECAR: sidecar.file },
    });
    return error;
  };
  /** Asserts one pause of at least three quarters of each delay. A busy machine makes pauses longer, never shorter. */
  const assertDelays = (starts, delays = [100, 500, 1000, 2000]) => {
    const gaps = starts.slice(1).map((at, i) => at - starts[i]);
    assert.equal(gaps.length, delays.length, `${gaps}`);
    assert.ok(gaps.every((gap, i) => gap >= 0.75 * delays[i]), `${gaps}`);
  };

  test('before it is ready: five starts, every delay between them, the reason', async () => {
    const crashing = standIn('exit 7');
    const error = await outcomeOf(crashing);
    assert.equal(error.code, 'DAEMON_START_FAILED');
    assert.match(error.message, /exit code 7/);
    assert.match(error.hint, /\.log.*doctor/);
    assertDelays(crashing.starts());
  });

  test('between the lock and the socket: the same, with the end of its log', async () => {
    const crashing = dying('bind');
    const error = await outcomeOf(crashing);
    assert.equal(error.code, 'DAEMON_START_FAILED');
    assert.match(error.message, /SIGKILL/);
    assertDelays(crashing.starts());
  });

  test('behind its ready line: the same', async () => {
    const crashing = dying('ready');
    const error = await outcomeOf(crashing);
    assert.equal(error.code, 'DAEMON_LOST');
    assert.match(error.message, /crashed 5 times in a row/);
    assertDelays(crashing.starts());
  });

  test('as often and after such delays as the project asks for', async () => {
    const crashing = standIn('exit 7');
    const dir = project({}, { daemon: { max_retries: 2, retry_delays_ms: [300] } });
    const error = await outcomeOf(crashing, `await connect({ project: ${JSON.stringify(dir)} })`);
    assert.equal(error.code, 'DAEMON_START_FAILED');
    assertDelays(crashing.starts(), [300, 300]);
  });

  test('without retries: one start for each call', async () => {
    const crashing = dying('ready');
    const dir = project({}, { daemon: { max_retries: 0, retry_delays_ms: [300] } });
    const answers = await script(
      `for (let i = 0; i < 2; i++) out(await connect({ project: process.argv[1] }).catch(plain));`,
      { env: { OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_SIDECAR: crashing.file }, args: [dir] },
    );
    assert.deepEqual(answers.map((error) => error.code), ['DAEMON_LOST', 'DAEMON_LOST']);
    assert.match(answers[0].message, /crashed once/);
    assertDelays(crashing.starts(), [300]);
  });

  test('under each request: that one is given up, others are served', async () => {
    const crashing = dying('batch');
    const answers = await script(
      `const client = await connect();
       const poison = client.embed('x').catch(plain);
       const others = Promise.all(Array.from({ length: 5 }, () => client.ping()));
       out((await poison).code);
       out((await others).length);
       out(typeof (await client.ping()));`,
      { env: { OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_SIDECAR: crashing.file } },
    );
    assert.deepEqual(answers, ['POISONED', 5, 'number']);
    assert.equal(crashing.starts().length, 3, 'the first, the one that it died with again, and one for the others');
  });

  test('a client that was told goes on when the reason is gone', async () => {
    const once = standIn(`[ -e "$0.well" ] || exit 7\nexec ${sidecar} "$@"`);
    const [code, length] = await script(
      `const client = await connect().catch((error) => out(error.code));
       require('node:fs').writeFileSync(process.env.OFFHEAP_SIDECAR + '.well', '');
       // Another process starts a daemon.
       require('node:child_process').spawnSync(${JSON.stringify(sidecar)}, ['start', '--project', process.argv[1]], { env: process.env });
       out((await (await connect({ project: process.argv[1] })).embed('x')).vector.length);`,
      { env: { OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_SIDECAR: once.file }, args: [project({})] },
    );
    assert.deepEqual([code, length], ['DAEMON_START_FAILED', 384]);
  });
});

describe('a daemon that is stopped', { skip: windows && 'no such signal' }, () => {
  test('calls end at their deadline with DAEMON_UNRESPONSIVE; nothing is killed; it goes on', async () => {
    const dir = runtimeDir();
    const env = { OFFHEAP_RUNTIME_DIR: dir };
    const { child, line, done } = startScript(
      `const client = await connect();
       await client.embed('x');
       out((await client.status()).pid);
       process.once('SIGUSR2', async () => {
         out(await client.embed('y', { timeoutMs: 400 }).catch((error) => error.code));
         out(await client.ping({ timeoutMs: 400 }).catch((error) => error.code));
         out(await client.status({ timeoutMs: 400 }).catch((error) => error.code));
         clearInterval(alive);
         process.once('SIGUSR2', async () => {
           out((await client.embed('y')).vector.length);
           clearInterval(again);
         });
         const again = setInterval(() => {}, 1000);
       });
       const alive = setInterval(() => {}, 1000);`,
      { env },
    );
    const pid = JSON.parse(await line());
    signal(pid, 'SIGSTOP');
    signal(child.pid, 'SIGUSR2');
    for (let i = 0; i < 3; i++) assert.equal(JSON.parse(await line()), 'DAEMON_UNRESPONSIVE');
    // A process that has no connection yet.
    const [fresh] = await script("out(await connect({ timeoutMs: 600 }).catch(plain))", { env });
    assert.equal(fresh.code, 'DAEMON_UNRESPONSIVE');
    assert.match(fresh.hint, /restart --force/);
    assert.ok(alive(pid));
    signal(pid, 'SIGCONT');
    signal(child.pid, 'SIGUSR2');
    assert.equal(JSON.parse(await line()), 384);
    assert.equal((await done).code, 0);
    assert.deepEqual(daemonPids(dir), [pid]);
  });
});

describe('hashed vectors', () => {
  const env = () => ({ OFFHEAP_RUNTIME_DIR: runtimeDir(), OFFHEAP_MODEL: '/no/such/model.gguf' });

  test('only where they were asked for and no model loads; marked in every answer, told once', async () => {
    const answers = await script(
      `const plainly = await connect();
       out(await plainly.embed('x').catch((error) => error.code));
       const client = await connect({ fallback: 'hash' });
       const told = [];
       client.on('fallback', (fallback) => told.push(fallback.kind));
       const one = await client.embed('open the file');
       const batch = await client.embedBatch(['open the file', 'close it']);
       out([one.space, one.fallback, /MODEL_NOT_FOUND/.test(one.degraded), batch.space, batch.fallback, batch.dim]);
       out(batch.row(0).every((x, i) => x === one.vector[i]));
       await new Promise(setImmediate);
       out(told);`,
      { env: env() },
    );
    assert.deepEqual(answers, ['MODEL_NOT_FOUND', ['hash-v1', 'hash', true, 'hash-v1', 'hash', 384], true, ['hash']]);
  });

  test('without a listener Node warns, once', async () => {
    const { code, stderr } = await startScript(
      "const client = await connect({ fallback: 'hash' }); await client.embed('a'); await client.embed('b');",
      { env: env() },
    ).done;
    assert.equal(code, 0);
    assert.equal(stderr.match(/OFFHEAP_FALLBACK/g)?.length, 1, stderr);
  });

  test('not asked for, not there: a model that loads is used', async () => {
    const client = await connect({ fallback: 'hash' });
    const { space, degraded, fallback } = await client.embed('x');
    assert.notEqual(space, 'hash-v1');
    assert.deepEqual([degraded, fallback], [undefined, undefined]);
    await rejects(connect({ fallback: 'maybe' }), 'INVALID_ARGUMENT', 'hash');
  });
});

// Python's ctypes forbids the process sockets before it executes Node.
const python = linux && spawnSync('python3', ['-c', 'import ctypes']).status === 0;
describe('a sandbox', { skip: !python && 'needs Linux and python3' }, () => {
  /** Runs Node with `socket` refused for these address families. */
  const confined = (families, body, options) => {
    const launcher = `
import ctypes, os, struct, sys
families = [${families}]
code = lambda op, jt, jf, k: struct.pack('HBBI', op, jt, jf, k)
call = {'x86_64': 41, 'aarch64': 198}[os.uname().machine]
program = code(0x20, 0, 0, 0) + code(0x15, 0, len(families) + 1, call) + code(0x20, 0, 0, 16)
for i, family in enumerate(families): program += code(0x15, len(families) - i, 0, family)
program += code(0x06, 0, 0, 0x7fff0000) + code(0x06, 0, 0, 0x00050001)
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('code', ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, ctypes.addressof(buffer)))) == 0
os.execv(sys.argv[1], sys.argv[1:])`;
    return start('python3', ['-c', launcher, process.execPath, ...nodeArgs(body)], options);
  };
  const body = (dir) => `
    const client = await connect({ project: ${JSON.stringify(dir)} });
    const told = [];
    client.on('fallback', (fallback) => told.push(fallback.kind));
    const { vector, fallback } = await client.embed('x');
    const run = await client.index();
    const found = await client.search('alpha', { mode: 'text' });
    const status = await client.status();
    out({ n: vector.length, told, marks: [fallback, run.fallback, found.fallback, status.fallback, status.transport], path: found.hits[0].path, pid: status.pid });`;

  test('without local sockets: TCP, shared by processes, said in every answer', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const dir = project({ 'a.py': 'def alpha():\n    return 1\n' });
    const runs = [];
    for (let i = 0; i < 2; i++) {
      const { code, stdout, stderr } = await confined([1], body(dir), { env }).done;
      assert.equal(code, 0, stderr);
      runs.push(JSON.parse(stdout));
      assert.deepEqual(runs[i].marks, Array(5).fill('tcp'));
      assert.deepEqual([runs[i].n, runs[i].told, runs[i].path], [384, ['tcp'], 'a.py']);
    }
    assert.equal(runs[0].pid, runs[1].pid);
    signal(runs[0].pid, 'SIGTERM');
    await until('it is gone', () => !alive(runs[0].pid));
  });

  test('without any sockets: a private daemon that ends with the process', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const dir = project({ 'a.py': 'def alpha():\n    return 1\n' });
    const { code, stdout, stderr } = await confined([1, 2, 10], body(dir), { env }).done;
    assert.equal(code, 0, stderr);
    const run = JSON.parse(stdout);
    assert.deepEqual(run.marks, Array(5).fill('standalone'));
    assert.deepEqual([run.n, run.told, run.path], [384, ['standalone'], 'a.py']);
    await until('it is gone', () => !alive(run.pid));
  });

  test('its death is a retry, too', async () => {
    const env = { OFFHEAP_RUNTIME_DIR: runtimeDir() };
    const { code, stdout, stderr } = await confined(
      [1, 2, 10],
      `const client = await connect();
       client.on('fallback', () => {});
       const { pid } = await client.status();
       process.kill(pid, 'SIGKILL');
       out((await client.embed('x')).vector.length);
       out((await client.status()).pid !== pid);`,
      { env },
    ).done;
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split('\n'), ['384', 'true']);
  });
});

test('an index run that is not awaited does not fail unseen', async () => {
  const { code, stderr } = await startScript("const client = await connect(); client.index(); setTimeout(() => {}, 500);").done;
  assert.notEqual(code, 0);
  assert.match(stderr, /NO_PROJECT/);
});

test('a daemon that dies under several clients died once', async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect({ project: project({}) }).then((first) => connect({ project: first.project }).then((second) => [first, second]))));
  for (const pair of clients) {
    const { pid } = await pair[0].status();
    const work = pair.flatMap((client) => [client.embedBatch(texts(200, 30)), client.embedBatch(texts(200, 30, 2))]);
    work.forEach((call) => call.catch(() => {}));
    await until('it works on them', async () => (await pair[0].status()).queued > 0);
    await kill(pid);
    for (const batch of await Promise.all(work)) assert.equal(batch.length, 200);
    const status = await pair[1].status();
    assert.deepEqual([status.starts, status.crashes], [2, 1]);
  }
});

test('a kill between calls costs a start, and is counted', async () => {
  const dir = project({ 'a.txt': 'a\n' });
  const client = await connect({ project: dir });
  for (let round = 1; round <= 5; round++) {
    const { pid } = await client.status();
    await kill(pid);
    assert.equal((await client.embedBatch(texts(3, 5, round))).length, 3);
    const status = await client.status();
    assert.deepEqual([status.starts, status.crashes], [round + 1, round]);
  }
});
