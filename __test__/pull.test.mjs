// `offheap pull` from a hub on loopback, with the real download code, cache layout and model.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { exe, root } from '../npm/scripts/lib.mjs';

const model = readFileSync(path.join(root, 'npm/model-all-minilm-l6-v2/all-minilm-l6-v2.Q8_0.gguf'));
const sha256 = createHash('sha256').update(model).digest('hex');
const commit = '0123456789abcdef0123456789abcdef01234567';
let dir, server, env, served;

before(async () => {
  dir = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'oh-pull-')));
  served = { etag: sha256, requests: [] };
  server = http.createServer((request, response) => {
    served.requests.push(`${request.method} ${request.url}`);
    if (!request.url.startsWith('/maker/small-model/resolve/')) return response.writeHead(404).end();
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const from = range ? Number(range[1]) : 0;
    const to = range?.[2] ? Math.min(Number(range[2]), model.length - 1) : model.length - 1;
    response.writeHead(range ? 206 : 200, {
      'x-repo-commit': commit,
      etag: `"${served.etag}"`,
      'accept-ranges': 'bytes',
      'content-length': to - from + 1,
      ...(range && { 'content-range': `bytes ${from}-${to}/${model.length}` }),
    });
    response.end(request.method === 'HEAD' ? undefined : model.subarray(from, to + 1));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  env = {
    ...process.env,
    HOME: dir,
    HF_HOME: path.join(dir, 'hf'),
    HF_ENDPOINT: `http://127.0.0.1:${server.address().port}`,
    OFFHEAP_RUNTIME_DIR: path.join(dir, 'run'),
  };
  for (const name of ['OFFHEAP_MODEL', 'OFFHEAP_MODEL_DIR', 'HF_TOKEN', 'HF_HUB_OFFLINE']) delete env[name];
});

after(async () => {
  await offheap(['stop']);
  server.close();
  server.closeAllConnections();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
});

/** Runs the sidecar without blocking this process, which serves the hub. */
function offheap(args, more = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(path.join(root, exe('offheap')), args, { cwd: dir, env: { ...env, ...more } });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) child[name].on('data', (part) => (output[name] += part));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...output }));
  });
}

const NAME = 'maker/small-model/all-minilm-l6-v2.Q8_0.gguf';

test('a file that does not exist is a typed error', async () => {
  const { code, stdout } = await offheap(['pull', '--json', 'maker/other/none.gguf']);
  assert.equal(code, 1);
  assert.equal(JSON.parse(stdout).error.code, 'MODEL_NOT_FOUND');
});

test('offline means offline', async () => {
  const before = served.requests.length;
  const { code, stderr } = await offheap(['pull', NAME], { HF_HUB_OFFLINE: '1' });
  assert.equal(code, 1);
  assert.match(stderr, /HF_HUB_OFFLINE/);
  assert.equal(served.requests.length, before);
});

test('a download that is not what the hub announced is refused and removed', async () => {
  served.etag = sha256.replace(/^./, (c) => (c === '0' ? '1' : '0'));
  const { code, stdout } = await offheap(['pull', '--json', NAME]);
  served.etag = sha256;
  assert.equal(code, 1);
  assert.equal(JSON.parse(stdout).error.code, 'MODEL_DAMAGED');
  const { stdout: missing } = await offheap(['embed', '--json', 'x'], { OFFHEAP_MODEL: `hf:${NAME}` });
  assert.equal(JSON.parse(missing).error.code, 'MODEL_NOT_FOUND');
  assert.match(JSON.parse(missing).error.hint, /offheap pull/);
  await offheap(['stop']);
});

test('a pulled model is in the cache that other tools share, and embeds', async () => {
  const { code, stdout, stderr } = await offheap(['pull', '--json', NAME]);
  assert.equal(code, 0, stderr);
  const file = JSON.parse(stdout).path;
  assert.ok(file.startsWith(path.join(dir, 'hf')), file);
  assert.ok(file.includes(path.join('models--maker--small-model', 'snapshots', commit)), file);
  assert.ok(existsSync(path.join(dir, 'hf', 'hub', 'models--maker--small-model', 'blobs', sha256)));
  const before = served.requests.length;
  assert.equal((await offheap(['pull', NAME])).code, 0);
  assert.equal(served.requests.length, before, 'a file that is there is not asked for again');
  const embedded = await offheap(['embed', '--json', 'x'], { OFFHEAP_MODEL: `hf:${NAME}` });
  assert.equal(JSON.parse(embedded.stdout).dim, 384, embedded.stderr);
});
