//! Error messages and stack traces as queries, by full text alone.

use crate::support::World;

/// A small project in several languages; each file has a decoy that says the words of another one's errors.
fn project() -> World {
    let world = World::new();
    world.write("app/main.py", "from shop.cart import total\n\n\ndef run(items):\n    return total(items)\n");
    world.write(
        "app/shop/cart.py",
        "\"\"\"Carts.\"\"\"\n\n\ndef price(item):\n    return item['cents']\n\n\ndef total(items):\n    \
         if not items:\n        raise ValueError('a cart without items has no total')\n    return sum(price(item) for item in items)\n",
    );
    world.write(
        "app/shop/errors.md",
        "# Errors\n\nTraceback, KeyError, ValueError, total, price and cart are words here.\n",
    );
    world.write(
        "web/src/cart.ts",
        "export class Cart {\n  constructor(private lines: Line[]) {}\n\n  sum(): number {\n    return this.lines.reduce((a, l) => a + l.cents, 0);\n  }\n}\n",
    );
    world.write("web/src/index.ts", "import { Cart } from './cart';\nexport const open = () => new Cart([]);\n");
    world.write(
        "web/app/(shop)/[id]/page.tsx",
        "export default function Page() {\n  return <main>{cartOf()}</main>;\n}\n",
    );
    world.write(
        "server/src/main/java/com/acme/db/Store.java",
        "package com.acme.db;\n\nclass Store {\n    void load(String name) {\n        throw new IllegalStateException(\"no such table\");\n    }\n}\n",
    );
    world.write(
        "engine/src/list.c",
        "struct list;\n\nint list_push(struct list *l, int x) {\n    l->items[l->n++] = x;\n    return 0;\n}\n",
    );
    world.write(
        "engine/src/store.rs",
        "pub fn open(path: &str) -> u32 {\n    path.parse().expect(\"a number of a segment\")\n}\n",
    );
    world.write(
        "tool/cart.go",
        "package tool\n\ntype Cart struct{ n []int }\n\nfunc (c *Cart) Total(i int) int {\n\treturn c.n[i]\n}\n",
    );
    world.json(&["index", "--json"]);
    world
}

#[test]
fn an_error_leads_to_where_it_arose() {
    let world = project();
    for (query, path) in [
        (
            "Traceback (most recent call last):\n  File \"/srv/x/app/main.py\", line 5, in run\n    return total(items)\n  \
             File \"/srv/x/app/shop/cart.py\", line 5, in price\n    return item['cents']\nKeyError: 'cents'",
            "app/shop/cart.py",
        ),
        ("ValueError: a cart without items has no total", "app/shop/cart.py"),
        (
            "2026-12-01 10:00:00,123 ERROR [main] shop: a cart without items has no total (request 12345)",
            "app/shop/cart.py",
        ),
        (
            "TypeError: Cannot read properties of undefined (reading 'cents')\n    at C:\\work\\web\\src\\cart.ts:5:51\n    \
             at Array.reduce (<anonymous>)\n    at Cart.sum (C:\\work\\web\\src\\cart.ts:5:23)",
            "web/src/cart.ts",
        ),
        ("Error: boom\n    at new Cart (webpack:///./src/cart.ts?3f1a:2:3)", "web/src/cart.ts"),
        (
            "ReferenceError: cartOf is not defined\n    at Page (webpack-internal:///(rsc)/./app/(shop)/[id]/page.tsx:2:16)",
            "web/app/(shop)/[id]/page.tsx",
        ),
        ("web/src/index.ts(2,37): error TS2554: Expected 2 arguments, but got 1.", "web/src/index.ts"),
        (
            "java.lang.IllegalStateException: no such table\n\tat com.acme.db.Store.load(Store.java:5)\n\tat java.base/java.lang.Thread.run(Thread.java:840)",
            "server/src/main/java/com/acme/db/Store.java",
        ),
        (
            "    #0 0x55d0c in list_push /build/engine/src/list.c:4:12\n==1==ERROR: AddressSanitizer: heap-buffer-overflow",
            "engine/src/list.c",
        ),
        (
            "thread 'main' panicked at engine/src/store.rs:2:18:\na number of a segment: ParseIntError { kind: InvalidDigit }",
            "engine/src/store.rs",
        ),
        (
            "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\n\
             example.com/tool.(*Cart).Total(0xc000012345, 0x5)\n\t/home/ci/tool/cart.go:6 +0x1d",
            "tool/cart.go",
        ),
    ] {
        let report = world.json(&["search", "--json", "--explain", "--mode", "text", query]);
        assert_eq!(report["hits"][0]["path"], path, "{query}\n{report}");
    }
}

#[test]
fn filters_hold_for_frames_too() {
    let world = project();
    let trace =
        "Traceback (most recent call last):\n  File \"/srv/app/shop/cart.py\", line 5, in price\nKeyError: 'cents'";
    let report = world.json(&["search", "--json", "--mode", "text", "--language", "typescript", trace]);
    let paths: Vec<&str> =
        report["hits"].as_array().expect("a list").iter().filter_map(|hit| hit["path"].as_str()).collect();
    assert!(paths.iter().all(|path| path.ends_with(".ts")), "{paths:?}");
}
