// Measures this package with the peers' `measure.mjs`, which measures every engine.
//
//     OFFHEAP_PEERS=<folder> node bench/peers/offheap.mjs
//
// Prints two lines of JSON: what `measure` prints, and figures from the daemon's status.

import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

if (!process.env.OFFHEAP_PEERS) {
  process.stderr.write('OFFHEAP_PEERS names the folder of measure.mjs\n');
  process.exit(2);
}
const { measure } = await import(pathToFileURL(path.resolve(process.env.OFFHEAP_PEERS, 'measure.mjs')));
// Uses a daemon of its own, because the user's may be busy, and stops it at the end.
const own = process.env.OFFHEAP_RUNTIME_DIR ? null : mkdtempSync(path.join(os.tmpdir(), 'ob-'));
if (own !== null) process.env.OFFHEAP_RUNTIME_DIR = own;
const megabytes = (bytes) => (bytes === undefined ? null : Math.round(bytes / 1e4) / 100);

let client;
try {
  await measure('offheap', async () => {
    const { connect } = createRequire(import.meta.url)('../../index.js');
    client = await connect();
    return {
      embed: async (text) => (await client.embed(text)).vector,
      embedBatch: (texts) => client.embedBatch(texts),
      close: async () => {
        const { model, anonBytes, fileBytes } = await client.status();
        const { kernel, threads, name, quantisation } = model;
        const line = { kernel, threads, model: `${name} ${quantisation}`, daemon_anon_mb: megabytes(anonBytes), daemon_file_mb: megabytes(fileBytes) };
        process.stdout.write(`${JSON.stringify(line)}\n`);
      },
    };
  });
} finally {
  await client?.shutdown();
  if (own !== null) rmSync(own, { recursive: true, force: true });
}
