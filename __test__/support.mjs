// Shared by the test files: a runtime directory for each, fixture projects, child processes. No daemon outlives its tests.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { after, test as nodeTest } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The repository's root, which is also the package's. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
export const windows = process.platform === 'win32';
export const linux = process.platform === 'linux';
/** The sidecar binary that the addon finds. */
export const sidecar = path.join(root, windows ? 'offheap.exe' : 'offheap');
export const require = createRequire(path.join(root, 'index.js'));

/** The time limit of a test, long enough for a busy machine. */
export const PATIENCE_MS = Number(process.env.OFFHEAP_TEST_PATIENCE_MS) || 120_000;

/** `test` of node:test with a time limit. */
export const test = (name, options, work = options) =>
  nodeTest(name, { timeout: PATIENCE_MS, ...(typeof options === 'function' ? {} : options) }, work);

const dirs = [];
const runtimeDirs = [];
const projects = [];

/** Makes a directory that is removed after the tests. Its path is short and has no links in it. */
export function tempDir(prefix = 'oh-') {
  const dir = realpathSync(mkdtempSync(path.join(os.tmpdir(), prefix)));
  dirs.push(dir);
  return dir;
}

/** Makes a runtime directory, whose daemons are ended after the tests. */
export function runtimeDir() {
  const dir = tempDir('oh-');
  chmodSync(dir, 0o700);
  runtimeDirs.push(dir);
  return dir;
}

/** Call it once per test file, before anything else. Sets the runtime directory, and ends its daemons after the tests. */
export function useOwnRuntime() {
  process.env.OFFHEAP_RUNTIME_DIR = runtimeDir();
  process.env.XDG_STATE_HOME = tempDir('oh-state-'); // It holds the secret that indexes are signed with.
  // Daemons of a killed test run leave after three idle minutes.
  process.env.OFFHEAP_TTL_MS ??= '180000';
  // No background runs: tests count what an index run does.
  process.env.OFFHEAP_WATCH ??= '0';
  after(leaveNone);
  process.on('exit', () => {
    for (const pid of runtimeDirs.flatMap(daemonPids).filter(alive)) signal(pid, 'SIGKILL');
    for (const dir of dirs) rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  });
  return require(root);
}

/** Asks every daemon to leave. Fails if one does not. */
async function leaveNone() {
  for (const dir of runtimeDirs) {
    if (!daemonPids(dir).some(alive)) continue;
    // `connect` would start a daemon, so it is called only where one runs.
    const body = `
      const { projects } = JSON.parse(process.argv[1]);
      const native = require(${JSON.stringify(path.join(root, 'native.js'))});
      for (const project of projects) {
        try {
          await native.connect(native.locate(project ?? undefined).project, false);
        } catch {
          continue; // No daemon runs there.
        }
        const client = await connect(project === null ? {} : { project });
        await client.shutdown({ timeoutMs: 20_000 });
      }`;
    const known = [null, ...projects];
    await script(body, { args: [JSON.stringify({ projects: known })], env: { OFFHEAP_RUNTIME_DIR: dir } });
  }
  const left = () => runtimeDirs.flatMap(daemonPids).filter(alive);
  await until('every daemon has left', () => left().length === 0, 30_000).catch((error) => {
    const logs = runtimeDirs.flatMap((dir) => logsOf(dir)).join('\n');
    throw new Error(`${error.message}: ${left().join(', ')}\n${logs}`);
  });
}

/** The texts of a runtime directory's logs. */
export const logsOf = (dir = process.env.OFFHEAP_RUNTIME_DIR) => {
  try {
    return readdirSync(dir)
      .filter((name) => name.endsWith('.log'))
      .map((name) => readFileSync(path.join(dir, name), 'utf8'));
  } catch {
    return []; // The test removed the directory, or made it unreadable.
  }
};

/** Process identifiers of all daemons that were ready in a runtime directory, oldest first for each endpoint. */
export const daemonPids = (dir = process.env.OFFHEAP_RUNTIME_DIR) =>
  logsOf(dir).flatMap((log) => [...log.matchAll(/ready: offheap \S+, pid (\d+)/g)].map((match) => Number(match[1])));

/** Whether a process runs. A zombie does not. */
export function alive(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  if (!linux) return true;
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

export function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch {
    // The process is gone.
  }
}

/** Kills a process and waits until it is gone. */
export async function kill(pid) {
  process.kill(pid, 'SIGKILL');
  await until(`process ${pid} is gone`, () => !alive(pid));
}

/** Polls until `probe` returns something truthy, and returns that. */
export async function until(what, probe, ms = PATIENCE_MS) {
  const deadline = performance.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(5);
  }
}

/** Waits for `promise`, but no longer than `ms`. */
export async function within(ms, what, promise) {
  let timer;
  const over = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms)));
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

/** Makes a project of files such as `{ 'src/a.rs': 'text' }`; contents are texts or bytes. */
export function project(files, config = undefined) {
  const dir = tempDir('ohp-');
  projects.push(dir);
  write(dir, files);
  if (config !== undefined) write(dir, { '.offheap/config.json': typeof config === 'string' ? config : JSON.stringify(config) });
  return dir;
}

