//! What of a text is in chunks, and under which language: embedded code, notebooks, payload.

use super::tests::{check_any, cpu_time, render};
use super::*;

/// The texts of all chunks, one behind the other.
fn text_of(text: &str, language: &str) -> String {
    let language = Language::named(language);
    let chunks = check_any(language, text, &ChunkLimits::default());
    let shown = shown(text, language);
    chunks.iter().map(|chunk| &shown[chunk.bytes.clone()]).collect::<Vec<_>>().join("\n")
}

/// Numbers that look drawn by chance, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn base64(&mut self, n: usize) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..n).map(|_| DIGITS[self.next(64) as usize] as char).collect()
    }

    fn hex(&mut self, n: usize) -> String {
        (0..n).map(|_| char::from_digit(self.next(16) as u32, 16).unwrap()).collect()
    }

    /// Lines of 76 digits.
    fn wrapped(&mut self, n_lines: usize) -> String {
        (0..n_lines).map(|_| self.base64(76) + "\n").collect()
    }
}

#[test]
fn payload_is_in_no_chunk() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let picture = random.base64(4_000);
    let numbers = |n: u64, random: &mut Random| (0..n).map(|_| random.next(10_000).to_string()).collect::<Vec<_>>();
    let table = numbers(10_000, &mut random).chunks(12).map(|row| row.join(", ") + ",\n").collect::<String>();
    let path: String =
        (0..600).map(|_| format!("L{}.{} {} ", random.next(900), random.next(99), random.next(900))).collect();
    let hex: String = (0..400).map(|_| format!("0x{:02x}, ", random.next(256))).collect();
    let dump: String = (0..64)
        .map(|n| {
            let words: Vec<String> = (0..8).map(|_| random.hex(4)).collect();
            format!("{:08x}: {}  ..q4.............\n", n * 16, words.join(" "))
        })
        .collect();
    let minified = "function a(b){return b+1};var c=a(2);if(c>3){d(c)};".repeat(200);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n", random.wrapped(20));
    let source_map = format!("//# sourceMappingURL=data:application/json;base64,{picture}\n");
    for (name, language, text, kept) in [
        (
            "data URI",
            "css",
            format!(".a {{ background: url(data:image/png;base64,{picture}); top: 1px }}\n.b {{ top: 0 }}\n"),
            ".a {",
        ),
        (
            "code behind it",
            "css",
            format!(".a {{ background: url(data:image/png;base64,{picture}); bottom: 1px }}\n"),
            "bottom: 1px",
        ),
        (
            "base64 in code",
            "python",
            format!("def icon():\n    return decode(\"{picture}\")\n\ndef after(): pass\n"),
            "def after",
        ),
        (
            "base64 in lines",
            "python",
            format!("ICON = \"\"\"\n{}\"\"\"\n\ndef after(): pass\n", random.wrapped(40)),
            "def after",
        ),
        (
            "base64 in a string with line ends",
            "javascript",
            format!("const key = '{}'\nfunction after() {{}}\n", random.wrapped(12).replace('\n', "\\n")),
            "function after",
        ),
        ("PEM", "text", format!("words before\n{pem}words after\n"), "words after"),
        ("PEM says what it is", "text", pem.clone(), "BEGIN PRIVATE KEY"),
        (
            "hexadecimal digits",
            "rust",
            format!("const KEY: &str = \"{}\";\nfn after() {{}}\n", random.hex(2_000)),
            "fn after",
        ),
        (
            "a table in C",
            "c",
            format!("static const int T[] = {{\n{table}}};\nint after(void) {{ return T[0]; }}\n"),
            "int after",
        ),
        (
            "a table in JSON",
            "json",
            format!("{{\n\"name\": \"x\",\n\"rows\": [\n{table}0],\n\"after\": 1\n}}\n"),
            "\"after\": 1",
        ),
        (
            "an array on one line",
            "json",
            format!("{{\"name\": \"x\", \"rows\": [{}], \"after\": 1}}\n", table.replace('\n', "")),
            "\"after\": 1",
        ),
        (
            "bytes in C",
            "c",
            format!("unsigned char b[] = {{\n{}\n}};\nint after;\n", hex.repeat(3).replace("0x1", "\n0x1")),
            "int after",
        ),
        ("a hex dump", "text", format!("before\n{dump}after\n"), "after"),
        (
            "an SVG path",
            "xml",
            format!("<svg><title>Cart</title><path fill=\"red\" d=\"M{path}Z\"/><g id=\"after\"/></svg>\n"),
            "id=\"after\"",
        ),
        (
            "a minified line",
            "javascript",
            format!("/* the licence */\n{minified}\nfunction after() {{}}\n"),
            "function after",
        ),
        ("a source map", "javascript", format!("function after() {{}}\n{source_map}"), "function after"),
    ] {
        let found = text_of(&text, language);
        assert!(found.contains(kept), "{name}: {kept} stays");
        assert!(found.len() < 600, "{name}: {} bytes are in chunks", found.len());
        let (bytes, _) = payload(&text, Language::named(language));
        assert!(text.len() < bytes + 600, "{name}: {bytes} of {}", text.len());
    }
}

