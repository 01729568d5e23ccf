// `npm run check`: all checks that are not tests. Ends with an error at the first that fails; there are no warnings.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { install, root, run } from './lib.mjs';

install();
const step = (name, work) => {
  console.log(`== ${name}`);
  work();
};

step('format', () => run('cargo', ['fmt', '--all', '--check']));
step('clippy', () => run('cargo', ['clippy', '--workspace', '--all-targets', '--locked', '--', '-D', 'warnings']));
step('rustdoc', () => run('cargo', ['doc', '--workspace', '--no-deps', '--document-private-items', '--locked'], { env: { ...process.env, RUSTDOCFLAGS: '-D warnings -A rustdoc::private_intra_doc_links' } }));
step('types', () => run(process.execPath, [path.join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--project', '__test__/types']));
step('structure', () => run(process.execPath, [path.join(root, 'npm', 'scripts', 'structure.mjs')]));
step('licences, bans, sources', () => run(cargoDeny(), ['--all-features', 'check', '--hide-inclusion-graph', 'licenses', 'bans', 'sources']));
step('layering', () => run('cargo', ['test', '--locked', '--package', 'offheap', '--test', 'it', '--', 'layering', 'structure']));

/** Path of cargo-deny: the one on the path, else one that is installed into target/tools. */
function cargoDeny() {
  if (spawnSync('cargo-deny', ['--version']).status === 0) return 'cargo-deny';
  const tools = path.join(root, 'target', 'tools');
  const binary = path.join(tools, 'bin', process.platform === 'win32' ? 'cargo-deny.exe' : 'cargo-deny');
  if (!existsSync(binary)) run('cargo', ['install', 'cargo-deny@0.20.2', '--locked', '--root', tools, '--no-default-features']);
  return binary;
}
