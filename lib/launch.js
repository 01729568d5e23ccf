#!/usr/bin/env node
'use strict';

// The `offheap` command: finds the platform's binary and runs it with this process's arguments, streams and signals.

const { spawn } = require('node:child_process');
const path = require('node:path');
const process = require('node:process');

let binary;
try {
  binary = require('../native.js').sidecarPath();
} catch (error) {
  let text = error.message;
  try {
    const { code, message, hint } = JSON.parse(error.message);
    text = `${message} [${code}]\nhint: ${hint}`;
  } catch {
    // The message is not JSON: shown as it is.
  }
  process.stderr.write(`error: ${text}\n`);
  process.exit(1);
}

const env = { ...process.env };
try {
  env.OFFHEAP_MODEL_DIR ??= path.dirname(require.resolve('offheap-model-all-minilm-l6-v2/package.json'));
} catch {
  // The binary looks for the model itself.
}

const child = spawn(binary, process.argv.slice(2), { stdio: 'inherit', env, windowsHide: true });
// The terminal sends Ctrl-C to both processes, so SIGINT is not forwarded. This process ends when the command does.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => signal === 'SIGINT' || child.kill(signal));
child.on('error', (error) => {
  process.stderr.write(`error: cannot run ${binary}: ${error.message}\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  process.removeAllListeners(signal); // End by the same signal, not with an exit code.
  process.kill(process.pid, signal);
});
