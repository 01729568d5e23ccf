// Makes random weights in GGUF block formats, with mean 0 and a given standard deviation.

/** For each format: its number in the file, and the values and bytes of a block. */
export const TYPES = {
  f32: { id: 0, values: 1, bytes: 4 },
  f16: { id: 1, values: 1, bytes: 2 },
  bf16: { id: 30, values: 1, bytes: 2 },
  q4_0: { id: 2, values: 32, bytes: 18 },
  q4_1: { id: 3, values: 32, bytes: 20 },
  q5_0: { id: 6, values: 32, bytes: 22 },
  q5_1: { id: 7, values: 32, bytes: 24 },
  q8_0: { id: 8, values: 32, bytes: 34 },
  q4_k: { id: 12, values: 256, bytes: 144 },
  q5_k: { id: 13, values: 256, bytes: 176 },
  q6_k: { id: 14, values: 256, bytes: 210 },
};

/** A seeded generator (sfc32) that fills arrays, because a call for each number would be slow. */
export function noise(seed) {
  let [a, b, c, counter] = [0, seed | 0, (seed / 2 ** 32) | 0, 1];
  const fill = (words) => {
    for (let i = 0; i < words.length; i++) {
      const t = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = ((c << 21) | (c >>> 11)) + t | 0;
      words[i] = t;
    }
    return words;
  };
  fill(new Uint32Array(16)); // Skips the first numbers, which are similar for similar seeds.
  return fill;
}

/** The bits of the nearest 16-bit float. `x` must be within its range. */
function half(x) {
  const sign = x < 0 ? 0x8000 : 0;
  const size = Math.abs(x);
  const exponent = Math.max(Math.floor(Math.log2(size)), -14); // Smaller numbers are subnormal.
  const mantissa = Math.round((size / 2 ** exponent) * 1024); // A carry goes into the exponent.
  return sign | (size === 0 ? 0 : mantissa + ((exponent + 14) << 10));
}

/** 64 half floats from 0.75 to 1.25 times `x`, so that blocks have different scales. */
const around = (x) => Uint16Array.from({ length: 64 }, (_, i) => half(x * (0.75 + i / 126)));

/** Standard deviation of the whole numbers of `bits` bits. */
const spread = (bits) => Math.sqrt((4 ** bits - 1) / 12);

/**
 * Returns a function `(bytes, nBlocks)` that turns random bytes into blocks of a format, in place.
 *
 * The random bits stay as quants, which are uniform; scales and offsets are written over the bytes where the format has them.
 */
export function packer(type, deviation) {
  const { bytes: size } = TYPES[type];
  const put16 = (to, at, value) => {
    to[at] = value;
    to[at + 1] = value >> 8;
  };
  /** Writes a scale at `at` and behind it, if the format has one, the offset that centres the quants. */
  const scaled = (at, bits, centre) => {
    const scales = around(deviation / spread(bits));
    const offsets = centre && scales.map((_, i) => half((-centre * deviation * (0.75 + i / 126)) / spread(bits)));
    return (bytes, from) => {
      const pick = bytes[from + at] & 63;
      // Quants from -8 to 7 have a mean half a step below 0. A random sign of the scale gives weights with mean 0.
      put16(bytes, from + at, scales[pick] | (offsets ? 0 : (bytes[from + at] & 64) << 9));
      if (offsets) put16(bytes, from + at + 2, offsets[pick]);
    };
  };
  const each = (block) => (bytes, n) => {
    for (let i = 0; i < n; i++) block(bytes, i * size);
  };
  switch (type) {
    case 'f32':
      return (bytes, n) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        const step = (deviation * Math.sqrt(12)) / 2 ** 32;
        for (let i = 0; i < n; i++) view.setFloat32(4 * i, (view.getUint32(4 * i, true) - 2 ** 31) * step, true);
      };
    case 'f16':
    case 'bf16': {
      const bits = (x) => (type === 'f16' ? half(x) : new Uint32Array(Float32Array.of(x).buffer)[0] >>> 16);
      const table = Uint16Array.from({ length: 8192 }, (_, i) => bits(((i - 4095.5) / spread(13)) * deviation));
      return each((bytes, at) => put16(bytes, at, table[(bytes[at] | (bytes[at + 1] << 8)) & 8191]));
    }
    case 'q4_0':
      return each(scaled(0, 4));
    case 'q5_0':
      return each(scaled(0, 5));
    case 'q4_1':
      return each(scaled(0, 4, 7.5));
    case 'q5_1':
      return each(scaled(0, 5, 15.5));
    case 'q8_0': {
      const scale = scaled(0, 8);
      return each((bytes, at) => {
        scale(bytes, at);
        // Quantisers never write -128, which kernels rely on.
        for (let i = at + 2; i < at + 34; i++) if (bytes[i] === 128) bytes[i] = 129;
      });
    }
    case 'q4_k':
    case 'q5_k': {
      const bits = type === 'q4_k' ? 4 : 5;
      const centre = (2 ** bits - 1) / 2;
      const scales = around(deviation / spread(bits) / 44);
      const mins = scales.map((_, i) => half(((0.75 + i / 126) * centre * deviation) / spread(bits) / 44));
      const [sc, min] = [new Uint8Array(8), new Uint8Array(8)];
      return each((bytes, at) => {
        const pick = bytes[at] & 63;
        put16(bytes, at, scales[pick]);
        put16(bytes, at + 2, mins[pick]);
        // Scales from 28 to 59, and minima at most 4 above or below them: groups have different means, and the matrix has mean 0.
        // With any common mean, one direction would outgrow all others in a deep model.
        for (let j = 0; j < 8; j++) {
          const random = bytes[at + 4 + j];
          sc[j] = 28 + (random & 31);
          min[j] = sc[j] + (random >> 5) - (random & 128 ? 3 : 4);
        }
        for (let j = 0; j < 4; j++) {
          bytes[at + 4 + j] = sc[j] | ((sc[j + 4] >> 4) << 6);
          bytes[at + 8 + j] = min[j] | ((min[j + 4] >> 4) << 6);
          bytes[at + 12 + j] = (sc[j + 4] & 15) | ((min[j + 4] & 15) << 4);
        }
      });
    }
    case 'q6_k': {
      const scales = around(deviation / spread(6) / 88);
      return each((bytes, at) => {
        // 16 scales of 8 bits, from 56 to 119 with a random sign, then the block's own.
        for (let i = at + 192; i < at + 208; i++) bytes[i] = (bytes[i] & 64 ? -1 : 1) * (56 + (bytes[i] & 63));
        put16(bytes, at + 208, scales[bytes[at + 208] & 63]);
      });
    }
  }
  throw new Error(`no such format: ${type}`);
}
