// Shared by the scripts.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** File name of a program on this system. */
export const exe = (name) => (process.platform === 'win32' ? `${name}.exe` : name);

/** Runs a command with this program's output. If it fails, this program ends with its exit code. */
export function run(command, args, options = {}) {
  const shell = process.platform === 'win32' && command === 'npm'; // npm is a script on Windows.
  const { status, error, signal } = spawnSync(command, args, { cwd: root, stdio: 'inherit', shell, ...options });
  if (error) {
    console.error(`cannot run ${command}: ${error.message}`);
    if (error.code === 'ENOENT' && command === 'cargo') console.error('offheap is built with Rust: install it with rustup, https://rustup.rs');
    process.exit(1);
  }
  if (signal || status !== 0) process.exit(status ?? 1);
}

/**
 * Installs the development dependencies of the lock file, if they are missing.
 *
 * `npm install`, because `npm ci` refuses a lock file without the optional packages of other systems, which npm leaves out when
 * it writes one (npm/cli#4828). No dependency needs its install scripts.
 */
export function install() {
  const there = ['@napi-rs/cli', 'typescript', '@types/node'].every((name) => existsSync(path.join(root, 'node_modules', name)));
  if (!there) run('npm', ['install', '--no-save', '--no-fund', '--no-audit', '--ignore-scripts', '--loglevel=error']);
}

/** Seconds since `t0`, a time of `performance.now()`, as text. */
export const since = (t0) => `${((performance.now() - t0) / 1000).toFixed(1)} s`;
