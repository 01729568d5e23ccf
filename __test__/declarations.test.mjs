// index.d.ts: it declares what the package has, every member has a comment, every method an example that compiles.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe } from 'node:test';
import ts from 'typescript';
import { fields, project, rejects, root, test, useOwnRuntime } from './support.mjs';

const offheap = useOwnRuntime();
const { connect, ERROR_CODES } = offheap;

const file = path.join(root, 'index.d.ts');
const declarations = readFileSync(file, 'utf8');

/** Methods that neither throw nor reject. */
const NEVER_FAIL = ['Client.close'];

/** Every exported declaration and every member of one, as `{ name, doc, isCall }`; `doc` is its comment or undefined. */
function documented(text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found = [];
  const add = (name, node) => {
    const comments = ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [];
    const doc = comments.map(({ pos, end }) => text.slice(pos, end)).findLast((comment) => comment.startsWith('/**'));
    found.push({ name, doc, isCall: ts.isMethodSignature(node) || ts.isFunctionDeclaration(node) });
  };
  for (const statement of source.statements) {
    const declaration = ts.isVariableStatement(statement) ? statement.declarationList.declarations[0] : statement;
    const name = declaration.name.getText();
    add(name, statement);
    for (const member of statement.members ?? []) add(`${name}.${member.name.getText()}`, member);
  }
  return found;
}

/** A comment without its stars. */
const plain = (doc) => doc.replace(/^\/\*\*|\*\/$/g, '').replace(/^[ \t]*\* ?/gm, '');
const examplesOf = (doc) => plain(doc ?? '').split('@example\n').slice(1).map((example) => example.split(/^@/m)[0]);
const throwsOf = (doc) => /@throws ([\s\S]*?)(?=^@|$(?![\s\S]))/m.exec(plain(doc ?? ''))?.[1];

/** What stands before an example that imports nothing itself. */
const PRELUDE = "import { ERROR_CODES, OffheapError, type Client } from 'offheap';\ndeclare const client: Client;\nvoid [client, ERROR_CODES, OffheapError];\n";

