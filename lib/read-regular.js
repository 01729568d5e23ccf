'use strict';

const { Buffer } = require('node:buffer');
const { closeSync, constants, fstatSync, openSync, readSync } = require('node:fs');

/**
 * Reads the last `limitBytes` bytes of a regular file. Returns its text, size and modification time.
 *
 * Throws for links and for anything but a regular file: a device may have no end, and this call blocks Node's one thread.
 */
function readRegular(file, limitBytes) {
  const descriptor = openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new Error('not a regular file');
    const buffer = Buffer.alloc(Math.min(stat.size, limitBytes));
    const length = readSync(descriptor, buffer, 0, buffer.length, stat.size - buffer.length);
    return { text: buffer.toString('utf8', 0, length), size: stat.size, mtimeMs: stat.mtimeMs };
  } finally {
    closeSync(descriptor);
  }
}

module.exports = { readRegular };
