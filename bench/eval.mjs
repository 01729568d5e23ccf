// How good the answers are, through the public package: `node bench/eval.mjs --data <folder>`; README.md beside this file.
//
// <folder>/corpora/<name>/ is a source tree, <folder>/queries/<name>.json its judged questions:
// [{ query, category, relevant: [path | { path, start_line, end_line }], secondary: [...] }].
// Indexes each tree (in place, in its `.offheap`), asks every question in every mode, prints NDCG@10, and writes
// <out>/<mode>.jsonl, a line per question, for other scorers and for `--compare`.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

const K = 10;
const CATEGORIES = ['architecture', 'semantic', 'symbol'];

const mean = (xs) => xs.reduce((sum, x) => sum + x, 0) / xs.length;
/** Standard error of the mean. */
const error = (xs) => Math.sqrt(mean(xs.map((x) => (x - mean(xs)) ** 2)) / xs.length);

/** Whether two paths are equal, or one ends with the other's components. */
const sameFile = (a, b) => a === b || a.endsWith(`/${b}`) || b.endsWith(`/${a}`);

/** Whether a chunk meets a target: it is of the target's file and, if the target names lines, has one of them. */
function meets(hit, target) {
  if (typeof target === 'string') return sameFile(hit.path, target);
  if (!sameFile(hit.path, target.path)) return false;
  if (target.start_line == null || target.end_line == null) return true;
  return hit.start_line <= target.end_line && target.start_line <= hit.end_line;
}

/** Binary NDCG over the first ten chunks. A target counts at the first chunk that meets it, a rank counts once. */
function ndcg(hits, targets) {
  const gain = (rank) => 1 / Math.log2(rank + 2);
  const ranks = new Set(targets.map((target) => hits.slice(0, K).findIndex((hit) => meets(hit, target))));
  ranks.delete(-1);
  let ideal = 0;
  for (let rank = 0; rank < Math.min(K, targets.length); rank++) ideal += gain(rank);
  return [...ranks].reduce((sum, rank) => sum + gain(rank), 0) / ideal;
}

function table(label, rows) {
  const cell = (chosen) => (chosen.length ? mean(chosen.map((row) => row.ndcg)).toFixed(4) : '-').padStart(13);
  const cells = CATEGORIES.map((category) => cell(rows.filter((row) => row.category === category)));
  const spread = rows.length ? `±${error(rows.map((row) => row.ndcg)).toFixed(4)}` : '';
  return `${label.padEnd(24)}${String(rows.length).padStart(5)}${cell(rows)}${cells.join('')}  ${spread}`;
}

const HEAD = `${''.padEnd(24)}${'n'.padStart(5)}${['all', ...CATEGORIES].map((c) => c.padStart(13)).join('')}`;

/** Compares two lists of results question by question. */
function paired(label, base, other) {
  const key = (row) => `${row.repo}\0${row.query}`;
  const known = new Map(base.map((row) => [key(row), row.ndcg]));
  const differences = other.filter((row) => known.has(key(row))).map((row) => row.ndcg - known.get(key(row)));
  const better = differences.filter((d) => d > 1e-9).length;
  const worse = differences.filter((d) => d < -1e-9).length;
  return `${label.padEnd(24)}${mean(differences) < 0 ? '' : '+'}${mean(differences).toFixed(4)} ±${error(differences).toFixed(4)}, ${better} better, ${worse} worse of ${differences.length}`;
}

async function run({ data, out, modes, only }) {
  const { connect } = createRequire(import.meta.url)('../index.js');
  const runtime = mkdtempSync(path.join(os.tmpdir(), 'oe-'));
  process.env.OFFHEAP_RUNTIME_DIR = runtime;
  const results = Object.fromEntries(modes.map((mode) => [mode, []]));
  try {
    const files = readdirSync(path.join(data, 'queries')).filter((file) => file.endsWith('.json')).sort();
    for (const repo of files.map((file) => path.basename(file, '.json'))) {
      if (only.length && !only.includes(repo)) continue;
      const questions = JSON.parse(readFileSync(path.join(data, 'queries', `${repo}.json`), 'utf8'));
      const client = await connect({ project: path.join(data, 'corpora', repo) });
      try {
        const report = await client.index();
        console.error(
          `${repo}: ${report.files} files, ${report.chunks} chunks, ${report.embedded} embedded; text after ${report.textMs} ms, all after ${report.totalMs} ms`,
        );
        for (const { query, category, relevant, secondary = [] } of questions) {
          for (const mode of modes) {
            const answer = await client.search(query, { mode, limit: K });
            if (answer.degraded) throw new Error(`${repo}: ${answer.degraded}`);
            const hits = answer.hits.map((hit) => ({ path: hit.path, start_line: hit.startLine, end_line: hit.endLine }));
            const score = ndcg(hits, [...relevant, ...secondary]);
            results[mode].push({ repo, query, category, ndcg: score, results: hits });
          }
        }
      } finally {
        await client.shutdown();
        await client.close();
      }
    }
  } finally {
    rmSync(runtime, { recursive: true, force: true });
  }
  mkdirSync(out, { recursive: true });
  for (const mode of modes) {
    const repos = [...new Set(results[mode].map((row) => row.repo))];
    console.log(`\n${mode}, chunk level, NDCG@${K}\n${HEAD}`);
    for (const repo of repos) console.log(table(repo, results[mode].filter((row) => row.repo === repo)));
    console.log(table('all questions', results[mode]));
    writeFileSync(path.join(out, `${mode}.jsonl`), results[mode].map((row) => `${JSON.stringify(row)}\n`).join(''));
  }
  const [first, ...others] = modes;
  for (const mode of others) console.log(paired(`${mode} - ${first}`, results[first], results[mode]));
}

const { values: options } = parseArgs({
  options: {
    data: { type: 'string' },
    out: { type: 'string', default: 'eval-results' },
    modes: { type: 'string', default: 'hybrid,text,semantic' },
    only: { type: 'string', multiple: true, default: [] },
    compare: { type: 'string', multiple: true },
  },
});
if (options.compare) {
  const lists = options.compare.map((file) => readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line)));
  console.log(HEAD);
  options.compare.forEach((file, i) => console.log(table(path.basename(file), lists[i])));
  lists.slice(1).forEach((list, i) => console.log(paired(`${path.basename(options.compare[i + 1])} - first`, lists[0], list)));
} else if (options.data) {
  await run({ ...options, modes: options.modes.split(',') });
} else {
  console.error('usage: node bench/eval.mjs --data <folder> [--out <folder>] [--modes hybrid,text,semantic] [--only <name>]...\n' +
    '       node bench/eval.mjs --compare <a.jsonl> --compare <b.jsonl>...');
  process.exitCode = 2;
}
