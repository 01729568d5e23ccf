// `npm test`: installs, builds, runs every test, Rust and Node. Exit code 0 only if all passed.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { build } from './build.mjs';
import { root, run, since } from './lib.mjs';

const t0 = performance.now();
build();
console.log(`built after ${since(t0)}`);
run('cargo', ['test', '--workspace', '--locked']);
console.log(`Rust tests done after ${since(t0)}`);
const folder = path.join(root, '__test__');
const files = readdirSync(folder).filter((name) => name.endsWith('.test.mjs'));
// One file at a time: each has its own daemon, and a machine with two cores has room for one.
run(process.execPath, ['--test', '--test-concurrency=1', ...files.map((name) => path.join(folder, name))]);
console.log(`all tests done after ${since(t0)}`);
