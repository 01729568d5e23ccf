// Long runs that must not show an error: `node bench/soak.mjs idle` (16 processes against a daemon that leaves after 5
// idle milliseconds) and `node bench/soak.mjs hygiene` (whoever starts the daemon is let go). Needs `npm run build`.

import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const [what = 'idle', seconds = '60'] = process.argv.slice(2);
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
      await new Promise((resolve) => setTimeout(resolve, 4 + 2 * Math.random()));
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
  const ended = (log().match(/ left$/gm) ?? []).length;
  console.log(`${processes} processes, ${seconds} s, ttl 5 ms: ${results.reduce((sum, result) => sum + result.calls, 0)} calls, ${ended}+ daemons came and went, ${errors.length} errors, slowest call ${Math.max(...results.map((result) => result.max)).toFixed(0)} ms`);
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
    if (took > 2000 || !alive(pid)) process.exitCode = 1;
  }
}

try {
  await { idle, hygiene }[what]();
} finally {
  for (const pid of daemons().filter(alive)) process.kill(pid, 'SIGKILL');
  rmSync(run, { recursive: true, force: true });
}
