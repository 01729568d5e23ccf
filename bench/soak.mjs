// Long runs that must end without an error. Needs `npm run build`.
//
//     node bench/soak.mjs idle [seconds] [pause]   16 processes that pause so many milliseconds between calls; the daemon leaves
//                                                  after 5 idle milliseconds
//     node bench/soak.mjs fair [seconds]           16 processes with 8 calls in flight each, without and with a peer that takes
//                                                  no answers
//     node bench/soak.mjs hygiene                  programs that start a daemon end without waiting for it

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const [what = 'idle', seconds = '60', pause = '5'] = process.argv.slice(2);
const run = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'oh-')));
chmodSync(run, 0o700);
const env = { ...process.env, OFFHEAP_RUNTIME_DIR: run, OFFHEAP_WATCH: '0' };
const log = () => readdirSync(run).filter((name) => /\.log(\.1)?$/.test(name)).map((name) => readFileSync(path.join(run, name), 'utf8')).join('');
const daemons = () => [...log().matchAll(/ready: offheap \S+, pid (\d+)/g)].map((match) => Number(match[1]));
const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const code = (body) => `const { connect } = require(${JSON.stringify(root)}); (async () => { ${body} })();`;
const finish = (child) => new Promise((resolve) => child.on('close', (status, signal) => resolve(signal ?? status)));

async function idle() {
  const processes = 16;
  const body = code(`
    const client = await connect();
    const until = performance.now() + ${Number(seconds) * 1000};
    const times = [];
    let errors = [];
    while (performance.now() < until) {
      const began = performance.now();
      await (Math.random() < 0.1 ? client.embed('x') : client.ping()).catch((error) => errors.push(error.code + ': ' + error.message));
      times.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, ${Number(pause)} * (0.8 + 0.4 * Math.random())));
    }
    times.sort((a, b) => a - b);
    console.log(JSON.stringify({ calls: times.length, errors, p50: times[times.length >> 1], max: times.at(-1) }));`);
  const children = Array.from({ length: processes }, () => spawn(process.execPath, ['-e', body], { env: { ...env, OFFHEAP_TTL_MS: '5' }, stdio: ['ignore', 'pipe', 'inherit'] }));
  const outputs = children.map((child) => {
    let text = '';
    child.stdout.on('data', (part) => (text += part));
    return finish(child).then(() => JSON.parse(text));
  });
  const results = await Promise.all(outputs);
  const errors = results.flatMap((result) => result.errors);
  const ended = JSON.parse(readFileSync(path.join(run, readdirSync(run).find((name) => name.endsWith('.runs'))), 'utf8'));
  console.log(`${processes} processes, ${seconds} s, pauses of ${pause} ms, ttl 5 ms: ${results.reduce((sum, result) => sum + result.calls, 0)} calls, ${ended.starts} daemons came and ${ended.crashes} of them crashed, ${errors.length} errors, slowest call ${Math.max(...results.map((result) => result.max)).toFixed(0)} ms`);
  for (const error of errors.slice(0, 5)) console.log(error);
  if (errors.length > 0) process.exitCode = 1;
}

async function hygiene() {
  const script = path.join(run, 'script.cjs');
  writeFileSync(script, code(`const client = await connect(); await client.embed('x'); console.log('done');`));
  writeFileSync(path.join(run, 'package.json'), JSON.stringify({ scripts: { go: `${JSON.stringify(process.execPath)} ${JSON.stringify(script)}` } }));
  const ways = {
    'out=$(node script)': ['sh', ['-c', `out=$("${process.execPath}" "${script}"); test "$out" = done`]],
    'npm run': ['npm', ['run', '--silent', 'go']],
    spawnSync: [process.execPath, ['-e', `const { stdout } = require('node:child_process').spawnSync(process.execPath, [${JSON.stringify(script)}], { encoding: 'utf8' }); process.exit(stdout === 'done\\n' ? 0 : 1)`]],
  };
  for (const [name, [command, args]] of Object.entries(ways)) {
    for (const pid of daemons().filter(alive)) process.kill(pid, 'SIGKILL');
    const began = performance.now();
    execFileSync(command, args, { env, cwd: run, timeout: 20_000, stdio: ['ignore', 'pipe', 'inherit'] });
    const took = performance.now() - began;
    const pid = daemons().filter(alive).at(-1);
    const open = process.platform === 'linux' ? readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)) : ['not told here'];
    console.log(`${name}: ${took.toFixed(0)} ms, daemon ${alive(pid) ? 'lives' : 'is gone'}, it holds ${[...new Set(open.map((file) => file.replace(/\d+/g, 'N').replace(run.replace(/\d+/g, 'N'), 'RUN')))].sort().join(' ')}`);
    const expected = /^(\/dev\/null|anon_inode:.*|socket:.*|not told here|.*\.(lock|log))$/;
    if (took > 2000 || !alive(pid) || !open.every((file) => expected.test(file))) process.exitCode = 1;
  }
}

