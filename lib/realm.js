'use strict';

// Values of the addon in the realm of this file. Jest, jsdom and `vm` contexts run a program with constructors of their own, and the
// addon makes its objects with those of Node's main context: `instanceof Float32Array` would be false for a vector.

/** The constructors of typed arrays that the addon makes, of this realm. */
const ARRAYS = { Float32Array, Uint32Array };

/** A value of the addon, made of this realm's objects. In the main context it is the value itself; numbers are never copied. */
function ownCopy(value) {
  if (typeof value !== 'object' || value === null) return value;
  const View = ARRAYS[value[Symbol.toStringTag]];
  if (View !== undefined) return value instanceof View ? value : new View(value.buffer, value.byteOffset, value.length);
  if (value instanceof Object) return value;
  if (Array.isArray(value)) return Array.from(value, ownCopy);
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, ownCopy(member)]));
}

module.exports = { ownCopy };
