// The rule of starting (sidecar/src/daemon/mod.rs): nothing heavy in `require('offheap')`, nothing heavy before the daemon's
// ready line. Times are compared with those of programs that do nothing, taken in turn on the same machine, so that a slow or
// busy machine slows both; the shortest of many runs counts, which is the one that was disturbed least.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe } from 'node:test';
import { alive, project, root, sidecar, signal, tempDir, test, until, useOwnRuntime, windows } from './support.mjs';

useOwnRuntime();

const RUNS = 15;
/** How much slower than recorded is too slow. */
const TOO_SLOW = 2;
/** `require('offheap')` in Node to Node with an empty program, recorded on 2 cores of an AMD EPYC with AVX-512, Node 20. */
const REQUIRE_RATIO = 1.06;
/** From the spawn of a daemon to its ready line, to the spawn of `true` to its end; recorded on the same machine. */
const READY_RATIO = 2.3;

/** The shortest time of each of `works`, which return milliseconds, over runs of all of them in turn. */
async function shortest(...works) {
  const times = works.map(() => Infinity);
  for (let run = 0; run < RUNS; run++) {
    for (const [i, work] of works.entries()) times[i] = Math.min(times[i], await work());
  }
  return times;
}

/** Runs a program in Node; how long that took. */
function node(program) {
  const began = performance.now();
  const { status, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return performance.now() - began;
}

/** Starts a daemon and ends it; how long it took to its ready line. */
async function ready(dir) {
  const env = { ...process.env, OFFHEAP_RUNTIME_DIR: tempDir('oh-') };
  const began = performance.now();
  const daemon = spawn(sidecar, ['daemon', '--project', dir], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const [line] = await once(daemon.stdout, 'data');
    assert.match(String(line), /"ready"/);
    return performance.now() - began;
  } finally {
    signal(daemon.pid, 'SIGKILL');
    await until('the daemon is gone', () => !alive(daemon.pid));
  }
}

/** Runs a program that does nothing; how long that took. */
async function nothing() {
  const began = performance.now();
  await once(spawn('true', { stdio: 'ignore' }), 'exit');
  return performance.now() - began;
}

function report(t, what, recorded, times) {
  const ratio = times[0] / times[1];
  t.diagnostic(`${what}: ${times.map((ms) => ms.toFixed(1)).join(' to ')} ms, ratio ${ratio.toFixed(2)}, recorded ${recorded}`);
  assert.ok(ratio < TOO_SLOW * recorded, `${what} takes ${ratio.toFixed(2)} times as long as an empty program; recorded were ${recorded}`);
}

describe('the rule of starting', () => {
  test("require('offheap') takes no longer than recorded", async (t) => {
    const times = await shortest(() => node(`require(${JSON.stringify(root)})`), () => node('0'));
    report(t, 'require', REQUIRE_RATIO, times);
  });

  test('a daemon is ready no later than recorded', { skip: windows && 'no `true` to compare with' }, async (t) => {
    const dir = project({ 'a.js': 'export const a = 1;\n' });
    report(t, 'the way to ready', READY_RATIO, await shortest(() => ready(dir), nothing));
  });
});
