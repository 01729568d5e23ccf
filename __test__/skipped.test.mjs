// No file vanishes silently: text is found whatever its encoding and length, and every answer counts what is left out.

import assert from 'node:assert/strict';
import { before, describe } from 'node:test';
import { project, test, useOwnRuntime, write } from './support.mjs';

const { connect } = useOwnRuntime();

const utf16 = (text) => Buffer.from(text, 'utf16le');
const FILES = {
  'good.py': 'def good():\n    return 1\n',
  'wide.txt': utf16('\ufeffline one\nmilvus in two bytes\n'),
  'latin1.txt': Buffer.from('d\xfcnn und gr\xf6\xdfer f\xfcr \xfcber\n', 'latin1'),
  'kanji.txt': Buffer.from([...Buffer.from('name: '), 0x8c, 0x9f, 0x8f, 0xd8, 0x82, 0xb7, 0x82, 0xe9, ...Buffer.from(' tinnunculus\n')]), // 検証する in Shift_JIS
  'nul.js': "const buteo = '\0';\n",
  'page.pt': '<p tal:content="pernis">a template of Zope</p>\n',
  'long.log': `${'an ordinary line of a log\n'.repeat(60_000)}wanderfalke\n`,
  'picture.js': Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 0]),
  'package-lock.json': '{}',
};
const SKIPPED = [{ reason: 'binary', files: 1 }, { reason: 'generated', files: 1 }];

describe('skipped files', () => {
  let client;
  let dir;
  before(async () => {
    dir = project(FILES);
    client = await connect({ project: dir });
  });

  test('are in the report of an index run, by reason', async () => {
    const report = await client.index();
    assert.deepEqual(report.skipped, [{ path: 'package-lock.json', reason: 'generated' }, { path: 'picture.js', reason: 'binary' }]);
    assert.deepEqual([report.skippedTotal, report.skippedByReason], [2, SKIPPED]);
    assert.ok(report.textOnly > 500 && report.vectors === report.chunks - report.textOnly, JSON.stringify(report));
    assert.equal(report.embedded + report.reused, report.vectors);
  });

  test('are in every answer', async () => {
    for (const mode of ['hybrid', 'semantic', 'text', 'symbol', 'regex']) {
      const { coverage } = await client.search('good', { mode });
      assert.deepEqual([coverage.skippedTotal, coverage.skippedByReason], [2, SKIPPED], mode);
    }
    const { index } = await client.status();
    assert.deepEqual([index.skippedTotal, index.skippedByReason], [2, SKIPPED]);
    assert.equal(index.vectors, index.chunks - index.textOnly);
  });

  test('are not those that can be decoded, nor long ones', async () => {
    for (const [path, word] of [
      ['wide.txt', 'milvus'], ['latin1.txt', 'größer'], ['kanji.txt', 'tinnunculus'], ['nul.js', 'buteo'], ['page.pt', 'pernis'], ['long.log', 'wanderfalke'],
    ]) {
      for (const mode of ['text', 'regex', 'hybrid']) {
        // A long text has no vector: in a small project, others may come before it in mode hybrid.
        const { hits, degraded } = await client.search(word, { mode, limit: 10 });
        const hit = mode === 'hybrid' ? hits.find((found) => found.path === path) : hits[0];
        assert.deepEqual([hit?.path, hit?.stale, degraded], [path, false, undefined], `${mode} ${word}`);
        assert.ok(hit.text.includes(word), `${mode} ${word}: ${hit.text}`);
      }
    }
    const { hits } = await client.search('wanderfalke', { mode: 'regex' });
    assert.deepEqual(hits[0].matches, [{ line: 60_001, start: 1, end: 12 }]);
    assert.deepEqual((await client.search('検証', { mode: 'regex' })).hits.map((hit) => hit.path), ['kanji.txt']);
  });

  test('are counted anew when they change', async () => {
    write(dir, { 'picture.js': 'export const accipiter = 1;\n' });
    const report = await client.index();
    assert.deepEqual([report.filesChanged, report.skippedByReason], [1, [SKIPPED[1]]]);
    assert.equal((await client.search('accipiter', { mode: 'symbol' })).coverage.skippedTotal, 1);
  });
});
