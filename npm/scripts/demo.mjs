// `npm run demo`: installs, builds, indexes this repository, asks it three questions, says where time and memory went.
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

const t0 = performance.now();
console.log('1. Build (Rust, release profile)\n');
build();
const built = since(t0);

const rss0 = process.memoryUsage().rss;
const { connect } = createRequire(import.meta.url)(path.join(root, 'index.js'));

console.log('\n2. Index this repository\n');
const t1 = performance.now();
const client = await connect({ project: root });
const stop = () => client.shutdown().finally(() => process.exit(130)); // the daemon commits what it has
process.once('SIGINT', stop);
const live = process.stderr.isTTY;
let phase = '';
const report = await client.index({
  onProgress: ({ phase: now, done, total, elapsedMs, path: file }) => {
    const line = `   ${now} ${done}${total ? `/${total}` : ''}  ${(elapsedMs / 1000).toFixed(1)} s  ${file}`;
    if (live) process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`);
    else if (now !== phase || (now === 'embed' && done === total)) process.stderr.write(`${line}\n`);
    phase = now;
  },
});
if (live) process.stderr.write('\r\x1b[K');
const indexed = since(t1);
console.log(`   ${report.files} files, ${report.chunks} chunks in ${indexed}; full text answered after ${report.textMs} ms`);
console.log(`   ${report.embedded} vectors computed, ${report.reused} from the cache, ${report.skipped.length} files skipped`);

console.log('\n3. Ask');
for (const question of QUESTIONS) {
  const { hits, embedMs, searchMs } = await client.search(question, { limit: 3 });
  console.log(`\n?  ${question}    (${(embedMs + searchMs).toFixed(1)} ms)`);
  for (const [i, hit] of hits.entries()) {
    console.log(`\n   ${hit.path}:${hit.startLine}-${hit.endLine}  ${hit.score.toFixed(3)}  ${hit.scope}`);
    const lines = hit.text.split('\n');
    if (i === 0) for (const line of lines.slice(0, SHOWN_LINES)) console.log(`      | ${line.slice(0, 110)}`);
    if (i === 0 && lines.length > SHOWN_LINES) console.log(`      | ... ${lines.length - SHOWN_LINES} more lines`);
  }
}

const mb = (bytes) => (bytes === undefined ? 'unknown' : `${(bytes / 1e6).toFixed(1)} MB`);
const { model, index, anonBytes, fileBytes } = await client.status();
console.log(`
4. Where time and memory went

   build                ${built}
   index                ${indexed}, of it text ${report.textMs} ms, vectors ${report.totalMs - report.textMs} ms
   model                ${model.name} (${model.quantisation}, ${model.dim} dimensions) on ${model.kernel}, ${model.threads} threads
   this Node process    +${mb(process.memoryUsage().rss - rss0)} since before require('offheap'); no model, no index in it
   the daemon           ${mb(anonBytes)} of its own, ${mb(fileBytes)} mapped files (program, model, index; shared, given back at need)
   the index            ${mb(index.bytes)} in .offheap/ (ignored by git; delete it whenever you like)
`);
await client.shutdown();
await client.close();
console.log('The daemon was asked to leave; otherwise it does so after ten idle minutes.');
