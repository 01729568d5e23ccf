//! What globs mean, as a table.

use super::glob::{HERE, System, readings};
use super::*;
use crate::{Error, Result};

/// The paths that pass, and the globs that nothing fits.
fn chosen(globs: &[&str], folder: &str, paths: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    let each = |visit: &mut Visit<'_>| paths.iter().try_for_each(|path| visit(path, &mut || Ok(true)));
    let (matcher, unmatched) = Globs::choose(&globs, folder, each)?;
    let mut cursor = Cursor::default();
    let passed = paths.iter().filter(|path| matcher.allow(&mut cursor, path)).map(|path| (*path).to_owned()).collect();
    Ok((passed, unmatched.into_iter().map(|i| globs[i].clone()).collect()))
}

const TREE: &[&str] = &[
    "!important.md",
    "#notes.md",
    "(group)/page.tsx",
    "-x.md",
    "README.md",
    "a b/c d.ts",
    "app/@modal/page.tsx",
    "app/[...slug]/page.tsx",
    "app/[[...sign-in]]/page.tsx",
    "app/[id]/edit/form.ts",
    "app/[id]/page.tsx",
    "app/i/page.tsx",
    "app/page.tsx",
    "app/{slug}/page.tsx",
    "lib/app/util.js",
    "lib/gen/keep.ts",
    "lib/gen/made.ts",
    "lib/re\u{301}sume\u{301}.md",
    "web/README.md",
    "web/app/own.ts",
    "web/src/cart.ts",
];

/// What passes for globs that are given at the root.
#[test]
fn globs_mean_what_people_mean() {
    let all_but = |out: &[&str]| TREE.iter().copied().filter(|path| !out.contains(path)).collect::<Vec<_>>();
    let below = |folder: &str| TREE.iter().copied().filter(|path| path.starts_with(folder)).collect::<Vec<_>>();
    let readmes = vec!["README.md", "web/README.md"];
    let app = below("app/");
    let not_app = TREE.iter().copied().filter(|path| !path.starts_with("app/")).collect::<Vec<_>>();
    for (globs, expected) in [
        // Names with characters that globs use.
        (vec!["app/[id]/page.tsx"], vec!["app/[id]/page.tsx"]),
        (vec!["app/[id]"], below("app/[id]/")),
        (vec!["app/[id]/"], below("app/[id]/")),
        (vec!["app/[id]/**"], below("app/[id]/")),
        (vec!["app/[id]/*.tsx"], vec!["app/[id]/page.tsx"]),
        (vec!["**/[id]/*.{ts,tsx}"], vec!["app/[id]/page.tsx"]),
        (vec!["[id]"], below("app/[id]/")),
        (vec!["[[...sign-in]]"], below("app/[[...sign-in]]/")),
        (vec!["app/[[...sign-in]]/**"], below("app/[[...sign-in]]/")),
        (vec!["app/[...slug]/page.tsx"], vec!["app/[...slug]/page.tsx"]),
        (vec!["app/{slug}/*"], vec!["app/{slug}/page.tsx"]),
        (vec!["(group)"], vec!["(group)/page.tsx"]),
        (vec!["(group)/**"], vec!["(group)/page.tsx"]),
        (vec!["@modal"], vec!["app/@modal/page.tsx"]),
        (vec!["app/@modal/page.tsx"], vec!["app/@modal/page.tsx"]),
        (vec!["!important.md"], vec!["!important.md"]),
        (vec!["#notes.md"], vec!["#notes.md"]),
        (vec!["-x.md"], vec!["-x.md"]),
        (vec!["a b/c d.ts"], vec!["a b/c d.ts"]),
        // Composed, where the name is decomposed.
        (vec!["lib/r\u{e9}sum\u{e9}.md"], vec!["lib/re\u{301}sume\u{301}.md"]),
        // Where a path begins and ends.
        (vec!["./app/**"], app.clone()),
        (vec!["./app"], app.clone()),
        (vec!["/app/"], app.clone()),
        (vec!["app//./page.tsx"], vec!["app/page.tsx"]),
        (vec!["app/../web/app/own.ts"], vec!["web/app/own.ts"]),
        (vec!["."], TREE.to_vec()),
        (vec!["./"], TREE.to_vec()),
        (vec!["/"], TREE.to_vec()),
        (vec!["**"], TREE.to_vec()),
        (vec![""], TREE.to_vec()),
        (vec!["!./app/**"], not_app.clone()),
        (vec!["!/app"], not_app.clone()),
        (vec!["!app/**"], not_app.clone()),
        (vec!["!."], vec![]),
        // A name without a slash is at any depth, as in gitignore.
        (vec!["README.md"], readmes.clone()),
        (vec!["README.md "], readmes),
        (vec!["!README.md"], all_but(&["README.md", "web/README.md"])),
        // Globs proper.
        (vec!["*.js"], vec!["lib/app/util.js"]),
        (vec!["lib/**/*.{js,md}"], vec!["lib/app/util.js", "lib/re\u{301}sume\u{301}.md"]),
        (vec!["app/[hi]/page.tsx"], vec!["app/i/page.tsx"]),
        (vec!["web/*"], below("web/")),
        (vec!["web/*.md"], vec!["web/README.md"]),
        (vec![r"\!important.md"], vec!["!important.md"]),
        (vec![r"app/\[id\]/page.tsx"], vec!["app/[id]/page.tsx"]),
        // The last one that matches decides, whatever lies between.
        (
            vec!["lib/**", "!lib/gen/**", "lib/gen/keep.ts"],
            vec!["lib/app/util.js", "lib/gen/keep.ts", "lib/re\u{301}sume\u{301}.md"],
        ),
        (vec!["*.ts", "!lib/gen/"], vec!["a b/c d.ts", "app/[id]/edit/form.ts", "web/app/own.ts", "web/src/cart.ts"]),
        (vec!["lib/gen/keep.ts", "!lib/gen"], vec![]),
    ] {
        let (passed, unmatched) = chosen(&globs, "", TREE).unwrap();
        assert_eq!(
            (passed, unmatched),
            (expected.iter().map(|path| (*path).to_owned()).collect(), vec![]),
            "{globs:?}"
        );
    }
}

