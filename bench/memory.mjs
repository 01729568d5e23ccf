// The daemon's anonymous memory (`RssAnon`), Linux only: `node bench/memory.mjs [bulk] [runs] [hostile] [calls]`.
//
// Each case has its own daemon. The main figure is taken after eight quiet seconds, in which the daemon frees what it does not
// use; the peak is sampled every 50 ms.
// `OFFHEAP_ROOT` measures another build of this repository. Needs `npm run build`.

import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = process.env.OFFHEAP_ROOT ?? path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const { chunk, seeded } = random();

const CASES = {
  /** 2,000 chunks embedded in one call. */
  async bulk({ connect, project }) {
    const client = await connect({ project });
    await client.embedBatch(Array.from({ length: 2_000 }, (_, i) => chunk(i)));
    return client;
  },
  /** 250 index runs, one file changed before each. */
  async runs({ connect, project }) {
    const client = await connect({ project });
    for (let i = 0; i < 250; i++) {
      writeFileSync(path.join(project, `file${i % 25}.py`), chunk(i));
      await client.index();
    }
    return client;
  },
  /** A tree with the longest ignore files that are read, and many names that match no rule. */
  async hostile({ connect, project }) {
    const rules = Array.from({ length: 15_000 }, (_, i) => `*n${i}x\n`).join('');
    writeFileSync(path.join(project, '.gitignore'), rules);
    for (let folder = 0; folder < 30; folder++) {
      mkdirSync(path.join(project, `folder${folder}`));
      for (let i = 0; i < 100; i++) writeFileSync(path.join(project, `folder${folder}`, `f${i}.txt`), `${folder} ${i}\n`);
    }
    const client = await connect({ project });
    await client.index().catch((error) => console.log(`   ${error.message.slice(0, 100)}`));
    await client.search('anything', { mode: 'regex' });
    return client;
  },
  /** 1,000 calls of every kind, some of them wrong. */
  async calls({ connect, project }) {
    for (let i = 0; i < 200; i++) writeFileSync(path.join(project, `file${i}.py`), chunk(i));
    const client = await connect({ project });
    await client.index();
    const pick = (list) => list[seeded(list.length)];
    const call = (i) => {
      switch (seeded(6)) {
        case 0:
          return client.embed(chunk(i).repeat(1 + seeded(4)));
        case 1:
          return client.embedBatch(Array.from({ length: 1 + seeded(8) }, (_, n) => chunk(i + n)));
        case 2:
          return client.search(chunk(i).slice(0, 1 + seeded(200)), { mode: pick(['hybrid', 'semantic', 'text', 'symbol']), limit: 1 + seeded(1_000) });
        case 3:
          return client.search(pick(['(', '\\w+', 'def .*', '(a|b)*c', '[[:alpha:]]{3,200}']), { mode: 'regex', limit: 1 + seeded(1_000) });
        case 4:
          return client.search('x', { globs: Array.from({ length: seeded(50) }, (_, n) => pick(['*.py', '!a*', `${n}**/[a-`, '{a,b'])) });
        default:
          return client.index({ rebuild: seeded(20) === 0 });
      }
    };
    for (let i = 0; i < 1_000; i += 8) await Promise.allSettled(Array.from({ length: 8 }, (_, n) => call(i + n)));
    return client;
  },
};

function random() {
  let state = 1;
  const seeded = (n) => ((state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) >> 8) % n;
  const words = 'parse load flush merge retry encode verify schedule resolve acquire socket buffer request index token segment'.split(' ');
  const word = () => words[seeded(words.length)];
  const chunk = (i) => Array.from({ length: 12 }, (_, line) => `    ${word()}_${word()} = self.${word()}(${word()}, limit=${i * 12 + line})`).join('\n');
  return { chunk, seeded };
}

const anon = (pid) => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

async function measure(name) {
  const run = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'oh-')));
  chmodSync(run, 0o700);
  const project = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'oh-project-')));
  Object.assign(process.env, { OFFHEAP_RUNTIME_DIR: run, OFFHEAP_WATCH: '0', XDG_STATE_HOME: run });
  const { connect } = createRequire(import.meta.url)(path.join(root, 'index.js'));
  const first = await connect({ project });
  const { pid } = await first.status();
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, anon(pid))), 50);
  const began = performance.now();
  const client = await CASES[name]({ connect, project });
  clearInterval(timer);
  const seconds = (performance.now() - began) / 1000;
  const now = anon(pid);
  await sleep(8_000);
  console.log(`${name.padEnd(8)} peak ${peak.toFixed(1)} MB, at the end ${now.toFixed(1)}, eight seconds later ${anon(pid).toFixed(1)}   (${seconds.toFixed(1)} s)`);
  await client.shutdown();
  for (const dir of [run, project]) rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

const asked = process.argv.slice(2);
if (asked[0] === '--one') {
  await measure(asked[1]);
} else {
  // One process for each case, because a process keeps its connection to a directory's daemon.
  for (const name of asked.length > 0 ? asked : Object.keys(CASES)) {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--one', name], { stdio: 'inherit' });
    await new Promise((resolve) => child.on('close', (code) => resolve((process.exitCode ||= code))));
  }
}
