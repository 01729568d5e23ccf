// How far the vectors of this package are from those of llama.cpp, on equal texts.
//
//     OFFHEAP_PEERS=<folder> node bench/against-llama.mjs MODEL.gguf... [--min 0.9995] [--texts 30] [--json] [--llama-only]
//     OFFHEAP_PEERS=<folder> node bench/against-llama.mjs MODEL.gguf --theirs UNPACKED.gguf --min 0.99999
//
// `--theirs` gives llama.cpp another file with the same weights in F32, made by unpack.py, so that it does not round
// activations to 8 bits.
// OFFHEAP_KERNELS=avx2,portable asks each of them; without it the daemon chooses. Exit code 1 when a vector is too far
// from llama.cpp's, when the two count a text's tokens differently, or when vectors are not such as texts should have.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { chunks, queries } from './texts.mjs';

/** The longest texts, in tokens, unless the model's limit is lower. More than node-llama-cpp's default of 512. */
const MAX_TOKENS = 1024;
/** If the mean similarity of different texts is above this, vectors say too little about their texts to be compared. */
const TOO_ALIKE = 0.99;

const TEXTS = [
  'hello world',
  'a',
  'the of and to in',
  'What is the capital of France?',
  '0 1 2 3 1234567890 3.14159 1e-12 0xff',
  '... !!! ??? ;;; (((nested))) [brackets] {braces}',
  'snake_case_name camelCaseName PascalCase SCREAMING_CASE kebab-case',
  '  leading, trailing   and\tinner\n\n\nspace  ',
  'https://example.org/path/to/file.html?query=1&other=two#fragment',
  "it's can't we'll I'd they've you're O'Neil's",
  'Unbelievably antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis',
  'const sum = (a, b) => a + b;',
  'SELECT id, name FROM users WHERE age >= 21 AND name LIKE \'A%\' ORDER BY name;',
  'fn main() -> Result<(), Box<dyn Error>> { println!("{:?}", std::env::args().collect::<Vec<_>>()); Ok(()) }',
  '#include <stdio.h>\nint main(void) {\n\tfor (int i = 0; i < 10; i++)\n\t\tprintf("%d\\n", i);\n\treturn 0;\n}\n',
  'def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n',
  '{"name": "offheap", "version": "0.1.0", "files": ["index.js", "index.d.ts"], "private": false, "count": null}',
  'naïve café, déjà vu: crème brûlée für größere Straßen, señor Ångström',
  'Привет, мир! Как дела? Быстрая коричневая лиса прыгает через ленивую собаку.',
  'Γειά σου Κόσμε',
  '你好，世界。机器学习模型把文本变成向量。',
  'この文章は日本語で書かれています。ひらがなとカタカナと漢字。',
  'mixed 中文 and English und Deutsch и русский in one line',
  '→ ≤ ≥ ≠ “quoted” — dashes – and … dots €100 £50 ±2 °C',
  ...queries(2, 21),
  ...chunks(4, 22),
];
/** Long texts, where the context allows them: beyond a few hundred positions, and beyond one batch of node-llama-cpp. */
const LONG = chunks(3, 23).join('\n\n');

/** `count` texts of all kinds. */
function selection(n, context) {
  const all = context >= 2 * MAX_TOKENS ? [...TEXTS, LONG] : TEXTS;
  return n >= all.length ? all : Array.from({ length: n }, (_, i) => all[Math.floor((i * all.length) / n)]);
}

/** Runs in a process of its own. Prints the texts with llama.cpp's vectors and token counts. */
async function llamaCpp(file, n) {
  const folder = path.resolve(process.env.OFFHEAP_PEERS, 'node_modules/node-llama-cpp');
  const { main, version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const { LlamaLogLevel, getLlama } = await import(pathToFileURL(path.join(folder, main)));
  const threads = os.availableParallelism();
  const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, maxThreads: threads, build: 'never' });
  const model = await llama.loadModel({ modelPath: file });
  // A batch as large as the context: of a longer text, node-llama-cpp would silently pool a part.
  const size = Math.min(MAX_TOKENS, model.trainContextSize);
  const context = await model.createEmbeddingContext({ contextSize: size, batchSize: size, threads });
  const texts = selection(n, model.trainContextSize);
  const vectors = [];
  for (const text of texts) vectors.push([...(await context.getEmbeddingFor(text)).vector]);
  const result = { version, texts, vectors, tokens: texts.map((text) => context.calculateInputLength(text)) };
  await llama.dispose();
  return result;
}

/** Runs in a process of its own. Prints this package's vectors and token counts, from a daemon of its own. */
async function offheap(texts) {
  const { connect } = createRequire(import.meta.url)('../index.js');
  const client = await connect();
  try {
    const { values, dim, tokens } = await client.embedBatch(texts);
    const { model } = await client.status();
    return { kernel: model.kernel, vectors: texts.map((_, i) => [...values.subarray(i * dim, (i + 1) * dim)]), tokens: [...tokens] };
  } finally {
    await client.shutdown();
  }
}