/** The bytes of a frame of protocol 1 (sidecar/protocol/README.md). */
function frame(id, control, body = Buffer.alloc(0)) {
  const header = Buffer.alloc(24);
  header.write('OFHP');
  header[4] = 1;
  header.writeUInt32LE(id, 8);
  header.writeUInt32LE(control.length, 16);
  header.writeUInt32LE(body.length, 20);
  return Buffer.concat([header, control, body]);
}

/** Connects, asks for eight large answers and reads none. */
async function stalledReader() {
  const socket = net.connect(path.join(run, readdirSync(run).find((name) => name.endsWith('.sock'))));
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.pause();
  const preamble = Buffer.alloc(32);
  preamble.write('OFFHEAP\0');
  preamble[8] = 1;
  preamble.writeUInt16LE(1, 10);
  preamble.writeUInt16LE(1, 12);
  preamble.write('0.1.0', 16);
  const texts = 256;
  const control = Buffer.from([0, 2, 251, texts & 255, texts >> 8, ...Array(texts).fill(4), 0, 0, 0, 0]);
  const asks = Array.from({ length: 8 }, (_, i) => frame(i + 2, control, Buffer.from('text'.repeat(texts))));
  socket.write(Buffer.concat([preamble, frame(1, Buffer.from([0, 0, 1, 120])), ...asks]));
  return socket;
}

async function fair() {
  const dir = path.join(run, 'project');
  mkdirSync(dir);
  for (let i = 0; i < 200; i++) writeFileSync(path.join(dir, `file${i}.py`), `def function_${i}():\n    return "word${i % 17} word${i % 31} socket buffer"\n`);
  const { connect } = createRequire(import.meta.url)(root);
  process.env.OFFHEAP_RUNTIME_DIR = run;
  const client = await connect({ project: dir });
  await client.index();
  const body = code(`
    const client = await connect({ project: ${JSON.stringify(dir)} });
    const until = performance.now() + ${Number(seconds) * 1000};
    const times = [];
    const errors = [];
    let n = 0;
    await Promise.all(Array.from({ length: 8 }, async () => {
      while (performance.now() < until) {
        const began = performance.now();
        const turn = n++ % 4;
        await (turn === 0 ? client.embed('text ' + n) : turn === 1 ? client.search('function word' + (n % 31)) : turn === 2 ? client.search('word' + (n % 31), { mode: 'text' }) : client.ping()).catch((error) => errors.push(error.code));
        times.push(performance.now() - began);
      }
    }));
    console.log(JSON.stringify({ times, errors }));`);
  let alone = 0;
  for (const stalled of [false, true]) {
    const socket = stalled ? await stalledReader() : null;
    const before = (await client.status()).anonBytes;
    const results = await Promise.all(
      Array.from({ length: 16 }, () => {
        const child = spawn(process.execPath, ['-e', body], { env, stdio: ['ignore', 'pipe', 'inherit'] });
        let text = '';
        child.stdout.on('data', (part) => (text += part));
        return finish(child).then(() => JSON.parse(text));
      }),
    );
    const times = results.flatMap((result) => result.times).sort((a, b) => a - b);
    const errors = results.flatMap((result) => result.errors);
    const at = (p) => times[Math.floor(times.length * p)].toFixed(0);
    const after = (await client.status()).anonBytes;
    console.log(`16 processes x 8 in flight, ${seconds} s, ${stalled ? 'one reader stalled' : 'no reader stalled'}: ${times.length} answers, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${errors.length} errors, own memory ${(before / 1e6).toFixed(1)} -> ${(after / 1e6).toFixed(1)} MB`);
    if (errors.length > 0) process.exitCode = 1;
    const p99 = times[Math.floor(times.length * 0.99)];
    if (stalled && p99 > 2 * alone) process.exitCode = 1;
    alone = p99;
    socket?.destroy();
  }
  await client.close();
}

try {
  await { idle, hygiene, fair }[what]();
} finally {
  for (const pid of daemons().filter(alive)) process.kill(pid, 'SIGKILL');
  rmSync(run, { recursive: true, force: true });
}
