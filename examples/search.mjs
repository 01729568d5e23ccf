// Indexes a project, or brings its index up to date, and searches it.
//
//   node examples/search.mjs DIRECTORY "a question or a name"

import { connect, OffheapError } from '../index.js'; // in your program: from 'offheap'

const [project = '.', query = 'where are errors handled'] = process.argv.slice(2);
try {
  const client = await connect({ project, timeoutMs: 30_000 });
  const { files, chunks, skippedTotal } = await client.index();
  console.log(`${files} files, ${chunks} chunks, ${skippedTotal} skipped`);

  const { hits, mode, degraded } = await client.search(query, { limit: 5, explain: true, signal: AbortSignal.timeout(30_000) });
  if (degraded) console.log(`note: ${degraded}`);
  for (const { path, startLine, endLine, score, scope, stale, why } of hits) {
    console.log(`${path}:${startLine}-${endLine}  ${score.toFixed(3)}  ${scope}${stale ? ' (changed since indexed)' : ''}`);
    console.log(`    ${why.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(', ')}`);
  }
  console.log(`${hits.length} hits, ${mode}`);
  await client.close();
} catch (error) {
  if (!(error instanceof OffheapError)) throw error;
  console.error(`${error.code}: ${error.message}`); // `code` is stable; `message` ends with the hint
  process.exitCode = 1;
}
