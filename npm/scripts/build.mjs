// Builds the addon and the sidecar, release profile, and puts both beside native.js as their package has them.
import { copyFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import { exe, install, root, run } from './lib.mjs';

export function build() {
  install();
  run('cargo', ['build', '--release', '--locked', '--package', 'offheap', '--package', 'offheap-addon']);
  const napi = path.join(root, 'node_modules', '@napi-rs', 'cli', 'dist', 'cli.js');
  run(process.execPath, [
    napi, 'build', '--platform', '--release', '--package', 'offheap-addon', '--js', 'native.js', '--dts', 'native.d.ts', '--', '--locked',
  ]);
  // A new file each time: a running daemon keeps the old one.
  const target = path.join(root, exe('offheap'));
  const built = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
  copyFileSync(path.join(built, 'release', exe('offheap')), `${target}.new`);
  renameSync(`${target}.new`, target);
}

if (import.meta.filename === process.argv[1]) build();
