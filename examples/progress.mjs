// Shows how far an index run is; Ctrl-C stops it, and what it has done is kept.
//
//   node examples/progress.mjs DIRECTORY

import { connect } from '../index.js'; // in your program: from 'offheap'

const [project = '.'] = process.argv.slice(2);
const client = await connect({ project });

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const WIDTH = 30;
const run = client.index({ signal: stop.signal });
try {
  for await (const { phase, done, total, elapsedMs } of run) {
    const filled = total > 0 ? Math.round((WIDTH * done) / total) : 0;
    console.error(`${phase.padEnd(5)} [${'#'.repeat(filled).padEnd(WIDTH)}] ${done}/${total || '?'}  ${(elapsedMs / 1000).toFixed(1)} s`);
  }
  const report = await run; // the same run: its report
  console.log(`${report.filesChanged} files changed, ${report.embedded} vectors computed, ${report.reused} from the cache`);
} catch (error) {
  if (error.code !== 'CANCELLED') throw error;
  console.log('stopped; the next run goes on from here');
}
await client.close();
