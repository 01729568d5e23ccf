'use strict';

// The public API: options, abort signals, retries and starting the daemon. Bytes and sockets are the addon's
// (src/), vectors and indexes the daemon's (sidecar/). Types and documentation: index.d.ts.

const { existsSync, mkdirSync, readFileSync } = require('node:fs');
const path = require('node:path');
const native = require('./native.js');

/** Every failure of this package. `code` is stable, `hint` says what to do about it. */
class OffheapError extends Error {
  constructor(code, message, hint = '', cause = undefined) {
    super(hint ? `${message} (${hint})` : message, cause === undefined ? undefined : { cause });
    this.name = 'OffheapError';
    this.code = code;
    this.hint = hint;
  }

  /** The addon sends faults as JSON; anything else is a mistake in how it was called. */
  static from(error) {
    if (error instanceof OffheapError) return error;
    try {
      const { code, message, hint } = JSON.parse(error.message);
      if (typeof code === 'string') return new OffheapError(code, message, hint);
    } catch {
      // not JSON
    }
    return new OffheapError('INVALID_ARGUMENT', error.message, '', error);
  }
}

const ERROR_CODES = Object.freeze(Object.fromEntries(native.errorCodes().map(({ code, meaning }) => [code, meaning])));

/** Lost daemons that are worth asking again: the request was not answered, and every request can be repeated. */
const RETRIED = new Set(['DAEMON_LOST', 'DAEMON_NOT_RUNNING', 'LEAVING']);
/** Daemons that one call may start: a third crash in a row is not chance. */
const MAX_STARTS = 3;
/** Longer texts than this many are bulk work and let single questions pass. */
const BULK_TEXTS = 16;
const MODES = ['hybrid', 'semantic', 'text', 'regex', 'symbol'];
const CASES = ['smart', 'sensitive', 'insensitive'];
/** Variables that the daemon is given; it outlives this process, whose other variables are none of its business. */
const PASSED_ON = [
  'HOME', 'USERPROFILE', 'LOCALAPPDATA', 'SystemRoot', 'TEMP', 'TMP', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME', 'HF_HOME', 'HF_ENDPOINT',
  'OFFHEAP_RUNTIME_DIR', 'OFFHEAP_KERNEL', 'OFFHEAP_MODEL', 'OFFHEAP_THREADS', 'OFFHEAP_TTL_MS', 'OFFHEAP_WATCH', 'RUST_BACKTRACE',
];

/** Longer than any daemon takes to say that it is ready, or why not: it may wait 10 s for its predecessor. */
const START_LIMIT_MS = 20_000;
/** Longer than any ready line. */
const MAX_READY_CHARS = 64 << 10;
/** `setTimeout` takes no more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });

/** Opens a client. The daemon is started if none runs; a directory's project is the nearest `.offheap` upwards. */
async function connect(options = {}) {
  check(isObject(options), 'connect(options) takes an object');
  known('connect', options, ['project', 'signal', 'timeoutMs']);
  const { project, signal, timeoutMs } = options;
  check(project === undefined || typeof project === 'string', 'project must be a path');
  const client = new Client(guard(() => native.locate(project)));
  await client.ping({ signal, timeoutMs });
  return client;
}

class Client {
  #location;
  #settings;
  #native = null;
  #opening = null;
  #nextCall = 1;
  #closed = false;

  constructor(location) {
    this.#location = location;
    this.#settings = settings(location.project);
  }

  /** The project's root, or null. */
  get project() {
    return this.#location.project ?? null;
  }

  async embed(text, options = {}) {
    check(typeof text === 'string', 'embed(text) takes a string');
    const { values, tokens, truncated, space, timing } = await this.#embed([text], options, 'embed');
    return { vector: values, tokens: tokens[0], truncated: truncated[0], space, timing };
  }

