'use strict';

// What this process knows of one endpoint's daemons: their crashes, and a start in progress. All clients of the endpoint share it.

const { once } = require('node:events');
const { performance } = require('node:perf_hooks');
const { setTimeout } = require('node:timers');
const { setTimeout: pause } = require('node:timers/promises');
const { CRASH_WINDOW_MS, PAUSE_SPREAD } = require('./retry.js');
const { startDaemon } = require('./start.js');

/** How long to wait for the exit of a daemon that was ready and cannot be reached. */
const EXIT_WAIT_MS = 50;
/** A suspect starts at the latest this long after the one before it was sent. */
const SUSPECT_GAP_MS = 500;

class Supervisor {
  static #byLog = new Map();

  #location;
  /** The start in progress, or null. */
  #starting = null;
  /** The times, of `performance.now()`, of crashes since the last answer. */
  #crashTimes = [];
  /** Connection numbers and child processes whose crash was counted. */
  #counted = new Set();
  /** Ends when the last suspect may start. */
  #suspects = Promise.resolve();

  /** The supervisor of an endpoint, which has one log. */
  static for(location) {
    let supervisor = Supervisor.#byLog.get(location.log);
    if (supervisor === undefined) Supervisor.#byLog.set(location.log, (supervisor = new Supervisor(location)));
    return supervisor;
  }

  constructor(location) {
    this.#location = location;
  }

  /** Crashes within the window, since the last answer. */
  get crashes() {
    const windowStart = performance.now() - CRASH_WINDOW_MS;
    this.#crashTimes = this.#crashTimes.filter((time) => time > windowStart);
    return this.#crashTimes.length;
  }

  /** Whether a connection ended with a crash. Counts it once, however many clients and calls lost that connection. */
  connectionCrashed(connection) {
    if (!connection.crashed) return false;
    this.#count(connection.connection);
    return true;
  }

  /** Whether a daemon that was ready and cannot be reached has crashed. Counts it once. */
  async processCrashed(child) {
    if (child.exitCode === null && child.signalCode === null) {
      await Promise.race([pause(EXIT_WAIT_MS, undefined, { ref: false }), once(child, 'exit')]);
    }
    const crashed = child.signalCode !== null || child.exitCode > 0;
    if (crashed) this.#count(child);
    return crashed;
  }

  #count(what) {
    if (this.#counted.has(what)) return;
    this.#counted.add(what);
    this.#crashTimes.push(performance.now());
  }

  /** A daemon answered a request: earlier crashes no longer count. */
  answered() {
    if (this.#crashTimes.length > 0) this.#crashTimes = [];
  }

  /** Starts a daemon after a pause, or joins the start in progress. Returns what `startDaemon` returns. */
  start(pauseMs) {
    this.#starting ??= this.#startAfter(pauseMs).finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #startAfter(pauseMs) {
    const spread = 1 + PAUSE_SPREAD * (2 * Math.random() - 1);
    if (pauseMs > 0) await pause(pauseMs * spread, undefined, { ref: false });
    const started = await startDaemon(this.#location);
    if (started.crashed) this.#crashTimes.push(performance.now());
    return started;
  }

  /**
   * Lets the calls that were in flight at a crash ask again one after another, so that the call that causes crashes is found.
   *
   * `ready` resolves when it is this call's turn, `begin()` says that the request is being sent. The next turn comes with `end()`,
   * or `SUSPECT_GAP_MS` after `begin()`.
   */
  suspectTurn() {
    const ready = this.#suspects;
    let end;
    const over = new Promise((resolve) => (end = resolve));
    this.#suspects = ready.then(() => over);
    return { ready, begin: () => setTimeout(end, SUSPECT_GAP_MS).unref(), end };
  }
}

module.exports = { Supervisor };
