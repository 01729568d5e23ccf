use super::*;
use crate::rank::{Class, Question};

/// The frames of a text, as `path:line function`.
fn frames(text: &str) -> Vec<String> {
    let error = ErrorText::parse(text).unwrap_or_else(|| panic!("no error: {text}"));
    let shown = |frame: Frame| match frame.function {
        Some(function) => format!("{}:{} {function}", frame.path, frame.line),
        None => format!("{}:{}", frame.path, frame.line),
    };
    error.frames.into_iter().map(shown).collect()
}

fn words(text: &str) -> String {
    ErrorText::parse(text).unwrap_or_else(|| panic!("no error: {text}")).words.trim().to_owned()
}

#[test]
fn frames_of_interpreters_and_runtimes() {
    let python = "Traceback (most recent call last):\n  File \"/home/me/app/main.py\", line 3, in <module>\n    run()\n  \
                  File \"/home/me/app/shop/cart.py\", line 12, in total\n    return price(item)\nKeyError: 'cents'";
    assert_eq!(frames(python), ["home/me/app/shop/cart.py:12 total", "home/me/app/main.py:3"]);
    assert!(words(python).contains("return price(item)"), "quoted lines of code are words");

    let node = "TypeError: Cannot read properties of undefined (reading 'cents')\n    at Cart.total (/srv/app/src/cart.js:20:72)\n    \
                at async Promise.all (index 0)\n    at file:///srv/app/src/main.mjs:5:3\n    at new Shop (C:\\work\\app\\src\\shop.ts:10:5)\n    \
                at process.processTicksAndRejections (node:internal/process/task_queues:95:5)";
    assert_eq!(
        frames(node),
        ["srv/app/src/cart.js:20 total", "srv/app/src/main.mjs:5", "work/app/src/shop.ts:10 Shop"]
    );

    let bundled = "Uncaught Error: boom\n    at useCart (webpack:///./src/hooks/useCart.ts?1f3a:17:11)\n    \
                   at render (webpack-internal:///(rsc)/./app/(shop)/[id]/page.tsx:31:9)\n    \
                   at load (http://localhost:5173/src/main.ts?t=1700000000:4:2)";
    assert_eq!(
        frames(bundled),
        ["src/hooks/useCart.ts:17 useCart", "(rsc)/app/(shop)/[id]/page.tsx:31 render", "src/main.ts:4 load"]
    );

    let java = "Exception in thread \"main\" java.lang.IllegalStateException: outer\n\tat com.acme.App.main(App.java:8)\n\
                Caused by: java.sql.SQLException: no such table\n\tat com.acme.db.Store$Inner.load(Store.java:41)\n\t\
                at java.base/java.util.ArrayList.forEach(ArrayList.java:1511)\n\t... 3 more";
    assert_eq!(
        frames(java),
        ["com/acme/db/Store.java:41 load", "java/util/ArrayList.java:1511 forEach", "com/acme/App.java:8"]
    );

    let csharp = "Unhandled exception. System.InvalidOperationException: Sequence contains no elements\n   \
                  at Shop.Cart.Total(Int32 n) in C:\\src\\Shop\\Cart.cs:line 42\n   at Shop.Program.Main(String[] args)";
    assert_eq!(frames(csharp), ["src/Shop/Cart.cs:42 Total"]);

    let go = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\n\
              example.com/app/cart.(*Cart).Total(0xc000012345, 0x5)\n\t/home/me/app/cart/cart.go:27 +0x1d\nmain.main()\n\t/home/me/app/main.go:9 +0x25";
    assert_eq!(frames(go), ["home/me/app/cart/cart.go:27 Total", "home/me/app/main.go:9"]);

    let rust = "thread 'main' panicked at src/cart.rs:17:9:\nindex out of bounds: the len is 3 but the index is 5\nstack backtrace:\n   \
                0: rust_begin_unwind\n             at /rustc/0123456789abcdef/library/std/src/panicking.rs:652:5\n   \
                1: shop::cart::Cart::total\n             at ./src/cart.rs:17:9\n   2: shop::main";
    assert_eq!(
        frames(rust),
        [
            "src/cart.rs:17",
            "rustc/0123456789abcdef/library/std/src/panicking.rs:652 rust_begin_unwind",
            "src/cart.rs:17 total"
        ]
    );

    let ruby = "app/models/cart.rb:14:in `total': undefined method `cents' for nil:NilClass (NoMethodError)\n\
                \tfrom app/models/shop.rb:5:in 'block in Shop#sum'\n\tfrom bin/run:3:in `<main>'";
    assert_eq!(frames(ruby), ["app/models/cart.rb:14 total", "app/models/shop.rb:5 sum"]);

    let php = "PHP Fatal error:  Uncaught TypeError: total(): Argument #1 must be of type int in /srv/app/src/Cart.php:31\n\
               Stack trace:\n#0 /srv/app/src/Shop.php(12): App\\Cart->total()\n#1 {main}\n  thrown in /srv/app/src/Cart.php on line 31";
    assert_eq!(frames(php), ["srv/app/src/Cart.php:31", "srv/app/src/Shop.php:12 total"]);

    let elixir = "** (ArithmeticError) bad argument in arithmetic expression\n    (shop 0.1.0) lib/shop/cart.ex:12: Shop.Cart.total/1";
    assert_eq!(frames(elixir), ["lib/shop/cart.ex:12 total"]);

    let lua = "lua: cart.lua:3: attempt to index a nil value (local 'item')\nstack traceback:\n\tcart.lua:3: in function 'total'";
    assert_eq!(frames(lua), ["cart.lua:3", "cart.lua:3 total"]);

    let dart =
        "Unhandled exception:\nRangeError (index): Invalid value\n#0      Cart.total (package:shop/src/cart.dart:21:7)";
    assert_eq!(frames(dart), ["src/cart.dart:21 total"]);

    let sanitizer =
        "==1==ERROR: AddressSanitizer: heap-buffer-overflow\n    #0 0x55d0c in list_push /home/me/app/src/list.c:33:12";
    assert_eq!(frames(sanitizer), ["home/me/app/src/list.c:33 list_push"]);
}