/** Compiles examples as a user's modules, without writing them. Returns what the compiler says. */
function compile(examples) {
  const { config } = ts.readConfigFile(path.join(root, '__test__', 'types', 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  Object.assign(options, { paths: { offheap: [file] } });
  const host = ts.createCompilerHost(options);
  const texts = new Map(examples.map(({ name, text }, i) => {
    const whole = /^import /m.test(text) ? text : `${PRELUDE}${text}`;
    return [path.join(root, '__test__', 'types', `example-${i}-${name}.mts`), `${whole}\nexport {};\n`];
  }));
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => texts.has(path.normalize(name)) || fileExists(name);
  host.readFile = (name) => texts.get(path.normalize(name)) ?? readFile(name);
  host.getSourceFile = (name, target, ...more) => {
    const text = texts.get(path.normalize(name));
    return text === undefined ? getSourceFile(name, target, ...more) : ts.createSourceFile(name, text, target, true);
  };
  const program = ts.createProgram([...texts.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map((problem) => {
    const where = problem.file ? `${path.basename(problem.file.fileName)}: ` : '';
    return where + ts.flattenDiagnosticMessageText(problem.messageText, '\n');
  });
}

const undocumented = (text) => documented(text).filter(({ doc }) => doc === undefined).map(({ name }) => name);

describe('index.d.ts as documentation', () => {
  const all = documented(declarations);

  test('has a comment for every export and every member', () => {
    assert.ok(all.length > 150, `${all.length} found`);
    assert.deepEqual(undocumented(declarations), []);
  });

  test('that check finds a member without one', () => {
    const without = (comment) => declarations.replace(comment, '');
    assert.deepEqual(undocumented(without('  /** Version of the daemon. */\n')), ['Status.version']);
    assert.deepEqual(undocumented(without('/** How a client works where it cannot have a shared daemon on a local socket, or no model. */\n')), ['Fallback']);
  });

  test('has an example for every function and method', () => {
    assert.deepEqual(all.filter(({ isCall, doc }) => isCall && examplesOf(doc).length === 0).map(({ name }) => name), []);
  });

  test('says of every function and method what it throws, in codes that exist', () => {
    const union = (name) => {
      const [, text] = new RegExp(`export type ${name} =([^;]*);`).exec(declarations);
      return [...text.matchAll(/'([A-Z_]+)'/g)].map((match) => match[1]);
    };
    const groups = Object.fromEntries(['CallErrorCode', 'StartErrorCode', 'ModelErrorCode'].map((name) => [name, union(name)]));
    const codes = new Set(union('ErrorCode'));
    const named = new Set();
    for (const { name, doc, isCall } of all) {
      const text = throwsOf(doc);
      if (!isCall) continue;
      assert.equal(text === undefined, NEVER_FAIL.includes(name), name);
      for (const [, code] of (text ?? '').matchAll(/`([A-Z][A-Z_]+)`/g)) {
        assert.ok(codes.has(code), `${name}: ${code}`);
        named.add(code);
      }
      for (const [, group] of (text ?? '').matchAll(/\{@link (\w+ErrorCode)\}/g)) for (const code of groups[group]) named.add(code);
    }
    for (const code of Object.values(groups).flat()) assert.ok(codes.has(code), code);
    assert.deepEqual([...codes].filter((code) => !named.has(code)), [], 'codes that no method names');
  });

  const examples = all.flatMap(({ name, doc }) => examplesOf(doc).map((text) => ({ name, text })));

  test('has examples that compile', () => {
    assert.ok(examples.length >= 12, `${examples.length} found`);
    assert.deepEqual(compile(examples), []);
  });

  test('that check finds a mistake in an example', () => {
    const [problem, ...more] = compile([{ name: 'wrong', text: "await client.search('x', { limt: 3 });" }]);
    assert.match(problem, /'limt' does not exist/);
    assert.deepEqual(more, []);
  });
});

describe('index.d.ts and the package', () => {
  test('declares exactly what the package exports', () => {
    const exported = [...declarations.matchAll(/^export (?:function|class|const) (\w+)/gm)].map((match) => match[1]);
    assert.deepEqual(exported.sort(), Object.keys(offheap).sort());
  });

  test('lists exactly the methods', async () => {
    const client = await connect();
    const prototype = Object.getPrototypeOf(client);
    const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== 'constructor');
    assert.deepEqual([...fields('Client').keys()].sort(), methods.sort());
    assert.match(declarations, /interface Client extends AsyncDisposable/);
    assert.deepEqual(Object.getOwnPropertySymbols(prototype), [Symbol.asyncDispose]);
    const batch = await client.embedBatch(['x']);
    const found = [...Object.keys(batch), ...Object.getOwnPropertyNames(Object.getPrototypeOf(batch))].filter((name) => name !== 'constructor');
    assert.deepEqual([...fields('Vectors').keys()].sort(), found.sort());
    const single = await client.embed('x');
    assert.deepEqual([...fields('Embedding').keys()].sort(), Object.keys(single).sort());
    assert.deepEqual([...fields('EmbedTiming').keys()].sort(), Object.keys(single.timing).sort());
  });

  test('lists exactly the options', async () => {
    const client = await connect({ project: project({ 'a.txt': 'a\n' }) });
    const check = async (name, call) => {
      const error = await rejects(call(), 'INVALID_ARGUMENT', '"bogus"');
      const accepted = / it has (.*)$/.exec(error.message)[1].split(', ');
      const declared = typeof name === 'string' ? [...fields(name).keys()] : name;
      assert.deepEqual(accepted.sort(), declared.sort());
    };
    const bogus = { bogus: 1 };
    await check('ConnectOptions', () => connect(bogus));
    await check('EmbedOptions', () => client.embed('x', bogus));
    await check('EmbedOptions', () => client.embedBatch(['x'], bogus));
    await check('IndexOptions', () => client.index(bogus));
    await check('SearchOptions', () => client.search('x', bogus));
    await check('CallOptions', () => client.status(bogus));
    await check('CallOptions', () => client.ping(bogus));
    await check('CallOptions', () => client.shutdown(bogus));
    await check(['stored', ...fields('CallOptions').keys()], () => client.clearCache(bogus));
  });

  test('lists exactly the error codes, each with its meaning', () => {
    const union = /export type ErrorCode =([^;]*);/.exec(declarations)[1];
    const declared = [...union.matchAll(/'([A-Z_]+)'/g)].map((match) => match[1]);
    assert.deepEqual(declared.sort(), Object.keys(ERROR_CODES).sort());
    for (const [code, meaning] of Object.entries(ERROR_CODES)) assert.ok(meaning.length > 10, code);
    assert.ok(Object.isFrozen(ERROR_CODES));
  });
});
