'use strict';

// The public API: options, abort signals, retries and fallbacks. Starting a daemon is lib/start.js, bytes and sockets are
// the addon's (src/), vectors and indexes the daemon's (sidecar/). Types and documentation: index.d.ts.

const native = require('./native.js');
const { Supervisor, settings, standalone } = require('./lib/start.js');

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
    if (error.fault) return new OffheapError(error.fault.code, error.fault.message, error.fault.hint);
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

/** Daemons that leave in order while they are asked: so many in a row are no coincidence any more. */
const MAX_RACES = 100;
/** A daemon that was this long asked for a greeting and gave none is stuck, not slow. */
const GREETING_MS = 250;
/** Longer texts than this many are bulk work and let single questions pass. */
const BULK_TEXTS = 16;
const MODES = ['hybrid', 'semantic', 'text', 'regex', 'symbol'];
const CASES = ['smart', 'sensitive', 'insensitive'];
/** How a client that has no daemon of the usual kind goes on. */
const FALLBACKS = {
  standalone: 'local sockets and loopback TCP are refused here: this process runs a private daemon',
  tcp: 'local sockets are refused here: the daemon is reached over loopback TCP',
  hash: 'no model can be loaded: vectors are hashed, of the space hash-v1',
};
/** `setTimeout` takes no more. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What is to be done when a signal is aborted, by signal. */
const onAborts = new WeakMap();

/**
 * Calls `callback` once when `signal` is aborted, until the function it gives is called. One listener for each signal, however
 * many calls share it: Node warns of a leak at the eleventh.
 */
function onAbort(signal, callback) {
  if (signal === undefined) return () => {};
  let callbacks = onAborts.get(signal);
  if (callbacks === undefined) {
    onAborts.set(signal, (callbacks = new Set()));
    const all = () => {
      onAborts.delete(signal);
      for (const each of callbacks) each();
    };
    callbacks.stop = () => {
      onAborts.delete(signal);
      signal.removeEventListener('abort', all);
    };
    signal.addEventListener('abort', all, { once: true });
  }
  const entry = () => callback(); // the same function may wait twice
  callbacks.add(entry);
  return () => {
    callbacks.delete(entry);
    if (callbacks.size === 0) callbacks.stop();
  };
}

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      off();
      resolve();
    };
    const timer = setTimeout(done, ms);
    const off = onAbort(signal, done);
  });

/** Opens a client. The daemon is started if none runs; a directory's project is the nearest `.offheap` upwards. */
async function connect(options = {}) {
  check(isObject(options), 'connect(options) takes an object');
  known('connect', options, ['project', 'fallback', 'signal', 'timeoutMs']);
  const { project, fallback, signal, timeoutMs } = options;
  check(project === undefined || typeof project === 'string', 'project must be a path');
  check(fallback === undefined || fallback === 'hash', "fallback must be 'hash'");
  return Client.open(guard(() => native.locate(project)), fallback === 'hash', { signal, timeoutMs });
}

class Client {
  #location;
  #settings;
  #supervisor;
  #native = null;
  #opening = null;
  /** Since when a daemon is asked for a greeting. */
  #asking = Infinity;
  #nextCall = 1;
  #closed = false;
  #orHash;
  /** Kinds of fallback that were met, and those of them that were told. */
  #met = new Set();
  #told = new Set();
  #opened = false;
  #listeners = new Set();

  static async open(location, orHash, options) {
    const client = new Client(location, orHash);
    await client.ping(options);
    client.#opened = true;
    client.#tell();
    return client;
  }

  constructor(location, orHash) {
    this.#location = location;
    this.#settings = settings(location.project);
    this.#supervisor = Supervisor.for(location);
    this.#orHash = orHash;
  }

  /** The project's root, or null. */
  get project() {
    return this.#location.project ?? null;
  }

  async embed(text, options = {}) {
    check(typeof text === 'string', 'embed(text) takes a string');
    const { values, tokens, truncated, space, timing, degraded, fallback } = await this.#embed([text], options, 'embed');
    return { vector: values, tokens: tokens[0], truncated: truncated[0], space, timing, degraded, fallback };
  }

