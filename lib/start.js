'use strict';

// Starting a daemon from Node, and what is known of its deaths. `spawn` is Node's because it detaches without handing
// on handles on every system, which Rust's `Command` inside Node cannot promise.

const { existsSync } = require('node:fs');
const path = require('node:path');
const native = require('../native.js');
const { OffheapError } = require('./errors.js');
const { readRegular } = require('./read-regular.js');

/** Variables that the daemon is given; it outlives this process, whose other variables are none of its business. */
const PASSED_ON = [
  'HOME', 'USERPROFILE', 'LOCALAPPDATA', 'SystemRoot', 'TEMP', 'TMP', 'XDG_RUNTIME_DIR', 'XDG_CACHE_HOME', 'XDG_STATE_HOME', 'HF_HOME', 'HF_ENDPOINT',
  'OFFHEAP_RUNTIME_DIR', 'OFFHEAP_KERNEL', 'OFFHEAP_MODEL', 'OFFHEAP_THREADS', 'OFFHEAP_TTL_MS', 'OFFHEAP_WATCH', 'RUST_BACKTRACE',
];
/** Longer than any daemon takes to say that it is ready, or why not: it may wait 15 s for its predecessor. */
const START_LIMIT_MS = 20_000;
/** Longer than any ready line. */
const MAX_READY_CHARS = 64 << 10;
/** What an error shows of the log. */
const TAIL_LINES = 20;
const TAIL_BYTES = 4 << 10;

/** Daemons that are started again after crashes that no answer came between; a third is not chance. */
const MAX_RESTARTS = 2;
/** After this long a crash is forgotten. */
const WINDOW_MS = 60_000;
/** So long the next one of those who were in flight at a crash waits for the one before it. */
const TURN_MS = 500;

/** What this process knows of one endpoint's daemon. All clients of the endpoint share it. */
class Supervisor {
  static #all = new Map();

  #location;
  #starting = null;
  /** When daemons died since one last answered. */
  #crashes = [];
  /** Connections and processes whose end was counted. */
  #counted = new Set();
  /** Those who were in flight when a daemon died ask again one after another, so that the one at fault is found. */
  #lane = Promise.resolve();

  static for(location) {
    let supervisor = Supervisor.#all.get(location.log);
    if (supervisor === undefined) Supervisor.#all.set(location.log, (supervisor = new Supervisor(location)));
    return supervisor;
  }

  constructor(location) {
    this.#location = location;
  }

  /** A connection broke. Says whether that was a crash, which counts once however many calls it took along. */
  lost(connection) {
    if (!connection.crashed) return false;
    // By number: every client has an object of its own for the one connection that they share.
    this.#count(connection.connection);
    return true;
  }

  #count(what) {
    if (this.#counted.has(what)) return;
    this.#counted.add(what);
    this.#crashes.push(performance.now());
  }

  /** A daemon that was ready could not be reached. Counts it if it died; one that left in order is no news. */
  async unreachable(child) {
    if (child.exitCode === null && child.signalCode === null) await Promise.race([pause(50), new Promise((resolve) => child.once('exit', resolve))]);
    if (child.signalCode !== null || child.exitCode > 0) this.#count(child);
  }

