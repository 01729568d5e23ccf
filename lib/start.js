'use strict';

// Starts a daemon. `spawn` is Node's because it detaches without inheriting handles on every system, which Rust's `Command`
// inside Node cannot promise. The command line (sidecar/src) does the same in Rust.

const { existsSync } = require('node:fs');
const path = require('node:path');
const process = require('node:process');
const { clearTimeout, setTimeout } = require('node:timers');
const native = require('../native.js');
const { passedOn } = require('./environment.json');
const { OffheapError } = require('./errors.js');
const { readRegular } = require('./read-regular.js');

/** How long a daemon may take to say that it is ready, or why not. It may wait 15 s for its predecessor. */
const START_LIMIT_MS = 20_000;
/** The longest first line that is read from a daemon. */
const MAX_READY_CHARS = 64 << 10;
/** How much of the log an error shows. */
const TAIL_LINES = 20;
const TAIL_BYTES = 4 << 10;

/** The program, arguments and environment of an endpoint's daemon. */
function daemonCommand(location) {
  const args = ['daemon'];
  if (location.project !== undefined) args.push('--project', location.project);
  const modelDir = findModelDir();
  if (modelDir !== null) args.push('--model-dir', modelDir);
  // The addon chose the directory from the process's environment; that of a worker thread may differ.
  const env = { OFFHEAP_RUNTIME_DIR: location.runtimeDir };
  for (const name of passedOn) if (process.env[name] !== undefined) env[name] ??= process.env[name];
  // The daemon has another working directory.
  if (env.OFFHEAP_MODEL !== undefined && existsSync(env.OFFHEAP_MODEL)) env.OFFHEAP_MODEL = path.resolve(env.OFFHEAP_MODEL);
  if (env.HF_HOME !== undefined) env.HF_HOME = path.resolve(env.HF_HOME);
  return { binary: native.sidecarPath(), args, env };
}

/** The folder of the default model's package as this program resolves it. Null: the daemon looks for it. */
function findModelDir() {
  try {
    return path.dirname(require.resolve('offheap-model-all-minilm-l6-v2/package.json'));
  } catch {
    return null;
  }
}

/** Starts a private daemon over pipes. No other process can use it, and it ends with this process. */
function startPrivateDaemon(location, name) {
  const { binary, args, env } = daemonCommand(location);
  return native.standalone(location.project, binary, [...args, '--stdio'], Object.entries(env), name);
}

/**
 * Starts a daemon that outlives this process, and waits for its first line.
 *
 * Returns `{ child }` once a daemon is ready, this one or another process's. Otherwise `{ failure, crashed }`: an OffheapError, and
 * whether the daemon ended before it said anything.
 */
async function startDaemon(location) {
  // Loaded here by the rule of starting (sidecar/src/daemon/mod.rs): it is a third of the package's load time, and seldom needed.
  const { spawn } = require('node:child_process');
  const { binary, args, env } = daemonCommand(location);
  const failed = (why, crashed = false) => ({ failure: startError(location, why), crashed });
  native.prepare(location.project); // It makes the runtime directory, the daemon's working directory.
  const startedAt = Date.now();
  let child;
  try {
    // Detached and without inherited output: a program that reads this process's output must not wait for the daemon.
    child = spawn(binary, args, { detached: true, windowsHide: true, stdio: ['ignore', 'pipe', 'ignore'], cwd: location.runtimeDir, env });
  } catch (error) {
    return failed(`cannot run ${binary}: ${error.message}`);
  }
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      finish(failed(`${binary} did not say within ${START_LIMIT_MS / 1000} s that it is ready`));
    }, START_LIMIT_MS).unref();
    let finished = false;
    const finish = (outcome) => {
      finished = true;
      clearTimeout(timer);
      resolve(outcome);
    };
    child.on('error', (error) => finish(failed(`cannot run ${binary}: ${error.message}`)));
    if (!child.stdout) return; // Out of file descriptors: 'error' follows.
    // A call that waits for the start keeps Node alive; a start without a waiting call does not.
    child.unref();
    child.stdout.unref();
    readFirstLine(child.stdout, (text) => finish(readyOutcome(text, child, failed)));
    // 'close', not 'exit': at 'exit' the line may still be in the pipe.
    child.on('close', (code, signal) => {
      if (finished) return; // A daemon that was ready has left.
      finish(failed(`the daemon ended before it was ready (${signal ?? `exit code ${code}`})${logTail(location.log, startedAt)}`, true));
    });
  });
}

/** Calls `take` once with the first line, or with what there is of it when it is too long; then closes the stream. */
function readFirstLine(stream, take) {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (part) => {
    text += part;
    if (!text.includes('\n') && text.length < MAX_READY_CHARS) return;
    stream.destroy();
    take(text);
  });
}

/** What a daemon's first line means (sidecar/protocol/src/ready.rs). */
function readyOutcome(text, child, failed) {
  let ready;
  try {
    ready = JSON.parse(text);
  } catch {
    // Reported below.
  }
  if (typeof ready?.error?.code === 'string') {
    const { code, message, hint } = ready.error;
    return { failure: new OffheapError(code, message, hint), crashed: false };
  }
  if (ready === 'already_running' || (typeof ready?.ready === 'object' && ready.ready !== null)) return { child };
  return failed(`the daemon said ${JSON.stringify(text.slice(0, 200))} instead of being ready`);
}

const logHint = (location) => `its log is ${location.log}; \`offheap doctor\` looks for the cause`;
const startError = (location, why) => new OffheapError('DAEMON_START_FAILED', why, logHint(location));

/** The error for an endpoint whose daemons crashed so often that no further one is started. */
function crashedTooOften(location, crashes) {
  const times = crashes === 1 ? 'once' : `${crashes} times in a row`;
  const message = `the daemon crashed ${times} and is not started again for a while`;
  return new OffheapError('DAEMON_LOST', message + logTail(location.log), logHint(location));
}

/** The end of a log for an error's message. Empty where the log was not written since `since`. */
function logTail(log, since = 0) {
  try {
    const { text, mtimeMs } = readRegular(log, TAIL_BYTES);
    if (mtimeMs < since) return '';
    const lines = text.trimEnd().split('\n');
    return `; its log ends with:\n${lines.slice(-TAIL_LINES).join('\n')}`;
  } catch {
    return '';
  }
}

module.exports = { startDaemon, startPrivateDaemon, crashedTooOften };
