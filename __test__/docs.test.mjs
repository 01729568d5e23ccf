// What the documents say: every block of README.md and GUIDE.md runs as printed, and every table is the code's.

import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe } from 'node:test';
import { project, root, runtimeDir, start, tempDir, test, useOwnRuntime, windows } from './support.mjs';

process.env.OFFHEAP_WATCH = '1'; // the guide shows a daemon that watches
const { ERROR_CODES } = useOwnRuntime();
process.env.HOME = tempDir('oh-home-');
for (const name of ['OFFHEAP_MODEL', 'OFFHEAP_MODEL_DIR', 'OFFHEAP_SIDECAR', 'HF_HOME']) delete process.env[name];

const read = (name) => readFileSync(path.join(root, name), 'utf8');
const README = read('README.md');
const GUIDE = read('GUIDE.md');
const DOCUMENTS = ['README.md', 'GUIDE.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'docs/findings.md', 'docs/platforms.md', 'bench/README.md', 'sidecar/protocol/README.md'];

/** Files below a folder of the repository, by name, relative to the root. */
function filesBelow(folder, wanted = () => true) {
  if (!existsSync(path.join(root, folder))) return [];
  return readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const rel = path.posix.join(folder, entry.name);
    if (entry.isDirectory()) return ['node_modules', 'target', '.git', '.offheap'].includes(entry.name) ? [] : filesBelow(rel, wanted);
    return entry.isFile() && wanted(rel) ? [rel] : [];
  });
}

/** Fenced blocks: language, text, line, and the comment right above that says why a block is not run. */
function blocks(markdown) {
  const lines = markdown.split('\n');
  const found = [];
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```(\S*)$/.exec(lines[i]);
    if (!fence) continue;
    const end = lines.indexOf('```', i + 1);
    assert.ok(end > i, `line ${i + 1}: a fence without an end`);
    const notRun = /^<!-- not run: (.+) -->$/.exec(lines[i - 1] ?? '')?.[1];
    found.push({ language: fence[1], text: lines.slice(i + 1, end).join('\n'), line: i + 1, end: end + 1, notRun });
    i = end;
  }
  return found;
}

/** Rows of the table whose first heading is `heading`; cells as they are written. */
function table(markdown, heading) {
  const lines = markdown.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`| ${heading} |`));
  assert.ok(at >= 0, `there is no table that begins with "${heading}"`);
  const rows = [];
  for (const line of lines.slice(at + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
  }
  assert.ok(rows.length > 1, `"${heading}" has rows`);
  return rows;
}

