// lib/retry.js on its table of cases, without a daemon; and that JavaScript and Rust have the same lists and numbers.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { root } from '../npm/scripts/lib.mjs';

const require = createRequire(import.meta.url);
const retry = require('../lib/retry.js');
const { DEFAULTS, LIMITS, SEARCH_DEFAULTS, SEARCH_LIMITS, readConfig } = require('../lib/config.js');
const { passedOn } = require('../lib/environment.json');
const table = require('./retry-cases.json');

const configOf = ({ max_retries: maxRetries, retry_delays_ms: retryDelaysMs }) => ({ maxRetries, retryDelaysMs });

describe('nextStep', () => {
  for (const { name, error, history, config, step } of table.cases) {
    test(name, () => assert.deepEqual(retry.nextStep(error, history, configOf(config)), step));
  }

  for (const { name, before, now, progressed } of table.progress) {
    test(`progress: ${name}`, () => assert.equal(retry.hasProgressed(before, now), progressed));
  }

  test('the table has no case twice, and every kind of step', () => {
    const inputs = table.cases.map(({ error, history, config }) => JSON.stringify([error, history, config]));
    assert.deepEqual(inputs.filter((input, i) => inputs.indexOf(input) !== i), []);
    assert.equal(new Set(table.cases.map(({ name }) => name)).size, table.cases.length, 'names');
    const kinds = new Set(table.cases.flatMap(({ step }) => Object.keys(step)));
    assert.deepEqual([...kinds].sort(), ['giveUp', 'pauseMs', 'retry', 'startPrivate']);
  });

  test('reads neither a clock nor chance, and changes nothing', () => {
    const freeze = (value) => Object.freeze(value);
    for (const { error, history, config } of table.cases) {
      const steps = [1, 2].map(() => retry.nextStep(freeze(error), freeze(history), freeze(configOf(config))));
      assert.deepEqual(steps[0], steps[1]);
    }
  });

  test('a daemon that always crashes is started once and again after every delay, whatever the configuration', () => {
    for (const [maxRetries, retryDelaysMs] of [[4, [100, 500, 1000, 2000]], [0, [100]], [20, [LIMITS.delayMs]], [2, [1, 2, 3, 4]]]) {
      // Each started daemon crashes. `crashes` stays at 1, as with delays so long that the window forgets earlier crashes.
      const pauses = [];
      let starts = 0;
      let last;
      for (let crashes = 0; ; crashes++) {
        const history = { crashes: Math.min(crashes, 1), callCrashes: crashes, progressed: false, races: 0, mayStart: true };
        last = retry.nextStep({ code: 'DAEMON_NOT_RUNNING', during: 'connect' }, history, { maxRetries, retryDelaysMs });
        if (last.giveUp !== undefined) break;
        starts++;
        if (last.pauseMs !== undefined) pauses.push(last.pauseMs);
        assert.ok(starts < 100, 'an end');
      }
      assert.deepEqual([starts, last], [1 + maxRetries, { giveUp: 'DAEMON_LOST' }]);
      assert.deepEqual(pauses, Array.from({ length: maxRetries }, (_, i) => retryDelaysMs[Math.min(i, retryDelaysMs.length - 1)]));
    }
  });

  test('has the constants of the table', () => {
    const { MAX_RACES, RACES_WITHOUT_PAUSE, LONGEST_RACE_PAUSE_MS, POISON_CRASHES, CRASH_WINDOW_MS, PAUSE_SPREAD } = retry;
    assert.deepEqual(table.constants, {
      maxRaces: MAX_RACES,
      racesWithoutPause: RACES_WITHOUT_PAUSE,
      longestRacePauseMs: LONGEST_RACE_PAUSE_MS,
      poisonCrashes: POISON_CRASHES,
      crashWindowMs: CRASH_WINDOW_MS,
      pauseSpread: PAUSE_SPREAD,
    });
  });
});

