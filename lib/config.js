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

/** Reads the object under `daemon`; empty where there is no file. */
function readDaemonSection(project) {
  const folder = path.join(project, '.offheap');
  if (!lstatSync(folder).isDirectory()) return {};
  const { text, size } = readRegular(path.join(folder, 'config.json'), LIMITS.configBytes);
  // Some editors write a byte-order mark.
  return size > LIMITS.configBytes ? {} : (JSON.parse(text.replace(/^\uFEFF/, '')).daemon ?? {});
}

/** Reads what a client needs to know: whether it may start a daemon, how often and after which pauses it may retry. */
function readConfig(project) {
  let daemon = {};
  try {
    if (project !== undefined) daemon = readDaemonSection(project);
  } catch {
    // There is no file, or the daemon will refuse it and say why.
  }
  const isDelay = (ms) => Number.isFinite(ms) && ms >= 0;
  const delays = Array.isArray(daemon.retry_delays_ms) ? daemon.retry_delays_ms.slice(0, LIMITS.delays).filter(isDelay) : [];
  return {
    enabled: daemon.enabled !== false,
    maxRetries: Number.isInteger(daemon.max_retries) ? Math.min(Math.max(daemon.max_retries, 0), LIMITS.retries) : DEFAULTS.maxRetries,
    retryDelaysMs: delays.length > 0 ? delays.map((ms) => Math.min(ms, LIMITS.delayMs)) : DEFAULTS.retryDelaysMs,
  };
}

module.exports = { readConfig, DEFAULTS, LIMITS };