#[test]
fn what_people_write_is_no_payload() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let words = "The quick brown fox jumps over the lazy dog. ";
    let list = |each: &mut dyn FnMut(usize) -> String, n: usize| (0..n).map(|i| each(i) + "\n").collect::<String>();
    for (name, language, text) in [
        ("a paragraph on one line", "markdown", words.repeat(300)),
        ("a paragraph in a string", "javascript", format!("const text = '{}'\n", words.repeat(300))),
        ("Chinese", "text", "获取用户订单列表并检查库存数量".repeat(400)),
        ("Chinese in code", "python", format!("# {}\n", "获取用户订单列表并检查库存数量".repeat(400))),
        (
            "identifiers",
            "cpp",
            list(&mut |i| format!("enum {{ kVeryLongConstantNumber{i}OfTheGeneratedInterface, }};"), 100),
        ),
        ("colours", "css", list(&mut |i| format!(".c{i} {{ color: #{:06x}; }}", i * 7919), 300)),
        ("a list of colours", "json", list(&mut |i| format!("  \"#{:06x}\",", i * 7919), 300)),
        (
            "identities",
            "text",
            list(
                &mut |_| {
                    format!(
                        "{}-{}-{}-{}-{}",
                        random.hex(8),
                        random.hex(4),
                        random.hex(4),
                        random.hex(4),
                        random.hex(12)
                    )
                },
                200,
            ),
        ),
        ("hashes", "text", list(&mut |_| random.hex(64), 200)),
        ("hashes in a lock file", "json", list(&mut |i| format!("\"p{i}\": \"sha512-{}==\",", random.base64(86)), 200)),
        ("hashes in base64", "text", list(&mut |_| random.base64(43) + "=", 200)),
        (
            "addresses",
            "markdown",
            list(
                &mut |i| {
                    format!("https://example.org/path/to/some/very/long/page/number-{i}?with=query&and=more#anchor")
                },
                100,
            ),
        ),
        (
            "a long address",
            "javascript",
            format!("fetch('https://example.org/{}')\n", "some/folder/of/pages/".repeat(20)),
        ),
        ("a table of words", "text", list(&mut |i| format!("{i},Zürich Kloten,47.48,8.54,automatic"), 500)),
        ("a table of numbers in text", "text", list(&mut |i| format!("{i} {} {}", i * 3, i * 7), 500)),
        (
            "a small table",
            "python",
            format!("T = [\n{}]\n", list(&mut |i| format!("    {i}, {}, {},", i * 2, i * 3), 60)),
        ),
        ("versions and ports", "yaml", list(&mut |i| format!("- 10.0.{}.{}", i / 250, i % 250), 600)),
        (
            "imports on one line",
            "javascript",
            format!(
                "import {{ {} }} from 'x'\n",
                (0..600).map(|i| format!("nameNumber{i}")).collect::<Vec<_>>().join(", ")
            ),
        ),
        (
            "SQL",
            "sql",
            format!(
                "INSERT INTO t VALUES {};\n",
                (0..400).map(|i| format!("({i}, 'some words', 'of row {i}')")).collect::<Vec<_>>().join(", ")
            ),
        ),
        ("a matrix in a test", "rust", list(&mut |i| format!("assert_eq!(f({i}), {});", i * i), 300)),
        ("Morse code", "text", list(&mut |_| "-----".into(), 200)),
    ] {
        assert_eq!(payload(&text, Language::named(language)), (0, 0), "{name}");
    }
}

#[test]
fn payload_is_counted() {
    let table: String = (0..1_000).map(|i| format!("{i}, {}, {},\n", i * 2, i * 3)).collect();
    let text = format!("int t[] = {{\n{table}}};\n");
    let (bytes, lines) = payload(&text, Language::named("c"));
    assert_eq!((bytes, lines), (table.trim_end().len(), 1_000));
    assert_eq!(payload("int x;\n", Language::named("c")), (0, 0));
}

