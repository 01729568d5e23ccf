// How fast searches are through the public package: `node bench/search.mjs --project <indexed project> [--clients 16]`.
//
// Asks a hundred different questions in each mode, one at a time (p50 and p99, with the daemon's share), then from `--clients`
// processes at once for ten seconds. Prints a table on stderr and one line of JSON on stdout.

import { fork } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';
import { once } from 'node:events';
import { parseArgs } from 'node:util';

const { connect } = createRequire(import.meta.url)('../index.js');
const VERBS = ['open', 'parse', 'send', 'close', 'retry', 'encode', 'decode', 'validate', 'compare', 'schedule'];
const THINGS = ['a socket', 'the configuration', 'a request header', 'an error', 'the cache', 'a stream', 'a date', 'user input', 'a lock', 'the buffer'];
/** A hundred different questions, so that no cache can help. */
const QUESTIONS = VERBS.flatMap((verb) => THINGS.map((thing) => `how does it ${verb} ${thing} and what happens on failure`));
const MODES = ['hybrid', 'text', 'semantic'];
const SECONDS = 10;

const round = (x) => Math.round(x * 100) / 100;
const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];

async function oneByOne(client, mode) {
  for (const question of QUESTIONS.slice(0, 10)) await client.search(`warm up: ${question}`, { mode });
  const [taken, embed, search] = [[], [], []];
  for (const question of QUESTIONS) {
    const start = performance.now();
    const answer = await client.search(question, { mode });
    taken.push(performance.now() - start);
    embed.push(answer.embedMs);
    search.push(answer.searchMs);
  }
  return {
    p50_ms: round(quantile(taken, 0.5)),
    p99_ms: round(quantile(taken, 0.99)),
    embed_p50_ms: round(quantile(embed, 0.5)),
    search_p50_ms: round(quantile(search, 0.5)),
  };
}

/** Runs in a child: asks until it is told to stop. Prints the number of answers and the slow ones' times. */
async function ask(project, mode) {
  const client = await connect({ project });
  const taken = [];
  let going = true;
  process.once('message', () => (going = false));
  process.send('ready');
  for (let i = process.pid; going; i++) {
    const start = performance.now();
    await client.search(`${QUESTIONS[i % QUESTIONS.length]} ${i}`, { mode });
    taken.push(performance.now() - start);
  }
  process.send(taken);
  await client.close();
  process.disconnect();
}

async function together(project, mode, n) {
  const children = Array.from({ length: n }, () => fork(import.meta.filename, ['--project', project, '--child', mode]));
  await Promise.all(children.map((child) => once(child, 'message')));
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const answers = children.map((child) => once(child, 'message'));
  children.forEach((child) => child.send('stop'));
  const taken = (await Promise.all(answers)).flatMap(([times]) => times);
  return { answers_per_s: round(taken.length / SECONDS), p50_ms: round(quantile(taken, 0.5)), p99_ms: round(quantile(taken, 0.99)) };
}

const { values: options } = parseArgs({
  options: { project: { type: 'string' }, clients: { type: 'string', default: '16' }, child: { type: 'string' } },
});
if (!options.project) {
  console.error('usage: node bench/search.mjs --project <indexed project> [--clients 16]');
  process.exitCode = 2;
} else if (options.child) {
  await ask(options.project, options.child);
} else {
  const load = round(os.loadavg()[0]);
  const client = await connect({ project: options.project });
  try {
    const { coverage } = await client.search('warm up');
    const result = { chunks: coverage.chunks, vectors: coverage.vectors, load, clients: Number(options.clients) };
    for (const mode of MODES) result[mode] = await oneByOne(client, mode);
    const before = (await client.status()).anonBytes;
    for (const mode of MODES.slice(0, 2)) result[`${mode}_together`] = await together(options.project, mode, result.clients);
    result.anon_growth_mb = round(((await client.status()).anonBytes - before) / 1e6);
    console.error(`${result.chunks} chunks, ${result.vectors} with vectors, load ${load}`);
    for (const mode of MODES) console.error(mode.padEnd(10), JSON.stringify(result[mode]));
    for (const mode of MODES.slice(0, 2)) console.error(`${mode}, ${options.clients} processes:`, JSON.stringify(result[`${mode}_together`]));
    console.error('daemon RssAnon grew by', result.anon_growth_mb, 'MB');
    console.log(JSON.stringify(result));
  } finally {
    await client.shutdown();
    await client.close();
  }
}