/** What stands in backquotes. */
const quoted = (text) => [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
const sorted = (list) => [...new Set(list)].sort();

/** Rust without its tests. */
const withoutTests = (rust) => rust.split(/^#\[cfg\(test\)\]\nmod tests \{/m)[0];

describe('blocks', { skip: windows && 'sessions are those of a POSIX shell' }, () => {
  const REASONS = ['needs the network', 'another package', 'another package, and a server', 'builds the package'];
  let bin;
  before(() => {
    bin = tempDir('oh-bin-');
    const { bin: commands } = JSON.parse(read('package.json'));
    writeFileSync(path.join(bin, 'offheap'), `#!/bin/sh\nexec '${process.execPath}' '${path.join(root, commands.offheap)}' "$@"\n`);
    chmodSync(path.join(bin, 'offheap'), 0o755);
  });

  /** A copy of examples/shop in which `import 'offheap'` finds this package. */
  function shop() {
    const files = filesBelow('examples/shop');
    assert.ok(files.length > 3);
    const dir = project(Object.fromEntries(files.map((file) => [path.relative('examples/shop', file), read(file)])));
    mkdirSync(path.join(dir, 'node_modules'));
    symlinkSync(root, path.join(dir, 'node_modules', 'offheap'));
    return dir;
  }

  const shell = (dir, command) =>
    start('/bin/sh', ['-c', `exec 2>&1\n${command.replaceAll('npx offheap', 'offheap')}`], { cwd: dir, env: { PATH: `${bin}${path.delimiter}${process.env.PATH}` } }).done;

  /** What differs between machines and runs, made equal. */
  function masked(text, dir) {
    return text
      .replaceAll(dir, '/home/me/shop')
      .replaceAll(process.env.OFFHEAP_RUNTIME_DIR, '/run/user/1000/offheap')
      .replace(/\/[\w.@/-]+\/([\w.@-]+)/g, '/$1')
      .replace(/\[\[[-\d.,e]+\]\]/g, '[[...]]')
      .replace(/(processor|usable): .*/g, '$1: K')
      .replace(/\w+ on \d+ threads?/, 'K on N threads')
      .replace(/-?\d+\.\d+(\.\d+)?/g, 'N')
      .replace(/\d+(?= (answered|requests|MB|GB|s\b|min\b|ms|chunks\/s|directories|daemons)|; half|, \d+ requests)/g, 'N')
      .replace(/(process|generation) \d+/g, '$1 N')
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n')
      .trim();
  }

  for (const [name, markdown] of [['README.md', README], ['GUIDE.md', GUIDE]]) {
    describe(name, () => {
      let dir;
      before(() => (dir = shop()));
      const all = blocks(markdown);

      test('every block is run, or says why not', () => {
        for (const { language, line, notRun } of all) {
          assert.ok(['sh', 'js', 'console', 'json', 'text'].includes(language), `${name}:${line}: a block of language "${language}"`);
          if (notRun !== undefined) assert.ok(REASONS.includes(notRun), `${name}:${line}: "${notRun}" is no reason`);
        }
        assert.ok(all.some(({ language, notRun }) => language === 'js' && !notRun) && all.some(({ language }) => language === 'console'));
      });

      for (const [i, { language, text, line, end, notRun }] of all.entries()) {
        if (notRun !== undefined || language === 'text') continue;
        const title = `line ${line}: ${text.split('\n')[0]}`;
        if (language === 'sh') {
          test(title, async () => {
            const { code, stdout } = await shell(dir, `set -e\n${text}`);
            assert.equal(code, 0, stdout);
          });
        } else if (language === 'json') {
          test(title, () => {
            const known = table(GUIDE, 'Key').map(([key]) => quoted(key)[0]);
            for (const key of Object.keys(flat(JSON.parse(text)))) if (key !== '$schema') assert.ok(known.includes(key), `${key} is no key of the configuration`);
          });
        } else if (language === 'js') {
          test(title, async () => {
            const { code, stdout, stderr } = await start(process.execPath, ['--input-type=module', '-e', text], { cwd: dir }).done;
            assert.equal(code, 0, stderr);
            const next = all[i + 1];
            const isOutput = next?.language === 'text' && markdown.split('\n').slice(end, next.line - 1).every((between) => between === '');
            if (isOutput) assert.equal(masked(stdout, dir), masked(next.text, dir));
          });
        } else {
          // A session: each `$ command` with what it prints, standard error included.
          for (const part of text.split(/^\$ /m).slice(1)) {
            const [command, ...expected] = part.split('\n');
            test(`line ${line}: $ ${command}`, async () => {
              const { stdout } = await shell(dir, command);
              assert.equal(masked(stdout, dir), masked(expected.join('\n'), dir));
            });
          }
        }
      }
    });
  }

  test('the comparison of outputs can fail', () => {
    assert.notEqual(masked('src/a.rs:1-2  1.250', '/x'), masked('src/a.rs:1-3  1.250', '/x'));
    assert.notEqual(masked('5 files', '/x'), masked('6 files', '/x'));
    assert.equal(masked('src/a.rs:1-2  1.250', '/x'), masked('src/a.rs:1-2  0.9', '/x'));
    assert.equal(masked('process 1, up 2 s', '/x'), masked('process 33, up 44 s', '/x'));
  });

  describe('the command line', () => {
    let dir;
    before(() => (dir = shop()));
    const offheap = async (args) => {
      const { code, stdout, stderr } = await start(path.join(bin, 'offheap'), args, { cwd: dir }).done;
      return { code, stdout, stderr };
    };

    test('the table lists the commands', async () => {
      const { stdout } = await offheap(['--help']);
      const [, list] = /Commands:\n([\s\S]*?)\n\n/.exec(stdout);
      const commands = [...list.matchAll(/^ {2}(\w+)/gm)].map((match) => match[1]).filter((name) => name !== 'help');
      assert.deepEqual(sorted(table(GUIDE, 'Command').map(([cell]) => quoted(cell)[0])), sorted(commands));
      for (const command of commands) assert.ok(README.includes(`\`${command}\``), `README.md names \`${command}\``);
    });

    test('every option is explained', async () => {
      for (const [cell] of table(GUIDE, 'Command')) {
        const { stdout } = await offheap([quoted(cell)[0], '--help']);
        const options = [...stdout.matchAll(/^\s+(?:-\w, | {4})(--[a-z-]+)/gm)].map((match) => match[1]);
        assert.ok(options.includes('--help'), stdout);
        for (const option of options) assert.ok(GUIDE.includes(`\`${option}`), `GUIDE.md says nothing of ${cell} ${option}`);
      }
    });

    test('--json gives the keys of the table', async () => {
      const rows = Object.fromEntries(table(GUIDE, 'Command').map(([cell, , json]) => [quoted(cell)[0], quoted(json)]));
      const calls = [
        ['init', ['init'], 0, 0], ['status', ['status'], 3, 1], ['stop', ['stop'], 3, 0], ['index', ['index', '--quiet'], 0, 0], ['search', ['search', 'discount'], 0, 0],
        ['embed', ['embed', 'a'], 0, 0], ['status', ['status'], 0, 0], ['start', ['start'], 0, 0], ['restart', ['restart'], 0, 0], ['doctor', ['doctor'], 0, 0], ['stop', ['stop'], 0, 0],
      ];
      for (const [command, args, expected, which] of calls) {
        const { code, stdout, stderr } = await offheap([...args, '--json']);
        assert.equal(code, expected, `${command}: ${stdout}${stderr}`);
        const printed = Object.keys(JSON.parse(stdout));
        const documented = rows[command][which].split(' ');
        assert.deepEqual(printed.filter((key) => !documented.includes(key) && !documented.includes(`${key}?`)), [], `${command}: not documented`);
        assert.deepEqual(documented.filter((key) => !key.endsWith('?') && !printed.includes(key)), [], `${command}: not printed`);
      }
      // `pull` needs the network: its error is what can be seen here.
      const { code, stdout } = await offheap(['pull', 'nonsense', '--json']);
      assert.equal(code, 1);
      assert.deepEqual(Object.keys(JSON.parse(stdout).error).sort(), ['code', 'hint', 'message']);
    });

    test('the table has the keys of the schema of --json', () => {
      const schema = JSON.parse(read('docs/schema/cli.schema.json'));
      const resolve = (node) => (node.$ref === undefined ? node : node.$ref.slice(2).split('/').reduce((at, part) => at[part], schema));
      const keys = ({ properties, required }) => Object.keys(properties).map((key) => (required.includes(key) ? key : `${key}?`)).sort().join(' ');
      for (const [cell, , json] of table(GUIDE, 'Command')) {
        const document = resolve(schema.properties[quoted(cell)[0]]);
        const choices = (document.anyOf ?? [document]).map((choice) => keys(resolve(choice)));
        assert.deepEqual(sorted(quoted(json)), sorted(choices), cell);
      }
    });

    test('exit codes', async () => {
      const codes = table(GUIDE, 'Exit code').map(([code]) => Number(code));
      assert.deepEqual(codes, [0, 1, 2, 3, 130]);
      assert.equal((await offheap(['search', 'x', '--mode', 'regex'])).code, 0);
      assert.equal((await offheap(['search', '(', '--mode', 'regex'])).code, 1);
      assert.equal((await offheap(['search'])).code, 2);
      assert.equal((await offheap(['search', 'no such thing', '--mode', 'regex'])).code, 3);
    });
  });

  describe('.offheap/config.json', () => {
    const rows = () => Object.fromEntries(table(GUIDE, 'Key').map(([key, type, value, limits]) => [quoted(key)[0], { type, value: JSON.parse(quoted(value)[0]), limits }]));

    test('the table has every key with its default', async () => {
      const dir = tempDir('ohp-');
      const { code } = await start(path.join(bin, 'offheap'), ['init', dir]).done;
      assert.equal(code, 0);
      const written = flat(JSON.parse(readFileSync(path.join(dir, '.offheap', 'config.json'), 'utf8')));
      assert.deepEqual(Object.fromEntries(Object.entries(rows()).map(([key, { value }]) => [key, value])), written);
    });

    test('the table has the keys of the schema', () => {
      const schema = JSON.parse(read('config.schema.json'));
      const resolve = (node) => (node.$ref === undefined ? node : node.$ref.slice(2).split('/').reduce((at, part) => at[part], schema));
      const keys = (node, prefix) =>
        Object.entries(resolve(node).properties ?? {}).flatMap(([key, child]) => {
          const below = keys(child.allOf?.[0] ?? child, `${prefix}${key}.`);
          return below.length > 0 ? below : key.startsWith('$') ? [] : [prefix + key];
        });
      assert.deepEqual(sorted(keys(schema, '')), sorted(Object.keys(rows())));
    });

    test('the limits are those that are kept to', async () => {
      const wish = (value) => ({
        daemon: { ttl_minutes: 1e9, eviction_check_interval_seconds: value, max_retries: 4e9, retry_delays_ms: [4e9], auto_shutdown_on_idle: false },
        index: { max_file_bytes: 1e15, spare_embeddings: 1e15 },
        search: { limit: 4e9, wait_ms: 4e9, context: 4e9 },
      });
      const found = {};
      for (const value of [1e-9, 1e9]) {
        const dir = project({}, wish(value));
        const { stdout } = await start(path.join(bin, 'offheap'), ['doctor', '--json', '--project', dir]).done;
        for (const { check, detail } of JSON.parse(stdout).checks) {
          const [, key, limit] = (check === 'configuration' && /^`([\w.]+)` is \S+; (\d+) is used$/.exec(detail)) || [];
          if (key !== undefined) (found[key] ??= []).push(limit);
          if (detail.startsWith('`daemon.auto_shutdown_on_idle`')) assert.match(detail, / 24 idle hours/);
        }
      }
      assert.equal(Object.keys(found).length, 9, JSON.stringify(found));
      for (const [key, limits] of Object.entries(found)) {
        for (const limit of limits) assert.match(rows()[key].limits, new RegExp(`\\b${limit}\\b`), `${key}: ${limit}`);
      }
      assert.match(GUIDE, /`daemon\.auto_shutdown_on_idle`.*24 idle hours/);
    });
  });
});

/** `{ a: { b: 1 } }` as `{ 'a.b': 1 }`. */
function flat(value, prefix = '') {
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, child]) =>
      typeof child === 'object' && !Array.isArray(child) ? Object.entries(flat(child, `${prefix}${key}.`)) : [[prefix + key, child]],
    ),
  );
}

