// `npm run build [-- --ship]`: builds the addon and the sidecar in one cargo run, and puts both beside native.js as their package
// has them. `--ship` builds what is published: smaller, a little faster, and slower to build.
import { copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { exe, install, root, run } from './lib.mjs';

export function build({ profile = 'release' } = {}) {
  install();
  const napi = path.join(root, 'node_modules', '@napi-rs', 'cli', 'dist', 'cli.js');
  const args = ['build', '--platform', '--profile', profile, '--package', 'offheap-addon', '--js', 'native.js', '--dts', 'native.d.ts'];
  run(process.execPath, [napi, ...args, '--', '--locked', '--package', 'offheap']);
  // A new file each time: a running daemon keeps the old one.
  const target = path.join(root, exe('offheap'));
  const built = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
  copyFileSync(path.join(built, profile, exe('offheap')), `${target}.new`);
  renameSync(`${target}.new`, target);
}

if (import.meta.filename === process.argv[1]) build({ profile: process.argv.includes('--ship') ? 'ship' : 'release' });
