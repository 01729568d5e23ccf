//! Filters as people write them, through the command line: every mode gives the same files.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{World, finish};

const MODES: [&str; 5] = ["hybrid", "semantic", "text", "symbol", "regex"];

/// Each file defines `needle_function`.
const FILES: &[(&str, &str)] = &[
    ("!important.ts", "ts"),
    ("#notes.ts", "ts"),
    ("(group)/page.tsx", "ts"),
    ("-x.ts", "ts"),
    ("a b/c d.js", "ts"),
    ("app/@modal/page.tsx", "ts"),
    ("app/[[...sign-in]]/page.tsx", "ts"),
    ("app/[id]/page.tsx", "ts"),
    ("app/[id]/{slug}.ts", "ts"),
    ("app/i/page.tsx", "ts"),
    ("lib/core.py", "py"),
    ("lib/e\u{301}te\u{301}.py", "py"),
    ("lib/list.h", "c"),
    ("lib/shapes.h", "c++"),
    ("lib/tool", "sh"),
    ("web/app/own.go", "go"),
];

fn text(kind: &str) -> &'static str {
    match kind {
        "ts" => "export function needle_function(name) {\n  return name;\n}\n",
        "py" => "def needle_function(name):\n    return name\n",
        "c" => "int needle_function(int name) {\n  return name;\n}\n",
        "c++" => "namespace shapes {\nclass Shape;\nint needle_function(int name) {\n  return name;\n}\n}\n",
        "sh" => "#!/bin/bash\nneedle_function() {\n  echo name\n}\n",
        _ => "package app\n\nfunc needle_function(name string) string {\n\treturn name\n}\n",
    }
}

fn world() -> World {
    let world = World::new();
    FILES.iter().for_each(|(rel, kind)| world.write(rel, text(kind)));
    world.json(&["index", "--json"]);
    world
}

/// The files that a search finds, and the globs that fit none.
fn found(world: &World, from: &Path, mode: &str, options: &[String]) -> (BTreeSet<String>, Vec<String>) {
    let fixed = ["search", "--json", "--no-text", "-n", "1000", "--mode", mode, "needle_function"];
    let args = fixed.iter().map(|arg| (*arg).to_owned()).chain(options.iter().cloned());
    let mut command = world.command(args);
    command.current_dir(from);
    let done = finish(command, b"");
    assert!(matches!(done.code, Some(0 | 3)), "{mode} {options:?}: {done:?}");
    let texts = |value: &Value| value.as_str().expect("text").to_owned();
    let answer = done.json();
    let hits = answer["hits"].as_array().expect("hits").iter().map(|hit| texts(&hit["path"])).collect();
    (hits, answer["unmatched"].as_array().expect("globs").iter().map(texts).collect())
}

/// Compares each mode's files with those that `is_wanted` names.
#[track_caller]
fn check(world: &World, from: &Path, options: &[String], unmatched: &[&str], is_wanted: impl Fn(&str) -> bool) {
    let wanted: BTreeSet<String> =
        FILES.iter().map(|(rel, _)| (*rel).to_owned()).filter(|rel| is_wanted(rel)).collect();
    for mode in MODES {
        let (files, said) = found(world, from, mode, options);
        assert_eq!(files, wanted, "{mode} {options:?}");
        assert_eq!(said, unmatched, "{mode} {options:?}");
    }
}

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().flat_map(|glob| ["--glob".to_owned(), (*glob).to_owned()]).collect()
}

#[test]
fn a_glob_means_the_same_in_every_mode() {
    let world = world();
    let root = world.project();
    let top = root.to_str().expect("UTF-8");
    let link = world.home().join("link");
    std::os::unix::fs::symlink(root, &link).expect("made");
    let link = link.to_str().expect("UTF-8");
    let in_app = |rel: &str| rel.starts_with("app/");
    for one in ["./app/**", "app/**", "app/", "./app", &format!("{top}/app"), &format!("{link}/app/**")] {
        if one != "app/" {
            check(&world, root, &globs(&[one]), &[], in_app);
            check(&world, root, &globs(&[&format!("!{one}")]), &[], |rel| !in_app(rel));
        }
    }
    check(&world, root, &globs(&["app/"]), &[], |rel| in_app(rel) || rel == "web/app/own.go");
    check(&world, root, &globs(&["[[...sign-in]]"]), &[], |rel| rel.contains("[[...sign-in]]"));
    check(&world, root, &globs(&["app/[id]/**"]), &[], |rel| rel.starts_with("app/[id]/"));
    check(&world, root, &globs(&["app/[hi]/*"]), &[], |rel| rel == "app/i/page.tsx");
    check(&world, root, &globs(&["(group)", "@modal"]), &[], |rel| rel.contains("group") || rel.contains("modal"));
    check(&world, root, &globs(&["*.{py,go}"]), &[], |rel| rel.ends_with(".py") || rel.ends_with(".go"));
    check(&world, root, &globs(&["nowhere/**", "*.go", "!./gen"]), &["nowhere/**", "!./gen"], |rel| {
        rel.ends_with(".go")
    });
    check(&world, root, &globs(&["../other/**"]), &["../other/**"], |_| false);
    check(&world, &root.join("web"), &globs(&["./app/*"]), &[], |rel| rel == "web/app/own.go");
    check(&world, &root.join("web"), &globs(&["app/own.go"]), &[], |rel| rel == "web/app/own.go");
    check(&world, &root.join("app/[id]"), &globs(&["./page.tsx"]), &[], |rel| rel == "app/[id]/page.tsx");
    let done = world.run(&["search", "--mode", "text", "needle_function", "--glob", "nowhere/**"]);
    assert!(done.stderr.contains("no file matches --glob 'nowhere/**'"), "{done:?}");
    for mode in MODES {
        let fault = world.fault(&["search", "--mode", mode, "needle_function", "--glob", "a["], 1, "INVALID_ARGUMENT");
        assert!(fault["message"].as_str().expect("text").contains("a["), "{mode}: {fault}");
    }
}

#[test]
fn every_path_means_itself_in_every_mode() {
    let world = world();
    for (rel, _) in FILES {
        check(&world, world.project(), &globs(&[rel]), &[], |other| other == *rel);
    }
}

#[test]
fn a_language_means_the_same_in_every_mode() {
    let world = world();
    let ends = |ends: &'static [&'static str]| move |rel: &str| ends.iter().any(|end| rel.ends_with(end));
    for (name, wanted) in [
        ("ts", ends(&[".ts", ".tsx"])),
        ("TypeScript", ends(&[".ts", ".tsx"])),
        ("tsx", ends(&[".tsx"])),
        ("js", ends(&[".js"])),
        ("py", ends(&[".py"])),
        ("golang", ends(&[".go"])),
        ("c++", ends(&["shapes.h"])),
        ("c", ends(&["list.h"])),
        ("h", ends(&[".h"])),
        ("bash", ends(&["lib/tool"])),
        ("rust", ends(&[])),
    ] {
        check(&world, world.project(), &["--language".to_owned(), name.to_owned()], &[], wanted);
    }
    for mode in MODES {
        let fault = world.fault(&["search", "--mode", mode, "x", "--language", "pyhton"], 1, "INVALID_ARGUMENT");
        assert!(fault["message"].as_str().expect("text").contains("`python`"), "{mode}: {fault}");
    }
}
