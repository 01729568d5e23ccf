// Makes vocabularies of both kinds from a few hundred words and padding, equal on every machine.

import { chunks, queries } from '../texts.mjs';
import { noise } from './blocks.mjs';

/** The format's numbers for kinds of tokens. */
const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5];

/** Words of the test texts, so that these are not split into letters. The benchmarks' texts add their own. */
const WORDS = `the of and to in is that for it as was with be by on not he his but at are this have from or had an they which you were
  all their she there would what when who will more no if out so said up about into than them can only other new some could time
  these two may then do first any my now such like our over man me even most made after also did many before must through back years
  where much your way well down should because each just those people how too little state good very make world still own see men work
  long get here between both life being under never day same another know while last might us great old year off come since against go
  came right used take three const let var function return async await import export class extends new this null undefined true false
  string number boolean array object promise error throw try catch finally switch case default break continue typeof instanceof
  public private static void int float double char struct enum impl trait match self fn mut pub use mod crate where type interface
  package main print println format assert test value index length count size name path file data result option some none ok err key
  list map set get push pop insert remove delete update query model vector embed text token search store read write open close
  buffer stream socket server client request response timeout retry cache memory thread process lock event handler callback`.match(/\S+/g);
const FOREIGN = 'naïve café déjà vu größe straße über señor crème здравствуй мир привет как дела γειά κόσμε 你好世界 机器学习 日本語 こんにちは 한국어 emoji 🙂 → ≤ “quoted” — €'.split(' ');

/** How Qwen 2 splits text before merging. JavaScript's \s and \p{} are close enough for learning merges. */
const PIECES = /'(?:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/giu;

/** GPT-2's character for each byte: the byte itself if it is visible, else a character above 255. */
const BYTES = (() => {
  const seen = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(seen(byte) ? byte : next++));
})();

/** The corpus that merges are learned from. */
const corpus = () => [...chunks(40), ...queries(40), ...[...WORDS, ...FOREIGN].map((word) => ` ${word} ${word} ${word[0].toUpperCase()}${word.slice(1)}`)];

/** Learns BPE merges from the corpus, the most frequent pair first, until no pair occurs twice. */
function learn(limit) {
  const counts = new Map();
  for (const piece of corpus().flatMap((text) => text.match(PIECES) ?? [])) {
    const spelled = [...Buffer.from(piece)].map((byte) => BYTES[byte]).join(' ');
    counts.set(spelled, (counts.get(spelled) ?? 0) + 1);
  }
  const words = [...counts].map(([spelled, count]) => [spelled.split(' '), count]);
  const merges = [];
  while (merges.length < limit) {
    const pairs = new Map();
    for (const [symbols, count] of words) {
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    }
    let best = ['', 1];
    for (const [pair, count] of pairs) {
      if (count > best[1] || (count === best[1] && pair < best[0])) best = [pair, count];
    }
    if (best[1] < 2) break;
    merges.push(best[0]);
    const [left, right] = best[0].split(' ');
    for (const word of words) {
      const symbols = word[0];
      for (let i = 1; i < symbols.length; i++) {
        if (symbols[i - 1] === left && symbols[i] === right) symbols.splice(i - 1, 2, left + right);
      }
    }
  }
  return merges;
}

/**
 * A byte-level BPE vocabulary: the bytes, the results of merges, Qwen 2's special tokens, then padding up to `rows`.
 *
 * The result of each merge is a token, and no two merges have equal results.
 */
export function bpe(rows) {
  const control = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>'];
  const marks = ['<tool_call>', '</tool_call>'];
  // The same share of padding as the 399 of Qwen's 152,064 rows.
  const padding = Math.max(3, Math.floor(rows * 0.0026));
  const wanted = rows - padding - control.length - marks.length;
  if (wanted < 256) throw new Error(`${rows} rows do not hold the 256 bytes and the special tokens`);

  const tokens = [...BYTES];
  const known = new Set(tokens);
  const merges = [];
  const add = (left, right) => {
    if (tokens.length >= wanted || known.has(left + right)) return;
    merges.push(`${left} ${right}`);
    tokens.push(left + right);
    known.add(left + right);
  };
  for (const merge of learn(wanted - tokens.length)) add(...merge.split(' '));
  const letters = [...'abcdefghijklmnopqrstuvwxyz'];
  for (const left of [BYTES[32], ...letters]) for (const right of letters) add(left, right);
  // The remaining merges join arbitrary tokens, so that the table is as large as a real one.
  const words = () => tokens.filter((token) => new RegExp(`^${BYTES[32]}?[a-z]+$`).test(token));
  const fill = noise(0x6f66666865);
  const random = new Uint32Array(4096);
  while (tokens.length < wanted) {
    const left = words();
    const right = left.filter((token) => /^[a-z]/.test(token));
    for (let round = 0; round < left.length; round += random.length / 2) {
      fill(random);
      for (let i = 0; i < random.length; i += 2) {
        const [a, b] = [left[random[i] % left.length], right[random[i + 1] % right.length]];
        if (a.length + b.length <= 12) add(a, b);
      }
    }
  }

  const types = tokens.map(() => NORMAL);
  const special = (list, type) => list.map((token) => (types.push(type), tokens.push(token) - 1));
  const [end] = special(control, CONTROL);
  special(marks, USER_DEFINED);
  special(Array.from({ length: padding }, (_, i) => `[PAD${tokens.length + i}]`), UNUSED);
  return { tokens, types, merges, end };
}

/** A WordPiece vocabulary: special tokens, characters and words with and without the mark of a word's start, then syllables. */
export function wordpiece(rows) {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  const tokens = new Set(special);
  const add = (text) => {
    if (tokens.size < rows) tokens.add(`\u2581${text}`);
    if (tokens.size < rows) tokens.add(text);
  };
  for (let code = 33; code < 127; code++) add(String.fromCharCode(code).toLowerCase());
  // The tokeniser has lower-cased the text and removed accents.
  const plain = (text) => text.toLowerCase().normalize('NFD').replace(/\p{Mn}/gu, '');
  const words = corpus().flatMap((text) => plain(text).match(/[\p{L}\p{N}]+/gu) ?? []);
  for (const character of new Set(plain(FOREIGN.join('')))) add(character);
  for (const word of new Set([...WORDS, ...words])) {
    if (tokens.size < rows) tokens.add(`\u2581${word}`);
  }
  const syllables = [...'bdfgklmnprstvz'].flatMap((consonant) => [...'aeiou'].map((vowel) => consonant + vowel));
  syllables.forEach(add);
  for (let length = 2; tokens.size < rows; length++) {
    for (let i = 0; i < syllables.length ** length && tokens.size < rows; i++) {
      add(Array.from({ length }, (_, k) => syllables[Math.floor(i / syllables.length ** k) % syllables.length]).join(''));
    }
  }
  if (tokens.size < rows || rows < special.length) throw new Error(`no vocabulary of ${rows} tokens`);
  return { tokens: [...tokens], types: [...tokens].map((_, i) => (i < special.length ? CONTROL : NORMAL)) };
}
