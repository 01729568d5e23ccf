// `npm test`: builds, then runs every Rust and Node test. Exit code 0 only if all passed.
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
// One file at a time: each has its own daemon, which uses all cores.
run(process.execPath, ['--test', '--test-concurrency=1', ...files.map((name) => path.join(folder, name))]);
console.log(`all tests done after ${since(t0)}`);