  async embedBatch(texts, options = {}) {
    check(areStrings(texts), 'embedBatch(texts) takes an array of strings');
    if (texts.length === 0) {
      embedOptions('embedBatch', options);
      this.#mayCall(options);
      return new Vectors({ dim: 0, values: new Float32Array(0), tokens: new Uint32Array(0), truncated: [], space: '', timing: null });
    }
    return new Vectors(await this.#embed(texts, options, 'embedBatch'));
  }

  #embed(texts, options, name) {
    const how = { ...embedOptions(name, options), bulk: texts.length > BULK_TEXTS };
    return this.#call(options, (client, call, timeout) => client.embed(call, texts, how, timeout));
  }

  index(options = {}) {
    return new IndexRun(async (report) => {
      known('index', options, ['rebuild', 'onProgress', 'signal', 'timeoutMs']);
      const { rebuild = false, onProgress } = options;
      check(typeof rebuild === 'boolean', 'rebuild must be a boolean');
      check(onProgress === undefined || typeof onProgress === 'function', 'onProgress must be a function');
      this.#needsProject('index');
      const progress = (event) => {
        report(event);
        onProgress?.(event);
      };
      return this.#call(options, (client, call, timeout) => client.index(call, rebuild, timeout, progress));
    });
  }

  async search(query, options = {}) {
    check(typeof query === 'string', 'search(query) takes a string');
    known('search', options, ['mode', 'limit', 'globs', 'languages', 'fresh', 'explain', 'case', 'context', 'signal', 'timeoutMs']);
    const { mode = 'hybrid', limit, globs, languages, fresh = 'stale-ok', explain, case: letters, context } = options;
    check(MODES.includes(mode), `mode must be one of ${MODES.map((name) => `'${name}'`).join(', ')}`);
    check(limit === undefined || (Number.isInteger(limit) && limit >= 1 && limit <= 1000), 'limit must be a whole number from 1 to 1000');
    for (const [name, list] of [['globs', globs], ['languages', languages]]) {
      check(list === undefined || areStrings(list), `${name} must be an array of strings`);
    }
    check(explain === undefined || typeof explain === 'boolean', 'explain must be a boolean');
    const waitMs = waitOf(fresh);
    check(mode === 'regex' || (letters === undefined && context === undefined), "case and context belong to mode 'regex'");
    check(letters === undefined || CASES.includes(letters), "case must be 'smart', 'sensitive' or 'insensitive'");
    check(context === undefined || (Number.isInteger(context) && context >= 0 && context <= 20), 'context must be a whole number from 0 to 20');
    this.#needsProject('search');
    const how = { mode, limit, globs, languages, waitMs, explain, case: letters, context };
    return this.#call(options, (client, call, timeout) => client.search(call, query, how, timeout));
  }

  /** Never starts a daemon: null where none runs. */
  async status(options = {}) {
    known('status', options, ['signal', 'timeoutMs']);
    return this.#ifRunning(options, (client, call, timeout) => client.status(call, timeout), null);
  }

  async clearCache(options = {}) {
    known('clearCache', options, ['stored', 'signal', 'timeoutMs']);
    const { stored = false } = options;
    check(typeof stored === 'boolean', 'stored must be a boolean');
    return { embeddings: await this.#call(options, (client, call, timeout) => client.clearCache(call, stored, timeout)) };
  }

  async ping(options = {}) {
    known('ping', options, ['signal', 'timeoutMs']);
    return this.#call(options, (client, call, timeout) => client.ping(call, timeout));
  }

  /** Asks the daemon to leave; false where none runs. Other processes that use it start a new one. */
  async shutdown(options = {}) {
    known('shutdown', options, ['signal', 'timeoutMs']);
    return this.#ifRunning(options, (client, call, timeout) => client.shutdown(call, timeout).then(() => true), false);
  }

  /** Ends this client's use of the connection. The daemon leaves by itself when nobody needs it. */
  async close() {
    this.#closed = true;
    this.#native = null;
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }

  /** What is wrong with a call before anything is asked. Gives its deadline. */
  #mayCall({ signal, timeoutMs = 0 }) {
    check(signal === undefined || signal instanceof AbortSignal, 'signal must be an AbortSignal');
    check(Number.isInteger(timeoutMs) && timeoutMs >= 0 && timeoutMs < 2 ** 32, 'timeoutMs must be a whole number of milliseconds');
    if (this.#closed) throw new OffheapError('CLOSED', 'the client was closed');
    if (signal?.aborted) throw aborted(signal);
    return timeoutMs > 0 ? performance.now() + timeoutMs : Infinity;
  }

  #needsProject(name) {
    if (this.project === null) {
      throw new OffheapError('NO_PROJECT', `${name}() needs a project`, 'connect({ project: dir })');
    }
  }

