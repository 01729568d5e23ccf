'use strict';

// Waiting that ends with the caller's signal or deadline.

const { performance } = require('node:perf_hooks');
const { clearTimeout, setTimeout } = require('node:timers');
const { cancelled, timedOut } = require('./errors.js');

/** The longest delay that `setTimeout` takes, milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** For each signal with our listener: the set of callbacks to call when it is aborted, and how to remove the listener. */
const listeners = new WeakMap();

/**
 * Calls `callback` once when `signal` is aborted. Returns a function that cancels this.
 *
 * All calls with one signal share one listener: Node warns of a leak when a signal gets its eleventh. `AbortSignal.any` would
 * avoid the warning, but in Node 20 it leaves about 50 bytes in a long-lived signal for each use.
 */
function onAbort(signal, callback) {
  if (signal === undefined) return () => {};
  let entry = listeners.get(signal);
  if (entry === undefined) {
    const callbacks = new Set();
    const callAll = () => {
      remove(); // Not every signal knows `once`.
      for (const each of callbacks) each();
    };
    const remove = () => {
      if (listeners.get(signal) === entry) listeners.delete(signal); // A later call may have registered another one.
      signal.removeEventListener('abort', callAll);
    };
    signal.addEventListener('abort', callAll, { once: true });
    listeners.set(signal, (entry = { callbacks, remove }));
  }
  const { callbacks, remove } = entry;
  const own = () => callback(); // One function may be registered twice; a set would keep it once.
  callbacks.add(own);
  return () => {
    callbacks.delete(own);
    if (callbacks.size === 0) remove();
  };
}

/**
 * Waits for `work`, but rejects when `signal` is aborted, and with `makeTimeoutError()` at `deadline` (of `performance.now()`).
 *
 * The timer keeps Node alive while a call is pending; that of `AbortSignal.timeout` does not.
 */
function interruptible(work, signal, deadline, makeTimeoutError) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      removeCallback();
    };
    const interrupt = () => {
      stop();
      reject(signal?.aborted ? cancelled(signal) : makeTimeoutError());
    };
    const timer = setTimeout(interrupt, Math.min(deadline - performance.now(), LONGEST_TIMER_MS));
    const removeCallback = onAbort(signal, interrupt);
    work.then(resolve, reject).finally(stop);
  });
}

/** Throws if the signal is aborted or the deadline has passed. */
function throwIfOver(signal, deadline, timeoutMs) {
  if (signal?.aborted) throw cancelled(signal);
  if (performance.now() >= deadline) throw timedOut(timeoutMs);
}

/** What an AbortController and its signal are to this file. Not every environment has an AbortController. */
class Stop {
  aborted = false;
  reason = undefined;
  #callbacks = new Set();

  abort(reason) {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    for (const callback of this.#callbacks) callback();
  }

  addEventListener(_event, callback) {
    this.#callbacks.add(callback);
  }

  removeEventListener(_event, callback) {
    this.#callbacks.delete(callback);
  }
}

module.exports = { Stop, onAbort, interruptible, throwIfOver };
