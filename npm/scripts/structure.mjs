// `npm run check`, step "structure": no circle of imports between files, no function over 80 lines, no file over 500. For JavaScript;
// the modules of the Rust crates are checked by their own test (sidecar/tests/it).
import { readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { root } from './lib.mjs';

const PLACES = ['index.js', 'lib', 'npm/scripts', 'bench', '__test__'];
const MAX_FUNCTION_LINES = 80;
const MAX_FILE_LINES = 500;
/** Files and functions (`file` or `file function`) that may be longer, each with the reason. */
const LONGER = {
  'bench/make-model/blocks.mjs packer': 'a table: one case for each format of weights',
};

/** The scripts in the checked places, as a map from a path below the root to the text. */
export function sources() {
  const isScript = (name) => /\.[cm]?js$/.test(name) && !name.split(path.sep).includes('node_modules');
  const below = (place) => {
    const whole = path.join(root, place);
    return statSync(whole).isFile() ? [place] : readdirSync(whole, { recursive: true }).map((name) => path.join(place, name));
  };
  const names = PLACES.flatMap(below).filter(isScript);
  return new Map(names.map((name) => [name.split(path.sep).join('/'), readFileSync(path.join(root, name), 'utf8')]));
}

/** What is wrong with the files, a line for each. */
export function problems(files, longer = LONGER) {
  const found = [];
  const edges = new Map();
  const used = new Set();
  const mayBeLonger = (key) => key in longer && used.add(key);
  for (const [name, text] of files) {
    const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
    edges.set(name, importsOf(source, name, files));
    const lines = text.trimEnd().split('\n').length;
    if (lines > MAX_FILE_LINES && !mayBeLonger(name)) found.push(`${name}: ${lines} lines, the limit is ${MAX_FILE_LINES}`);
    for (const { label, line, length } of longFunctions(source)) {
      if (!mayBeLonger(`${name} ${label}`)) found.push(`${name}:${line}: ${label} has ${length} lines, the limit is ${MAX_FUNCTION_LINES}`);
    }
  }
  for (const circle of circles(edges)) found.push(`a circle of imports: ${circle.join(' -> ')}`);
  for (const key of Object.keys(longer)) if (!used.has(key)) found.push(`${key}: may be longer, and is not; take it off the list`);
  return found;
}

/** The files among `files` that a file imports or requires by a relative path. */
function importsOf(source, name, files) {
  const imports = new Set();
  const add = (node) => {
    if (node === undefined || !ts.isStringLiteralLike(node) || !/^\.\.?\//.test(node.text)) return;
    const target = path.posix.join(path.posix.dirname(name), node.text);
    const match = [target, `${target}.js`, `${target}/index.js`].find((file) => files.has(file));
    if (match !== undefined) imports.add(match);
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    const isImport = ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require');
    if (isImport) add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return [...imports];
}

/** Functions above the limit. The callback of a `describe` is a section of a test file, and the tests in it are the functions. */
function longFunctions(source) {
  const found = [];
  const lineOf = (position) => source.getLineAndCharacterOfPosition(position).line + 1;
  const isSection = ({ parent }) => ts.isCallExpression(parent) && /^describe\b/.test(parent.expression.getText());
  const visit = (node) => {
    if (ts.isFunctionLike(node) && node.body !== undefined && !isSection(node)) {
      const [line, end] = [lineOf(node.getStart()), lineOf(node.getEnd())];
      if (end - line + 1 > MAX_FUNCTION_LINES) found.push({ label: labelOf(node), line, length: end - line + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function labelOf(node) {
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  return parent.name === undefined ? 'a function' : parent.name.getText();
}

/** Closed paths of imports. Each group of files that import each other has at least one. */
function circles(edges) {
  const found = [];
  const done = new Set();
  const walk = (name, trail) => {
    const at = trail.indexOf(name);
    if (at >= 0) return void found.push([...trail.slice(at), name]);
    if (done.has(name)) return;
    for (const next of edges.get(name) ?? []) walk(next, [...trail, name]);
    done.add(name);
  };
  for (const name of edges.keys()) walk(name, []);
  return found;
}

if (import.meta.filename === process.argv[1]) {
  const files = sources();
  const found = problems(files);
  for (const problem of found) console.error(problem);
  if (found.length > 0) process.exit(1);
  console.log(`${files.size} files`);
}