  async #ifRunning(options, work, otherwise) {
    try {
      return await this.#call(options, work, { start: false });
    } catch (error) {
      if (error.code === 'DAEMON_NOT_RUNNING') return otherwise;
      throw error;
    }
  }

  /** Runs one request: with its signal and deadline, on a daemon that runs, again if the daemon is lost. */
  async #call(options, work, { start = true } = {}) {
    const { signal, timeoutMs = 0 } = options;
    const deadline = this.#mayCall(options);
    const budget = { starts: start ? MAX_STARTS : 0 };
    let lost = null;
    for (let attempt = 0; ; attempt++) {
      throwIfOver(signal, deadline, timeoutMs);
      try {
        const client = this.#usable ?? (await interruptible(this.#connected(budget), signal, deadline, timeoutMs));
        throwIfOver(signal, deadline, timeoutMs);
        const call = this.#nextCall++ >>> 0;
        const left = deadline === Infinity ? undefined : Math.max(1, Math.ceil(deadline - performance.now()));
        const stop = () => client.cancel(call);
        signal?.addEventListener('abort', stop, { once: true });
        try {
          return await work(client, call, left);
        } finally {
          signal?.removeEventListener('abort', stop);
        }
      } catch (raw) {
        const error = OffheapError.from(raw);
        if (signal?.aborted) throw aborted(signal);
        if (error.code === 'TIMEOUT') throw timedOut(timeoutMs); // the addon knows what was left of it
        const again = start && RETRIED.has(error.code) && attempt < this.#settings.maxRetries && budget.starts > 0;
        if (error.code === 'DAEMON_LOST') lost = error;
        // That none runs now is not what happened to this call.
        if (!again) throw error.code === 'DAEMON_NOT_RUNNING' && lost !== null ? lost : error;
        this.#native = null;
        if (error.code === 'LEAVING') continue;
        const delays = this.#settings.retryDelaysMs;
        // A lost daemon is asked for at once the first time; then the delays hold off a crash loop.
        const delay = delays[Math.min(attempt - 1, delays.length - 1)] * (0.75 + Math.random() / 2);
        if (attempt > 0) await sleep(Math.min(delay, deadline - performance.now()), signal);
      }
    }
  }

  get #usable() {
    return this.#native?.usable ? this.#native : null;
  }

  async #connected(budget) {
    if (this.#closed) throw new OffheapError('CLOSED', 'the client was closed');
    if (this.#usable) return this.#usable;
    this.#opening ??= this.#open(budget).finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(budget) {
    const { project } = this.#location;
    for (;;) {
      try {
        return (this.#native = await native.connect(project));
      } catch (raw) {
        const error = OffheapError.from(raw);
        if (error.code !== 'DAEMON_NOT_RUNNING' || budget.starts === 0) throw error;
        if (!this.#settings.enabled) {
          budget.starts = 0; // asking again would only delay the answer
          throw new OffheapError(error.code, error.message, 'this project forbids starting one: daemon.enabled in .offheap/config.json');
        }
      }
      budget.starts--;
      await startOnce(this.#location);
    }
  }
}

/** Vectors of a batch: one flat array, and views of its rows. */
class Vectors {
  constructor(fields) {
    Object.assign(this, fields);
    Object.freeze(this);
  }

  get length() {
    return this.truncated.length;
  }

  /** Row `i`, a view: no copy. */
  row(i) {
    if (!Number.isInteger(i) || i < 0 || i >= this.length) throw new RangeError(`row ${i} of ${this.length}`);
    return this.values.subarray(i * this.dim, (i + 1) * this.dim);
  }

  *[Symbol.iterator]() {
    for (let i = 0; i < this.length; i++) yield this.row(i);
  }
}

/** An index run: await it for its report, or iterate over its progress. */
class IndexRun {
  #report;
  #latest = null;
  #waiting = [];
  #over = false;

  constructor(start) {
    const end = () => {
      this.#over = true;
      this.#wake();
    };
    this.#report = start((event) => {
      this.#latest = event;
      this.#wake();
    });
    this.#report.then(end, end);
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  then(onFulfilled, onRejected) {
    return this.#report.then(onFulfilled, onRejected);
  }

  catch(onRejected) {
    return this.#report.catch(onRejected);
  }

  finally(onFinally) {
    return this.#report.finally(onFinally);
  }

  /** Progress as it comes, the newest only; ends with the run, throws what the run throws. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      if (this.#latest !== null) {
        const event = this.#latest;
        this.#latest = null;
        yield event;
      } else if (this.#over) {
        await this.#report;
        return;
      } else {
        await new Promise((resolve) => this.#waiting.push(resolve));
      }
    }
  }
}

/** Starts in progress, by endpoint: many calls, one process. */
const starting = new Map();

function startOnce(location) {
  const key = location.log;
  let start = starting.get(key);
  if (start === undefined) {
    start = startDaemon(location).finally(() => starting.delete(key));
    starting.set(key, start);
  }
  return start;
}

/** Runs the sidecar detached and waits for its ready line. */
function startDaemon(location) {
  const { spawn } = require('node:child_process'); // a third of the package's load time, for one call of many
  const binary = guard(() => native.sidecarPath());
  const args = ['daemon'];
  if (location.project !== undefined) args.push('--project', location.project);
  const modelDir = findModelDir();
  if (modelDir !== null) args.push('--model-dir', modelDir);
  // A worker thread's own environment may lack the variable by which the addon, which sees the process's, chose it.
  const env = { OFFHEAP_RUNTIME_DIR: location.runtimeDir };
  for (const name of PASSED_ON) if (process.env[name] !== undefined) env[name] ??= process.env[name];
  // The daemon works from another directory.
  if (env.OFFHEAP_MODEL !== undefined && existsSync(env.OFFHEAP_MODEL)) env.OFFHEAP_MODEL = path.resolve(env.OFFHEAP_MODEL);
  if (env.HF_HOME !== undefined) env.HF_HOME = path.resolve(env.HF_HOME);
  return new Promise((resolve, reject) => {
    const fail = (why) => {
      clearTimeout(timer);
      reject(new OffheapError('DAEMON_START_FAILED', why, `its log is ${location.log}`));
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      fail(`${binary} did not say within ${START_LIMIT_MS / 1000} s that it is ready`);
    }, START_LIMIT_MS).unref();
    // Its own session, no handle of ours: whoever waits for our output must not wait for the daemon.
    let child;
    try {
      mkdirSync(location.runtimeDir, { recursive: true, mode: 0o700 });
      child = spawn(binary, args, { detached: true, windowsHide: true, stdio: ['ignore', 'pipe', 'ignore'], cwd: location.runtimeDir, env });
    } catch (error) {
      return fail(`cannot run ${binary}: ${error.message}`);
    }
    child.on('error', (error) => fail(`cannot run ${binary}: ${error.message}`));
    if (!child.stdout) return; // out of descriptors: 'error' follows
    // Whoever waits for the start keeps Node alive (`interruptible`); a start that nobody waits for does not.
    child.unref();
    child.stdout.unref();
    let text = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (part) => {
      text += part;
      if (!text.includes('\n') && text.length < MAX_READY_CHARS) return;
      child.stdout.destroy();
      let ready;
      try {
        ready = JSON.parse(text);
      } catch {
        // said below
      }
      if (typeof ready?.error?.code === 'string') {
        clearTimeout(timer);
        reject(new OffheapError(ready.error.code, ready.error.message, ready.error.hint));
      } else if (ready === 'already_running' || isObject(ready?.ready)) {
        clearTimeout(timer);
        resolve(ready);
      } else {
        fail(`the daemon said ${JSON.stringify(text.slice(0, 200))} instead of being ready`);
      }
    });
    // Not 'exit': its line may still be in the pipe then.
    child.on('close', (code, signal) => fail(`the daemon ended before it was ready (${signal ?? `exit code ${code}`})`));
  });
}