  /** A daemon answered: whatever made others die before is over. */
  answered() {
    if (this.#crashes.length > 0) this.#crashes = [];
  }

  /** How long to wait before the next start; throws where there have been too many. */
  #delay(delays, why) {
    const since = performance.now() - WINDOW_MS;
    this.#crashes = this.#crashes.filter((at) => at > since);
    const crashes = this.#crashes.length;
    if (crashes === 0) return 0;
    if (crashes > MAX_RESTARTS) {
      if (why !== null) throw why;
      const message = `the daemon died ${crashes} times within ${WINDOW_MS / 1000} s and is not started again for a while`;
      throw new OffheapError('DAEMON_LOST', message + tail(this.#location.log), `its log is ${this.#location.log}; \`offheap doctor\` looks for the cause`);
    }
    // Clients that lost the same daemon must not come back in step.
    const delay = delays[Math.min(crashes - 1, delays.length - 1)];
    return delay * (0.75 + Math.random() / 2);
  }

  /** Starts a daemon when that is due, or joins the start in progress. `why` is what the last one died of, if it said. */
  start(delays, why) {
    this.#starting ??= this.#startWhenDue(delays, why).finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #startWhenDue(delays, why) {
    const delay = this.#delay(delays, why);
    if (delay > 0) await pause(delay);
    try {
      return await startDaemon(this.#location);
    } catch (error) {
      if (error.died) this.#crashes.push(performance.now());
      throw error;
    }
  }

  /**
   * A turn among the suspects: `ready` comes when the one before is over, `begin` says that the request is on its way. The
   * turn is over with `end`, or a while after `begin` whatever became of it.
   */
  turn() {
    const ready = this.#lane;
    let end;
    const over = new Promise((resolve) => (end = resolve));
    this.#lane = ready.then(() => over);
    return { ready, begin: () => setTimeout(end, TURN_MS).unref(), end };
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

/** How to run the sidecar for an endpoint. */
function command(location) {
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
  return { binary: native.sidecarPath(), args, env };
}

/** A private daemon of this process, over pipes: nothing is shared, and it ends with us. */
function standalone(location) {
  const { binary, args, env } = command(location);
  return native.standalone(location.project, binary, [...args, '--stdio'], Object.entries(env));
}

/** Runs the sidecar detached and waits for its ready line. */
async function startDaemon(location) {
  const { spawn } = require('node:child_process'); // a third of the package's load time, for one call of many
  const { binary, args, env } = command(location);
  native.prepare(location.project); // it is the daemon's working directory
  const began = Date.now();
  return new Promise((resolve, reject) => {
    let over = false;
    const settle = () => {
      over = true;
      clearTimeout(timer);
    };
    const fail = (why, died = false) => {
      settle();
      reject(Object.assign(new OffheapError('DAEMON_START_FAILED', why, `its log is ${location.log}; \`offheap doctor\` looks for the cause`), { died }));
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      fail(`${binary} did not say within ${START_LIMIT_MS / 1000} s that it is ready`);
    }, START_LIMIT_MS).unref();
    // Its own session, no handle of ours: whoever waits for our output must not wait for the daemon.
    let child;
    try {
      child = spawn(binary, args, { detached: true, windowsHide: true, stdio: ['ignore', 'pipe', 'ignore'], cwd: location.runtimeDir, env });
    } catch (error) {
      return fail(`cannot run ${binary}: ${error.message}`);
    }
    child.on('error', (error) => fail(`cannot run ${binary}: ${error.message}`));
    if (!child.stdout) return; // out of descriptors: 'error' follows
    // Whoever waits for the start keeps Node alive; a start that nobody waits for does not.
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
        settle();
        reject(new OffheapError(ready.error.code, ready.error.message, ready.error.hint));
      } else if (ready === 'already_running' || (typeof ready?.ready === 'object' && ready.ready !== null)) {
        settle();
        resolve(child);
      } else {
        fail(`the daemon said ${JSON.stringify(text.slice(0, 200))} instead of being ready`);
      }
    });
    // Not 'exit': its line may still be in the pipe then.
    child.on('close', (code, signal) => {
      if (over) return;
      fail(`the daemon ended before it was ready (${signal ?? `exit code ${code}`})${tail(location.log, began)}`, true);
    });
  });
}

/** The end of a log, for an error's message; nothing where nobody wrote there `since`. */
function tail(log, since = 0) {
  try {
    const { text, mtimeMs } = readRegular(log, TAIL_BYTES);
    if (mtimeMs < since) return '';
    const lines = text.trimEnd().split('\n');
    return `; its log ends with:\n${lines.slice(-TAIL_LINES).join('\n')}`;
  } catch {
    return '';
  }
}

/** The default model's package, as this program resolves it; null leaves the search to the sidecar. */
function findModelDir() {
  try {
    return path.dirname(require.resolve('offheap-model-all-minilm-l6-v2/package.json'));
  } catch {
    return null;
  }
}

module.exports = { Supervisor, standalone };