export function write(dir, files) {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(dir, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}

/** Working directory of child processes. Not the repository, which `npm run demo` makes a project. */
let elsewhere;
const outside = () => (elsewhere ??= tempDir('ohc-'));

/** Starts a child process. `done` resolves when it ends, `line()` with its next line of standard output. */
export function start(command, args, { env = {}, cwd = outside(), input = '', timeoutMs = PATIENCE_MS } = {}) {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true });
  child.stdin.on('error', () => {}); // The child may close its input unread.
  child.stdin.end(input);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (part) => (stdout += part));
  child.stderr.setEncoding('utf8').on('data', (part) => (stderr += part));
  let over = false;
  const done = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      over = true;
      resolve({ code, signal, stdout, stderr });
    });
  });
  let read = 0;
  const line = () =>
    until('the child says something', () => {
      const end = stdout.indexOf('\n', read);
      if (end >= 0) {
        const text = stdout.slice(read, end);
        read = end + 1;
        return { text };
      }
      if (over) throw new Error(`the child ended before it printed a line:\n${stdout}\n${stderr}`);
      return null;
    }).then(({ text }) => text);
  return { child, done, line };
}

/** A child's whole script: it loads the package, defines `out(value)`, which prints a line of JSON, and runs `body`. */
const wrap = (body, bare) => `
${bare ? '' : `const offheap = require(${JSON.stringify(root)});
const { connect, OffheapError } = offheap;`}
const out = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
const plain = (error) => ({ name: error.name, code: error.code, message: error.message, hint: error.hint, typed: error instanceof OffheapError });
(async () => {
${body}
})();
`;

/** Arguments for a Node process that runs `body`, which can use `connect`, `out` and `plain`. `bare`: without the package. */
export const nodeArgs = (body, args = [], flags = [], bare = false) => [...flags, '-e', wrap(body, bare), '--', ...args];

/** Starts a Node process that runs `body`. */
export const startScript = (body, { args, flags, bare, ...options } = {}) => start(process.execPath, nodeArgs(body, args, flags, bare), options);

/** Runs `body` in a Node process, which must succeed. Returns the values that it printed with `out`. */
export async function script(body, options = {}) {
  const { code, signal, stdout, stderr } = await startScript(body, options).done;
  assert.equal(signal ?? code, 0, `the child failed:\n${stdout}\n${stderr}`);
  assert.equal(stderr, '', 'nothing on standard error');
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** Runs the command line. */
export async function cli(args, options = {}) {
  const { code, signal, stdout, stderr } = await start(sidecar, args, options).done;
  return { code: signal ?? code, stdout, stderr, json: stdout.startsWith('{') ? JSON.parse(stdout) : undefined };
}

/** Runs `body` in a Node process and blocks until its pipes are closed. */
export const scriptSync = (body, { args, env = {}, timeoutMs = PATIENCE_MS } = {}) =>
  spawnSync(process.execPath, nodeArgs(body, args), { env: { ...process.env, ...env }, encoding: 'utf8', timeout: timeoutMs, killSignal: 'SIGKILL' });

/** Asserts that a promise rejects with an OffheapError of that code, whose message has all `parts`. Returns the error. */
export async function rejects(promise, code, ...parts) {
  const { OffheapError, ERROR_CODES } = require(root);
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error !== undefined, `expected ${code}, nothing failed`);
  assert.ok(error instanceof OffheapError && error instanceof Error, `a failure of another kind: ${error?.stack}`);
  assert.equal(error.code, code, error.stack);
  assert.equal(error.name, 'OffheapError');
  assert.ok(error.code in ERROR_CODES);
  assert.equal(typeof error.hint, 'string');
  assert.ok(error.message.length > 0);
  for (const part of parts) {
    if (part instanceof RegExp) assert.match(error.message, part);
    else assert.ok(error.message.includes(part), `"${error.message}" does not name "${part}"`);
  }
  return error;
}

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

/** A seeded random generator (mulberry32) of numbers from 0 to below 1. */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const WORDS = 'open read write close parse merge split queue token frame socket vector index chunk file path buffer retry limit cache'.split(' ');

/** `count` different texts of `words` words. */
export function texts(count, words = 8, seed = 1) {
  const next = random(seed);
  const word = () => WORDS[Math.floor(next() * WORDS.length)];
  return Array.from({ length: count }, (_, i) => `${i} ${Array.from({ length: words }, word).join(' ')}`);
}

/** Source files with `count` functions in all, `perFile` in each file. */
export function manyFiles(count, perFile = 4, seed = 1) {
  const bodies = texts(count, 24, seed);
  const files = {};
  for (let at = 0; at < count; at += perFile) {
    const functions = bodies.slice(at, at + perFile).map(
      (body, i) => `/** ${body} */\nexport function work_${at + i}(input) {\n  const value = input.${body.split(' ')[1]}(${at + i});\n  return value.${body.split(' ')[2]}(input);\n}\n`,
    );
    files[`src/part_${at / perFile}.js`] = functions.join('\n');
  }
  return files;
}

const declarations = readFileSync(path.join(root, 'index.d.ts'), 'utf8');

/** The members of an interface in index.d.ts: a map from each name to whether it is optional. Includes those of CallOptions. */
export function fields(name) {
  const match = new RegExp(`export interface ${name}\\b([^{]*)\\{\\n([\\s\\S]*?)\\n\\}`).exec(declarations);
  assert.ok(match, `index.d.ts declares ${name}`);
  const found = new Map();
  if (/extends CallOptions/.test(match[1])) for (const [field, optional] of fields('CallOptions')) found.set(field, optional);
  for (const [, field, optional] of match[2].matchAll(/^ {2}(?:readonly )?(\w+)(\?)?[:(]/gm)) found.set(field, optional === '?');
  return found;
}