describe('readConfig', () => {
  const { enabled, maxRetries, retryDelaysMs } = DEFAULTS;
  const search = SEARCH_DEFAULTS;
  const read = (text, make = (file) => writeFileSync(file, text)) => {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'ohr-'));
    try {
      mkdirSync(path.join(dir, '.offheap'));
      make(path.join(dir, '.offheap', 'config.json'));
      return readConfig(dir);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };
  const readDaemon = (daemon) => read(JSON.stringify({ daemon }));

  test('reads the three values, each with its default', () => {
    assert.deepEqual(readConfig(undefined), { enabled, maxRetries, retryDelaysMs, search });
    assert.deepEqual(readDaemon({ enabled: false, max_retries: 2, retry_delays_ms: [5, 10] }), { enabled: false, maxRetries: 2, retryDelaysMs: [5, 10], search });
    assert.deepEqual(readDaemon({ max_retries: 0 }), { enabled, maxRetries: 0, retryDelaysMs, search });
    for (const text of ['{}', '{"daemon":{}}', '{"daemon":null}', '{"daemon":{"retry_delays_ms":[]}}']) assert.deepEqual(read(text), { enabled, maxRetries, retryDelaysMs, search });
  });

  test('keeps to the limits', () => {
    const wish = readDaemon({ max_retries: 1e9, retry_delays_ms: Array(50).fill(1e9) });
    assert.deepEqual(wish, { enabled, maxRetries: LIMITS.retries, retryDelaysMs: Array(LIMITS.delays).fill(LIMITS.delayMs), search });
  });

  test('reads how searches are made', () => {
    const readSearch = (value) => read(`\uFEFF${JSON.stringify({ search: value })}`).search;
    assert.deepEqual(readSearch({ mode: 'text', limit: 3, wait_ms: 5, context: 2 }), { mode: 'text', limit: 3, waitMs: 5, context: 2 });
    assert.deepEqual(readSearch({ limit: 1e9, wait_ms: 1e9, context: 1e9 }), { mode: 'hybrid', ...SEARCH_LIMITS });
    for (const value of [null, {}, [], { mode: 'other', limit: 'many', wait_ms: -0.5, context: null }]) assert.deepEqual(readSearch(value), search);
  });

  test('leaves what is no configuration to the daemon, which says what is wrong', () => {
    const wrong = ['{', 'null', '[]', '"x"', '{"daemon":{"max_retries":"many","retry_delays_ms":"soon"}}', ' '.repeat(LIMITS.configBytes + 1)];
    for (const text of wrong) assert.deepEqual(read(text), { enabled, maxRetries, retryDelaysMs, search }, text.slice(0, 40));
    assert.deepEqual(read('', (file) => mkdirSync(file)), { enabled, maxRetries, retryDelaysMs, search });
    if (process.platform !== 'win32') assert.deepEqual(read('', (file) => symlinkSync('/dev/zero', file)), { enabled, maxRetries, retryDelaysMs, search });
  });
});

/** The text of every Rust file of the daemon and command line. */
function rustSources() {
  const folder = path.join(root, 'sidecar', 'src');
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.rs'));
  return names.map((name) => readFileSync(path.join(folder, name), 'utf8'));
}

/** The one match of a pattern in the Rust files, as its first group. */
function onlyMatch(pattern, what) {
  const matches = rustSources().flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1]));
  assert.equal(matches.length, 1, `${what}: ${matches.length} places in sidecar/src match ${pattern}`);
  return matches[0];
}

describe('JavaScript and Rust agree', () => {
  test('on the variables that a daemon is given', () => {
    // Rust includes lib/environment.json, or has the list itself.
    if (rustSources().some((text) => /include_str!\([^)]*lib\/environment\.json"/.test(text))) return;
    const list = onlyMatch(/PASSED_ON: \[&str; \d+\] = \[([^\]]*)\]/g, 'the list');
    assert.deepEqual([...list.matchAll(/"(\w+)"/g)].map((match) => match[1]), passedOn);
  });

  test('on the defaults of the configuration', () => {
    const defaults = onlyMatch(/impl Default for DaemonConfig \{([\s\S]*?)\n\}/g, 'the defaults');
    const value = (name) => new RegExp(`\\b${name}: (?:vec!)?([^\\n]+),\\n`).exec(defaults)?.[1];
    const rust = { enabled: JSON.parse(value('enabled')), max_retries: Number(value('max_retries')), retry_delays_ms: JSON.parse(value('retry_delays_ms')) };
    assert.deepEqual(rust, table.defaults);
    const { enabled, maxRetries, retryDelaysMs } = DEFAULTS;
    assert.deepEqual({ enabled, max_retries: maxRetries, retry_delays_ms: [...retryDelaysMs] }, table.defaults);
  });

  test('on what a configuration can ask for', () => {
    const constant = (name) => {
      const [, value, shift = '0'] = /^([\d_]+)(?: << (\d+))?$/.exec(onlyMatch(new RegExp(`const ${name}: \\w+ = ([^;]+);`, 'g'), name));
      return Number(value.replaceAll('_', '')) * 2 ** Number(shift);
    };
    assert.equal(LIMITS.configBytes, constant('MAX_CONFIG_BYTES'));
    const limits = { max_retries: constant('MAX_RETRIES'), retry_delays: constant('MAX_DELAYS'), retry_delay_ms: constant('MAX_DELAY_MS') };
    assert.deepEqual(limits, table.limits);
    assert.deepEqual(SEARCH_LIMITS, { limit: constant('MAX_LIMIT'), waitMs: constant('MAX_WAIT_MS'), context: constant('MAX_CONTEXT_LINES') });
    assert.deepEqual({ max_retries: LIMITS.retries, retry_delays: LIMITS.delays, retry_delay_ms: LIMITS.delayMs }, table.limits);
  });

  test('and the table keeps to the limits', () => {
    for (const { name, config } of table.cases) {
      assert.ok(config.max_retries <= LIMITS.retries && config.retry_delays_ms.length > 0, name);
      assert.ok(config.retry_delays_ms.every((ms) => ms <= LIMITS.delayMs), name);
    }
  });
});
