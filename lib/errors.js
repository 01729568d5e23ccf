'use strict';

// The one error class of the package, and the errors that are made in JavaScript.

const native = require('../native.js');

/** Marks errors of this package, whichever copy of it made them: Jest loads one for each test file. */
const MARK = Symbol.for('offheap.OffheapError');

/** Every failure of this package. `code` is stable, `hint` says what to do about it and may be empty. */
class OffheapError extends Error {
  constructor(code, message, hint = '', cause = undefined) {
    super(hint ? `${message} (${hint})` : message, cause === undefined ? undefined : { cause });
    this.name = 'OffheapError';
    this.code = code;
    this.hint = hint;
  }

  get [MARK]() {
    return true;
  }

  /** True for errors of another copy of the package as well. */
  static [Symbol.hasInstance](value) {
    if (this !== OffheapError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === 'object' && value !== null && value[MARK] === true;
  }

  /** An equal error with the stack of the caller: one start of a daemon, and its error, is shared by all calls that wait for it. */
  static copy(error) {
    const copy = new OffheapError(error.code, error.message, '', error.cause);
    copy.hint = error.hint; // The message has it already.
    return copy;
  }

  /** Converts an error of the addon, whose message is JSON. Any other error means that the addon was called wrongly. */
  static from(error) {
    if (error instanceof OffheapError) return error;
    try {
      const { code, message, hint } = JSON.parse(error.message);
      if (typeof code === 'string') return new OffheapError(code, message, hint);
    } catch {
      // The message is not JSON.
    }
    return new OffheapError('INVALID_ARGUMENT', error.message, '', error);
  }
}

/** Every error code with its meaning, as the Rust side defines them. */
const ERROR_CODES = Object.freeze(Object.fromEntries(native.errorCodes().map(({ code, meaning }) => [code, meaning])));

/** Runs a synchronous function of the addon and converts what it throws. */
function withOffheapErrors(work) {
  try {
    return work();
  } catch (error) {
    throw OffheapError.from(error);
  }
}

const cancelled = (signal) => new OffheapError('CANCELLED', 'the call was cancelled', '', signal.reason);
const timedOut = (timeoutMs) => new OffheapError('TIMEOUT', `no answer within ${timeoutMs} ms`);
const poisoned = (crashes, cause) =>
  new OffheapError('POISONED', `the daemon crashed ${crashes} times while it worked on this request`, 'its log may say why; other requests are served', cause);

module.exports = { OffheapError, ERROR_CODES, withOffheapErrors, cancelled, timedOut, poisoned };
