// The check of npm/scripts/structure.mjs: it passes for this repository, and finds what it looks for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problems, sources } from '../npm/scripts/structure.mjs';

const check = (files, longer = {}) => problems(new Map(Object.entries(files)), longer);
const lines = (count) => 'x();\n'.repeat(count);

test('this repository has no circle of imports, no long function and no long file', () => {
  const files = sources();
  for (const name of ['index.js', 'lib/retry.js', 'npm/scripts/structure.mjs', 'bench/compare/report.mjs', '__test__/support.mjs']) assert.ok(files.has(name), name);
  assert.deepEqual(problems(files), []);
});

test('a circle put into lib/ is found and named', () => {
  const files = sources();
  files.set('lib/retry.js', `${files.get('lib/retry.js')}\nrequire('./supervisor.js');\n`);
  assert.deepEqual(problems(files), ['a circle of imports: lib/retry.js -> lib/supervisor.js -> lib/retry.js']);
});

test('a circle is found through any kind of import', () => {
  for (const to of ["import './b.js';", "import { b } from './b.js';", "export * from './b.js';", "require('./b');", "function later() { return import('./b.js'); }"]) {
    assert.deepEqual(check({ 'lib/a.js': to, 'lib/b.js': "require('../lib/a.js');" }), ['a circle of imports: lib/a.js -> lib/b.js -> lib/a.js'], to);
  }
  assert.deepEqual(check({ 'a.js': "require('./a.js')" }), ['a circle of imports: a.js -> a.js']);
  assert.deepEqual(check({ 'a.js': "require('./b.js'); require('./c.js')", 'b.js': "require('./c.js')", 'c.js': "require('node:fs'); require('./none.json')" }), []);
});

test('a long function or file is found, unless the list has it; the list has no other', () => {
  const long = `const work = () => {\n${lines(79)}};\n`;
  assert.deepEqual(check({ 'a.js': long }), ['a.js:1: work has 81 lines, the limit is 80']);
  assert.deepEqual(check({ 'a.js': `describe('x', ${long.slice('const work = '.length, -2)});\n` }), []);
  assert.deepEqual(check({ 'a.js': lines(501) }), ['a.js: 501 lines, the limit is 500']);
  assert.deepEqual(check({ 'a.js': long + lines(501) }, { 'a.js': 'a table', 'a.js work': 'a table' }), []);
  assert.deepEqual(check({ 'a.js': lines(2) }, { 'a.js': 'a table' }), ['a.js: may be longer, and is not; take it off the list']);
});
