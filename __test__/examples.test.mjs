// The programs in examples/, each run on a small project.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { manyFiles, project, root, start, test, useOwnRuntime, write } from './support.mjs';

process.env.OFFHEAP_WATCH = '1'; // examples/watch.mjs needs it
useOwnRuntime();

const example = (name) => path.join(root, 'examples', `${name}.mjs`);

/** Runs an example to its end; gives the lines that it printed. */
async function run(name, args) {
  const { code, signal, stdout, stderr } = await start(process.execPath, [example(name), ...args]).done;
  assert.equal(signal ?? code, 0, stderr);
  return { lines: stdout.trimEnd().split('\n'), stderr };
}

const shop = () => project({
  'pay.py': 'def refund(bank, payment):\n    """Give the money of a payment back."""\n    return bank.refund(payment)\n',
  'stock.rs': '/// Sets products aside for an order.\npub fn reserve(product: u64, quantity: u32) -> bool {\n    quantity > 0\n}\n',
});

test('every example is run here, and is short', () => {
  const names = readdirSync(path.join(root, 'examples')).filter((name) => name.endsWith('.mjs'));
  assert.deepEqual(names.sort(), ['embed.mjs', 'progress.mjs', 'search.mjs', 'watch.mjs', 'workers.mjs']);
  for (const name of names) {
    const { length } = readFileSync(path.join(root, 'examples', name), 'utf8').trimEnd().split('\n');
    assert.ok(length >= 15 && length <= 40, `${name} has ${length} lines`);
  }
});

test('embed.mjs ranks texts', async () => {
  const { lines, stderr } = await run('embed', ['open a network connection', 'a recipe for apple pie', 'connect to a socket']);
  assert.equal(stderr, '');
  assert.match(lines[0], /^0\.\d{3} {2}connect to a socket$/);
  assert.match(lines[1], /^-?0\.\d{3} {2}a recipe for apple pie$/);
  assert.equal(lines.length, 2);
});

test('search.mjs finds the place, and reports failures by their code', async () => {
  const dir = shop();
  const { lines } = await run('search', [dir, 'give money back']);
  assert.equal(lines[0], '2 files, 2 chunks, 0 skipped');
  assert.match(lines[1], /^pay\.py:1-3 {2}\d+\.\d{3}/);
  assert.match(lines[2], /^ {4}text \d+\.\d\d, vectors \d+\.\d\d/);
  assert.match(lines.at(-1), /^[12] hits, hybrid$/);
  const { code, stderr } = await start(process.execPath, [example('search'), project({}, '{'), 'x']).done;
  assert.equal(code, 1);
  assert.match(stderr, /^CONFIG_INVALID: .*config\.json/);
});

test('watch.mjs answers again when a file comes', async () => {
  const dir = shop();
  const { line, done } = start(process.execPath, [example('watch'), dir, 'charge a credit card', '2']);
  assert.match(await line(), /^2 files: /);
  write(dir, { 'card.py': 'def charge_credit_card(card, cents):\n    """Charge a credit card."""\n    return card.charge(cents)\n' });
  assert.match(await line(), /^3 files: card\.py:1/);
  const { code, stderr } = await done;
  assert.equal(code, 0, stderr);
});

test('progress.mjs shows the phases and reports', async () => {
  const dir = project(manyFiles(40));
  const { lines, stderr } = await run('progress', [dir]);
  assert.match(stderr, /^(scan |text |embed) \[#* *\] \d+\/[\d?]+ {2}\d+\.\d s$/m);
  assert.match(lines[0], /^10 files changed, [1-9]\d* vectors computed, 0 from the cache$/);
  assert.match((await run('progress', [dir])).lines[0], /^0 files changed, 0 vectors computed, 0 from the cache$/);
});

test('workers.mjs embeds from all of its threads over one connection', async () => {
  const { lines, stderr } = await run('workers', ['3', '10']);
  assert.equal(stderr, '');
  assert.deepEqual(lines.slice(0, 3), ['worker 1: 4 vectors of 384', 'worker 2: 3 vectors of 384', 'worker 3: 3 vectors of 384']);
  assert.match(lines[3], /^1 connection, one all-MiniLM-L6-v2 on \d+ threads$/);
});