  async embedBatch(texts, options = {}) {
    check(areStrings(texts), 'embedBatch(texts) takes an array of strings');
    if (texts.length === 0) {
      embedOptions('embedBatch', options);
      this.#mayCall(options);
      const none = { values: new Float32Array(0), tokens: new Uint32Array(0), truncated: [] };
      return new Vectors({ dim: 0, ...none, space: '', timing: null, degraded: undefined, fallback: undefined });
    }
    return new Vectors(await this.#embed(texts, options, 'embedBatch'));
  }

  async #embed(texts, options, name) {
    const how = { ...embedOptions(name, options), bulk: texts.length > BULK_TEXTS, orHash: this.#orHash };
    const result = await this.#call(options, (client, call, timeout) => client.embed(call, texts, how, timeout));
    if (result.degraded === undefined) return { degraded: undefined, fallback: undefined, ...result };
    this.#announce('hash');
    return { ...result, fallback: 'hash' };
  }

  index(options = {}) {
    return new IndexRun(async (report) => {
      known('index', options, ['rebuild', 'onProgress', 'signal', 'timeoutMs']);
      const { rebuild = false, onProgress } = options;
      check(typeof rebuild === 'boolean', 'rebuild must be a boolean');
      check(onProgress === undefined || typeof onProgress === 'function', 'onProgress must be a function');
      this.#needsProject('index');
      this.#mayCall(options);
      let reached = '';
      let thrown = null;
      const giveUp = new AbortController();
      const progress = (event) => {
        reached = `${event.phase} ${event.done}`;
        report(event);
        if (thrown !== null) return;
        try {
          onProgress?.(event);
        } catch (error) {
          // Nobody is there to catch it: it ends the run, and is what the run ends with.
          thrown = { error };
          giveUp.abort();
        }
      };
      const signal = options.signal === undefined ? giveUp.signal : AbortSignal.any([options.signal, giveUp.signal]);
      const work = (client, call, timeout) => client.index(call, rebuild, timeout, progress);
      try {
        // A run goes on where a lost one ended: only one that gets no further is at fault itself.
        const done = await this.#call({ ...options, signal }, work, { progress: () => reached });
        if (thrown === null) return done;
      } catch (error) {
        if (thrown === null) throw error;
      }
      throw thrown.error;
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

  /** Hears how the client goes on where it has no daemon of the usual kind; without a listener Node prints a warning. */
  on(event, listener) {
    check(event === 'fallback', "the only event is 'fallback'");
    check(typeof listener === 'function', 'the listener must be a function');
    this.#listeners.add(listener);
    return this;
  }

  #announce(kind) {
    this.#met.add(kind);
    if (this.#opened) this.#tell();
  }

  /** Once for each kind; later, so that a listener that is added right after `connect` hears of it. */
  #tell() {
    for (const kind of this.#met) {
      if (this.#told.has(kind)) continue;
      this.#told.add(kind);
      setImmediate(() => {
        if (this.#listeners.size === 0) process.emitWarning(FALLBACKS[kind], { type: 'OffheapWarning', code: 'OFFHEAP_FALLBACK' });
        for (const listener of this.#listeners) listener({ kind, message: FALLBACKS[kind] });
      });
    }
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
      // Refused: the private daemon of this process, if there was one, is gone.
      if (error.code === 'DAEMON_NOT_RUNNING' || error.code === 'SOCKETS_REFUSED') return otherwise;
      throw error;
    }
  }

  /** Runs one request: with its signal and deadline, on a daemon that runs, again if the daemon is lost. */
  async #call(options, work, { start = true, progress = () => '' } = {}) {
    const { signal, timeoutMs = 0 } = options;
    const deadline = this.#mayCall(options);
    const wait = (work) => interruptible(work, signal, deadline, () => this.#late(timeoutMs));
    let races = 0;
    let crashes = 0;
    let reached = null;
    for (;;) {
      throwIfOver(signal, deadline, timeoutMs);
      let client = null;
      // It was there when a daemon died. If it is again, and alone, it is the reason.
      const turn = crashes > 0 ? this.#supervisor.turn() : null;
      try {
        if (turn !== null) await wait(turn.ready);
        client = this.#usable ?? (await wait(this.#connected(start)));
        throwIfOver(signal, deadline, timeoutMs);
        turn?.begin();
        const result = await this.#ask(client, work, signal, deadline);
        this.#supervisor.answered();
        return result;
      } catch (raw) {
        const error = OffheapError.from(raw);
        if (signal?.aborted) throw aborted(signal);
        if (error.code === 'TIMEOUT') throw timedOut(timeoutMs); // the addon knows what was left of it
        if (client !== null && error.code === 'DAEMON_LOST') {
          if (this.#native === client) this.#native = null;
          if (this.#supervisor.lost(client) && start) {
            crashes++;
            if (crashes > this.#settings.maxRetries) throw error;
            if (crashes > 1 && progress() === reached) throw poisoned(crashes, error);
            reached = progress();
            continue;
          }
        } else if (error.code !== 'LEAVING' && (client === null || error.code !== 'DAEMON_NOT_RUNNING')) {
          throw error;
        }
        // It left in order. The next one is asked at once, and after a few with a pause.
        if (++races > MAX_RACES || this.#settings.maxRetries === 0) throw error;
        if (races > 3) await sleep(Math.min(races, 20, deadline - performance.now()), signal);
      } finally {
        turn?.end();
      }
    }
  }

  /** One request on one connection. */
  async #ask(client, work, signal, deadline) {
    const call = this.#nextCall++ >>> 0;
    const left = deadline === Infinity ? undefined : Math.max(1, Math.ceil(deadline - performance.now()));
    const off = onAbort(signal, () => client.cancel(call));
    try {
      const result = await work(client, call, left);
      if (isObject(result) && client.transport !== 'local') result.fallback = client.transport;
      return result;
    } finally {
      off();
    }
  }

  /** What to say to a caller whose time is over before there is a connection. */
  #late(timeoutMs) {
    if (performance.now() - this.#asking < GREETING_MS) return timedOut(timeoutMs);
    const hint = 'it may be stopped (SIGSTOP, a debugger) or stuck; `offheap restart --force` ends it and starts another';
    return new OffheapError('DAEMON_UNRESPONSIVE', `the daemon accepted the connection and did not answer within ${timeoutMs} ms`, hint);
  }

  get #usable() {
    return this.#native?.usable ? this.#native : null;
  }

  async #connected(start) {
    if (this.#closed) throw new OffheapError('CLOSED', 'the client was closed');
    if (this.#usable) return this.#usable;
    if (!start) return this.#reach(false);
    this.#opening ??= this.#open().finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #reach(mayStart) {
    this.#asking = performance.now();
    try {
      const client = await native.connect(this.#location.project, mayStart);
      if (client.transport !== 'local') this.#announce(client.transport);
      return (this.#native = client);
    } finally {
      this.#asking = Infinity;
    }
  }

  /** Connects; starts daemons where none is, as long as that has a prospect. */
  async #open() {
    const mayStart = this.#settings.enabled;
    let child = null;
    let why = null;
    for (let races = 0; ; races++) {
      try {
        return await this.#reach(mayStart);
      } catch (raw) {
        const error = OffheapError.from(raw);
        // A daemon can have loopback TCP where sockets are refused; if it cannot, it says so below.
        const refused = error.code === 'SOCKETS_REFUSED' && mayStart;
        if (refused && races > MAX_RACES) return this.#alone();
        if (!refused && (error.code !== 'DAEMON_NOT_RUNNING' || races > MAX_RACES)) throw error;
        if (!mayStart) {
          throw new OffheapError(error.code, error.message, 'this project forbids starting one: daemon.enabled in .offheap/config.json');
        }
      }
      if (child !== null) await this.#supervisor.unreachable(child);
      try {
        child = await this.#supervisor.start(this.#settings.retryDelaysMs, why);
      } catch (error) {
        if (error.fault?.code === 'SOCKETS_REFUSED') return this.#alone();
        if (!error.died) throw error;
        why = error;
      }
    }
  }

  /** A private daemon, for where the system refuses sockets. */
  async #alone() {
    this.#native = await standalone(this.#location);
    this.#announce('standalone');
    return this.#native;
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
  #taken = false;

  constructor(start) {
    const end = () => {
      this.#over = true;
      this.#wake();
    };
    this.#report = start((event) => {
      this.#latest = event;
      this.#wake();
    });
    this.#report.then(end, (error) => {
      end();
      // As with any promise: a failure that nobody takes must not go unseen.
      setImmediate(() => this.#taken || Promise.reject(error));
    });
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  then(onFulfilled, onRejected) {
    this.#taken = true;
    return this.#report.then(onFulfilled, onRejected);
  }

  catch(onRejected) {
    this.#taken = true;
    return this.#report.catch(onRejected);
  }

  finally(onFinally) {
    this.#taken = true;
    return this.#report.finally(onFinally);
  }

  /** Progress as it comes, the newest only; ends with the run, throws what the run throws. */
  async *[Symbol.asyncIterator]() {
    this.#taken = true;
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

/** Waits for `work` no longer than the caller does; Node stays alive meanwhile. */
function interruptible(work, signal, deadline, late) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      off();
    };
    const over = () => {
      done();
      reject(signal?.aborted ? aborted(signal) : late());
    };
    const timer = setTimeout(over, Math.min(deadline - performance.now(), LONGEST_TIMER_MS));
    const off = onAbort(signal, over);
    work.then(resolve, reject).finally(done);
  });
}

function throwIfOver(signal, deadline, timeoutMs) {
  if (signal?.aborted) throw aborted(signal);
  if (performance.now() >= deadline) throw timedOut(timeoutMs);
}

const aborted = (signal) => new OffheapError('CANCELLED', 'the call was cancelled', '', signal.reason);
const poisoned = (crashes, cause) =>
  new OffheapError('POISONED', `the daemon crashed ${crashes} times while it worked on this request`, 'its log may say why; other requests are served', cause);
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