#[test]
fn globs_that_nothing_fits_are_named() {
    for (globs, unmatched) in [
        (vec!["nowhere/**", "*.ts", "!nowhere"], vec!["nowhere/**", "!nowhere"]),
        (vec!["../web/**"], vec!["../web/**"]),
        (vec!["App/page.tsx"], if HERE.ignores_case { vec![] } else { vec!["App/page.tsx"] }),
        (vec!["README.md/"], vec!["README.md/"]),
        (vec!["/page.tsx"], vec!["/page.tsx"]),
        (vec!["web/[ab].ts"], vec!["web/[ab].ts"]),
    ] {
        assert_eq!(chosen(&globs, "", TREE).unwrap().1, unmatched, "{globs:?}");
    }
    assert_eq!(chosen(&["!nowhere"], "", TREE).unwrap().0, TREE, "what excludes nothing keeps everything");
    assert_eq!(chosen(&["nowhere"], "", TREE).unwrap().0, [""; 0]);
}

/// From a folder below the root, `./` and `../` mean the folder; everything else means the root, or the folder where
/// nothing fits from the root.
#[test]
fn globs_from_a_folder_below_the_root() {
    for (glob, expected) in [
        ("./src/**", vec!["web/src/cart.ts"]),
        ("src/**", vec!["web/src/cart.ts"]),
        ("src/cart.ts", vec!["web/src/cart.ts"]),
        ("app/own.ts", vec!["web/app/own.ts"]),
        ("app/page.tsx", vec!["app/page.tsx"]),
        ("./lib/gen/*", vec!["lib/gen/keep.ts", "lib/gen/made.ts"]),
        ("../lib/gen/*", vec!["lib/gen/keep.ts", "lib/gen/made.ts"]),
        ("./README.md", vec!["web/README.md"]),
        ("README.md", vec!["README.md", "web/README.md"]),
        (".", vec!["web/README.md", "web/app/own.ts", "web/src/cart.ts"]),
        ("/src/**", vec![]),
        ("../../web/**", vec![]),
    ] {
        assert_eq!(chosen(&[glob], "web", TREE).unwrap().0, expected, "{glob}");
    }
    assert_eq!(chosen(&["./edit/*"], "app/[id]", TREE).unwrap().0, ["app/[id]/edit/form.ts"]);
}