/** The default model's package, as this program resolves it; null leaves the search to the sidecar. */
function findModelDir() {
  try {
    return path.dirname(require.resolve('offheap-model-all-minilm-l6-v2/package.json'));
  } catch {
    return null;
  }
}

/** The client's part of the project's configuration. The daemon checks the whole file and reports mistakes in it. */
function settings(project) {
  let daemon = {};
  try {
    if (project !== undefined) daemon = JSON.parse(readFileSync(path.join(project, '.offheap', 'config.json'), 'utf8')).daemon ?? {};
  } catch {
    // none, or one that the daemon will refuse with its reason
  }
  const delays = Array.isArray(daemon.retry_delays_ms) ? daemon.retry_delays_ms.filter((ms) => Number.isFinite(ms) && ms >= 0) : [];
  return {
    enabled: daemon.enabled !== false,
    maxRetries: Number.isInteger(daemon.max_retries) ? daemon.max_retries : 4,
    retryDelaysMs: delays.length > 0 ? delays : [100, 500, 1000, 2000],
  };
}

/** Waits for `work` no longer than the caller does; Node stays alive meanwhile. */
function interruptible(work, signal, deadline, timeoutMs) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', over);
    };
    const over = () => {
      done();
      reject(signal?.aborted ? aborted(signal) : timedOut(timeoutMs));
    };
    const timer = setTimeout(over, Math.min(deadline - performance.now(), LONGEST_TIMER_MS));
    signal?.addEventListener('abort', over, { once: true });
    work.then(resolve, reject).finally(done);
  });
}

