'use strict';

// The public API: options, abort signals, retries and fallbacks. Starting a daemon is lib/start.js, bytes and sockets are
// the addon's (src/), vectors and indexes the daemon's (sidecar/). Types and documentation: index.d.ts.

const native = require('./native.js');
const { interruptible, onAbort, throwIfOver } = require('./lib/abort.js');
const { readConfig } = require('./lib/config.js');
const { ERROR_CODES, OffheapError, cancelled, poisoned, timedOut, withOffheapErrors } = require('./lib/errors.js');
const { IndexRun } = require('./lib/index-run.js');
const {
  check, checkCallOptions, checkConnectOptions, checkOnlyCallOptions, clearCacheOptions, embedOptions, indexOptions, isObject, isStringArray, searchOptions,
} = require('./lib/options.js');
const { Supervisor, standalone } = require('./lib/start.js');
const { Vectors } = require('./lib/vectors.js');

/** Daemons that leave in order while they are asked: so many in a row are no coincidence any more. */
const MAX_RACES = 100;
/** A daemon that was this long asked for a greeting and gave none is stuck, not slow. */
const GREETING_MS = 250;
/** Longer texts than this many are bulk work and let single questions pass. */
const BULK_TEXTS = 16;
/** How a client that has no daemon of the usual kind goes on. */
const FALLBACKS = {
  standalone: 'local sockets and loopback TCP are refused here: this process runs a private daemon',
  tcp: 'local sockets are refused here: the daemon is reached over loopback TCP',
  hash: 'no model can be loaded: vectors are hashed, of the space hash-v1',
};
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
  checkConnectOptions(options);
  const { project, fallback, signal, timeoutMs } = options;
  return Client.open(withOffheapErrors(() => native.locate(project)), fallback === 'hash', { signal, timeoutMs });
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
    this.#settings = readConfig(location.project);
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
    check(isStringArray(texts), 'embedBatch(texts) takes an array of strings');
    if (texts.length === 0) {
      embedOptions('embedBatch', options);
      this.#mayCall(options);
      return Vectors.empty();
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
      const { rebuild, onProgress } = indexOptions(options);
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
    const how = searchOptions(query, options);
    this.#needsProject('search');
    return this.#call(options, (client, call, timeout) => client.search(call, query, how, timeout));
  }

  /** Never starts a daemon: null where none runs. */
  async status(options = {}) {
    checkOnlyCallOptions('status', options);
    return this.#ifRunning(options, (client, call, timeout) => client.status(call, timeout), null);
  }

  async clearCache(options = {}) {
    const { stored } = clearCacheOptions(options);
    return { embeddings: await this.#call(options, (client, call, timeout) => client.clearCache(call, stored, timeout)) };
  }

  async ping(options = {}) {
    checkOnlyCallOptions('ping', options);
    return this.#call(options, (client, call, timeout) => client.ping(call, timeout));
  }

  /** Asks the daemon to leave; false where none runs. Other processes that use it start a new one. */
  async shutdown(options = {}) {
    checkOnlyCallOptions('shutdown', options);
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
  #mayCall(options) {
    checkCallOptions(options);
    const { signal, timeoutMs = 0 } = options;
    if (this.#closed) throw new OffheapError('CLOSED', 'the client was closed');
    if (signal?.aborted) throw cancelled(signal);
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
        if (signal?.aborted) throw cancelled(signal);
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
        if (error.code === 'SOCKETS_REFUSED') return this.#alone();
        if (!error.died || error === why) throw error;
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

module.exports = { connect, OffheapError, ERROR_CODES };
