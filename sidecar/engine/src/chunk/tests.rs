//! Chunks rendered as text and compared whole, and what must hold for any input.

use std::time::Duration;
#[cfg(not(unix))]
use std::time::Instant;

use super::*;

/// Small enough that a screen of source shows every kind of cut.
const SMALL: ChunkLimits = ChunkLimits { max_bytes: 160, min_bytes: 40 };

/// Compares the chunks as `first-last scope [kind name:line, ...]` lines, and holds them to [`check_any`].
#[track_caller]
fn check(language: &str, source: &str, expected: &str) {
    let language = Language::named(language);
    let chunks = check_any(language, source, &SMALL);
    assert_eq!(render(&chunks), expected.trim());
    for limits in [ChunkLimits::default(), ChunkLimits { max_bytes: 16, min_bytes: 4 }] {
        let others = check_any(language, source, &limits);
        let symbols = |chunks: &[Chunk]| chunks.iter().flat_map(|chunk| chunk.symbols.clone()).collect::<Vec<_>>();
        assert_eq!(symbols(&chunks), symbols(&others), "symbols do not depend on the limits");
    }
}

pub(super) fn render(chunks: &[Chunk]) -> String {
    let line = |chunk: &Chunk| {
        let symbol = |symbol: &Symbol| format!("{} {}:{}", symbol.kind.as_str(), symbol.name, symbol.line);
        let symbols = chunk.symbols.iter().map(symbol).collect::<Vec<_>>().join(", ");
        let also: Vec<&str> = chunk.also.iter().map(|language| language.name()).collect();
        let languages = match also.is_empty() {
            true => String::new(),
            false => format!("{} ({}) ", chunk.language.name(), also.join(", ")),
        };
        format!("{}-{} {languages}{} [{symbols}]", chunk.first_line, chunk.last_line, chunk.scope).replace("  ", " ")
    };
    chunks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What holds for any input: order, coverage, the cap, char boundaries, true line numbers, symbols in their chunk.
#[track_caller]
pub(super) fn check_any(language: Language, text: &str, limits: &ChunkLimits) -> Vec<Chunk> {
    let chunks = chunk(text, language, limits);
    let shown = shown(text, language);
    let is_notebook = shown != text;
    let left_out = payload::find(&shown, language);
    let blank = |range: Range<usize>| {
        let payload = left_out.iter().filter(|payload| payload.start < range.end && range.start < payload.end);
        let mut rest = String::from(&shown[range.clone()]);
        for payload in payload.rev() {
            assert!(range.start <= payload.start && payload.end <= range.end, "payload {payload:?} in a chunk");
            rest.replace_range(payload.start - range.start..payload.end - range.start, "");
        }
        rest.trim().is_empty()
    };
    let mut covered = 0;
    let mut row_start = 0;
    let mut row = 1;
    for chunk in &chunks {
        let Range { start, end } = chunk.bytes;
        assert!(covered <= start && start < end, "{start}..{end} after {covered}");
        assert!(blank(covered..start), "only blanks and payload between chunks: {:?}", &shown[covered..start]);
        assert!(end - start <= limits.max_bytes, "{} bytes", end - start);
        assert_eq!(shown[start..end].trim_end().len(), end - start);
        row += shown[row_start..start].matches('\n').count() as u32;
        assert!(is_notebook || chunk.first_line == row);
        row += shown[start..end].matches('\n').count() as u32;
        assert!(is_notebook || chunk.last_line == row);
        assert!(chunk.first_line <= chunk.last_line && chunk.last_line as usize <= text.split('\n').count());
        for symbol in &chunk.symbols {
            assert!((chunk.first_line..=chunk.last_line).contains(&symbol.line));
            let mut words = symbol.name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            let word = words.next().unwrap_or_default();
            assert!(limits.max_bytes < 300 || shown[start..end].contains(word), "{symbol:?}"); // may be cut in two
        }
        (covered, row_start) = (end, end);
    }
    assert!(blank(covered..shown.len()), "nothing lost at the end");
    chunks
}

const RUST: &str = r#"//! A module.
use std::io;

pub const LIMIT: usize = 3;
static NAME: &str = "x";

/// A client.
/// With two lines.
#[derive(Debug)]
pub struct Client {
    name: String,
}

impl<T: Clone> io::Read for Client<T> {
    /// Connects to the server and waits for an answer.
    fn connect(&mut self) -> io::Result<()> {
        let stream = open(&self.name)?;

        // then wait
        while stream.pending() {
            stream.poll()?;
        }
        let inner = || stream.close();
        inner()
    }

    fn short(&self) {}
}

trait Speak { fn speak(&self); }
enum Kind { A, B }
type Pair = (u8, u8);
macro_rules! twice { ($x:expr) => { $x; $x } }
mod tests {
    const INNER: u8 = 1;
    fn helper() {
        const LOCAL: u8 = 2;
    }
}
"#;

#[test]
fn rust() {
    check("rust", RUST, "
1-5 [constant LIMIT:4, variable NAME:5]
7-12 [struct Client:10]
14-16 [method connect:16]
17-17 impl io::Read for Client<T> > fn connect []
19-25 impl io::Read for Client<T> > fn connect []
27-33 impl io::Read for Client<T> [method short:27, trait Speak:30, method speak:30, enum Kind:31, type Pair:32, macro twice:33]
34-39 [module tests:34, constant INNER:35, function helper:36]
");
}

const PYTHON: &str = r#""""Docstring."""
import os

LIMIT = 3
lower = 4

# About the client.
@dataclass
class Client(Base):
    """A client of the server, with a docstring."""

    RETRIES: int = 3

    @property
    def name(self):
        local = LOCAL = 1
        return self._name

    # Connects.
    async def connect(self, host, port, timeout=None, retries=3):
        for attempt in range(retries):
            if self.try_connect(host, port, timeout):
                return True
        else:
            raise ConnectionError("no answer from the server")


def main():
    def inner():
        pass
    inner()
"#;

#[test]
fn python() {
    check(
        "python",
        PYTHON,
        "
1-5 [constant LIMIT:4]
7-12 [class Client:9, constant RETRIES:12]
14-17 class Client [method name:15]
19-21 class Client [method connect:20]
22-25 class Client > def connect []
28-31 [function main:28, function inner:29]
",
    );
}

const JAVASCRIPT: &str = r#"'use strict'
const fs = require('fs'), { join } = require('path')
let counter = 0

/** Adds. */
const add = (a, b) => a + b

exports.read = function (path) { return fs.readFileSync(path) }
Client.prototype.close = function close() {}

// A client.
export default class Client extends Base {
  #secret = 1
  onClose = () => { this.closed = true }

  constructor(name) {
    super(name)
    const local = 1
    const helper = () => local
  }

  async connect({ host, port }) {
    const socket = await open(host, port, { timeout: 1000 })
    socket.on('data', (data) => {
      this.received += data.length
    })
    return socket
  }
}

module.exports = {
  parse(text) { return JSON.parse(text) },
  'format': function (value) { return String(value) },
}
function* ids() { yield counter++ }
"#;

#[test]
fn javascript() {
    check(
        "javascript",
        JAVASCRIPT,
        "
1-6 [constant fs:2, variable counter:3, function add:6]
8-9 [function read:8, function close:9]
11-14 [class Client:12, variable #secret:13, method onClose:14]
16-20 class Client [method constructor:16, function helper:19]
22-23 class Client [method connect:22]
24-29 class Client > method connect []
31-35 [method parse:32, method format:33, function ids:35]
",
    );
}

const TYPESCRIPT: &str = r#"import { x } from './x'

export interface Options {
  name: string
  close(): void
}

export type Pair<T> = [T, T]
export const enum Level { Low, High }
declare module 'thing' { export function make(): void }

@Injectable()
export abstract class Service<T> {
  private readonly handler = async (event: Event) => { await event }
  abstract run(): void

  constructor(private readonly options: Options) {}

  public find<K extends keyof T>(key: K, fallback?: T[K]): T[K] | undefined {
    return this.items.get(key) ?? fallback
  }
}

namespace Inner {
  export const VALUE = 1
  export function helper(): number { return VALUE }
}
"#;

#[test]
fn typescript() {
    check(
        "typescript",
        TYPESCRIPT,
        "
1-6 [interface Options:3, method close:5]
8-10 [type Pair:8, enum Level:9, module thing:10, function make:10]
12-14 [class Service:13, method handler:14]
15-17 class Service [method run:15, method constructor:17]
19-22 class Service [method find:19]
24-27 [module Inner:24, constant VALUE:25, function helper:26]
",
    );
    let tsx = "export const View = ({ name }: Props) => {\n  return <p className=\"x\">{name}</p>\n}\n";
    check("tsx", tsx, "1-3 [function View:1]");
}

const GO: &str = r#"package main

import "fmt"

const (
	A, B = 1, 2
	C    = 3
)

var ErrClosed = errors.New("closed")

// Client talks to the server.
type Client[T any] struct {
	name string
}

type Reader interface {
	Read(p []byte) (int, error)
}

type ID = string

// Connect opens the connection and waits until the server has answered.
func (c *Client[T]) Connect(ctx context.Context) error {
	var local = 1
	for {
		if err := c.try(ctx); err == nil {
			return nil
		}
	}
}

func main() { fmt.Println(A) }
"#;

#[test]
fn go() {
    check(
        "go",
        GO,
        "
1-10 [constant A:6, constant B:6, constant C:7, variable ErrClosed:10]
12-21 [struct Client:13, interface Reader:17, method Read:18, type ID:21]
23-24 [method Connect:24]
25-33 func Client.Connect [function main:33]
",
    );
}

const MARKDOWN: &str = "# Title\n\n## First\nSome words about the first part, enough for a chunk of its own.\n\n\
    ```sh\n# not a heading\n```\n\n## Second ##\n### Deep\nMore words about the deep part, which also fill a whole chunk.\n\
    #hashtag\n\n# Other\nEnd, with a last long line so that it cannot be merged with what is above.\n";

#[test]
fn markdown() {
    check(
        "markdown",
        MARKDOWN,
        "
1-8 markdown (shell) []
10-13 Title []
15-16 []
",
    );
}

#[test]
fn plain_text_is_cut_at_blank_lines() {
    let paragraph = "one line of about forty bytes, or so, ok\n".repeat(3);
    check("text", &format!("{paragraph}\n{paragraph}\n\n{paragraph}"), "1-3 []\n5-7 []\n10-12 []");
}

#[test]
fn the_defaults_keep_a_function_whole_and_merge_small_ones() {
    let body = |n| "    do_something_useful(with, these, arguments);\n".repeat(n);
    let source = format!(
        "use a;\nuse b;\n\nfn first() {{\n{}}}\n\nfn small() {{}}\n\nfn tiny() {{}}\n\n// About.\nfn second() {{\n{}}}\n",
        body(14),
        body(20)
    );
    let chunks = check_any(Language::named("rust"), &source, &ChunkLimits::default());
    assert_eq!(
        render(&chunks),
        "1-23 [function first:4, function small:21, function tiny:23]\n25-47 [function second:26]"
    );
}

#[test]
fn sources_that_break_rules_are_still_cut() {
    for (source, expected) in [
        ("", ""),
        (" \n\t\r\n\u{a0}\n", ""),
        ("fn main() {}", "1-1 [function main:1]"),
        ("\u{feff}fn main() {}\r\n\r\nfn two() {}\r\n", "1-3 [function main:1, function two:3]"),
        ("fn größe() { \"日本語\" }\n", "1-1 [function größe:1]"),
        ("fn broken( {{{ \n fn inner() {}\n", "1-2 [function inner:2]"),
        ("\0\0\0", "1-1 []"),
    ] {
        check("rust", source, expected);
    }
}

#[test]
fn every_fixture_under_every_language_and_cap() {
    let all = [RUST, PYTHON, JAVASCRIPT, TYPESCRIPT, GO, MARKDOWN, include_str!("tests.rs"), include_str!("pack.rs")];
    let crlf = all.map(|text| text.replace('\n', "\r\n"));
    let wide = all.map(|text| text.replace("e", "é").replace(" = ", "\u{2003}=\u{2003}"));
    let cut_off = all.map(|text| text[..lines::floor_char(text, text.len() / 3)].to_string());
    for text in all.iter().map(|text| text.to_string()).chain(crlf).chain(wide).chain(cut_off) {
        for language in all_languages() {
            for (max_bytes, min_bytes) in [(16, 0), (50, 100), (333, 60), (1_200, 200), (100_000, 1_000)] {
                check_any(language, &text, &ChunkLimits { max_bytes, min_bytes });
            }
        }
    }
}

/// Every language with a grammar, and the kinds of files without.
fn all_languages() -> impl Iterator<Item = Language> {
    languages().chain(
        ["markdown", "json", "yaml", "toml", "html", "css", "text", "vue", "astro", "jupyter-notebook"]
            .map(Language::named),
    )
}

/// Time that this thread has computed, whatever else the machine does.
#[cfg(unix)]
pub(super) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time since the first call.
#[cfg(not(unix))]
pub(super) fn cpu_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed()
}

#[test]
fn hostile_inputs_take_bounded_time() {
    let line = |unit: &str, n| unit.repeat(n);
    let nested = |open: &str, close: &str, n| format!("{}{}", open.repeat(n), close.repeat(n));
    let cases = [
        ("one line of 10 MB", line("abc = d(1); ", 10 * 1024 * 1024 / 12)),
        ("one word of 10 MB", line("x", 10 * 1024 * 1024)),
        ("many short lines", line("a\n", 150_000)),
        ("blank lines", line("\n \n", 300_000)),
        ("parentheses", format!("x = {}", nested("(", ")", 100_000))),
        ("open parentheses", line("(", 300_000)),
        ("brackets on lines", nested("[\n", "]\n", 100_000)),
        ("functions in functions", nested("function f() {\n", "}\n", 30_000)),
        ("defs in defs", (0..700).map(|n| format!("{}def f():\n", " ".repeat(n))).collect()),
        ("modules in modules", nested("mod m {\n", "}\n", 30_000)),
        ("headings", line("# a\n", 30_000)),
        ("comments", line("// comment\n", 40_000)),
        ("angle brackets", line("a<b<", 30_000)),
        ("quotes", line("\"'`", 50_000)),
        // More open here-documents and interpolations than a scanner can write down in its 1,024 bytes.
        ("here-documents", line("<<A <<~B <<-'C' <<<D ", 2_000)),
        ("a long here-document word", format!("cat <<{0}\nx\n{0}\n<?php $x = <<<{0}\n", line("A", 5_000))),
        ("interpolations", line("\"#{\"${$\"{\"\\(s\"$", 5_000)),
        ("raw strings", line("R\"abcdefghijklmnopqrstuvwxyz(#####\"\"\"--[====[%w(", 5_000)),
        ("deeper and deeper", (0..2_000).map(|n| format!("{}where do x =\n", " ".repeat(n % 700))).collect()),
        ("bytes as text", (0..300_000u32).filter_map(|n| char::from_u32(n * 7919 % 0x2_0000)).collect()),
    ];
    for (name, text) in cases {
        for language in all_languages() {
            let before = cpu_time();
            let chunks = check_any(language, &text, &ChunkLimits::default());
            let took = cpu_time() - before;
            assert!(!chunks.is_empty() || text.trim().is_empty() || payload(&text, language).0 > 0);
            assert!(took < Duration::from_secs(30), "{name} as {}: {took:?}", language.name()); // without optimisation
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_no_symbol() {
    check("javascript", "x = { '': function () {}, [y]() {}, ok() {} }\n", "1-1 [method ok:1]");
    check("javascript", "const { a, b } = c\nconst [d] = e\n", "1-2 []");
}

#[test]
fn what_javascript_exports_has_a_name() {
    let source = "exports.limit = 3\nmodule.exports = function connect() {}\nfunction f() { exports.local = 1 }\n";
    check("javascript", source, "1-3 [variable limit:1, function exports:2, function connect:2, function f:3]");
}

#[test]
fn data_files_have_scopes() {
    for (language, text, needle, scope) in [
        ("toml", "a = 1234567890\n[[b.c]]\nd = 1234567890\n[e] # x\nf = 1234567890\n", "a = ", ""),
        ("toml", "a = 1234567890\n[[b.c]]\nd = 1234567890\n[e] # x\nf = 1234567890\n", "d = ", "b.c"),
        ("toml", "a = 1234567890\n[[b.c]]\nd = 1234567890\n[e] # x\nf = 1234567890\n", "f = ", "e"),
        ("yaml", "jobs:\n  build:\n    - run: 12345\n  test: 12345678\non: 1234567890\n", "run", "jobs > build"),
        ("yaml", "jobs:\n  build:\n    - run: 12345\n  test: 12345678\non: 1234567890\n", "test", "jobs"),
        ("yaml", "jobs:\n  build:\n    - run: 12345\n  test: 12345678\non: 1234567890\n", "on: ", ""),
        ("json", "{\n\"scripts\": {\n  \"a\": \"bcdefgh\"\n},\n\"b\": \"123456789\"\n}\n", "bcd", "scripts"),
        ("json", "{\n\"scripts\": {\n  \"a\": \"bcdefgh\"\n},\n\"b\": \"123456789\"\n}\n", "123", ""),
        ("css", "@media print {\n  .item {\n    top: 1px\n  }\n}\n", "top", "@media print > .item"),
    ] {
        let chunks = check_any(Language::named(language), text, &ChunkLimits { max_bytes: 16, min_bytes: 0 });
        let found = chunks.iter().find(|chunk| text[chunk.bytes.clone()].contains(needle)).expect("is in a chunk");
        assert_eq!(found.scope, scope, "{needle} in {language}");
    }
}

#[test]
fn languages_by_path() {
    for (path, name) in [
        ("src/main.rs", "rust"),
        ("a/b.test.TSX", "tsx"),
        ("x.mjs", "javascript"),
        ("types.d.ts", "typescript"),
        ("a.pyi", "python"),
        ("main.go", "go"),
        ("README.md", "markdown"),
        ("deploy/Dockerfile", "dockerfile"),
        ("CMakeLists.txt", "cmake"),
        ("lib/Foo.java", "java"),
        ("a.h", "c"),
        ("a.hpp", "cpp"),
        ("Program.cs", "csharp"),
        ("Rakefile", "ruby"),
        ("x.gemspec", "ruby"),
        ("build.gradle.kts", "kotlin"),
        ("build.sbt", "scala"),
        ("Dockerfile.dev", "dockerfile"),
        ("Jenkinsfile", "groovy"),
        ("install.bash", "shell"),
        ("Main.hs", "haskell"),
        ("mix.exs", "elixir"),
        ("a.ipynb", "jupyter-notebook"),
        ("src/pages/index.astro", "astro"),
        ("notes", "text"),
        ("rs", "text"),
        ("", "text"),
    ] {
        assert_eq!(Language::of(path).name(), name, "{path}");
    }
}

#[test]
fn languages_by_text() {
    for (path, text, name) in [
        ("a.h", "int f(void);\n", "c"),
        ("a.h", "#pragma once\nnamespace a {\n}\n", "cpp"),
        ("a.h", "  template <class T> void f();\n", "cpp"),
        ("a.c", "class = 1;\n", "c"),
        ("bin/run", "#!/usr/bin/env -S python3.12 -u\n", "python"),
        ("bin/run", "#!/bin/sh -e\n", "shell"),
        ("bin/run", "#!", "text"),
        ("bin/run", "", "text"),
        ("run.js", "#!/bin/sh\n", "javascript"),
        ("bin/run", "#!/usr/bin/env -S node --experimental-vm-modules\n", "javascript"),
        ("bin/run", "#! /usr/local/bin/ruby3.3 -w\n", "ruby"),
        ("bin/run", "#!/usr/bin/env -S FOO=1 /opt/python3 -u\n", "python"),
        ("bin/run", "#!/usr/bin/Rscript\n", "r"),
        ("a.h", "/*\n class of its own\n*/\nint f(void);\n", "c"),
        ("a.h", "/* one */\nvoid template_init(void);\n", "c"),
        ("a.h", "#import <UIKit/UIKit.h>\n@interface Cart : NSObject\n@end\n", "objective-c"),
        ("a.h", "@class Cart;\n", "objective-c"),
        ("a.m", "#import \"Cart.h\"\n@implementation Cart\n@end\n", "objective-c"),
        ("a.m", "% sums a vector\nfunction s = total(v)\n  s = sum(v);\nend\n", "matlab"),
        ("a.m", "(* a package *)\nBeginPackage[\"Cart`\"]\nTotal[x_] := Plus @@ x\n", "wolfram"),
        ("a.m", ":- module cart.\n:- interface.\n", "mercury"),
        ("a.m", "", "objective-c"),
        ("a.pl", "use strict;\nmy $total = 0;\n", "perl"),
        ("a.pl", ":- module(cart, [total/2]).\ntotal([], 0).\ntotal([H|T], S) :- total(T, R), S is H + R.\n", "prolog"),
        ("a.pl", "print \"a\";\n", "perl"),
        ("a.t", "use Test::More;\nok(1);\n", "perl"),
        ("a.v", "module counter(input clk);\n  always @(posedge clk) q <= q + 1;\nendmodule\n", "verilog"),
        ("a.v", "Require Import Arith.\nTheorem plus_comm : forall n m, n + m = m + n.\nProof.\n", "coq"),
        ("a.v", "import os\n\nfn main() {\n  println('a')\n}\n", "v"),
        ("a.ts", "<?xml version=\"1.0\"?>\n<!DOCTYPE TS>\n<TS version=\"2.1\"></TS>\n", "xml"),
        ("a.ts", "<!DOCTYPE TS><TS></TS>\n", "xml"),
        ("a.ts", "const a = <T>(x: T) => x\n", "typescript"),
        ("a.tsx", "<?xml version=\"1.0\"?>\n<tileset/>\n", "xml"),
        ("a.r", "REBOL [Title: \"a\"]\n", "rebol"),
        ("a.R", "f <- function(x) x\n", "r"),
        ("a.cls", "\\NeedsTeXFormat{LaTeX2e}\n", "latex"),
        ("a.cls", "VERSION 1.0 CLASS\n", "visual-basic"),
        ("a.cls", "public with sharing class Cart {\n}\n", "apex"),
        ("a.inc", "<?php function f() {}\n", "php"),
        ("a.inc", "#define A 1\nstatic int f(void);\n", "c"),
        ("a.inc", "words\n", "text"),
        ("a.fs", "module Cart\nlet total = 1\n", "fsharp"),
        ("a.fs", "#version 330\nvoid main() {}\n", "glsl"),
        ("a.fs", ": square dup * ;\n", "forth"),
        ("a.d", "main.o: main.c \\\n cart.h\n", "make"),
        ("a.d", "import std.stdio;\nvoid main() {}\n", "d"),
        ("a.l", "%{\n#include <a.h>\n%}\n%%\n", "lex"),
        ("a.l", "(defun total (x) x)\n", "lisp"),
        ("a.mod", "MODULE Cart;\nEND Cart.\n", "modula-2"),
        ("config.h.in", "#undef HAVE_X\n", "c"),
        ("Makefile.in", "all:\n", "make"),
        ("vector", "// <vector> -*- C++ -*-\n", "cpp"),
        ("a.h", "/* -*- mode: c++; tab-width: 2 -*- */\nint f();\n", "cpp"),
        ("rules", "# -*- ruby -*-\n", "ruby"),
        ("rules", "task :a\n\n# vim: set ft=ruby ts=2 :\n", "ruby"),
        ("rules", "x\n# vim:ft=python\n", "python"),
        ("rules", "see vim: it is an editor\n", "text"),
        ("a.md", "words\n# vim: ft=python\n", "markdown"),
        ("a.py", "# -*- coding: utf-8 -*-\n", "python"),
        ("a.py", "# -*- mode: nonsense -*-\n", "python"),
    ] {
        assert_eq!(Language::detect(path, text).name(), name, "{path}: {text}");
        assert!(!Language::is_certain(path) || Language::of(path).name() == name, "{path}: {text}");
    }
}

#[test]
fn languages_by_word() {
    for (word, name) in [
        ("ts", "typescript"),
        ("TypeScript", "typescript"),
        ("tsx", "tsx"),
        ("js", "javascript"),
        ("jsx", "javascript"),
        ("py", "python"),
        ("python3", "python"),
        ("c++", "cpp"),
        ("C#", "csharp"),
        ("golang", "go"),
        ("sh", "shell"),
        ("console", "shell"),
        ("rs", "rust"),
        ("yml", "yaml"),
        ("text", "text"),
    ] {
        assert_eq!(Language::by_word(word).map(Language::name), Some(name), "{word}");
    }
    assert_eq!(Language::by_word("klingon"), None);
    assert_eq!(Language::by_word(""), None);
}
