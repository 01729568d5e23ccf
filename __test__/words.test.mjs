// Words of every script, and names with signs in them, in the modes that search by words.

import assert from 'node:assert/strict';
import { before, describe } from 'node:test';
import { cli, project, test, useOwnRuntime } from './support.mjs';

const { connect } = useOwnRuntime();

const LONG = `test_${'returns_the_empty_list_when_no_orders_were_placed_'.repeat(4)}end`;

const FILES = {
  'src/orders.py': 'def 获取用户订单列表(用户):\n    """读取用户的全部订单，并按时间排序。"""\n    return 用户.订单\n',
  'src/check.ts': '// 入力データを検証してから保存する\nexport function checkInput(value: string): boolean {\n  return value.length > 0;\n}\n',
  'src/price.go': 'package price\n\n// 장바구니에서 할인율을 적용합니다.\nfunc Apply(cents int) int {\n\treturn cents\n}\n',
  'docs/resume.md': '# Re\u0301sume\u0301\n\nLe re\u0301sume\u0301 des parame\u0300tres.\n',
  'docs/abstract.md': '# Résumé\n\nUn résumé des valeurs.\n',
  'src/Preis.java': 'class Preis {\n  // Der Preis wird geprüft.\n  boolean ok(int preis) { return preis > 0; }\n}\n',
  'src/long.py': `def ${LONG}():\n    pass\n`,
  'src/pointer.cpp': 'template <typename T>\nclass Pointer {\n public:\n  T* operator->() const { return value_; }\n private:\n  T* value_;\n};\n',
  'src/unrelated.rs': 'pub fn open_socket(address: &str) -> Socket {\n    connect(address)\n}\n',
  'src/other.rs': 'pub fn rotate(image: &Image, angle: f32) -> Image {\n    turn(image, angle)\n}\n',
};

describe('words of every script', () => {
  let client;
  let dir;
  before(async () => {
    dir = project(FILES);
    client = await connect({ project: dir });
    await client.index();
  });

  const CASES = [
    ['订单', 'src/orders.py'],
    ['検証', 'src/check.ts'],
    ['할인', 'src/price.go'],
    ['gepruft', 'src/Preis.java'],
    ['GEPRÜFT', 'src/Preis.java'],
    ['placed', 'src/long.py'],
    [LONG, 'src/long.py'],
    ['operator->', 'src/pointer.cpp'],
  ];
  for (const mode of ['text', 'hybrid']) {
    for (const [query, path] of CASES) {
      test(`${mode}: ${query.slice(0, 30)}`, async () => {
        const { hits } = await client.search(query, { mode });
        assert.equal(hits[0]?.path, path);
      });
    }
    test(`${mode}: résumé in both forms finds both files`, async () => {
      for (const query of ['résumé', 're\u0301sume\u0301', 'resume']) {
        const { hits } = await client.search(query, { mode });
        assert.deepEqual(new Set(hits.slice(0, 2).map((hit) => hit.path)), new Set(['docs/abstract.md', 'docs/resume.md']), query);
      }
    });
  }

  test('symbol: by the whole name, its beginning and a word in it', async () => {
    for (const name of ['获取用户订单列表', '获取用户', '订单']) {
      const { hits } = await client.search(name, { mode: 'symbol' });
      assert.equal(hits[0]?.path, 'src/orders.py', name);
    }
    assert.equal((await client.search(LONG, { mode: 'symbol' })).hits[0].path, 'src/long.py');
  });

  test('the command line finds them too', async () => {
    const { json } = await cli(['search', '订单', '--mode', 'text', '--json', '--project', dir]);
    assert.equal(json.hits[0].path, 'src/orders.py');
  });
});
