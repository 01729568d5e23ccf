// Runs the Windows build: the tests of the protocol and of named pipes, then the daemon from its start to its end.
//
// On Windows itself, or on Linux under wine with a Rust toolchain for x86_64-pc-windows-gnu and mingw. Not part of
// `npm test`. What wine cannot show is in docs/platforms.md.
//
//   CROSS_TOOLCHAIN  name of the rustup toolchain that has the target, if it is not the default one
//   WINEPREFIX       a prefix to use; without it one is made and removed again
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, since } from './lib.mjs';

const TARGET = 'x86_64-pc-windows-gnu';
const HERD = 16;
const KILLS = 5;
const LEAVES = 5;

const native = process.platform === 'win32';
const t0 = performance.now();
const cleanups = [];
let checks = 0;

const say = (text) => console.log(`${since(t0).padStart(8)}  ${text}`);
const missing = (why) => {
  console.log(`SKIPPED, nothing was run: ${why}`);
  process.exit(0);
};
const works = (command, args, options = {}) => spawnSync(command, args, { encoding: 'utf8', ...options });
const expect = (condition, what, detail = '') => {
  if (!condition) throw new Error(`${what}${detail && `\n${typeof detail === 'string' ? detail : JSON.stringify(detail)}`}`);
  checks++;
};

// --- requirements ---

const toolchain = process.env.CROSS_TOOLCHAIN ? [`+${process.env.CROSS_TOOLCHAIN}`] : [];
const target = native ? [] : ['--target', TARGET];
const env = { ...process.env };
if (!native) {
  if (process.platform !== 'linux') missing('this needs Windows, or Linux with wine');
  if (works('wine', ['--version']).error) missing('wine is not installed');
  if (works('x86_64-w64-mingw32-gcc', ['--version']).error) missing('x86_64-w64-mingw32-gcc is not installed');
  const library = path.join(works('rustc', [...toolchain, '--print', 'sysroot']).stdout?.trim() ?? '', 'lib/rustlib', TARGET, 'lib');
  if (!existsSync(library)) missing(`the Rust toolchain has no ${TARGET}; CROSS_TOOLCHAIN names another`);
  delete env.DISPLAY;
  Object.assign(env, {
    WINEDEBUG: env.WINEDEBUG ?? '-all',
    WINEARCH: 'win64',
    WINEDLLOVERRIDES: 'mscoree,mshtml,winemenubuilder.exe=',
    CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER: 'x86_64-w64-mingw32-gcc',
    CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER: 'wine',
  });
  env.WINEPREFIX ??= preparedPrefix();
  // The first program under wine starts wine's own processes, which keep its output open; this one has no output.
  const first = spawn('wine', ['cmd'], { env, stdio: ['pipe', 'ignore', 'ignore'] });
  cleanups.push(() => first.stdin.end());
}

/** Makes a wine prefix. Rust's std needs a library that wine 8 lacks, without which programs end with code 53. */
function preparedPrefix() {
  const prefix = mkdtempSync(path.join(tmpdir(), 'offheap-wine-'));
  process.on('exit', () => {
    works('wineserver', ['-k'], { env: { ...env, WINEPREFIX: prefix } });
    rmSync(prefix, { recursive: true, force: true });
  });
  const inPrefix = { env: { ...env, WINEPREFIX: prefix } };
  works('wineboot', ['-i'], inPrefix);
  const library = path.join(prefix, 'drive_c/windows/system32/bcryptprimitives.dll');
  if (!existsSync(library)) {
    const source = path.join(prefix, 'bcryptprimitives.c');
    writeFileSync(
      source,
      `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG); /* RtlGenRandom */
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) {
  while (n) {
    ULONG k = n > 0x10000000 ? 0x10000000 : (ULONG)n;
    if (!SystemFunction036(p, k)) return FALSE;
    p += k;
    n -= k;
  }
  return TRUE;
}
`,
    );
    const built = works('x86_64-w64-mingw32-gcc', ['-O2', '-shared', '-s', '-o', library, source, '-ladvapi32']);
    expect(built.status === 0, 'the stand-in for bcryptprimitives.dll compiles', built.stderr);
  }
  works('wine', ['winecfg', '-v', 'win10'], inPrefix);
  works('wineserver', ['-w'], inPrefix);
  return prefix;
}

// --- build ---

