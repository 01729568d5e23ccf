// Changed files: they are noticed, indexed in the background, and waited for; unchanged content is not embedded again.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import { alive, manyFiles, project, rejects, test, until, useOwnRuntime, write } from './support.mjs';

process.env.OFFHEAP_WATCH = '1';
const { connect } = useOwnRuntime();

/** Long enough for a busy machine. */
const fresh = { waitMs: 60_000 };
const code = (name) => `/** Does the work of ${name}. */\nexport function ${name}(input) {\n  return input.${name};\n}\n`;
const open = async (files, config) => {
  const dir = project(files, config);
  const client = await connect({ project: dir });
  await client.index();
  return { dir, client };
};
const paths = async (client, query, options) => (await client.search(query, options)).hits.map((hit) => hit.path);
const defines = async (client, name, options = {}) =>
  (await client.search(name, { mode: 'symbol', ...options })).hits.filter((hit) => hit.symbol.fit === 'exact').map((hit) => hit.path);

describe('a watched project', () => {
  test('is brought up to date by itself, and says whether it is', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha') });
    await until('it is watched', async () => (await client.search('alpha')).coverage.fresh);
    const { watch } = await client.status();
    assert.deepEqual([watch.state, watch.folders, watch.pending, watch.busy, watch.problem], ['watching', 1, 0, false, undefined]);
    write(dir, { 'b.js': code('bravo') });
    const hit = await until('the new file is found', async () => (await client.search('bravo', { mode: 'semantic' })).hits.find((hit) => hit.path === 'b.js'));
    assert.equal(hit.stale, false);
    const { coverage } = await until('it is fresh', async () => {
      const result = await client.search('bravo');
      return result.coverage.fresh && result;
    });
    assert.deepEqual(coverage, { files: 2, chunks: 2, vectors: 2, textOnly: 0, skippedTotal: 0, skippedByReason: [], fresh: true, pendingFiles: 0 });
  });

  test('a search that waits sees what was written before it, in every mode', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha') });
    for (const [i, mode] of ['text', 'hybrid', 'semantic', 'symbol', 'text', 'hybrid'].entries()) {
      const name = `wanted_${i}`;
      write(dir, { 'a.js': `${code('alpha')}\n${code(name)}` });
      const result = await client.search(name, { mode, fresh });
      assert.equal(result.coverage.fresh, true, mode);
      assert.ok(result.hits.some((hit) => hit.text.includes(name) && !hit.stale), `${mode}: ${JSON.stringify(result.hits)}`);
      assert.ok(result.waitMs >= 0);
      if (mode !== 'text' && mode !== 'symbol') assert.equal(result.coverage.vectors, result.coverage.chunks);
    }
  });

  test('files and folders that come, go and move', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha'), 'old/deep/b.js': code('bravo'), 'old/c.js': code('charlie') });
    const at = (name) => path.join(dir, name);
    assert.deepEqual(await defines(client, 'bravo', { fresh }), ['old/deep/b.js']);
    renameSync(at('a.js'), at('z.js'));
    assert.deepEqual(await defines(client, 'alpha', { fresh }), ['z.js']);
    renameSync(at('old'), at('new'));
    assert.deepEqual(await defines(client, 'bravo', { fresh }), ['new/deep/b.js']);
    write(dir, { 'new/deep/d.js': code('delta'), 'more/and/deeper/e.js': code('echo') });
    assert.deepEqual(await defines(client, 'delta', { fresh }), ['new/deep/d.js']);
    assert.deepEqual(await defines(client, 'echo', { fresh }), ['more/and/deeper/e.js']);
    write(dir, { 'more/and/deeper/f.js': code('foxtrot'), 'new/deep/b.js': code('bravissimo') });
    assert.deepEqual(await defines(client, 'foxtrot', { fresh }), ['more/and/deeper/f.js'], 'a folder that is new is watched');
    assert.deepEqual([await defines(client, 'bravo', { fresh }), await defines(client, 'bravissimo')], [[], ['new/deep/b.js']], 'a folder that moved is watched');
    rmSync(at('new'), { recursive: true });
    rmSync(at('z.js'));
    assert.deepEqual([await defines(client, 'charlie', { fresh }), await defines(client, 'alpha')], [[], []]);
    const { coverage } = await client.search('x', { mode: 'text' });
    assert.equal(coverage.files, 2);
  });

  test('rules that change are followed', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha'), 'gen/b.js': code('bravo'), 'gen/c.py': 'def charlie():\n    pass\n' });
    write(dir, { '.gitignore': 'gen/b.js\n' });
    assert.deepEqual([await defines(client, 'bravo', { fresh }), await defines(client, 'charlie')], [[], ['gen/c.py']]);
    write(dir, { '.offheap/config.json': JSON.stringify({ index: { exclude: ['*.py'] } }) });
    assert.deepEqual(await defines(client, 'charlie', { fresh }), []);
    write(dir, { '.gitignore': '' });
    assert.deepEqual(await defines(client, 'bravo', { fresh }), ['gen/b.js']);
    // Ignored files change nothing.
    const { generation } = await client.search('x', { fresh });
    write(dir, { 'node_modules/p/index.js': code('papa'), 'gen/d.py': 'x = 1\n' });
    const after = await client.search('papa', { fresh });
    assert.deepEqual([after.generation, after.coverage.fresh], [generation, true]);
  });

  test('an index run that is asked for never finds it busy', async () => {
    const { dir, client } = await open(manyFiles(40));
    for (let i = 0; i < 8; i++) {
      write(dir, { [`src/part_${i}.js`]: code(`changed_${i}`), [`src/more_${i}.js`]: manyFiles(8, 8, i + 2)['src/part_0.js'] });
      if (i % 2) await until('it is noticed', async () => !(await client.search('x', { mode: 'text' })).coverage.fresh || (await defines(client, `changed_${i}`)).length > 0);
      const report = await client.index();
      assert.equal(report.vectors, report.chunks);
      assert.deepEqual(await defines(client, `changed_${i}`), [`src/part_${i}.js`]);
      await client.clearCache();
    }
  });

  test('a new daemon makes up for what it missed, without the model where nothing changed', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha') });
    await client.shutdown();
    await until('it has left', async () => (await client.status()) === null);
    assert.deepEqual(await defines(client, 'alpha', { fresh }), ['a.js']);
    assert.equal((await client.search('alpha', { mode: 'text' })).coverage.fresh, true);
    assert.equal((await client.status()).model, undefined);
    await client.shutdown();
    write(dir, { 'b.js': code('bravo') });
    rmSync(path.join(dir, 'a.js'));
    const result = await client.search('bravo', { fresh });
    assert.deepEqual([result.hits.map((hit) => hit.path), result.coverage.fresh, result.mode], [['b.js'], true, 'hybrid']);
  });

  test('does not keep the daemon', { skip: process.platform === 'win32' }, async () => {
    const before = process.env.OFFHEAP_TTL_MS;
    process.env.OFFHEAP_TTL_MS = '300';
    try {
      const { dir, client } = await open({ 'a.js': code('alpha') });
      await client.search('alpha', { fresh });
      const { pid } = await client.status();
      let i = 0;
      await until('it has left', () => {
        write(dir, { 'a.js': code(`again_${i++}`) });
        return !alive(pid);
      });
    } finally {
      process.env.OFFHEAP_TTL_MS = before;
    }
  });
});

