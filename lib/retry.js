'use strict';

// What to do after a failure: go on at once, go on after a pause, or give up. A pure function of the error, of what happened before
// and of the configuration: no clock, no socket, no daemon. __test__/retry-cases.json is its table of cases; the command line
// (Rust) has the same function, tested with the same table.

/** How often in a row one call may find the daemon shutting down before it gives up. */
const MAX_RACES = 100;
/** This many races in a row are repeated at once. From the next one on, the n-th race is followed by a pause of n milliseconds. */
const RACES_WITHOUT_PAUSE = 3;
/** The longest pause after a race, milliseconds. */
const LONGEST_RACE_PAUSE_MS = 20;
/** A call that was in flight at this many crashes, and got no further between them, is the cause of the crashes. */
const POISON_CRASHES = 2;
/** A crash is forgotten after this long, milliseconds, and earlier when the endpoint's daemon answers a request. */
const CRASH_WINDOW_MS = 60_000;
/** Callers vary each pause by up to this share of it, because clients that lost the same daemon must not come back at once. */
const PAUSE_SPREAD = 0.25;

/**
 * Decides what follows a failure.
 *
 * - `error.code`: the code of the error.
 * - `error.during`: `'connect'` no request was sent yet, `'start'` a daemon was being started, `'call'` a request was sent.
 * - `error.crashed`: the daemon ended without saying that it leaves (`'call'`), or before it was ready (`'start'`).
 * - `history.crashes`: crashes of the endpoint's daemons that this process saw in the last `CRASH_WINDOW_MS`, since the last
 *   answer, this one included.
 * - `history.callCrashes`: crashes that this call saw itself, this one included. While connecting: that this attempt saw.
 * - `history.progressed`: since the crash before this one the call got further. Only an index run can.
 * - `history.races`: how often the call found the daemon shutting down before this time.
 * - `history.mayStart`: a daemon may be started for this call.
 * - `config`: `maxRetries`, and `retryDelaysMs`, which is never empty.
 *
 * Returns one of
 * - `{ retry: true }`: go on at once; that is to start a daemon after `'connect'`, else to connect and ask again,
 * - `{ pauseMs }`: the same, after so many milliseconds,
 * - `{ startPrivate: true }`: sockets are refused here; run a daemon of this process alone,
 * - `{ giveUp: code }`: end the call with this code.
 */
function nextStep(error, history, config) {
  switch (error.during) {
    case 'call':
      return afterCall(error, history, config);
    case 'start':
      return afterStart(error, history, config);
    default:
      return afterConnect(error, history, config);
  }
}

/** A request was sent and not answered. */
function afterCall({ code, crashed }, history, config) {
  if (code === 'DAEMON_LOST' && crashed && history.mayStart) {
    if (history.callCrashes > config.maxRetries) return { giveUp: code };
    if (history.callCrashes >= POISON_CRASHES && !history.progressed) return { giveUp: 'POISONED' };
    return { retry: true }; // The pause comes before the next start, which may not be needed.
  }
  const daemonLeft = code === 'LEAVING' || code === 'DAEMON_LOST' || code === 'DAEMON_NOT_RUNNING';
  return daemonLeft ? afterRace(code, history, config) : { giveUp: code };
}

/** A daemon was started and did not become ready. */
function afterStart({ code, crashed }, history, config) {
  if (code === 'SOCKETS_REFUSED') return { startPrivate: true };
  if (!crashed || crashCount(history) > config.maxRetries) return { giveUp: code };
  return { retry: true }; // Another process may have started one; else 'connect' decides about the pause.
}

/** No daemon could be reached. */
function afterConnect({ code }, history, config) {
  if (code === 'LEAVING') return afterRace(code, history, config);
  // A daemon can listen on loopback TCP where local sockets are refused; if TCP is refused too, starting it fails with this code.
  const none = code === 'DAEMON_NOT_RUNNING' || code === 'SOCKETS_REFUSED';
  if (!none || !history.mayStart) return { giveUp: code };
  if (history.races >= MAX_RACES) return code === 'SOCKETS_REFUSED' ? { startPrivate: true } : { giveUp: code };
  const crashes = crashCount(history);
  if (crashes === 0) return { retry: true };
  // Without retries, a call that saw no crash itself may still start one daemon.
  const isFirstTry = config.maxRetries === 0 && history.callCrashes === 0;
  if (crashes > config.maxRetries && !isFirstTry) return { giveUp: 'DAEMON_LOST' };
  const { retryDelaysMs } = config;
  return { pauseMs: retryDelaysMs[Math.min(crashes, retryDelaysMs.length) - 1] };
}

/** The daemon was shutting down in order. Nothing is wrong with the call, and any call may be repeated. */
function afterRace(code, { races }, { maxRetries }) {
  if (maxRetries === 0 || races >= MAX_RACES) return { giveUp: code };
  const count = races + 1;
  return count <= RACES_WITHOUT_PAUSE ? { retry: true } : { pauseMs: Math.min(count, LONGEST_RACE_PAUSE_MS) };
}

/** Long pauses let crashes fall out of the window; those that the call saw itself still count. */
function crashCount({ crashes, callCrashes }) {
  return Math.max(crashes, callCrashes);
}

/** The phases of an index run, in their order. */
const PHASES = ['scan', 'text', 'embed', 'done'];

/**
 * Whether an index run got further between two crashes. `before` and `now` are its last progress at each, null for none.
 *
 * A run after a crash continues from the last commit and counts only what is left, so a later phase is progress, and within one
 * phase less that is left.
 */
function hasProgressed(before, now) {
  if (before === null || now === null) return now !== null;
  const phases = PHASES.indexOf(now.phase) - PHASES.indexOf(before.phase);
  return phases > 0 || (phases === 0 && now.total - now.done < before.total - before.done);
}

module.exports = { nextStep, hasProgressed, MAX_RACES, RACES_WITHOUT_PAUSE, LONGEST_RACE_PAUSE_MS, POISON_CRASHES, CRASH_WINDOW_MS, PAUSE_SPREAD };