/// A picture of 80 kB in the outputs of a notebook made 69 chunks.
#[test]
fn pictures_of_a_notebook_are_in_no_chunk() {
    let mut random = Random(7);
    let picture = random.base64(80_000);
    let notebook = format!(
        "{{\"cells\": [{{\"cell_type\": \"code\", \"outputs\": [{{\"data\": {{\"image/png\": \"{picture}\"}}}}],\n\"source\": \
         [\"def plot(rows):\\n\", \"    return draw(rows)\"]}},\n{{\"cell_type\": \"markdown\", \"attachments\": \
         {{\"a.png\": {{\"image/png\": \"{picture}\"}}}}, \"source\": \"See ![a](attachment:a.png) and \
         ![b](data:image/png;base64,{picture}).\"}}], \"metadata\": {{}}, \"nbformat\": 4}}"
    );
    let chunks = check_any(Language::of("a.ipynb"), &notebook, &ChunkLimits::default());
    assert_eq!(
        render(&chunks),
        "2-2 python (jupyter-notebook) cell 1 [function plot:2]\n3-3 markdown (jupyter-notebook) cell 2 []"
    );
}

#[test]
fn notebooks_of_other_kernels_and_versions() {
    let language = Language::of("a.ipynb");
    for (name, file, expected) in [
        (
            "R",
            r#"{"cells":[{"cell_type":"code","source":["f <- 1"]}],"metadata":{"kernelspec":{"name":"ir","language":"R"}}}"#,
            "1-1 r (jupyter-notebook) cell 1 []",
        ),
        (
            "Rust by the kernel's name",
            r#"{"cells":[{"cell_type":"code","source":"fn f() {}"}],"metadata":{"language_info":{"name":"Rust"}}}"#,
            "1-1 rust (jupyter-notebook) cell 1 [function f:1]",
        ),
        (
            "version 3",
            r#"{"worksheets":[{"cells":[{"cell_type":"code","input":["def f():\n","  pass"],"outputs":[]}]}],"nbformat":3}"#,
            "1-1 python (jupyter-notebook) cell 1 [function f:1]",
        ),
        (
            "a file written by a magic",
            r#"{"cells":[{"cell_type":"code","source":"%%writefile src/a.ts\nfunction f() {}"}]}"#,
            "1-1 typescript (jupyter-notebook) cell 1 [function f:1]",
        ),
        (
            "a magic that is no language",
            r#"{"cells":[{"cell_type":"code","source":"%%time\ndef f(): pass"}]}"#,
            "1-1 python (jupyter-notebook) cell 1 [function f:1]",
        ),
        ("no cells", r#"{"cells":[]}"#, ""),
        ("JSON of another kind", r#"{"a": 1}"#, ""),
    ] {
        assert_eq!(render(&check_any(language, file, &ChunkLimits::default())), expected, "{name}");
    }
    for (name, file) in [
        ("no JSON", "cells: none, this is text".to_owned()),
        ("cut off", r#"{"cells":[{"cell_type":"code","source":["def f():"#.to_owned()),
        ("half a character", r#"{"cells":[{"cell_type":"code","source":"\ud800"}]}"#.to_owned()),
        ("deep", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("twice", r#"{"cells":[{"source":"a","source":"b"}]}"#.to_owned()),
    ] {
        assert_eq!(shown(&file, language), file, "{name}: stays JSON");
        assert!(!check_any(language, &file, &ChunkLimits::default()).is_empty(), "{name}");
    }
}

#[test]
fn embedded_code_that_is_damaged_or_hostile_is_still_cut() {
    for (path, text) in [
        ("a.html", "<script>".repeat(50_000)),
        ("a.html", "<script>\n</script>\n".repeat(30_000)),
        ("a.html", "<style\n".repeat(50_000)),
        ("a.html", "<script>a</script>".repeat(50_000)),
        ("a.html", "<script><style>".repeat(50_000)),
        ("a.ipynb", format!("{{\"cells\":[{}{{}}]}}", "{\"source\":\"\"},".repeat(50_000))),
        ("a.js", format!("{}\"\n", "data:image/png;base64,".repeat(100_000))),
        ("a.js", format!("{} \"", Random(3).base64(300)).repeat(10_000)),
        ("a.js", "1,2,3;a".repeat(300_000)),
        ("a.js", format!("{}\n", "1,2,3".repeat(500_000))),
        ("a.js", "-----BEGIN A-----\n".repeat(50_000)),
        ("a.vue", format!("<script lang=\"ts\">\n{}", "function f() {\n".repeat(20_000))),
        ("a.vue", format!("<script lang=\"ts\">\n{}\n</script>\n", "(".repeat(200_000))),
        ("a.svelte", "<!--".repeat(50_000)),
        ("a.astro", "---\n".repeat(50_000)),
        ("a.astro", format!("---\n{}", "const a = 1\n".repeat(20_000))),
        ("a.md", "```js\n".repeat(50_000)),
        ("a.md", "```js\nfunction f() {}\n```\n".repeat(10_000)),
        ("a.md", "- ```py\n  def f():\n   pass\n  ```\n".repeat(3_000)),
        ("a.md", format!("```java\n{}\n```\n", "a<".repeat(50_000))),
        ("a.ipynb", format!("{{\"cells\":[{}{{}}]}}", "{\"cell_type\":\"code\",\"source\":\"(((\"},".repeat(5_000))),
        ("a.ipynb", format!("{{\"cells\":[{{\"source\":[{}\"\"]}}]}}", "\"a = [\\n\",".repeat(30_000))),
    ] {
        let before = cpu_time();
        check_any(Language::of(path), &text, &ChunkLimits::default());
        let took = cpu_time() - before;
        assert!(took < std::time::Duration::from_secs(30), "{path}, {:?}: {took:?}", &text[..20]);
    }
}

#[test]
fn lines_of_other_languages_are_those_of_the_file() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/chunk/samples");
    for (name, expected) in [
        ("Cart.vue", "typescript 1-17, css 29-36"),
        ("guide.md", "typescript 5-9, python 15-26, shell 30-34, go 48-49"),
        ("analysis.ipynb", "markdown 7-9, python 26-35, shell 42-42, text 53-53"),
        ("list.c", ""),
    ] {
        let text = std::fs::read_to_string(samples.join(name)).unwrap();
        let found = embedded_lines(&text, Language::of(name));
        let line = |(language, lines): &(Language, RangeInclusive<u32>)| {
            format!("{} {}-{}", language.name(), lines.start(), lines.end())
        };
        assert_eq!(found.iter().map(line).collect::<Vec<_>>().join(", "), expected, "{name}");
        assert!(found.is_empty() || may_hold_others(Language::of(name)));
    }
}

#[test]
fn fences_as_people_write_them() {
    for (text, expected) in [
        ("```js\nfunction f() {}\n```\n", "function f:2"),
        ("~~~ {.python}\ndef f():\n    pass\n~~~\n", "function f:2"),
        ("````md\n```js\nfunction f() {}\n```\n````\n", ""),
        ("```js {1,3} title=\"a.js\"\nfunction f() {}\n```\n", "function f:2"),
        ("```rust,no_run\nfn f() {}\n```\n", "function f:2"),
        ("```{r, echo=FALSE}\nf <- 1\n```\n", ""),
        ("> ```py\n> def f():\n>     pass\n>\n> def g(): pass\n> ```\n", "function f:2, function g:5"),
        ("1. Do so:\n\n   ```go\n   func F() {}\n   ```\n", "function F:4"),
        ("- ```ts\n  interface I {}\n  ```\n", "interface I:2"),
        ("text ```js\nfunction f() {}\n", ""),
        ("```\nfn f() {}\n```\n", ""),
        ("```js\r\nfunction f() {}\r\n```\r\n", "function f:2"),
    ] {
        let chunks = check_any(Language::named("markdown"), text, &ChunkLimits::default());
        let symbols = chunks.iter().flat_map(|chunk| &chunk.symbols);
        let found: Vec<String> =
            symbols.map(|symbol| format!("{} {}:{}", symbol.kind.as_str(), symbol.name, symbol.line)).collect();
        assert_eq!(found.join(", "), expected, "{text}");
    }
}

#[test]
fn scripts_as_people_write_them() {
    let body = "\nfunction f() { return 1 }\nfunction g() { return f() + f() + f() + f() + f() + f() }\n".repeat(4);
    for (path, open, close, expected) in [
        ("a.vue", "<script>", "</script>", "javascript"),
        ("a.vue", "<script\n  setup\n  lang=\"ts\"\n>", "</script>", "typescript"),
        ("a.vue", "<script lang='tsx' :a=\"b > c\">", "</script>", "tsx"),
        ("a.svelte", "<script context=\"module\" lang=\"ts\">", "</script>", "typescript"),
        ("a.html", "<SCRIPT TYPE=\"text/javascript\">", "</SCRIPT>", "javascript"),
        ("a.html", "<script type=module>", "</script >", "javascript"),
        ("a.html", "<head><script async defer>", "</script></head>", "javascript"),
        ("a.html", "<script type=\"text/x-template\">", "</script>", "html"),
        ("a.html", "<!-- <script>", "</script> -->", "html"),
        ("a.html", "<scripture>", "</scripture>", "html"),
        ("a.ejs", "<script>", "</script>", "javascript"),
        ("a.astro", "---", "---", "typescript"),
        ("a.astro", "<script>", "</script>", "typescript"),
    ] {
        let text = format!("{open}{body}{close}\n<p>after</p>\n");
        let chunks = check_any(Language::of(path), &text, &ChunkLimits::default());
        assert_eq!(chunks[0].language.name(), expected, "{path}: {open}");
        let names = chunks.iter().flat_map(|chunk| &chunk.symbols).count();
        assert_eq!(names, if expected == "html" { 0 } else { 8 }, "{path}: {open}");
        let last = chunks.last().unwrap();
        assert_eq!(last.last_line as usize, text.lines().count(), "{path}: {open}");
    }
}