function throwIfOver(signal, deadline, timeoutMs) {
  if (signal?.aborted) throw aborted(signal);
  if (performance.now() >= deadline) throw timedOut(timeoutMs);
}

const aborted = (signal) => new OffheapError('CANCELLED', 'the call was cancelled', '', signal.reason);
const timedOut = (timeoutMs) => new OffheapError('TIMEOUT', `no answer within ${timeoutMs} ms`);
/** `every` would pass over holes. */
const areStrings = (list) => Array.isArray(list) && list.findIndex((item) => typeof item !== 'string') === -1;
const isObject = (value) => typeof value === 'object' && value !== null;

function embedOptions(name, options) {
  known(name, options, ['kind', 'specialTokens', 'signal', 'timeoutMs']);
  const { kind = 'document', specialTokens = 'parse' } = options;
  check(kind === 'document' || kind === 'query', "kind must be 'document' or 'query'");
  check(specialTokens === 'parse' || specialTokens === 'text', "specialTokens must be 'parse' or 'text'");
  return { query: kind === 'query', parseSpecials: specialTokens === 'parse' };
}

/** Milliseconds that a search may wait for changes to be indexed; undefined takes what is there. */
function waitOf(fresh) {
  if (fresh === 'stale-ok') return undefined;
  const message = "fresh must be 'stale-ok' or { waitMs }, a whole number of milliseconds";
  check(isObject(fresh), message);
  for (const key of Object.keys(fresh)) check(key === 'waitMs', message);
  check(Number.isInteger(fresh.waitMs) && fresh.waitMs >= 0 && fresh.waitMs < 2 ** 32, message);
  return fresh.waitMs;
}

function guard(work) {
  try {
    return work();
  } catch (error) {
    throw OffheapError.from(error);
  }
}

function check(ok, message) {
  if (!ok) throw new OffheapError('INVALID_ARGUMENT', message);
}

/** A misspelt option must not become a silent default. */
function known(name, options, names) {
  check(isObject(options), `${name}() takes its options as an object`);
  for (const key of Object.keys(options)) check(names.includes(key), `${name}() has no option ${JSON.stringify(key)}; it has ${names.join(', ')}`);
}

module.exports = { connect, OffheapError, ERROR_CODES };
