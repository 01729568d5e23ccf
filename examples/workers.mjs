// Embeds texts from several worker threads. All share one connection of the process and one model in the daemon.
//
//   node examples/workers.mjs [WORKERS] [TEXTS]

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { connect } from '../index.js'; // in your program: from 'offheap'

if (isMainThread) {
  const [workers, texts] = [Number(process.argv[2] ?? 4), Number(process.argv[3] ?? 200)];
  const share = (i) => Array.from({ length: texts }, (_, n) => `text number ${n}`).filter((_, n) => n % workers === i);
  const finished = Array.from({ length: workers }, (_, i) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { name: i + 1, texts: share(i) } });
      worker.once('message', resolve).once('error', reject);
    }),
  );
  for (const { name, length, dim } of await Promise.all(finished)) console.log(`worker ${name}: ${length} vectors of ${dim}`);
  const { connections, model } = await (await connect()).status();
  console.log(`${connections} connection, one ${model.name} on ${model.threads} threads`);
} else {
  const client = await connect();
  const { length, dim, values } = await client.embedBatch(workerData.texts);
  parentPort.postMessage({ name: workerData.name, length, dim, values }, [values.buffer]); // moved, not copied
  await client.close();
}
