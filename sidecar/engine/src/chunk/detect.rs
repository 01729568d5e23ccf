//! What a file's text says about its language, where its name leaves a choice: several languages share an extension,
//! editors are told by a line for them, scripts name what runs them.
//!
//! Answers are words that [`super::Language::by_word`] knows. The choices are those of GitHub's Linguist.

/// How much of a text is looked at.
const MAX_PROBE_BYTES: usize = 64 * 1024;
/// Longest line that may speak to an editor.
const MAX_MODELINE_BYTES: usize = 500;
/// How many lines at either end may speak to an editor.
const MODELINE_LINES: usize = 5;

/// Extensions that several languages have, in order.
const SHARED: [&str; 16] =
    ["cgi", "cls", "d", "fs", "h", "inc", "l", "m", "mod", "pl", "pro", "r", "t", "ts", "tsx", "v"];

/// Whether several languages have the extension, in lower case.
pub(super) fn is_shared(extension: &str) -> bool {
    SHARED.binary_search(&extension).is_ok()
}

/// The language of a file with an extension that several have; `None` leaves it to the extension.
pub(super) fn by_content(extension: &str, text: &str) -> Option<&'static str> {
    let text = text.trim_start_matches('\u{feff}');
    match extension {
        "h" => header(text),
        "m" => objective_c_or_matlab(text),
        "pl" | "t" | "pro" | "cgi" => perl_or_prolog(extension, text),
        "v" => verilog_or_coq(text),
        "ts" | "tsx" => is_xml(text).then_some("xml"),
        "r" => text.trim_start().to_ascii_lowercase().starts_with("rebol").then_some("rebol"),
        "cls" => class_file(text),
        "inc" => include_file(text),
        "fs" => fsharp_or_glsl(text),
        "d" => d_or_rule(text),
        "l" => lex_or_lisp(text),
        "mod" => modula_or_xml(text),
        _ => None,
    }
}

/// Whether a line of code starts with one of `starts`. Comments of C do not count.
fn any_line(text: &str, starts: &[&str]) -> bool {
    code_lines(text).any(|line| starts.iter().any(|start| line.starts_with(start)))
}

/// The lines at the head of a text, without indentation and without those inside of `/* */`.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let head = &text[..super::lines::floor_char(text, MAX_PROBE_BYTES)];
    let mut in_comment = false;
    head.lines().map(str::trim).filter(move |line| {
        let was_in_comment = in_comment;
        let opens = line.rfind("/*");
        let closes = line.rfind("*/");
        in_comment = match (opens, closes) {
            (Some(open), Some(close)) => close < open,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => in_comment,
        };
        !was_in_comment && !line.starts_with("/*") && !line.starts_with("//")
    })
}

fn is_xml(text: &str) -> bool {
    let head = text.trim_start();
    ["<?xml", "<!DOCTYPE", "<TS "].iter().any(|start| head.starts_with(start))
}

const OBJECTIVE_C: &[&str] =
    &["@interface", "@implementation", "@protocol", "@class ", "@property", "@end", "#import", "@import "];

fn header(text: &str) -> Option<&'static str> {
    const CPP: &[&str] = &[
        "class ",
        "namespace ",
        "template<",
        "template ",
        "using ",
        "public:",
        "private:",
        "protected:",
        "constexpr ",
        "#include <iostream>",
        "#include <string>",
        "#include <vector>",
        "#include <memory>",
        "virtual ",
        "typename ",
    ];
    if any_line(text, OBJECTIVE_C) {
        return Some("objective-c");
    }
    any_line(text, CPP).then_some("cpp")
}

fn objective_c_or_matlab(text: &str) -> Option<&'static str> {
    if any_line(text, OBJECTIVE_C) || any_line(text, &["#include", "#define", "#pragma"]) {
        return Some("objective-c");
    }
    if any_line(text, &[":- module", ":- interface", ":- pred "]) {
        return Some("mercury");
    }
    let mathematica = |line: &str| {
        line.starts_with("(*")
            || line.starts_with("BeginPackage[")
            || line.contains(":= Module[")
            || line.contains("] :=")
    };
    if code_lines(text).any(mathematica) {
        return Some("wolfram");
    }
    let matlab = |line: &str| {
        line.starts_with('%')
            || ["function ", "classdef ", "end", "disp(", "clear", "figure"].iter().any(|start| line.starts_with(start))
            || line.ends_with(';') && line.contains(" = ") && !line.contains("->")
    };
    code_lines(text).any(matlab).then_some("matlab")
}

fn perl_or_prolog(extension: &str, text: &str) -> Option<&'static str> {
    let perl = |line: &str| {
        [
            "use strict",
            "use warnings",
            "use v5",
            "use Test::",
            "my $",
            "my @",
            "my %",
            "sub ",
            "package ",
            "our $",
            "=head",
            "=pod",
            "require ",
        ]
        .iter()
        .any(|start| line.starts_with(start))
            || (line.starts_with("use ") && line.ends_with(';'))
    };
    if code_lines(text).any(perl) {
        return Some("perl");
    }
    let prolog =
        |line: &str| line.starts_with(":- ") || line.ends_with(":-") || line.contains(" :- ") || line.contains("-->");
    if extension != "t" && code_lines(text).any(prolog) {
        return Some("prolog");
    }
    match extension {
        "pro" if any_line(text, &["TEMPLATE ", "TEMPLATE=", "QT ", "QT+=", "SOURCES ", "SOURCES+=", "CONFIG "]) => {
            Some("qmake")
        }
        "pro" if any_line(text, &["pro ", "function ", "PRO ", "FUNCTION "]) => Some("idl"),
        _ => None,
    }
}