describe('freshness', () => {
  test('a project without an index is not indexed by itself', async () => {
    const dir = project({ 'a.js': code('alpha') });
    const client = await connect({ project: dir });
    await rejects(client.search('alpha', { fresh }), 'NO_INDEX');
    write(dir, { 'b.js': code('bravo') });
    await rejects(client.search('alpha'), 'NO_INDEX');
    assert.equal((await client.status()).watch.state, 'off');
    assert.ok(!existsSync(path.join(dir, '.offheap', 'data')));
  });

  test('can be had without watching', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha') }, { index: { watch: false } });
    write(dir, { 'b.js': code('bravo') });
    const stale = await client.search('bravo', { mode: 'symbol' });
    assert.deepEqual([stale.hits, stale.coverage.fresh, 'pendingFiles' in stale.coverage], [[], false, false]);
    const result = await client.search('bravo', { fresh });
    assert.deepEqual([result.hits[0].path, result.coverage.fresh], ['b.js', true]);
    assert.equal((await client.status()).watch.state, 'off');
    assert.equal((await client.search('bravo')).coverage.fresh, false, 'no run has looked since');
  });

  test('is said honestly when the time is over', async () => {
    const { dir, client } = await open({ 'a.js': code('alpha') });
    await client.search('alpha', { fresh });
    write(dir, manyFiles(400));
    const result = await client.search('alpha', { fresh: { waitMs: 1 } });
    assert.deepEqual([result.coverage.fresh, result.hits[0].path], [false, 'a.js']);
    const later = await client.search('work_399', { mode: 'text', fresh });
    assert.ok(later.coverage.fresh && later.coverage.files === 101, JSON.stringify(later.coverage));
    await rejects(client.search('alpha', { fresh, signal: AbortSignal.timeout(50) }), 'CANCELLED');
  });

  test('the first run of all: text at once, vectors later, and who waits gets it all', async () => {
    const client = await connect({ project: project(manyFiles(160)) });
    const phases = [];
    const run = client.index({ onProgress: ({ phase }) => phases.push(phase) });
    run.catch(() => {});
    await until('the run has begun', async () => (await client.status()).indexing);
    const early = await until('text answers', () => client.search('work_7', { mode: 'hybrid' }).catch((error) => (error.code === 'NO_INDEX' ? null : Promise.reject(error))));
    assert.equal(early.hits[0].path, 'src/part_1.js');
    assert.ok(early.coverage.vectors < early.coverage.chunks && early.degraded !== undefined && !early.coverage.fresh, JSON.stringify(early.coverage));
    const whole = await client.search('work_7', { fresh });
    assert.deepEqual([whole.coverage.vectors, whole.coverage.fresh, whole.degraded], [whole.coverage.chunks, true, undefined]);
    await run;
    assert.equal(phases.at(-1), 'embed');
  });

  test('a run that was stopped is not continued unasked', async () => {
    const client = await connect({ project: project(manyFiles(240)) });
    const stop = new AbortController();
    const run = client.index({ signal: stop.signal, onProgress: ({ phase, done }) => phase === 'embed' && done > 0 && stop.abort() });
    await rejects(run, 'CANCELLED');
    await until('it has ended', async () => !(await client.status()).indexing);
    const { coverage } = await client.search('work_7', { mode: 'text', fresh });
    assert.ok(coverage.fresh && coverage.vectors < coverage.chunks, JSON.stringify(coverage));
    assert.equal((await client.search('work_7', { fresh })).coverage.vectors, coverage.vectors);
    const report = await client.index();
    assert.equal(report.vectors, report.chunks);
  });
});

