// Answers a query again whenever the project changes. Ctrl-C ends it, or the number of answers that is asked for.
//
//   node examples/watch.mjs DIRECTORY "a query" [ANSWERS]

import { setTimeout as pause } from 'node:timers/promises';
import { connect } from '../index.js'; // in your program: from 'offheap'

const [project = '.', query = 'todo', answers = 'Infinity'] = process.argv.slice(2);
const client = await connect({ project });
await client.index(); // from here on the daemon watches the project

let shown = 0;
for (let left = Number(answers); left > 0; ) {
  // Every commit of the index has a number. Looking at the status does not keep the daemon from being idle.
  const status = await client.status();
  const generation = status?.index?.generation ?? 0;
  if (status?.watch?.problem) console.error(status.watch.problem);
  if (generation > shown && !status.watch?.busy) {
    const answer = await client.search(query, { limit: 3, fresh: { waitMs: 1000 } });
    const places = answer.hits.map(({ path, startLine }) => `${path}:${startLine}`);
    console.log(`${answer.coverage.files} files: ${places.join(' ') || 'nothing'}`);
    shown = answer.generation;
    left--;
  }
  await pause(100);
}
await client.close();
