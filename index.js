'use strict';

// The public API: connect() and Client. lib/ has the parts: options, errors, retries, starting a daemon. The addon (src/) has bytes
// and sockets, the daemon (sidecar/) vectors and indexes. Types and documentation: index.d.ts.

// Globals of the platform come from modules: test environments and `vm` contexts replace or lack them (lib/realm.js).
const { performance } = require('node:perf_hooks');
const process = require('node:process');
const { setImmediate } = require('node:timers');
const { setTimeout: pause } = require('node:timers/promises');
const native = require('./native.js');
const { Stop, interruptible, onAbort, throwIfOver } = require('./lib/abort.js');
const { readConfig } = require('./lib/config.js');
const { ERROR_CODES, OffheapError, cancelled, poisoned, timedOut, withOffheapErrors } = require('./lib/errors.js');
const { IndexRun } = require('./lib/index-run.js');
const {
  check, checkCallOptions, checkConnectOptions, checkOnlyCallOptions, clearCacheOptions, embedOptions, indexOptions, isObject, isStringArray, searchOptions,
} = require('./lib/options.js');
const { ownCopy } = require('./lib/realm.js');
const { hasProgressed, nextStep } = require('./lib/retry.js');
const { crashedTooOften, startPrivateDaemon } = require('./lib/start.js');
const { Supervisor } = require('./lib/supervisor.js');
const { Vectors } = require('./lib/vectors.js');

/** A daemon that has not greeted for this long is called unresponsive when the call's time is over; before, it is only slow. */
const GREETING_MS = 250;
/** A call with more texts than this is bulk work; interactive calls overtake it. */
const BULK_TEXTS = 16;
/** The kinds of fallback, each with the text of its warning. */
const FALLBACKS = {
  standalone: 'local sockets and loopback TCP are refused here: this process runs a private daemon',
  tcp: 'local sockets are refused here: the daemon is reached over loopback TCP',
  hash: 'no model can be loaded: embed() returns hashed vectors (space hash-v1)',
};

/** Opens a client. Starts the daemon if none runs. The project of a directory: sidecar/protocol/src/border.rs. */
async function connect(options = {}) {
  checkConnectOptions(options);
  const { project, fallback, name, signal, timeoutMs } = options;
  const location = withOffheapErrors(() => native.locate(project));
  tellOnce(location.note);
  return Client.open(location, fallback === 'hash', name, { signal, timeoutMs });
}

let hasTold = false;

/** Says once in this process why the runtime directory is not the one that the environment names. */
function tellOnce(note) {
  if (note === undefined || hasTold) return;
  hasTold = true;
  process.emitWarning(note, { type: 'OffheapWarning', code: 'OFFHEAP_RUNTIME_DIR' });
}

/** A client of one endpoint's daemon. Reconnects by itself, and starts the daemon again where that is needed. */
class Client {
  #location;
  #config;
  #supervisor;
  /** The addon's connection that was last used, or null. */
  #connection = null;
  /** A promise of the connection that is being opened, or null. All calls of this client wait for one. */
  #opening = null;
  /** Since when a daemon is being asked for its greeting; Infinity while none is. */
  #greetingSince = Infinity;
  #nextCall = 1;
  #closed = false;
  /** `fallback: 'hash'` was asked for. */
  #allowHash;
  /** What the program calls itself, or undefined. */
  #name;
  /** Kinds of fallback that this client met. */
  #fallbacks = new Set();
  /** Kinds of fallback that were reported. */
  #warned = new Set();
  #opened = false;
  #listeners = new Set();

  static async open(location, allowHash, name, options) {
    const client = new Client(location, allowHash, name);
    await client.ping(options);
    client.#opened = true;
    client.#warn();
    return client;
  }