describe('what is not done again', () => {
  // No background run: these tests count what each run does.
  const quiet = { index: { watch: false } };

  test('touching everything reads it and changes nothing', async () => {
    const { dir, client } = await open(manyFiles(40), quiet);
    const before = await client.index();
    const later = new Date(Date.now() + 60_000);
    for (const name of readdirSync(path.join(dir, 'src'))) utimesSync(path.join(dir, 'src', name), later, later);
    const report = await client.index();
    assert.deepEqual([report.filesChanged, report.embedded, report.reused, report.generation], [0, 0, 0, before.generation]);
  });

  test('one changed function is one vector', async () => {
    const { dir, client } = await open(manyFiles(80), quiet);
    const file = 'src/part_3.js';
    write(dir, { [file]: readFileSync(path.join(dir, file), 'utf8').replace('work_13', 'work_thirteen') });
    const report = await client.index();
    assert.equal(report.filesChanged, 1);
    assert.ok(report.embedded >= 1 && report.embedded <= 2, `${report.embedded}`);
  });

  // The model reads the path with the text, so a renamed file has new content.
  test('renamed files need new vectors, and renamed back they need none', async () => {
    const { dir, client } = await open(manyFiles(40), quiet);
    renameSync(path.join(dir, 'src'), path.join(dir, 'source'));
    const there = await client.index();
    assert.deepEqual([there.filesChanged, there.filesRemoved, there.reused], [10, 10, 0]);
    renameSync(path.join(dir, 'source'), path.join(dir, 'src'));
    const back = await client.index();
    assert.deepEqual([back.filesChanged, back.embedded, back.reused], [10, 0, there.embedded]);
  });

  const git = (dir, ...args) => {
    const { status, stderr, error } = spawnSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.invalid', '-c', 'init.defaultBranch=main', ...args], { cwd: dir, encoding: 'utf8' });
    assert.equal(error ?? status, 0, stderr);
  };
  const noGit = spawnSync('git', ['--version']).status !== 0 && 'git is not installed';
  const branches = (dir) => {
    git(dir, 'init', '-q');
    write(dir, { '.gitignore': '.offheap/\n' });
    git(dir, 'add', '.');
    git(dir, 'commit', '-qm', 'one');
    git(dir, 'checkout', '-qb', 'other');
    write(dir, { 'src/part_0.js': code('other_zero'), 'src/only.js': code('only_here') });
    rmSync(path.join(dir, 'src', 'part_1.js'));
    git(dir, 'add', '-A');
    git(dir, 'commit', '-qm', 'two');
    git(dir, 'checkout', '-q', 'main');
  };

  test('switching branches and back embeds only what is new', { skip: noGit }, async () => {
    const dir = project(manyFiles(40), quiet);
    branches(dir);
    const client = await connect({ project: dir });
    const first = await client.index();
    git(dir, 'checkout', '-q', 'other');
    const there = await client.index();
    assert.deepEqual([there.filesChanged, there.filesRemoved, there.embedded], [2, 1, 2]);
    assert.deepEqual([await defines(client, 'only_here'), await defines(client, 'work_5')], [['src/only.js'], []]);
    git(dir, 'checkout', '-q', 'main');
    const back = await client.index();
    assert.deepEqual([back.embedded, back.chunks, back.vectors], [0, first.chunks, first.chunks]);
    assert.deepEqual([await defines(client, 'only_here'), await defines(client, 'work_5')], [[], ['src/part_1.js']]);
    git(dir, 'checkout', '-q', 'other');
    const again = await client.index();
    assert.deepEqual([again.embedded, again.chunks], [0, there.chunks]);
  });

  test('a switch of branches is noticed', { skip: noGit }, async () => {
    const dir = project(manyFiles(40));
    branches(dir);
    const client = await connect({ project: dir });
    await client.index();
    for (const [branch, found] of [['other', ['src/only.js']], ['main', []], ['other', ['src/only.js']]]) {
      git(dir, 'checkout', '-q', branch);
      assert.deepEqual(await defines(client, 'only_here', { fresh }), found, branch);
      assert.deepEqual((await paths(client, 'work_5', { mode: 'symbol' })).includes('src/part_1.js'), branch === 'main');
    }
  });
});