#[test]
fn messages_of_compilers() {
    for (text, expected) in [
        (
            "error[E0308]: mismatched types\n  --> src/cart.rs:17:9\n   |\n17 |     total(x)\n   |     ^^^^^",
            "src/cart.rs:17",
        ),
        ("src/cart.ts(10,5): error TS2304: Cannot find name 'totl'.", "src/cart.ts:10"),
        ("app/(shop)/page.tsx(10,5): error TS2304: Cannot find name 'totl'.", "app/(shop)/page.tsx:10"),
        ("list.c:33:12: error: use of undeclared identifier 'lst'", "list.c:33"),
        ("In file included from a.c:1:\ninclude/list.h:5:1: fatal error: 'x.h' file not found", "a.c:1"),
        ("./cart.go:12:3: undefined: totl", "cart.go:12"),
        ("src/Cart.hs:5:1: error:\n    Variable not in scope: totl", "src/Cart.hs:5"),
        ("C:\\src\\Cart.cs(7,20): error CS0103: The name 'totl' does not exist", "src/Cart.cs:7"),
        ("Can't locate object method \"x\" via package \"Y\" at lib/Cart.pm line 10.", "lib/Cart.pm:10"),
    ] {
        assert_eq!(frames(text)[0], expected, "{text}");
    }
    assert_eq!(
        words("src/cart.ts(10,5): error TS2304: Cannot find name 'totl'."),
        "error TS2304: Cannot find name totl"
    );
}

#[test]
fn words_are_what_a_source_may_hold() {
    assert_eq!(
        words(
            "2026-12-01 10:00:00,123 ERROR [worker-3] store: cannot open segment 17 of '/var/lib/x/seg-17.bin' at 0x7ffe12"
        ),
        "[worker-3] store: cannot open segment of at"
    );
    assert_eq!(words("ValueError: Unknown level: 'LOUD'"), "ValueError: Unknown level: LOUD");
    assert_eq!(words("ERROR: user 12345 (bob@example.com) isn't known"), "user (bob@example.com) isn t known");
    assert!(
        words(r#"{"level":"error","msg":"cannot parse header","err":"unexpected EOF"}"#)
            .contains("cannot parse header")
    );
}

#[test]
fn questions_are_no_errors() {
    for text in [
        "how are errors reported to the user",
        "where is TypeError raised",
        "error handling middleware",
        "what happens at src/cart.rs:17",
        "what happens at src/cart.rs line 17",
        "src/cart.rs:17",
        "src/cart.rs:17:5",
        "retry on error: exponential backoff?",
        "convert Exception to an HTTP response",
        "parse log lines with level ERROR",
        "HashMap::Entry: insert or update",
        "file \"config.json\", line ends",
        "time 10:30:00 is parsed where",
        "connect to localhost:3000 or example.com:443",
        "json.decoder.JSONDecodeError",
        "Error",
        "class ParseError",
        "",
        "\n\n",
        ": : : :",
        "at at at (((((",
    ] {
        assert_eq!(ErrorText::parse(text), None, "{text}");
        let question = Question::new(text, |_| Ok::<_, ()>(1.0)).expect("no error");
        assert!(question.class != Class::Error && question.text_query(text) == text);
    }
}

#[test]
fn names_of_errors_are_known_by_their_place() {
    for text in [
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 7 (char 6)",
        "zipfile.BadZipFile: File is not a zip file",
        "Uncaught ReferenceError: totl is not defined",
        "std::runtime_error: no such file",
        "TypeError [ERR_INVALID_ARG_TYPE]: The \"path\" argument must be of type string",
        "error: linking with `cc` failed",
        "Error: Cannot find module './cart'",
        "[ERROR] cannot reach the bank",
        "time=2026 level=error msg=\"cannot reach the bank\"",
        "Dec  1 10:00:00 host app[12]: ERROR cannot reach the bank",
    ] {
        assert!(ErrorText::parse(text).is_some(), "{text}");
    }
}

/// A pasted text may be anything, and long: it ends in bounded time, within the limits, without a panic.
#[test]
fn hostile_texts_are_bounded() {
    let line = "  File \"/a/b.py\", line 12, in f\n";
    let error =
        ErrorText::parse(&format!("Traceback (most recent call last):\n{}", line.repeat(100_000))).expect("one");
    assert_eq!(error.frames.len(), 1, "a recursion is one frame");
    let many: String = (0..10_000).map(|i| format!("a/b{i}.c:{i}:1: error: no\n")).collect();
    let error = ErrorText::parse(&many).expect("an error");
    assert!(error.frames.len() <= MAX_FRAMES && error.words.len() <= MAX_WORDS_BYTES + MAX_LINE_BYTES);
    for part in [
        ":1", "(1", "at ", "#1 ", "\\n", "é:1:", "file:///", "://", "C:\\", "'", "\" in ", " line 1", "\u{0}", "a.b:1 ",
    ] {
        let _ = ErrorText::parse(&part.repeat(4_000));
        let _ = ErrorText::parse(&format!("at {}", part.repeat(1_000)));
        let _ = ErrorText::parse(&format!("Error: {}\n{}", part.repeat(500), part.repeat(500)));
    }
}
