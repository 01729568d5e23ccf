// `npm run packages [-- DIR]`: packs the packages that would be published as tarballs into DIR (default target/packages): the main
// package, this system's platform package, the default model's. It packs the build that is there: `npm run build -- --ship` makes
// what is published.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { exe, root, run } from './lib.mjs';

const MODEL = 'model-all-minilm-l6-v2';

/** Packs all packages into `out`. Returns the paths of the tarballs. */
export function packages(out = path.join(root, 'target', 'packages')) {
  mkdirSync(out, { recursive: true });
  // Removes only what an earlier run made, because DIR may hold other files.
  const ours = readdirSync(out).filter((name) => name === 'stage' || /^offheap-.*\.tgz$/.test(name));
  for (const name of ours) rmSync(path.join(out, name), { recursive: true });
  const stage = path.join(out, 'stage');
  const tarballs = [platformPackage(path.join(stage, 'platform')), mainPackage(path.join(stage, 'main')), path.join(root, 'npm', MODEL)];
  for (const folder of tarballs) {
    // Packages have no scripts, neither when they are installed nor when they are packed.
    run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', out], { cwd: folder });
  }
  rmSync(stage, { recursive: true });
  return readdirSync(out).filter((name) => name.endsWith('.tgz')).map((name) => path.join(out, name));
}

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const common = { version: manifest.version, license: manifest.license, repository: manifest.repository, engines: manifest.engines };

/** The platform's package: the addon and the sidecar in one folder, where the addon looks for the sidecar. */
function platformPackage(folder) {
  const addon = readdirSync(root).find((name) => name.startsWith('offheap.') && name.endsWith('.node'));
  if (addon === undefined) throw new Error('there is no addon to pack: run `npm run build` first');
  const tuple = addon.slice('offheap.'.length, -'.node'.length);
  const sidecar = exe('offheap');
  mkdirSync(folder, { recursive: true });
  for (const name of [addon, sidecar]) copyFileSync(path.join(root, name), path.join(folder, name));
  chmodSync(path.join(folder, sidecar), 0o755);
  licences(folder);
  const libc = tuple.endsWith('-musl') ? ['musl'] : tuple.endsWith('-gnu') ? ['glibc'] : undefined;
  write(folder, {
    name: `offheap-${tuple}`,
    description: `The ${tuple} binaries of offheap`,
    ...common,
    os: [process.platform],
    cpu: [process.arch],
    ...(libc && { libc }),
    main: addon,
    files: [addon, sidecar, 'LICENSE-MIT', 'LICENSE-APACHE'],
    // As a `bin`, because some clients clear the executable bit of other files.
    bin: { 'offheap-sidecar': sidecar },
    preferUnplugged: true,
  });
  writeFileSync(path.join(folder, 'README.md'), `# offheap-${tuple}\n\nBinaries of [offheap](https://www.npmjs.com/package/offheap) for ${tuple}; install that.\n`);
  return folder;
}

/** The main package: JavaScript and types. Depends on the model's package, and optionally on each platform's. */
function mainPackage(folder) {
  mkdirSync(folder, { recursive: true });
  for (const name of ['README.md', ...manifest.files.filter((name) => !name.startsWith('LICENSE'))]) {
    cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  }
  licences(folder);
  const { devDependencies, scripts, ...published } = manifest;
  write(folder, {
    ...published,
    dependencies: { 'offheap-model-all-minilm-l6-v2': manifest.version },
    optionalDependencies: Object.fromEntries(manifest.napi.targets.map((target) => [`offheap-${tuple(target)}`, manifest.version])),
  });
  return folder;
}

/** The suffix of a Rust target's package, as napi names it. */
function tuple(target) {
  const [cpu, vendor, system, abi] = target.split('-');
  const arch = { x86_64: 'x64', aarch64: 'arm64' }[cpu];
  if (vendor === 'apple') return `darwin-${arch}`;
  return system === 'windows' ? `win32-${arch}-${abi}` : `linux-${arch}-${abi}`;
}

const licences = (folder) => ['LICENSE-MIT', 'LICENSE-APACHE'].forEach((name) => copyFileSync(path.join(root, name), path.join(folder, name)));
const write = (folder, value) => writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(value, null, 2)}\n`);

if (import.meta.filename === process.argv[1]) {
  if (spawnSync('npm', ['--version'], { shell: process.platform === 'win32' }).status !== 0) throw new Error('npm is not on the path');
  for (const file of packages(process.argv[2] && path.resolve(process.argv[2]))) console.log(path.relative(process.cwd(), file));
}