function cargo(...args) {
  const done = works('cargo', [...toolchain, ...args], { cwd: root, env, maxBuffer: 64 << 20 });
  expect(done.status === 0, `cargo ${args.join(' ')}`, `${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** Builds the program. Returns its path, from cargo's messages. */
function built() {
  const lines = cargo('build', '--locked', '--package', 'offheap', ...target, '--message-format=json').split('\n');
  const messages = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  return messages.findLast((message) => message.reason === 'compiler-artifact' && message.executable)?.executable;
}

// --- the daemon ---

/** A path as a Windows program names it. */
const there = (file) => (native ? file : `Z:${file}`);

class World {
  constructor(exe) {
    this.exe = exe;
    this.dir = mkdtempSync(path.join(tmpdir(), 'offheap-windows-'));
    cleanups.unshift(() => {
      this.offheap('stop');
      rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
    });
    this.run = path.join(this.dir, 'run');
    this.env = { ...env, OFFHEAP_RUNTIME_DIR: there(this.run), OFFHEAP_MODEL_DIR: there(path.join(root, 'npm/model-all-minilm-l6-v2')) };
    this.command = native ? [exe] : ['wine', exe];
  }

  /** Runs one command to its end, with its output in a pipe, as in `out=$(offheap start)`. */
  offheap(...args) {
    const [program, ...first] = this.command;
    // A file, not a pipe: under wine every process inherits the Unix standard error, and the daemon would keep the pipe open.
    const file = path.join(this.dir, 'stderr');
    const stderr = openSync(file, 'w');
    const stdio = ['ignore', 'pipe', stderr];
    const done = works(program, [...first, ...args], { cwd: this.dir, env: this.env, timeout: 60_000, maxBuffer: 64 << 20, stdio });
    closeSync(stderr);
    const all = `${args.join(' ')} gave ${done.status ?? done.signal ?? done.error}: ${done.stdout}${readFileSync(file, 'utf8')}`;
    return { ...done, json: () => JSON.parse(done.stdout), all };
  }

  /** Starts one command without waiting for its end. */
  start(...args) {
    const [program, ...first] = this.command;
    const child = spawn(program, [...first, ...args], { cwd: this.dir, env: this.env, stdio: ['ignore', 'pipe', 'ignore'] });
    let all = '';
    child.stdout.on('data', (text) => (all += text));
    return new Promise((resolve) => child.on('close', (status) => resolve({ status, all })));
  }

  pid() {
    const status = this.offheap('status', '--json');
    expect(status.status === 0, 'status answers', status.all);
    return status.json().pid;
  }

  /** Kills the daemon. */
  kill(pid) {
    const program = native ? ['taskkill'] : ['wine', 'taskkill'];
    return works(program[0], [...program.slice(1), '/F', '/PID', String(pid)], { env: this.env });
  }

  logs() {
    if (!existsSync(this.run)) return '';
    return readdirSync(this.run).filter((name) => name.endsWith('.log')).map((name) => readFileSync(path.join(this.run, name), 'utf8')).join('');
  }
}

const count = (text, what) => text.split(what).length - 1;

function vectorOf(world, text) {
  const answer = world.offheap('embed', '--json', text);
  expect(answer.status === 0, 'embed answers', answer.all);
  const { vectors } = answer.json();
  return vectors[0].vector ?? vectors[0];
}

const cosine = (a, b) => {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / Math.sqrt(aa * bb);
};

function lifeOfOne(exe) {
  const world = new World(exe);
  expect(world.offheap('status').status === 3, 'no daemon: status says so and starts none');
  const begun = performance.now();
  const started = world.offheap('start', '--json');
  const waited = performance.now() - begun;
  expect(started.status === 0 && started.json().started, 'start starts', started.all);
  expect(!started.error && waited < 20_000, 'a reader of the output of `start` does not wait for the daemon', `${waited} ms`);
  say(`start returned after ${Math.round(waited)} ms with its output in a pipe, and the daemon lives`);
  expect(world.offheap('start', '--json').json().started === false, 'the second start finds it');
  const vector = vectorOf(world, 'a cat sat on the mat');
  expect(vector.length === 384, 'a vector has 384 numbers');
  const reference = JSON.parse(readFileSync(path.join(root, 'sidecar/engine/tests/fixtures/parity-all-minilm-l6-v2.json')));
  const item = reference.items.find((item) => /^[\w ,.]{10,80}$/.test(item.text));
  const near = cosine(vectorOf(world, item.text), item.embedding);
  expect(near > 0.998, 'the vector is that of the reference', near);
  say(`embed: cosine to the stored reference ${near.toFixed(6)}`);
  expect(world.offheap('stop').status === 0 && world.offheap('status').status === 3, 'stop stops');
  say('stop: left, and status says so');
  expect(/left/.test(world.logs()), 'the log tells it', world.logs());
}

function project(exe) {
  const world = new World(exe);
  const dir = path.join(world.dir, 'a project, ü');
  mkdirSync(path.join(dir, 'src/deep'), { recursive: true });
  writeFileSync(path.join(dir, 'src/deep/retry.js'), 'export function retryWithBackoff(attempt) {\n  return 2 ** attempt * 100;\n}\n');
  writeFileSync(path.join(dir, 'README.md'), '# Notes\n\nHow bread is baked.\n');
  const at = ['--project', there(dir)];
  const indexed = world.offheap('index', '--quiet', '--json', ...at);
  expect(indexed.status === 0, 'index', indexed.all);
  for (const mode of ['hybrid', 'text', 'semantic', 'symbol', 'regex']) {
    const found = world.offheap('search', '--json', '--mode', mode, 'retryWithBackoff', ...at);
    expect(found.status === 0 && found.stdout.includes('src/deep/retry.js'), `search --mode ${mode}`, found.all);
  }
  writeFileSync(path.join(dir, 'src/new.js'), 'export const freshlyWritten = 1;\n');
  const fresh = world.offheap('search', '--json', '--fresh', '--mode', 'text', 'freshlyWritten', ...at);
  expect(fresh.status === 0 && fresh.stdout.includes('src/new.js'), 'search --fresh', fresh.all);
  say('project: indexed; hybrid, text, semantic, symbol, regex and --fresh searches find their file');
  expect(world.offheap('stop', ...at).status === 0, 'stop');
}

async function herd(exe) {
  const world = new World(exe);
  const all = await Promise.all(Array.from({ length: HERD }, () => world.start('start')));
  for (const { status, all: text } of all) expect(status === 0, 'every starter succeeds', text);
  expect(count(world.logs(), 'ready:') === 1, 'one owner', world.logs());
  say(`herd: ${HERD} starters at once, all succeeded, one owner`);
}

function kills(exe) {
  const world = new World(exe);
  expect(world.offheap('start').status === 0, 'start');
  for (let i = 0; i < KILLS; i++) {
    const pid = world.pid();
    const killed = world.kill(pid);
    expect(killed.status === 0, 'the daemon can be ended by force', `${killed.stdout}${killed.stderr}`);
    vectorOf(world, 'after the crash');
    expect(world.pid() !== pid, 'another daemon answers');
  }
  say(`kill -9: ${KILLS} times, the next call got its answer from a new daemon`);
}

async function leaving(exe) {
  const world = new World(exe);
  let askedAgain = 0;
  for (let i = 0; i < LEAVES; i++) {
    expect(world.offheap('start').status === 0, 'start');
    const stop = world.start('stop');
    const others = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const first = await world.start('embed', '--json', 'someone else');
        // The connection was older than the daemon's decision to leave. Node's client would repeat the call (lib/retry.js).
        if (!first.all.includes('"LEAVING"')) return first;
        askedAgain++;
        return world.start('embed', '--json', 'someone else');
      }),
    );
    await stop;
    for (const { status, all } of others) expect(status === 0, 'who comes while the daemon leaves gets an answer', all);
  }
  say(`leaving: ${LEAVES} times, 4 calls during it, all answered, ${askedAgain} after asking again`);
}

/** A private daemon over standard streams sends its preamble, and ends with its input. */
async function standalone(exe) {
  const world = new World(exe);
  const [program, ...first] = world.command;
  const child = spawn(program, [...first, 'daemon', '--stdio'], { cwd: world.dir, env: world.env, stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const preamble = Buffer.alloc(32); // sidecar/protocol/README.md
  preamble.write('OFFHEAP\0', 'latin1');
  preamble[8] = 1;
  preamble.writeUInt16LE(1, 10);
  preamble.writeUInt16LE(0xffff, 12);
  const received = [];
  const answered = new Promise((resolve) => child.stdout.on('data', (bytes) => received.push(bytes) && Buffer.concat(received).length >= 32 && resolve()));
  child.stdin.write(preamble);
  const limit = (what) => new Promise((_, reject) => setTimeout(() => reject(new Error(what)), 20_000).unref());
  await Promise.race([answered, limit('the private daemon says nothing')]);
  expect(Buffer.concat(received).subarray(0, 8).equals(preamble.subarray(0, 8)), 'the private daemon introduces itself');
  child.stdin.end();
  const code = await Promise.race([ended, limit('the private daemon does not end with its input')]);
  expect(code === 0, 'the private daemon ends well', String(code));
  say('standalone: greeted over standard streams, ended with its input');
}

function rotation(exe) {
  const world = new World(exe);
  world.offheap('start');
  world.offheap('stop');
  const [name] = readdirSync(world.run).filter((name) => name.endsWith('.log'));
  const log = path.join(world.run, name);
  writeFileSync(log, 'x'.repeat((1 << 20) + 1));
  world.offheap('start');
  expect(readdirSync(world.run).some((name) => name.endsWith('.log.1')), 'a large log is put aside', readdirSync(world.run));
  expect(readFileSync(log).length < 1 << 20, 'and begun anew');
  say('log: rotated at its limit');
}

// --- main ---

const only = process.argv[2];
try {
  say(native ? 'on Windows' : `${works('wine', ['--version'], { env }).stdout.trim()}, ${TARGET}`);
  if (!only) {
    const results = cargo('test', '--locked', '--package', 'offheap-protocol', ...target, '--', '--test-threads=1').match(/test result: .* passed/g) ?? [];
    say(`protocol and pipes: ${results.reduce((sum, line) => sum + Number(line.match(/(\d+) passed/)[1]), 0)} tests passed`);
  }
  const exe = built();
  say(`built ${path.basename(exe)}`);
  for (const [name, part] of Object.entries({ lifeOfOne, project, herd, kills, leaving, standalone, rotation })) {
    if (!only || only === name) await part(exe);
  }
  say(`all ${checks} checks passed`);
} catch (error) {
  console.error(`FAILED: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const cleanup of cleanups) cleanup();
}