  constructor(location, allowHash, name) {
    this.#location = location;
    this.#config = readConfig(location.project);
    this.#supervisor = Supervisor.for(location);
    this.#allowHash = allowHash;
    this.#name = name;
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
    if (texts.length > 0) return new Vectors(await this.#embed(texts, options, 'embedBatch'));
    embedOptions('embedBatch', options);
    this.#checkCall(options);
    return Vectors.empty();
  }

  async #embed(texts, options, method) {
    const how = { ...embedOptions(method, options), bulk: texts.length > BULK_TEXTS, orHash: this.#allowHash };
    const result = await this.#call(options, (connection, call, timeoutMs) => connection.embed(call, texts, how, timeoutMs));
    // Vitest's jsdom has typed arrays of another realm, and all else of this one.
    Object.assign(result, { values: ownCopy(result.values), tokens: ownCopy(result.tokens) });
    if (result.degraded === undefined) return { degraded: undefined, fallback: undefined, ...result };
    this.#addFallback('hash');
    return { ...result, fallback: 'hash' };
  }

  index(options = {}) {
    return new IndexRun(async (report) => {
      const { rebuild, force, onProgress } = indexOptions(options);
      this.#needsProject('index');
      this.#checkCall(options);
      let reached = null;
      let thrown = null;
      // Aborted when the caller's signal is, or when `onProgress` throws: nothing else could catch that.
      const stop = new Stop();
      const removeCallback = onAbort(options.signal, () => stop.abort(options.signal.reason));
      const progress = (raw) => {
        const event = ownCopy(raw);
        reached = event;
        report(event);
        if (thrown !== null) return;
        try {
          onProgress?.(event);
        } catch (error) {
          thrown = { error };
          stop.abort();
        }
      };
      const work = (connection, call, timeoutMs) => connection.index(call, rebuild, force, timeoutMs, progress);
      try {
        const done = await this.#call({ ...options, signal: stop }, work, { progress: () => reached });
        if (thrown === null) return done;
      } catch (error) {
        if (thrown === null) throw error;
      } finally {
        removeCallback();
      }
      throw thrown.error;
    });
  }

  async search(query, options = {}) {
    const how = searchOptions(query, options, this.#config.search);
    this.#needsProject('search');
    return this.#call(options, (connection, call, timeoutMs) => connection.search(call, query, how, timeoutMs));
  }

  /** Never starts a daemon. Null where none runs. */
  async status(options = {}) {
    checkOnlyCallOptions('status', options);
    return this.#callIfRunning(options, (connection, call, timeoutMs) => connection.status(call, timeoutMs), null);
  }

  async clearCache(options = {}) {
    const { stored } = clearCacheOptions(options);
    return { embeddings: await this.#call(options, (connection, call, timeoutMs) => connection.clearCache(call, stored, timeoutMs)) };
  }

  async ping(options = {}) {
    checkOnlyCallOptions('ping', options);
    return this.#call(options, (connection, call, timeoutMs) => connection.ping(call, timeoutMs));
  }

  /** Asks the daemon to leave. False where none runs. Other processes that use it start a new one. */
  async shutdown(options = {}) {
    checkOnlyCallOptions('shutdown', options);
    return this.#callIfRunning(options, (connection, call, timeoutMs) => connection.shutdown(call, timeoutMs).then(() => true), false);
  }

  /** Ends this client's use of the connection. The daemon leaves by itself after its idle time. */
  async close() {
    this.#closed = true;
    this.#connection = null;
  }

  /** Without the symbol, the one that compilers use in its place. */
  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.close();
  }

  /** Adds a listener for fallbacks. Without one, Node prints a warning for each kind. */
  on(event, listener) {
    check(event === 'fallback', "the only event is 'fallback'");
    check(typeof listener === 'function', 'the listener must be a function');
    this.#listeners.add(listener);
    return this;
  }

  #addFallback(kind) {
    this.#fallbacks.add(kind);
    if (this.#opened) this.#warn();
  }

  /** Reports each kind of fallback once, in a later tick: a listener that is added right after `connect` hears of it. */
  #warn() {
    for (const kind of this.#fallbacks) {
      if (this.#warned.has(kind)) continue;
      this.#warned.add(kind);
      setImmediate(() => {
        if (this.#listeners.size === 0) process.emitWarning(FALLBACKS[kind], { type: 'OffheapWarning', code: 'OFFHEAP_FALLBACK' });
        for (const listener of this.#listeners) listener({ kind, message: FALLBACKS[kind] });
      });
    }
  }

  /** Checks what every call needs before anything is sent. Returns its deadline, a time of `performance.now()`. */
  #checkCall(options) {
    checkCallOptions(options);
    const { signal, timeoutMs = 0 } = options;
    this.#checkOpen();
    if (signal?.aborted) throw cancelled(signal);
    return timeoutMs > 0 ? performance.now() + timeoutMs : Infinity;
  }

  #checkOpen() {
    if (this.#closed) throw new OffheapError('CLOSED', 'the client was closed');
  }

  #needsProject(method) {
    if (this.project === null) throw new OffheapError('NO_PROJECT', `${method}() needs a project`, 'connect({ project: dir })');
  }

  /** As `#call`, without starting a daemon. Returns `otherwise` where none runs. */
  async #callIfRunning(options, work, otherwise) {
    try {
      return await this.#call(options, work, { mayStart: false });
    } catch (error) {
      // Where sockets are refused, only a private daemon could run, and this client is connected to none.
      if (error.code === 'DAEMON_NOT_RUNNING' || error.code === 'SOCKETS_REFUSED') return otherwise;
      throw error;
    }
  }

  /**
   * Runs one request within its signal and deadline. Repeats it on another daemon where lib/retry.js says so.
   *
   * `work(connection, call, timeoutMs)` sends it; `progress()` is the last progress of an index run, or null.
   */
  async #call(options, work, { mayStart = true, progress = () => null } = {}) {
    const { signal, timeoutMs = 0 } = options;
    const deadline = this.#checkCall(options);
    const untilOver = (promise) => interruptible(promise, signal, deadline, () => this.#timeoutError(timeoutMs));
    const history = { callCrashes: 0, races: 0, progressed: false, mayStart };
    let reached = progress();
    for (;;) {
      throwIfOver(signal, deadline, timeoutMs);
      let connection = null;
      // In flight when the daemon crashed. Repeated alone: at a second crash this call is the cause.
      const turn = history.callCrashes > 0 ? this.#supervisor.suspectTurn() : null;
      try {
        if (turn !== null) await untilOver(turn.ready);
        connection = this.#usableConnection ?? (await untilOver(this.#connect(mayStart)));
        throwIfOver(signal, deadline, timeoutMs);
        turn?.begin();
        const result = await this.#send(connection, work, signal, deadline);
        this.#supervisor.answered();
        return result;
      } catch (raw) {
        const error = connection === null ? OffheapError.copy(OffheapError.from(raw)) : OffheapError.from(raw);
        if (signal?.aborted) throw cancelled(signal);
        if (error.code === 'TIMEOUT') throw timedOut(timeoutMs); // The addon's message has the time that was left for this attempt.
        if (connection === null && error.code !== 'LEAVING') throw error; // #open has retried what can be retried.
        const crashed = this.#lost(connection, error);
        if (crashed && mayStart) {
          history.callCrashes++;
          history.progressed = hasProgressed(reached, progress());
          reached = progress();
        }
        const step = this.#nextStep({ code: error.code, during: connection === null ? 'connect' : 'call', crashed }, history);
        if (step.giveUp === 'POISONED') throw poisoned(history.callCrashes, error);
        if (step.giveUp !== undefined) throw error;
        if (!crashed || !mayStart) history.races++;
        if (step.pauseMs > 0) await interruptible(pause(step.pauseMs), signal, deadline, () => timedOut(timeoutMs));
      } finally {
        turn?.end();
      }
    }
  }

  /** Notes that a connection was lost, where the error says so. Returns whether the daemon crashed. */
  #lost(connection, error) {
    if (connection === null || error.code !== 'DAEMON_LOST') return false;
    if (this.#connection === connection) this.#connection = null;
    return this.#supervisor.connectionCrashed(connection);
  }

  #nextStep(error, history) {
    return nextStep(error, { ...history, crashes: this.#supervisor.crashes }, this.#config);
  }

  /** Sends one request over one connection. */
  async #send(connection, work, signal, deadline) {
    const call = this.#nextCall++ >>> 0;
    const timeoutMs = deadline === Infinity ? undefined : Math.max(1, Math.ceil(deadline - performance.now()));
    const removeCallback = onAbort(signal, () => connection.cancel(call));
    try {
      const result = ownCopy(await work(connection, call, timeoutMs));
      if (isObject(result) && connection.transport !== 'local') result.fallback = connection.transport;
      return result;
    } finally {
      removeCallback();
    }
  }

  /** The error for a call whose time is over before it has a connection. */
  #timeoutError(timeoutMs) {
    if (performance.now() - this.#greetingSince < GREETING_MS) return timedOut(timeoutMs);
    const hint = 'it may be stopped (SIGSTOP, a debugger) or stuck; `offheap restart --force` ends it and starts another';
    return new OffheapError('DAEMON_UNRESPONSIVE', `the daemon accepted the connection and did not answer within ${timeoutMs} ms`, hint);
  }

  get #usableConnection() {
    return this.#connection?.usable ? this.#connection : null;
  }