describe('tables', () => {
  test('error codes', () => {
    const rows = table(GUIDE, 'Code');
    assert.deepEqual(sorted(rows.map(([code]) => quoted(code)[0])), sorted(Object.keys(ERROR_CODES)));
    for (const [code, cause, remedy] of rows) assert.ok(cause.length > 10 && remedy.length > 10, code);
  });

  test('environment variables', () => {
    const isSource = (name) => /\.(rs|js|mjs|ts|py|toml|json)$/.test(name) && !/(^|\/)(native\.(js|d\.ts)|package-lock\.json)$/.test(name) && name !== '__test__/docs.test.mjs';
    const variables = (files) => sorted(files.flatMap((file) => read(file).match(/\bOFFHEAP_[A-Z_]*[A-Z]\b/g) ?? []));
    const everywhere = variables(['.', '.ci'].flatMap((folder) => filesBelow(folder, isSource)));
    assert.ok(everywhere.length > 15);
    const NOT_VARIABLES = ['OFFHEAP_FALLBACK']; // the code of a warning
    const documented = ['Variable', 'For tests and benchmarks'].map((heading) => table(GUIDE, heading).flatMap(([cell]) => quoted(cell)));
    assert.deepEqual(sorted(documented.flat()), everywhere.filter((name) => !NOT_VARIABLES.includes(name)));
    // What is handed to a daemon is marked as such.
    const { passedOn } = JSON.parse(read('lib/environment.json'));
    const handedOver = passedOn.filter((name) => name.startsWith('OFFHEAP_'));
    assert.ok(handedOver.length > 4);
    const readByDaemon = table(GUIDE, 'Variable').filter(([, by]) => by.includes('daemon')).map(([cell]) => quoted(cell)[0]);
    assert.deepEqual(sorted(readByDaemon), sorted(handedOver));
  });

  test('reasons for skipping a file', () => {
    const reasons = filesBelow('sidecar/engine/src/').flatMap((file) => [...read(file).matchAll(/SkipReason::\w+ => "(\w+)"/g)].map((match) => match[1]));
    assert.ok(reasons.length > 5);
    assert.deepEqual(sorted(table(GUIDE, 'Reason').map(([reason]) => quoted(reason)[0])), sorted(reasons));
  });

  test('what a score is made of', () => {
    const rank = filesBelow('sidecar/engine/src/rank').map((file) => withoutTests(read(file))).join('\n');
    const names = [...rank.matchAll(/\.add\("(\w+)"/g), ...rank.matchAll(/"(factor:\w+)"/g)].map((match) => match[1]);
    assert.ok(names.length > 5);
    assert.deepEqual(sorted(table(GUIDE, 'Term').map(([term]) => quoted(term)[0])), sorted(names));
  });

  test('search modes', () => {
    const [, type] = /export type SearchMode =([^;]+);/.exec(read('index.d.ts').replace(/\/\*\*[\s\S]*?\*\//g, ''));
    const modes = [...type.matchAll(/'(\w+)'/g)].map((match) => match[1]);
    assert.ok(modes.length > 1);
    assert.deepEqual(sorted(table(GUIDE, '`mode`').map(([mode]) => quoted(mode)[0])), sorted(modes));
  });

  test('languages that are cut along their syntax', () => {
    const rows = table(GUIDE, 'Language');
    const names = rows.flatMap(([, name]) => quoted(name));
    const folder = 'sidecar/engine/src/chunk/languages';
    const files = readdirSync(path.join(root, folder)).filter((name) => !['aliases.rs', 'mod.rs', 'no_grammar.rs'].includes(name));
    // One file for each language: its name in filters, its title, its files.
    const strings = (list) => [...list.matchAll(/"([^"]+)"/g)].map((match) => match[1]);
    const specs = files.flatMap((file) => {
      const found = [...read(`${folder}/${file}`).matchAll(/name: "([^"]+)",\s+title: "([^"]+)",\s+extensions: &\[([^\]]*)\],\s+file_names: &\[([^\]]*)\]/g)];
      assert.ok(found.length > 0, `${file} describes a language`);
      return found.map(([, name, title, extensions, fileNames]) => ({ name, title, files: [...strings(extensions).map((end) => `.${end}`), ...strings(fileNames)] }));
    });
    assert.deepEqual(sorted(names), sorted(specs.map(({ name }) => name)));
    for (const { name, title, files } of specs) {
      const [, , listed] = rows.find(([first, second]) => first === title && quoted(second).includes(name)) ?? assert.fail(`${title} is not in the table`);
      const said = quoted(listed).map((file) => file.toLowerCase());
      for (const file of files) assert.ok(said.includes(file), `${title}: ${file}`);
    }
    assert.match(README, new RegExp(`\\b${spelt(rows.length)} languages`, 'i'));
  });
});

const spelt = (n) => ({ 18: 'eighteen', 19: 'nineteen', 20: 'twenty', 21: 'twenty-one', 22: 'twenty-two' })[n] ?? String(n);

describe('documents', () => {
  test('every figure of the README stands in the notes of the benchmarks', () => {
    const notes = read('bench/NOTES.md');
    const [, commit] = /`bench\/compare\.mjs` at (\w+)\)/.exec(README);
    const sitting = notes.slice(notes.indexOf(`node bench/compare.mjs\`, ${commit},`)).split('\n\n').slice(0, 2).join('\n\n');
    const NOTED_AS = { 'chunks of 218 tokens a second': 'chunks/s, 218 tokens', 'memory added to Node': 'RSS added to Node, MB', 'one query of 15 tokens, p50 / p99': 'one query p50 / p99, ms' };
    const numbers = (cell) => (cell.match(/\d+(\.\d+)?/g) ?? []);
    const rounded = (noted, shown) => Number(noted).toFixed(shown.split('.')[1]?.length ?? 0);
    const rows = table(README, '| offheap'); // the first heading is empty
    const noted = table(sitting, '| offheap avx2');
    assert.deepEqual(rows.map(([name]) => name).sort(), Object.keys(NOTED_AS).sort());
    for (const [name, ...cells] of rows) {
      const [, ...figures] = noted.find(([row]) => row === NOTED_AS[name]) ?? assert.fail(`NOTES.md has no row "${NOTED_AS[name]}"`);
      assert.equal(cells.length, 3);
      for (const [i, cell] of cells.entries()) {
        const shown = numbers(cell);
        assert.ok(shown.length > 0, `${name}: ${cell}`);
        assert.deepEqual(shown, numbers(figures[i]).map((figure, k) => rounded(figure, shown[k] ?? '')), `${name}: ${cell}`);
      }
    }
  });

  test('the README is short', () => {
    const { length } = README.trimEnd().split('\n');
    assert.ok(length < 150, `${length} lines`);
  });

  test('links lead somewhere', () => {
    const anchor = (heading) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-');
    const anchors = (file) => [...read(file).matchAll(/^#+ (.+)$/gm)].map((match) => anchor(match[1]));
    for (const document of DOCUMENTS) {
      for (const [, target] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const [file, fragment] = target.split('#');
        const at = file === '' ? document : path.posix.join(path.posix.dirname(document), file);
        assert.ok(existsSync(path.join(root, at)), `${document}: ${target}`);
        if (fragment !== undefined) assert.ok(anchors(at).includes(fragment), `${document}: ${target}`);
      }
    }
  });

  test('names of tests and functions are there', () => {
    const sources = filesBelow('.').filter((name) => /\.(rs|m?js)$/.test(name) && !name.startsWith('__test__/docs.')).map(read).join('\n');
    const names = DOCUMENTS.filter((name) => /^(ARCHITECTURE|CONTRIBUTING|SECURITY|docs\/)/.test(name)).flatMap((name) => quoted(read(name).replace(/```[\s\S]*?```/g, '')));
    const long = names.filter((name) => /^[a-z]\w*(_[a-z0-9]+){2,}$/.test(name));
    assert.ok(long.length > 10, `names are found: ${long}`);
    assert.deepEqual(long.filter((name) => !sources.includes(name)), []);
  });

  test('paths of the source tree are there', () => {
    const every = filesBelow('.').concat(filesBelow('.ci'));
    const missing = [];
    for (const document of DOCUMENTS.filter((name) => /^(ARCHITECTURE|CONTRIBUTING|SECURITY|docs\/)/.test(name))) {
      for (const name of quoted(read(document).replace(/```[\s\S]*?```/g, ''))) {
        const isPath = /^[\w@/-]+[\w.-]*\.(rs|js|mjs|mts|py|svg)$/.test(name) || (/^[\w-]+\/([\w.-]+\/)*$/.test(name) && !name.startsWith('.offheap'));
        if (isPath && !every.some((file) => `/${file}`.endsWith(`/${name}`) || (name.endsWith('/') && `/${file}`.includes(`/${name}`)))) missing.push(`${document}: ${name}`);
      }
    }
    // The places that the README's example printed.
    for (const [, file] of README.matchAll(/^([\w./-]+\.\w+):\d+-\d+ \d\.\d{3}\b(?! )/gm)) if (!every.includes(file)) missing.push(`README.md: ${file}`);
    assert.deepEqual(missing, []);
  });
});