/** Runs one engine in a new process with its own runtime directory. Null if it failed; it has printed why. */
function run(engine, input, env = {}) {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ob-'));
  try {
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--engine', engine], {
      input: JSON.stringify(input),
      encoding: 'utf8',
      env: { ...process.env, OFFHEAP_RUNTIME_DIR: dir, ...env },
      maxBuffer: 2 ** 30,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    return child.status === 0 ? JSON.parse(child.stdout.trimEnd().split('\n').at(-1)) : null;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const unit = (vector) => {
  const length = Math.hypot(...vector);
  return vector.map((x) => x / length);
};
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const round = (x) => Math.round(x * 1e7) / 1e7;

/** What is wrong with the vectors of one engine, without comparing them. */
function unfit(name, units) {
  const broken = units.filter((vector) => !vector.every(Number.isFinite)).length;
  if (broken > 0) return [`${broken} vectors of ${name} are not finite`];
  const alike = alikeness(units);
  return alike > TOO_ALIKE ? [`vectors of ${name} hardly depend on the text: cosine ${round(alike)} between different ones`] : [];
}

const alikeness = (units) => mean(units.flatMap((a, i) => units.slice(i + 1).map((b) => dot(a, b))));
const excerpt = (text) => JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);

/** One line of the result, for two engines or one. */
function compare(file, llama, ours) {
  const theirs = llama.vectors.map(unit);
  const line = {
    model: path.basename(file),
    engine: ours ? `offheap ${ours.kernel}` : 'none',
    against: `node-llama-cpp ${llama.version}`,
    texts: llama.texts.length,
    tokens: llama.tokens.reduce((sum, n) => sum + n, 0),
    alike: round(alikeness(theirs)),
    problems: unfit('llama.cpp', theirs),
  };
  if (!ours) return line;
  const units = ours.vectors.map(unit);
  const cosines = units.map((vector, i) => dot(vector, theirs[i]));
  const worst = cosines.indexOf(cosines.reduce((low, x) => (x < low || Number.isNaN(x) ? x : low)));
  const counted = llama.texts.flatMap((text, i) => (ours.tokens[i] === llama.tokens[i] ? [] : [{ text, ours: ours.tokens[i], theirs: llama.tokens[i] }]));
  Object.assign(line, { worst: round(cosines[worst]), mean: round(mean(cosines)), worstText: excerpt(llama.texts[worst]) });
  line.problems.push(...unfit('offheap', units));
  for (const { text, ours, theirs } of counted) line.problems.push(`${ours} tokens, ${theirs} for llama.cpp: ${excerpt(text)}`);
  return line;
}

function usage(problem) {
  process.stderr.write(`${problem}\nusage: OFFHEAP_PEERS=FOLDER node bench/against-llama.mjs MODEL.gguf... [--min COSINE] [--texts N] [--json] [--llama-only] [--theirs FILE]\n`);
  process.exit(2);
}

function main() {
  const text = { type: 'string' };
  const flag = { type: 'boolean', default: false };
  let parsed;
  try {
    parsed = parseArgs({ allowPositionals: true, options: { min: { ...text, default: '0.9995' }, texts: text, theirs: text, json: flag, 'llama-only': flag } });
  } catch (error) {
    usage(error.message);
  }
  const { positionals: files, values } = parsed;
  const [min, n] = [Number(values.min), Number(values.texts ?? Infinity)];
  if (files.length === 0 || !process.env.OFFHEAP_PEERS) usage('a model and OFFHEAP_PEERS are needed');
  if (values.theirs !== undefined && files.length > 1) usage('--theirs belongs to one model');
  if (Number.isNaN(min) || !(n >= 2)) usage('--min takes a number, --texts one of 2 or more');

  let failed = false;
  const fail = (message) => {
    failed = true;
    process.stderr.write(`  ${message}\n`);
  };
  for (const file of files.map((name) => path.resolve(name))) {
    const llama = run('llama', { file: path.resolve(values.theirs ?? file), n: Number.isFinite(n) ? n : 1e6 });
    if (llama === null) {
      fail(`${path.basename(file)}: llama.cpp gave nothing`);
      continue;
    }
    const kernels = values['llama-only'] ? [null] : (process.env.OFFHEAP_KERNELS?.split(',') ?? ['']);
    for (const kernel of kernels) {
      const env = { OFFHEAP_MODEL: file, ...(kernel && { OFFHEAP_KERNEL: kernel }) };
      const ours = kernel === null ? null : run('offheap', { texts: llama.texts }, env);
      if (ours === null && kernel !== null) {
        fail(`${path.basename(file)}: offheap gave nothing`);
        continue;
      }
      const line = compare(file, llama, ours);
      if (ours && !(line.worst >= min)) line.problems.push(`the worst cosine is under ${min}`);
      if (values.json) process.stdout.write(`${JSON.stringify(line)}\n`);
      else {
        const cosines = ours ? `worst cosine ${line.worst.toFixed(6)} (${line.worstText}), mean ${line.mean.toFixed(6)}; ` : '';
        process.stdout.write(`${line.model}, ${line.engine}: ${cosines}${line.texts} texts of ${line.tokens} tokens, ${line.alike.toFixed(3)} between different ones\n`);
      }
      line.problems.forEach(fail);
    }
  }
  process.exitCode = failed ? 1 : 0;
}

if (process.argv[2] === '--engine') {
  const input = JSON.parse(readFileSync(0, 'utf8'));
  try {
    const result = process.argv[3] === 'llama' ? await llamaCpp(input.file, input.n) : await offheap(input.texts);
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } catch (error) {
    process.stderr.write(`  ${error.message}\n`);
    process.exitCode = 1;
  }
} else {
  main();
}
