//! A small file in each language: its chunks are compared with the expected ones beside it, and it is cut with damaged
//! bytes.

use super::tests::{check_any, render};
use super::*;

/// The samples in `chunk/samples`, by name: file name, text, expected chunks.
fn samples() -> Vec<(String, String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/chunk/samples");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".txt"))
        .collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), read(&name), read(&format!("{name}.txt")))).collect()
}

#[test]
fn chunks_of_the_samples() {
    let limits = ChunkLimits { max_bytes: 400, min_bytes: 80 };
    let mut wrong = String::new();
    for (path, text, expected) in samples() {
        let language = Language::detect(&path, &text);
        let found = render(&check_any(language, &text, &limits));
        if found.trim() != expected.trim() {
            wrong.push_str(&format!("=== {path}\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "these differ, found:\n{wrong}");
}

/// Every language has a sample here, or its chunks are compared in `tests.rs`.
#[test]
fn every_language_with_a_grammar_is_tested() {
    let sampled: Vec<&str> = samples().iter().map(|(path, text, _)| Language::detect(path, text).name()).collect();
    let elsewhere = ["rust", "python", "javascript", "typescript", "tsx", "go"];
    for language in languages() {
        assert!(sampled.contains(&language.name()) || elsewhere.contains(&language.name()), "{language:?}");
    }
}

#[test]
fn symbols_do_not_depend_on_the_limits() {
    for (path, text, _) in samples() {
        let symbols = |max_bytes, min_bytes| {
            let chunks = check_any(Language::detect(&path, &text), &text, &ChunkLimits { max_bytes, min_bytes });
            chunks.into_iter().flat_map(|chunk| chunk.symbols).collect::<Vec<_>>()
        };
        assert_eq!(symbols(16, 4), symbols(100_000, 200), "{path}");
    }
}

/// The grammars' scanners are written in C, where an error would crash the process, so each is fed damaged text.
#[test]
fn damaged_samples_are_still_cut() {
    const ROUNDS: u32 = 200;
    const WORDS: &[&str] = &[
        "\"",
        "'",
        "`",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "<<EOF\n",
        "<<~'A B'\n",
        "\\",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{feff}",
        "é",
        "\u{10ffff}",
        "#{",
        "${",
        "$(",
        "*/",
        "/*",
        "--[==[",
        "]]",
        "%w(",
        "R\"x(",
        ")x\"",
        "#\"\"\"",
        "\"\"\"",
        "<?php",
        "?>",
        "@\"",
        "$\"{",
        "where",
        "do",
        "end",
        "#if",
        "#endif\n",
        "    ",
        "~s|",
        ";",
        "::",
        "=>",
        "|",
    ];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n.max(1) as u64) as usize
    };
    for (path, text, _) in samples() {
        let language = Language::detect(&path, &text);
        for _ in 0..ROUNDS {
            let mut damaged = text.to_string();
            for _ in 0..1 + next(6) {
                let at = lines::floor_char(&damaged, next(damaged.len() + 1));
                let end = lines::floor_char(&damaged, at + next(30));
                match next(4) {
                    0 => damaged.replace_range(at..end, ""),
                    1 => damaged.truncate(if next(4) == 0 { at } else { damaged.len() }),
                    2 => damaged.insert_str(at, &WORDS[next(WORDS.len())].repeat(1 + next(3) * next(40))),
                    _ => {
                        let copied = damaged[at..end].to_string();
                        let to = lines::floor_char(&damaged, next(damaged.len() + 1));
                        damaged.insert_str(to, &copied);
                    }
                }
            }
            check_any(language, &damaged, &ChunkLimits::default());
        }
    }
}
