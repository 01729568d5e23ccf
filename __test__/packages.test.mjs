// The tarballs that would be published, installed offline into an empty directory, run the README's example.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { packages } from '../npm/scripts/packages.mjs';
import { exe, root } from '../npm/scripts/lib.mjs';

const MB = 1e6;
let dir, tarballs, project, env;

const npm = (args, options) => execFileSync('npm', args, { encoding: 'utf8', shell: process.platform === 'win32', stdio: ['ignore', 'pipe', 'inherit'], ...options });
const installed = (...parts) => path.join(dir, 'app', 'node_modules', ...parts);
const tarball = (start) => tarballs.find((file) => path.basename(file).startsWith(start));

before(() => {
  dir = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'oh-pack-')));
  tarballs = packages(path.join(dir, 'tarballs'));
  mkdirSync(path.join(dir, 'app'));
  mkdirSync(path.join(dir, 'home'));
  writeFileSync(path.join(dir, 'app', 'package.json'), '{"name":"app","private":true}');
  env = { ...process.env, HOME: path.join(dir, 'home'), OFFHEAP_RUNTIME_DIR: path.join(dir, 'run') };
  for (const name of ['OFFHEAP_SIDECAR', 'OFFHEAP_MODEL', 'OFFHEAP_MODEL_DIR', 'NODE_PATH']) delete env[name];
  // With its own cache and without network, npm can install nothing but the tarballs.
  npm(['install', '--offline', '--no-audit', '--no-fund', '--cache', path.join(dir, 'cache'), ...tarballs], { cwd: path.join(dir, 'app'), env });
  project = path.join(dir, 'app', 'code');
  cpSync(path.join(root, 'sidecar', 'protocol', 'src'), project, { recursive: true });
});

after(() => {
  try {
    for (const folder of [project, path.join(dir, 'app')]) offheap(['stop', '--project', folder]);
  } finally {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
});

/** Runs the installed command. Returns its exit code and output. */
function offheap(args) {
  const launcher = installed('offheap', 'lib', 'launch.js');
  try {
    return { code: 0, stdout: execFileSync(process.execPath, [launcher, ...args], { encoding: 'utf8', env, cwd: path.join(dir, 'app'), stdio: ['ignore', 'pipe', 'pipe'] }) };
  } catch (error) {
    return { code: error.status, stdout: error.stdout, stderr: error.stderr };
  }
}

/** The README's first JavaScript block. */
function readmeExample() {
  const [, code] = /```js\n([\s\S]*?)```/.exec(readFileSync(installed('offheap', 'README.md'), 'utf8'));
  return code;
}

test('the README example runs in an empty directory with nothing but the tarballs', () => {
  const code = readmeExample();
  assert.ok(code.trim().split('\n').length <= 8, 'the first example is about six lines');
  writeFileSync(path.join(project, 'example.mjs'), code);
  const output = execFileSync(process.execPath, ['example.mjs'], { cwd: project, env, encoding: 'utf8', timeout: 300_000 });
  const lines = output.trim().split('\n');
  assert.match(lines[0], /^[\w./-]+:\d+-\d+ \d+\.\d+/, output);
  assert.match(output, /384/, 'the example prints the length of a vector');
});

test('the installed command works, and finds model and sidecar by itself', () => {
  const { code, stdout } = offheap(['search', '--project', project, '--json', 'where are frame headers decoded']);
  assert.equal(code, 0);
  const { hits, mode } = JSON.parse(stdout);
  assert.equal(mode, 'hybrid');
  assert.ok(hits.slice(0, 3).some((hit) => hit.path === 'codec.rs'), hits.map((hit) => hit.path).join());
  const status = JSON.parse(offheap(['status', '--project', project, '--json']).stdout);
  assert.ok(status.model.path.startsWith(installed('offheap-model-all-minilm-l6-v2')), status.model.path);
});

test('the sidecar stays executable and beside its addon', () => {
  const platform = tarball('offheap-linux') ?? tarball('offheap-darwin') ?? tarball('offheap-win32');
  const folder = installed(path.basename(platform).replace(/-\d+\.\d+\.\d+.*\.tgz$/, ''));
  assert.ok(existsSync(path.join(folder, exe('offheap'))));
  if (process.platform !== 'win32') {
    assert.equal(statSync(path.join(folder, 'offheap')).mode & 0o777, 0o755);
    const listed = execFileSync('tar', ['tvzf', platform], { encoding: 'utf8' });
    assert.match(listed, /^-rwxr-xr-x .* package\/offheap$/m);
  }
});

test('the schema that configurations name is in the package', () => {
  const schema = JSON.parse(readFileSync(installed('offheap', 'config.schema.json'), 'utf8'));
  assert.ok(schema.properties.model, 'it describes the keys');
});

test('packages stay small and run nothing on installation', () => {
  const unpacked = (name) => Number(execFileSync('du', ['-sk', installed(name)], { encoding: 'utf8' }).split('\t')[0]) * 1024;
  for (const file of tarballs) {
    const name = path.basename(file).replace(/-\d+\.\d+\.\d+.*\.tgz$/, '');
    const manifest = JSON.parse(readFileSync(installed(name, 'package.json'), 'utf8'));
    assert.equal(manifest.scripts, undefined, `${name} has scripts`);
    // What is published is built with link-time optimisation, smaller than what is tested here: `npm run build -- --ship` holds its 25 MB.
    const limit = name === 'offheap' ? 0.3 * MB : name.includes('model') ? 26 * MB : 27 * MB;
    if (process.platform !== 'win32') assert.ok(unpacked(name) <= limit, `${name}: ${unpacked(name)} bytes, limit ${limit}`);
  }
});

test('without its platform package the error says what to do', () => {
  const bare = path.join(dir, 'bare');
  mkdirSync(path.join(bare, 'node_modules'), { recursive: true });
  cpSync(installed('offheap'), path.join(bare, 'node_modules', 'offheap'), { recursive: true });
  const script = "try { require('offheap') } catch (error) { console.log(error.code, error.message) }";
  const output = execFileSync(process.execPath, ['-e', script], { cwd: bare, env, encoding: 'utf8' });
  assert.match(output, /optional dependencies/i, output);
});
