// `npm run demo`: builds, indexes this repository, answers from full text within seconds and again when the vectors are there, and says
// where time and memory went. `npm run demo -- --no-build` takes the build that is there.
import { createRequire } from 'node:module';
import path from 'node:path';
import { build } from './build.mjs';
import { root, since } from './lib.mjs';

const QUESTIONS = [
  'retry a call after the daemon was lost',
  'which files are skipped as binary or too large',
  'what makes a commit of the index atomic',
];
const SHOWN_LINES = 6;
const COLUMNS = Math.min(process.stdout.columns ?? 80, 100);
const live = process.stderr.isTTY;

const cut = (text) => (text.length < COLUMNS ? text : `${text.slice(0, COLUMNS - 2)}…`);
const print = (...lines) => lines.forEach((line) => console.log(cut(line)));
const mb = (bytes) => (bytes === undefined ? 'unknown' : `${(bytes / 1e6).toFixed(1)} MB`);

/** The progress of an index run: one line that is overwritten on a terminal, a line for each phase elsewhere. */
const progressLine = {
  phase: '',
  show({ phase, done, total, elapsedMs, path: file }) {
    const line = `   ${phase} ${done}${total ? `/${total}` : ''}  ${(elapsedMs / 1000).toFixed(1)} s  ${file}`;
    if (live) process.stderr.write(`\r\x1b[K${cut(line)}`);
    else if (phase !== this.phase) process.stderr.write(`${line}\n`);
    this.phase = phase;
  },
  clear() {
    if (live) process.stderr.write('\r\x1b[K');
  },
};

function printHits(hits) {
  for (const [i, hit] of hits.entries()) {
    print('', `   ${hit.path}:${hit.startLine}-${hit.endLine}  ${hit.score.toFixed(3)}  ${hit.scope}`);
    const lines = hit.text.split('\n');
    if (i === 0) print(...lines.slice(0, SHOWN_LINES).map((line) => `      | ${line}`));
    if (i === 0 && lines.length > SHOWN_LINES) print(`      | ... ${lines.length - SHOWN_LINES} more lines`);
  }
}

/** Asks the first question of the full text. Vectors are still being computed then. */
async function printFirstAnswer(client, startedAt) {
  const { hits, coverage } = await client.search(QUESTIONS[0], { mode: 'text', limit: 3 });
  const after = since(startedAt);
  progressLine.clear();
  print(`?  ${QUESTIONS[0]}`, '   from full text; vectors are still being computed,', `   ${coverage.vectors} of ${coverage.chunks}. Answered ${after} after the build.`);
  printHits(hits);
  print('');
  return after;
}

/** Indexes, and asks the first question as soon as the text can be searched. Returns the report, and when that answer came. */
async function indexAndAsk(client, startedAt) {
  let firstAnswer;
  const report = await client.index({
    onProgress: (progress) => {
      progressLine.show(progress);
      if (progress.phase === 'embed') firstAnswer ??= printFirstAnswer(client, startedAt);
    },
  });
  progressLine.clear();
  return { report, answeredAfter: await firstAnswer };
}

async function printAnswers(client) {
  for (const question of QUESTIONS) {
    const { hits, mode, embedMs, searchMs } = await client.search(question, { limit: 3 });
    print('', `?  ${question}`, `   ${mode}, ${(embedMs + searchMs).toFixed(1)} ms`);
    printHits(hits);
  }
}

async function printSummary(client, { built, indexed, report, answeredAfter, rssBefore }) {
  const { model, index, anonBytes, fileBytes } = await client.status();
  print('', '4. Where time and memory went', '', `   build            ${built}`);
  print(`   first answer     ${answeredAfter === undefined ? 'at once: the index was up to date' : `${answeredAfter} after the build, from full text`}`);
  print(`   index            ${indexed}: text ${(report.textMs / 1000).toFixed(1)} s, vectors ${((report.totalMs - report.textMs) / 1000).toFixed(1)} s`);
  print(`                    ${report.files} files, ${report.chunks} chunks, ${report.skippedTotal} files skipped`);
  print(`                    ${report.embedded} vectors computed, ${report.reused} from the cache`);
  if (model !== undefined) {
    print(`   model            ${model.name}, ${model.quantisation}, ${model.dim} dimensions`, `                    on ${model.kernel}, ${model.threads} threads`);
  }
  print(`   this process     +${mb(process.memoryUsage().rss - rssBefore)} since before require('offheap')`);
  print(`   the daemon       ${mb(anonBytes)} of its own, ${mb(fileBytes)} mapped files`);
  print(`   the index        ${mb(index?.bytes)} in .offheap/, which you may delete`, '');
}

async function demo() {
  let built = 'left out';
  if (!process.argv.includes('--no-build')) {
    print('1. Build (Rust, release profile)', '');
    const buildStart = performance.now();
    build();
    built = since(buildStart);
  }
  const startedAt = performance.now();
  const rssBefore = process.memoryUsage().rss;
  const { connect } = createRequire(import.meta.url)(path.join(root, 'index.js'));
  const client = await connect({ project: root });
  // The daemon commits what it has, and the next run continues there.
  process.once('SIGINT', () => client.shutdown().finally(() => process.exit(130)));
  print('', '2. Index this repository', '');
  const { report, answeredAfter } = await indexAndAsk(client, startedAt);
  const indexed = since(startedAt);
  print('3. Ask again, with all vectors');
  await printAnswers(client);
  await printSummary(client, { built, indexed, report, answeredAfter, rssBefore });
  await client.shutdown();
  await client.close();
  print('The daemon was asked to leave; otherwise it does so after ten idle minutes.');
}

await demo();
