// `npm run build [-- --ship]`: builds the addon and the sidecar in one cargo run, and puts both beside native.js as their package
// has them. `--ship` builds what is published: smaller, a little faster, and slower to build. `--debug` is built fastest.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, renameSync, statSync } from 'node:fs';
import path from 'node:path';
import { exe, install, root, run } from './lib.mjs';

export function build({ profile = 'release' } = {}) {
  install();
  const napi = path.join(root, 'node_modules', '@napi-rs', 'cli', 'dist', 'cli.js');
  // Named, because napi always names one, and cargo then builds into a folder of that name.
  const target = host();
  const args = ['build', '--platform', '--target', target, '--profile', profile, '--package', 'offheap-addon', '--js', 'native.js', '--dts', 'native.d.ts'];
  run(process.execPath, [napi, ...args, '--', '--locked', '--package', 'offheap']);
  const folder = profile === 'dev' ? 'debug' : profile;
  const built = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), target, folder, exe('offheap'));
  const binary = path.join(root, exe('offheap'));
  // A new file each time: a running daemon keeps the old one.
  copyFileSync(built, `${binary}.new`);
  renameSync(`${binary}.new`, binary);
  if (profile === 'ship') checkSize(binary);
}

/** Most bytes that the published package of a system may unpack to. */
const MAX_PUBLISHED_BYTES = 25e6;

function checkSize(binary) {
  const addons = readdirSync(root).filter((name) => name.endsWith('.node'));
  const bytes = [binary, ...addons.map((name) => path.join(root, name))].reduce((sum, file) => sum + statSync(file).size, 0);
  if (bytes > MAX_PUBLISHED_BYTES) throw new Error(`the package would unpack to ${bytes} bytes, the limit is ${MAX_PUBLISHED_BYTES}`);
  console.log(`the package unpacks to ${bytes} bytes of at most ${MAX_PUBLISHED_BYTES}`);
}

/** The system that rustc builds for by default. */
function host() {
  return /^host: (\S+)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1];
}

const profileOf = (args) => (args.includes('--ship') ? 'ship' : args.includes('--debug') ? 'dev' : 'release');

if (import.meta.filename === process.argv[1]) build({ profile: profileOf(process.argv) });
