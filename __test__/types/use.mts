// Compiled, never run: the public types as a user writes them.
import { connect, ERROR_CODES, OffheapError, type Client, type ErrorCode, type Hit, type IndexReport, type Progress } from '../../index.js';

export async function use(): Promise<void> {
  const client: Client = await connect({ project: '.', name: 'types', timeoutMs: 5_000, signal: new AbortController().signal });
  const run = client.index({ rebuild: false, force: false, onProgress: (p: Progress) => void (p.phase === 'embed') });
  for await (const progress of run) void progress.done.toFixed();
  const report: IndexReport = await run;
  void report.skipped.map((file) => file.reason);

  const { hits, degraded } = await client.search('where', { mode: 'text', limit: 3, globs: ['src/**'], languages: ['rust'] });
  const first: Hit | undefined = hits[0];
  void (degraded?.length ?? first?.startLine);

  const lines = await client.search('fn \\w+', { mode: 'regex', case: 'sensitive', context: 2 });
  void lines.hits.map((hit) => hit.matches?.map((span) => [span.line, span.start, span.end]));
  const names = await client.search('connect', { mode: 'symbol', fresh: { waitMs: 500 }, explain: true });
  void names.hits.map((hit) => [hit.symbol?.kind, hit.symbol?.fit === 'exact', hit.why?.map((part) => part.value)]);
  const pending: number | undefined = names.coverage.pendingFiles;
  void (pending ?? names.coverage.fresh);
  await client.search('x', { fresh: 'stale-ok' });

  const one = await client.embed('text', { kind: 'query' });
  const many = await client.embedBatch(['a', 'b'], { specialTokens: 'text' });
  const rows: Float32Array[] = [one.vector, many.row(0), ...many];
  void rows;

  const status = await client.status();
  const leaveInMs: number | undefined = status?.idle.leaveInMs;
  void [leaveInMs, status?.embeddingCache.hits, status?.clients.map(({ name, connections }) => `${name} ${connections}`), status?.index?.textSearch];
  void (status?.model?.kernel ?? status?.index?.chunks ?? status?.watch?.state);
  const { embeddings } = await client.clearCache({ stored: true });
  void embeddings;

  try {
    await client.ping();
  } catch (error) {
    if (error instanceof OffheapError) {
      const code: ErrorCode = error.code;
      void ERROR_CODES[code];
    }
  }
  await client.shutdown();
  await client.close();

  // @ts-expect-error an unknown mode
  await client.search('x', { mode: 'fuzzy' });
  // @ts-expect-error waiting takes a number
  await client.search('x', { fresh: { waitMs: '1' } });
  // @ts-expect-error neither
  await client.search('x', { fresh: true });
  // @ts-expect-error a misspelt option
  await client.embed('x', { kinds: 'query' });
  // @ts-expect-error a row is a number
  many.row('0');
}
