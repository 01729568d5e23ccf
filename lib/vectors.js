'use strict';

/** The vectors of a batch: one flat array, and views of its rows. */
class Vectors {
  constructor(fields) {
    Object.assign(this, fields);
    Object.freeze(this);
  }

  /** The answer for a batch without texts, which asks no daemon. */
  static empty() {
    const noRows = { dim: 0, values: new Float32Array(0), tokens: new Uint32Array(0), truncated: [] };
    return new Vectors({ ...noRows, space: '', timing: null, degraded: undefined, fallback: undefined });
  }

  get length() {
    return this.truncated.length;
  }

  /** Row `i` as a view into `values`. */
  row(i) {
    if (!Number.isInteger(i) || i < 0 || i >= this.length) throw new RangeError(`row ${i} of ${this.length}`);
    return this.values.subarray(i * this.dim, (i + 1) * this.dim);
  }

  *[Symbol.iterator]() {
    for (let i = 0; i < this.length; i++) yield this.row(i);
  }
}

module.exports = { Vectors };
