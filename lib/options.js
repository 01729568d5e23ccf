'use strict';

// Checks what callers pass, and converts options to the form that the addon takes. Wrong values throw INVALID_ARGUMENT.

const { OffheapError } = require('./errors.js');

const CALL_OPTIONS = ['signal', 'timeoutMs'];
const MODES = ['hybrid', 'semantic', 'text', 'regex', 'symbol'];
const CASES = ['smart', 'sensitive', 'insensitive'];
const MAX_LIMIT = 1000;
const MAX_CONTEXT_LINES = 20;
const MAX_NAME_CHARS = 64;
/** Milliseconds are unsigned 32-bit numbers on the wire. */
const MILLISECONDS_END = 2 ** 32;

function check(ok, message) {
  if (!ok) throw new OffheapError('INVALID_ARGUMENT', message);
}

const isObject = (value) => typeof value === 'object' && value !== null;
/** `findIndex`, because `every` skips the holes of a sparse array. */
const isStringArray = (list) => Array.isArray(list) && list.findIndex((item) => typeof item !== 'string') === -1;
/** Any AbortSignal: that of another realm, of jsdom or of a polyfill is no instance of this one's class. */
const isSignal = (value) =>
  isObject(value) && typeof value.aborted === 'boolean' && typeof value.addEventListener === 'function' && typeof value.removeEventListener === 'function';
const isMilliseconds = (value) => Number.isInteger(value) && value >= 0 && value < MILLISECONDS_END;
const isIntegerIn = (value, min, max) => Number.isInteger(value) && value >= min && value <= max;

/** Rejects unknown option names, so that a misspelt option is not ignored. */
function checkNames(method, options, names) {
  check(isObject(options), `${method}() takes its options as an object`);
  for (const key of Object.keys(options)) check(names.includes(key), `${method}() has no option ${JSON.stringify(key)}; it has ${names.join(', ')}`);
}

/** Checks `signal` and `timeoutMs`, which every method takes. */
function checkCallOptions({ signal, timeoutMs = 0 }) {
  check(signal === undefined || isSignal(signal), 'signal must be an AbortSignal');
  check(isMilliseconds(timeoutMs), 'timeoutMs must be a whole number of milliseconds');
}

/** For methods whose only options are `signal` and `timeoutMs`. */
const checkOnlyCallOptions = (method, options) => checkNames(method, options, CALL_OPTIONS);

function checkConnectOptions(options) {
  check(isObject(options), 'connect(options) takes an object');
  checkNames('connect', options, ['project', 'fallback', 'name', ...CALL_OPTIONS]);
  const { project, fallback, name } = options;
  check(project === undefined || typeof project === 'string', 'project must be a path');
  check(fallback === undefined || fallback === 'hash', "fallback must be 'hash'");
  const isName = typeof name === 'string' && name.trim() !== '' && [...name].length <= MAX_NAME_CHARS;
  check(name === undefined || isName, `name must be a string of 1 to ${MAX_NAME_CHARS} characters`);
}

function embedOptions(method, options) {
  checkNames(method, options, ['kind', 'specialTokens', ...CALL_OPTIONS]);
  const { kind = 'document', specialTokens = 'parse' } = options;
  check(kind === 'document' || kind === 'query', "kind must be 'document' or 'query'");
  check(specialTokens === 'parse' || specialTokens === 'text', "specialTokens must be 'parse' or 'text'");
  return { query: kind === 'query', parseSpecials: specialTokens === 'parse' };
}

function indexOptions(options) {
  checkNames('index', options, ['rebuild', 'force', 'onProgress', ...CALL_OPTIONS]);
  const { rebuild = false, force = false, onProgress } = options;
  check(typeof rebuild === 'boolean', 'rebuild must be a boolean');
  check(typeof force === 'boolean', 'force must be a boolean');
  check(onProgress === undefined || typeof onProgress === 'function', 'onProgress must be a function');
  return { rebuild, force, onProgress };
}

/** `defaults`: the configuration's, for what the caller does not say. */
function searchOptions(query, options, defaults) {
  check(typeof query === 'string', 'search(query) takes a string');
  checkNames('search', options, ['mode', 'limit', 'globs', 'languages', 'fresh', 'explain', 'case', 'context', ...CALL_OPTIONS]);
  const { mode = defaults.mode, limit = defaults.limit, globs, languages, explain, case: caseMode, context } = options;
  const { fresh = defaults.waitMs > 0 ? { waitMs: defaults.waitMs } : 'stale-ok' } = options;
  check(MODES.includes(mode), `mode must be one of ${MODES.map((name) => `'${name}'`).join(', ')}`);
  check(limit === undefined || isIntegerIn(limit, 1, MAX_LIMIT), `limit must be a whole number from 1 to ${MAX_LIMIT}`);
  for (const [name, list] of Object.entries({ globs, languages })) {
    check(list === undefined || isStringArray(list), `${name} must be an array of strings`);
  }
  check(explain === undefined || typeof explain === 'boolean', 'explain must be a boolean');
  const waitMs = waitMsOf(fresh);
  check(mode === 'regex' || (caseMode === undefined && context === undefined), "case and context belong to mode 'regex'");
  check(caseMode === undefined || CASES.includes(caseMode), "case must be 'smart', 'sensitive' or 'insensitive'");
  check(context === undefined || isIntegerIn(context, 0, MAX_CONTEXT_LINES), `context must be a whole number from 0 to ${MAX_CONTEXT_LINES}`);
  const lines = context ?? (mode === 'regex' ? defaults.context : undefined);
  return { mode, limit, globs, languages, waitMs, explain, case: caseMode, context: lines };
}

/** Milliseconds that a search may wait for changes to be indexed. `undefined`: it does not wait. */
function waitMsOf(fresh) {
  if (fresh === 'stale-ok') return undefined;
  const message = "fresh must be 'stale-ok' or { waitMs }, a whole number of milliseconds";
  check(isObject(fresh), message);
  for (const key of Object.keys(fresh)) check(key === 'waitMs', message);
  check(isMilliseconds(fresh.waitMs), message);
  return fresh.waitMs;
}

function clearCacheOptions(options) {
  checkNames('clearCache', options, ['stored', ...CALL_OPTIONS]);
  const { stored = false } = options;
  check(typeof stored === 'boolean', 'stored must be a boolean');
  return { stored };
}

module.exports = {
  check, isObject, isStringArray, checkCallOptions, checkOnlyCallOptions, checkConnectOptions, embedOptions, indexOptions, searchOptions, clearCacheOptions,
};