fn verilog_or_coq(text: &str) -> Option<&'static str> {
    const COQ: &[&str] = &[
        "Require ",
        "Theorem ",
        "Lemma ",
        "Proof.",
        "Definition ",
        "Inductive ",
        "Fixpoint ",
        "From ",
        "Section ",
        "(*",
    ];
    const VERILOG: &[&str] =
        &["endmodule", "always", "reg ", "wire ", "`timescale", "`include", "`define", "input ", "assign "];
    let coq = |line: &str| {
        COQ.iter().any(|start| line.starts_with(start)) && (line.starts_with("(*") || line.contains(['.', ':']))
    };
    if any_line(text, VERILOG) {
        return Some("verilog");
    }
    if code_lines(text).any(coq) {
        return Some("coq");
    }
    any_line(text, &["fn ", "pub fn ", "import ", "module main", "pub struct ", "struct "]).then_some("v")
}

fn class_file(text: &str) -> Option<&'static str> {
    if text.starts_with("VERSION ") || any_line(text, &["Attribute VB_", "Option Explicit"]) {
        return Some("visual-basic");
    }
    if any_line(
        text,
        &["\\NeedsTeXFormat", "\\ProvidesClass", "\\LoadClass", "\\documentclass", "\\def", "\\newcommand", "%"],
    ) {
        return Some("latex");
    }
    let apex = |line: &str| {
        line.contains(" class ") && ["public ", "global ", "private "].iter().any(|start| line.starts_with(start))
    };
    code_lines(text).any(apex).then_some("apex")
}

fn include_file(text: &str) -> Option<&'static str> {
    if text.contains("<?") {
        return Some("php");
    }
    if any_line(text, &["SRC_URI", "DEPENDS", "inherit ", "do_install"]) {
        return Some("bitbake");
    }
    if any_line(
        text,
        &["#include", "#define", "#ifdef", "#ifndef", "#pragma", "#if ", "static ", "typedef ", "struct "],
    ) {
        return Some(header(text).filter(|name| *name == "cpp").unwrap_or("c"));
    }
    if any_line(text, &[".macro", "%macro", "%define", ".equ", ".section", "section .", "mov ", "global "]) {
        return Some("assembly");
    }
    Some("text")
}

fn fsharp_or_glsl(text: &str) -> Option<&'static str> {
    if any_line(text, &["#version", "precision ", "uniform ", "varying ", "void main", "gl_", "in vec", "out vec"]) {
        return Some("glsl");
    }
    let forth = |line: &str| line.starts_with(": ") || line.starts_with("\\ ") || line.starts_with("( ");
    if any_line(text, &["module ", "namespace ", "open ", "let ", "type ", "#light", "[<"]) {
        return Some("fsharp");
    }
    code_lines(text).any(forth).then_some("forth")
}

fn d_or_rule(text: &str) -> Option<&'static str> {
    let rule = |line: &str| {
        let target = line.split_once(": ").or_else(|| line.split_once(":\\")).map(|(target, _)| target);
        target.is_some_and(|target| {
            target.ends_with(".o") || target.ends_with(".d") || target.contains('/') && !target.contains(' ')
        })
    };
    if code_lines(text).take(5).any(rule) {
        return Some("make");
    }
    any_line(text, &["dtrace:", "#pragma D", "BEGIN", "syscall::", "pid$"]).then_some("dtrace")
}

fn lex_or_lisp(text: &str) -> Option<&'static str> {
    if any_line(text, &["%{", "%%", "%option"]) {
        return Some("lex");
    }
    if any_line(text, &["(def", "(in-package", "(load", ";;"]) {
        return Some("lisp");
    }
    any_line(text, &[".\\\"", ".TH ", ".SH "]).then_some("roff")
}

fn modula_or_xml(text: &str) -> Option<&'static str> {
    if text.trim_start().starts_with("<!") || is_xml(text) {
        return Some("xml");
    }
    any_line(text, &["MODULE ", "DEFINITION MODULE", "IMPLEMENTATION MODULE"]).then_some("modula-2")
}

/// The word for a language in a line for an editor: `-*- mode: c++ -*-`, `vim: set ft=ruby:`.
pub(super) fn modeline(text: &str) -> Option<&str> {
    let short = |line: &&str| line.len() <= MAX_MODELINE_BYTES;
    let first = || text.lines().take(MODELINE_LINES).filter(short);
    let last = || text.trim_end().rsplit('\n').take(MODELINE_LINES).filter(short);
    first().find_map(emacs).or_else(|| first().chain(last()).find_map(vim))
}

fn emacs(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("-*-")?;
    let (inside, _) = rest.split_once("-*-")?;
    if !inside.contains(':') {
        return Some(inside.trim()).filter(|word| !word.is_empty());
    }
    let mut settings = inside.split(';').filter_map(|setting| setting.split_once(':'));
    settings.find(|(name, _)| name.trim().eq_ignore_ascii_case("mode")).map(|(_, word)| word.trim())
}

fn vim(line: &str) -> Option<&str> {
    let starts = ["vim:", "vi:", "ex:"].iter().filter_map(|start| Some((line.find(start)?, start.len())));
    let (at, length) = starts.min()?;
    if !line[..at].is_empty() && !line[..at].ends_with(char::is_whitespace) {
        return None;
    }
    let settings = line[at + length..].split([':', ' ', '\t']).filter_map(|setting| setting.split_once('='));
    let mut languages = settings.filter(|(name, _)| matches!(*name, "ft" | "filetype" | "syntax" | "syn"));
    languages.next().map(|(_, word)| word).filter(|word| !word.is_empty())
}

/// The program that runs a script, without a version, by its `#!` line.
pub(super) fn interpreter(text: &str) -> Option<&str> {
    let mut words = text.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let mut program = words.next()?.rsplit('/').next()?;
    if program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?.rsplit('/').next()?;
    }
    Some(program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-'))
}
