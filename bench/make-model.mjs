// Makes GGUF files of random weights, of the real sizes or of tiny ones, that this package and llama.cpp both load.
//
//     node bench/make-model.mjs PRESET OUT.gguf [--quant q8_0] [--token-embd q6_k] [--seed 1] [--vocab ROWS]
//
// They replace real models in tests of speed, memory and parity: the vectors mean nothing, but every part of the model changes
// them. Equal commands make equal bytes.

import { closeSync, openSync, renameSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { TYPES, noise, packer } from './make-model/blocks.mjs';
import { bpe, wordpiece } from './make-model/vocabulary.mjs';

const PRESETS = {
  'tiny-bert': { arch: 'bert', hidden: 256, heads: 4, layers: 2, ffn: 512, vocab: 2048, context: 512, quant: 'q8_0' },
  'tiny-nomic': { arch: 'nomic-bert', hidden: 256, heads: 4, layers: 2, ffn: 512, vocab: 2048, context: 2048, quant: 'q8_0' },
  'tiny-qwen2': { arch: 'qwen2', hidden: 256, heads: 4, kvHeads: 2, layers: 3, ffn: 512, vocab: 4096, context: 2048, quant: 'q8_0' },
  // all-MiniLM-L6-v2, nomic-embed-text-v1.5 and nomic-embed-code.
  minilm: { arch: 'bert', hidden: 384, heads: 12, layers: 6, ffn: 1536, vocab: 30522, context: 512, quant: 'q8_0' },
  nomic: { arch: 'nomic-bert', hidden: 768, heads: 12, layers: 12, ffn: 3072, vocab: 30522, context: 2048, quant: 'q8_0' },
  'qwen2-7b': { arch: 'qwen2', hidden: 3584, heads: 28, kvHeads: 4, layers: 28, ffn: 18944, vocab: 152064, context: 32768, quant: 'q4_k_m' },
};

/** `general.file_type` of what `--quant` takes. */
const FILE_TYPES = {
  f32: 0, f16: 1, q4_0: 2, q4_1: 3, q8_0: 7, q5_0: 8, q5_1: 9, q4_k: 14, q4_k_m: 15, q5_k: 16, q5_k_m: 17, q6_k: 18, bf16: 32,
};

/** Whether llama.cpp's mixed formats use more bits in a layer (`use_more_bits` in its `llama-quant.cpp`). */
const moreBits = (layer, layers) => {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
};

/** The format that llama.cpp would choose for a matrix other than the token table. */
function format(quant, part, layer, layers) {
  const mixture = /^(q[45]_k)_m$/.exec(quant)?.[1];
  if (!mixture) return quant;
  if (part === 'attn_qkv') return mixture === 'q4_k' ? 'q5_k' : 'q6_k';
  return (part === 'attn_v' || part === 'ffn_down') && moreBits(layer, layers) ? 'q6_k' : mixture;
}

/** All tensors in the file's order: name, shape (innermost first), format, mean and standard deviation. */
function tensors(model, quant, tokenEmbd) {
  const { arch, hidden, heads, kvHeads = heads, layers, ffn, vocab, context } = model;
  const list = [];
  const matrix = (name, rows, cols, type, gain = 1) =>
    list.push({ name: `${name}.weight`, dims: [cols, rows], type, mean: 0, deviation: gain / Math.sqrt(cols) });
  const vector = (name, size, mean, deviation) => list.push({ name, dims: [size], type: 'f32', mean, deviation });
  const scale = (name) => vector(`${name}.weight`, hidden, 1, 0.2);
  const norm = (name) => {
    scale(name);
    vector(`${name}.bias`, hidden, 0, 0.05);
  };

  // Parts that are equal for all texts are small: with large ones the means over the tokens would be nearly equal.
  matrix('token_embd', vocab, hidden, tokenEmbd ?? format(quant));
  if (arch === 'bert') matrix('position_embd', context, hidden, 'f32', 0.5);
  if (arch !== 'qwen2') {
    matrix('token_types', 2, hidden, 'f32', 0.25);
    norm('token_embd_norm');
  }
  for (let i = 0; i < layers; i++) {
    const kv = (hidden / heads) * kvHeads;
    const linear = (part, rows, cols, bias) => {
      matrix(`blk.${i}.${part}`, rows, cols, format(quant, part, i, layers));
      if (bias) vector(`blk.${i}.${part}.bias`, rows, 0, 0.1);
    };
    const biased = arch === 'bert';
    if (arch === 'qwen2') scale(`blk.${i}.attn_norm`);
    if (arch === 'nomic-bert') {
      linear('attn_qkv', 3 * hidden, hidden);
    } else {
      linear('attn_q', hidden, hidden, true);
      linear('attn_k', kv, hidden, true);
      linear('attn_v', kv, hidden, true);
    }
    linear('attn_output', hidden, hidden, biased);
    if (arch === 'qwen2') scale(`blk.${i}.ffn_norm`);
    else norm(`blk.${i}.attn_output_norm`);
    if (arch !== 'bert') linear('ffn_gate', ffn, hidden);
    linear('ffn_up', ffn, hidden, biased);
    linear('ffn_down', hidden, ffn, biased);
    if (arch !== 'qwen2') norm(`blk.${i}.layer_output_norm`);
  }
  if (arch === 'qwen2') scale('output_norm');
  return list;
}

const u32 = (value) => ({ type: 4, bytes: Buffer.from(Uint32Array.of(value).buffer) });
const f32 = (value) => ({ type: 6, bytes: Buffer.from(Float32Array.of(value).buffer) });
const bool = (value) => ({ type: 7, bytes: Buffer.of(value ? 1 : 0) });
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
const str = (text) => ({ type: 8, bytes: string(text) });
const array = (type, n, bytes) => ({ type: 9, bytes: Buffer.concat([u32(type).bytes, u64(n), bytes]) });
const strings = (list) => array(8, list.length, Buffer.concat(list.map(string)));
const integers = (list) => array(5, list.length, Buffer.from(Int32Array.from(list).buffer));

/** The metadata, by key. */
function metadata(name, model, quant) {
  const { arch, hidden, heads, kvHeads, layers, ffn, vocab, context } = model;
  const keys = {
    'general.architecture': str(arch),
    'general.name': str(`${name}, random weights`),
    'general.file_type': u32(FILE_TYPES[quant]),
    'general.quantization_version': u32(2),
    [`${arch}.context_length`]: u32(context),
    [`${arch}.embedding_length`]: u32(hidden),
    [`${arch}.block_count`]: u32(layers),
    [`${arch}.feed_forward_length`]: u32(ffn),
    [`${arch}.attention.head_count`]: u32(heads),
  };
  if (arch === 'qwen2') {
    const { tokens, types, merges, end } = bpe(vocab);
    return {
      ...keys,
      'qwen2.attention.head_count_kv': u32(kvHeads),
      'qwen2.attention.layer_norm_rms_epsilon': f32(1e-6),
      'qwen2.rope.freq_base': f32(1e6),
      'qwen2.pooling_type': u32(3), // The last token. Attention is causal, because the file has no key that says otherwise.
      'tokenizer.ggml.model': str('gpt2'),
      'tokenizer.ggml.pre': str('qwen2'),
      'tokenizer.ggml.tokens': strings(tokens),
      'tokenizer.ggml.token_type': integers(types),
      'tokenizer.ggml.merges': strings(merges),
      'tokenizer.ggml.bos_token_id': u32(end),
      'tokenizer.ggml.eos_token_id': u32(end),
      'tokenizer.ggml.padding_token_id': u32(end),
      'tokenizer.ggml.add_bos_token': bool(false),
      'tokenizer.ggml.add_eos_token': bool(true),
    };
  }
  const { tokens, types } = wordpiece(vocab);
  return {
    ...keys,
    [`${arch}.attention.layer_norm_epsilon`]: f32(1e-12),
    [`${arch}.attention.causal`]: bool(false),
    ...(arch === 'nomic-bert' && { 'nomic-bert.rope.freq_base': f32(1000) }),
    [`${arch}.pooling_type`]: u32(1), // the mean
    'tokenizer.ggml.model': str('bert'),
    'tokenizer.ggml.pre': str('default'),
    'tokenizer.ggml.token_type_count': u32(2),
    'tokenizer.ggml.tokens': strings(tokens),
    'tokenizer.ggml.token_type': integers(types),
    'tokenizer.ggml.padding_token_id': u32(0),
    'tokenizer.ggml.unknown_token_id': u32(1),
    'tokenizer.ggml.bos_token_id': u32(2),
    'tokenizer.ggml.cls_token_id': u32(2),
    'tokenizer.ggml.eos_token_id': u32(3),
    'tokenizer.ggml.seperator_token_id': u32(3), // the format's spelling
    'tokenizer.ggml.mask_token_id': u32(4),
  };
}

const align = (n) => Math.ceil(n / 32) * 32;
const values = ({ dims }) => dims.reduce((product, n) => product * n, 1);
const size = (tensor) => (values(tensor) / TYPES[tensor.type].values) * TYPES[tensor.type].bytes;

/** The file's bytes before the weights, with padding. */
function header(keys, list) {
  const parts = [Buffer.from('GGUF'), u32(3).bytes, u64(list.length), u64(Object.keys(keys).length)];
  for (const [key, { type, bytes }] of Object.entries(keys)) parts.push(string(key), u32(type).bytes, bytes);
  let offset = 0;
  for (const tensor of list) {
    const { name, dims, type } = tensor;
    parts.push(string(name), u32(dims.length).bytes, ...dims.map(u64), u32(TYPES[type].id).bytes, u64(offset));
    offset += align(size(tensor));
  }
  const all = Buffer.concat(parts);
  return Buffer.concat([all, Buffer.alloc(align(all.length) - all.length)]);
}

/** A 48-bit hash (FNV-1a) of a tensor's name and the seed, so that its numbers do not depend on its place in the file. */
function hash(text, seed) {
  let state = 0xcbf29ce484222325n ^ BigInt(seed);
  for (const byte of Buffer.from(text)) state = BigInt.asUintN(64, (state ^ BigInt(byte)) * 0x100000001b3n);
  return Number(state & 0xffffffffffffn);
}

/** Calls `write` with the tensor's bytes, some megabytes at a time. */
function weights(tensor, seed, piece, write) {
  const { bytes: blockBytes } = TYPES[tensor.type];
  const fill = noise(hash(tensor.name, seed));
  const pack = packer(tensor.type, tensor.deviation);
  const n = values(tensor) / TYPES[tensor.type].values;
  const most = Math.floor(piece.byteLength / blockBytes);
  for (let done = 0; done < n; ) {
    const blocks = Math.min(most, n - done);
    const bytes = new Uint8Array(piece.buffer, 0, blocks * blockBytes);
    fill(new Uint32Array(piece.buffer, 0, Math.ceil(bytes.length / 4)));
    pack(bytes, blocks);
    if (tensor.mean !== 0) new Float32Array(piece.buffer, 0, blocks).forEach((x, i, all) => (all[i] = x + tensor.mean));
    write(bytes);
    done += blocks;
  }
  write(new Uint8Array(align(size(tensor)) - size(tensor)));
}

function usage(problem) {
  process.stderr.write(`${problem}\nusage: node bench/make-model.mjs ${Object.keys(PRESETS).join('|')} OUT.gguf
       [--quant ${Object.keys(FILE_TYPES).join('|')}] [--token-embd FORMAT] [--seed N] [--vocab ROWS]\n`);
  process.exit(2);
}

function main() {
  const text = { type: 'string' };
  let parsed;
  try {
    parsed = parseArgs({ allowPositionals: true, options: { quant: text, 'token-embd': text, seed: text, vocab: text } });
  } catch (error) {
    usage(error.message);
  }
  const [[preset, out, ...rest], options] = [parsed.positionals, parsed.values];
  if (!Object.hasOwn(PRESETS, preset ?? '') || out === undefined || rest.length > 0) usage('a preset and a file are needed');
  const model = { ...PRESETS[preset], ...(options.vocab && { vocab: Number(options.vocab) }) };
  const { quant = model.quant, seed = '1', 'token-embd': tokenEmbd } = options;
  if (!Object.hasOwn(FILE_TYPES, quant)) usage(`no such format: ${quant}`);
  if (tokenEmbd !== undefined && !Object.hasOwn(TYPES, tokenEmbd)) usage(`no such format of a tensor: ${tokenEmbd}`);
  if (!/^\d{1,9}$/.test(seed) || !Number.isInteger(model.vocab)) usage('--seed and --vocab take whole numbers');

  const list = tensors(model, quant, tokenEmbd);
  for (const { name, dims, type } of list) {
    if (dims[0] % TYPES[type].values !== 0) usage(`${name} has rows of ${dims[0]}, which ${type} cannot hold`);
  }
  const head = header(metadata(preset, model, quant), list);
  const total = head.length + list.reduce((sum, tensor) => sum + align(size(tensor)), 0);

  // Written beside it and renamed, because a process may have mapped the existing file.
  const part = `${out}.${process.pid}.part`;
  const file = openSync(part, 'w');
  const piece = new Uint32Array(2 ** 22);
  const start = performance.now();
  let written = 0;
  const write = (bytes) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    written += bytes.length;
    if (process.stderr.isTTY) process.stderr.write(`\r${out}: ${Math.floor((100 * written) / total)} %`);
  };
  write(head);
  for (const tensor of list) weights(tensor, seed, piece, write);
  closeSync(file);
  renameSync(part, out);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const millions = (list.reduce((sum, tensor) => sum + values(tensor), 0) / 1e6).toFixed(1);
  process.stderr.write(`${process.stderr.isTTY ? '\r' : ''}${out}: ${model.arch}, ${quant}, ${millions} M weights, ${(total / 1e6).toFixed(1)} MB in ${seconds} s\n`);
}

main();
