'use strict';

// The client's part of a project's `.offheap/config.json`. The daemon checks the whole file and reports what is wrong with it
// (sidecar/src/config/file.rs); __test__/retry.test.mjs compares the defaults and limits of both.

const { lstatSync } = require('node:fs');
const path = require('node:path');
const { readRegular } = require('./read-regular.js');

/** The values of a project without a configuration file. */
const DEFAULTS = Object.freeze({ enabled: true, maxRetries: 4, retryDelaysMs: Object.freeze([100, 500, 1000, 2000]) });
/** Upper limits. The file belongs to the repository, which this user may not trust. */
const LIMITS = Object.freeze({ configBytes: 256 << 10, retries: 20, delays: 20, delayMs: 10_000 });

/** The values of `search` of a project without a configuration file. */
const SEARCH_DEFAULTS = Object.freeze({ mode: 'hybrid', limit: 10, waitMs: 0, context: 0 });
const SEARCH_MODES = ['hybrid', 'semantic', 'text', 'regex', 'symbol'];
const SEARCH_LIMITS = Object.freeze({ limit: 1000, waitMs: 10_000, context: 20 });

/** Reads the file; empty where there is none. */
function readFile(project) {
  const folder = path.join(project, '.offheap');
  if (!lstatSync(folder).isDirectory()) return {};
  const { text, size } = readRegular(path.join(folder, 'config.json'), LIMITS.configBytes);
  // Some editors write a byte-order mark.
  return size > LIMITS.configBytes ? {} : (JSON.parse(text.replace(/^\uFEFF/, '')) ?? {});
}

/** The values of a search that does not say them. The daemon refuses a file with values of another kind. */
function searchDefaults(search) {
  const number = (value, name, min) => (Number.isInteger(value) ? Math.min(Math.max(value, min), SEARCH_LIMITS[name]) : SEARCH_DEFAULTS[name]);
  return {
    mode: SEARCH_MODES.includes(search.mode) ? search.mode : SEARCH_DEFAULTS.mode,
    limit: number(search.limit, 'limit', 1),
    waitMs: number(search.wait_ms, 'waitMs', 0),
    context: number(search.context, 'context', 0),
  };
}

/** Reads what a client needs to know: whether it may start a daemon, how often and after which pauses it may retry, how it searches. */
function readConfig(project) {
  let daemon = {};
  let search = {};
  try {
    if (project !== undefined) ({ daemon = {}, search = {} } = readFile(project));
  } catch {
    // There is no file, or the daemon will refuse it and say why.
  }
  daemon ??= {};
  search ??= {};
  const isDelay = (ms) => Number.isFinite(ms) && ms >= 0;
  const delays = Array.isArray(daemon.retry_delays_ms) ? daemon.retry_delays_ms.slice(0, LIMITS.delays).filter(isDelay) : [];
  return {
    enabled: daemon.enabled !== false,
    maxRetries: Number.isInteger(daemon.max_retries) ? Math.min(Math.max(daemon.max_retries, 0), LIMITS.retries) : DEFAULTS.maxRetries,
    retryDelaysMs: delays.length > 0 ? delays.map((ms) => Math.min(ms, LIMITS.delayMs)) : DEFAULTS.retryDelaysMs,
    search: searchDefaults(search),
  };
}

module.exports = { readConfig, DEFAULTS, LIMITS, SEARCH_DEFAULTS, SEARCH_LIMITS };