#[test]
fn a_name_is_a_glob_only_where_nothing_is_called_like_it() {
    let paths = ["[ab].ts", "a.ts", "b.ts"];
    assert_eq!(chosen(&["[ab].ts"], "", &paths).unwrap().0, ["[ab].ts"]);
    assert_eq!(chosen(&["[ab].ts"], "", &paths[1..]).unwrap().0, ["a.ts", "b.ts"]);
    let gone = |visit: &mut Visit<'_>| {
        visit("[ab].ts", &mut || Ok(false))?;
        visit("a.ts", &mut || Ok(true))
    };
    let (matcher, _) = Globs::choose(&["[ab].ts".to_owned()], "", gone).unwrap();
    assert!(matcher.allow(&mut Cursor::default(), "a.ts"), "a file that is gone does not count");
}

#[test]
fn what_is_no_glob_is_refused_where_nothing_is_called_like_it() {
    for glob in ["a[", "[z-a].ts", "{a", "a}", "a\\", &"{".repeat(9), "!a["] {
        let refused = chosen(&[glob], "", TREE).unwrap_err();
        assert!(matches!(&refused, Error::Glob { glob: named, .. } if named == glob), "{refused}");
        let named = glob.trim_start_matches('!');
        assert_eq!(chosen(&[glob], "", &[named, "b"]).unwrap().0.len(), 1, "{glob}");
    }
    let long = "x".repeat(1_001);
    assert!(chosen(&[&long], "", &[&long]).is_err());
    let many = vec!["x"; 1_001];
    assert!(chosen(&many, "", TREE).is_err());
}

/// Every path of a tree with odd names, given as a filter, means itself alone.
#[test]
fn every_path_means_itself() {
    const PARTS: &[&str] = &[
        "[", "]", "{", "}", "!", "#", " ", "-", "(", ")", "@", ",", "*", "?", "\\", "a", "b", "é", "e\u{301}", ".",
        "~", "$", "'",
    ];
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    for _ in 0..20 {
        let mut paths = std::collections::BTreeSet::new();
        for i in 0..100 {
            let mut path = format!("d{}/", random(3));
            for _ in 0..random(3) {
                let name: String = (0..=random(4)).map(|_| PARTS[random(PARTS.len())]).collect();
                path += &format!("{}/", name.replace('.', "_"));
            }
            let name: String = (0..=random(4)).map(|_| PARTS[random(PARTS.len())]).collect();
            paths.insert(format!("{path}{name}{i}.ts"));
        }
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        for path in paths.iter().filter(|_| !cfg!(windows)) {
            assert_eq!(chosen(&[path], "", &paths).unwrap(), (vec![(*path).to_owned()], vec![]));
        }
    }
}

#[test]
fn other_systems_write_paths_otherwise() {
    let windows = System { backslash_separates: true, ignores_case: true };
    let texts = |glob: &str, system| -> Vec<String> {
        readings(glob, "", system).into_iter().filter(|r| !r.ignores_case).map(|reading| reading.text).collect()
    };
    assert_eq!(texts(r"app\[id]\page.tsx", windows), [r"app/\[id\]/page.tsx", "app/[id]/page.tsx"]);
    assert_eq!(texts(r".\app\**", windows), [r"app/\*\*", "app/**"]);
    assert!(readings("App", "", windows).iter().any(|reading| reading.ignores_case));
    let posix = System { backslash_separates: false, ignores_case: false };
    assert_eq!(texts(r"a\b", posix), [r"**/a\\b", r"**/a\b"]);
}