  /** A usable connection; starts a daemon first where that is needed and allowed. */
  async #connect(mayStart) {
    this.#checkOpen();
    if (this.#usableConnection) return this.#usableConnection;
    if (!mayStart) return this.#connectOnce(false);
    this.#opening ??= this.#open().finally(() => (this.#opening = null));
    return this.#opening;
  }

  /** Connects to a daemon that runs. With `mayStart`, a daemon of an older version is asked to leave first. */
  async #connectOnce(mayStart) {
    this.#greetingSince = performance.now();
    try {
      const connection = await native.connect(this.#location.project, mayStart, this.#name);
      if (connection.transport !== 'local') this.#addFallback(connection.transport);
      return (this.#connection = connection);
    } finally {
      this.#greetingSince = Infinity;
    }
  }

  /** Connects; starts daemons while none runs and lib/retry.js says so. */
  async #open() {
    const history = { callCrashes: 0, races: 0, progressed: false, mayStart: this.#config.enabled };
    let child = null;
    for (;;) {
      let error;
      try {
        return await this.#connectOnce(history.mayStart);
      } catch (raw) {
        error = OffheapError.from(raw);
      }
      if (error.code === 'LEAVING') throw error; // #call repeats it.
      if (child !== null) {
        if (await this.#supervisor.processCrashed(child)) history.callCrashes++;
        else history.races++;
      }
      const step = this.#nextStep({ code: error.code, during: 'connect' }, history);
      if (step.startPrivate) return this.#startPrivate();
      if (step.giveUp !== undefined) throw this.#openError(error, step.giveUp, history);
      const started = await this.#supervisor.start(step.pauseMs ?? 0);
      child = started.child ?? null;
      if (child !== null) continue;
      if (started.crashed) history.callCrashes++;
      const { failure, crashed } = started;
      const next = this.#nextStep({ code: failure.code, during: 'start', crashed }, history);
      if (next.startPrivate) return this.#startPrivate();
      if (next.giveUp !== undefined) throw failure;
    }
  }

  /** The error of a connection that could not be opened. */
  #openError(error, code, { callCrashes }) {
    if (code !== error.code) return crashedTooOften(this.#location, Math.max(this.#supervisor.crashes, callCrashes));
    if (code !== 'DAEMON_NOT_RUNNING' || this.#config.enabled) return error;
    return new OffheapError(code, error.message, 'this project forbids starting one: daemon.enabled in .offheap/config.json');
  }

  /** Runs a private daemon, where the system refuses sockets. */
  async #startPrivate() {
    this.#connection = await startPrivateDaemon(this.#location, this.#name);
    this.#addFallback('standalone');
    return this.#connection;
  }
}

module.exports = { connect, OffheapError, ERROR_CODES };
