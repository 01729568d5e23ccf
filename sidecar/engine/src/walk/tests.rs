//! Which files a walk finds, and why it leaves out others.

use std::ffi::OsStr;
use std::fs::{self, File};

use super::walker::{MAX_PATH_BYTES, is_within};
use super::*;

/// Makes `tree` (a name ending in `/` is a folder), walks it, and compares "rel" and "rel: reason" lines.
fn check(tree: &[(&str, &[u8])], rules: &WalkRules, expected: &str) {
    let root = tempfile::tempdir().unwrap();
    plant(root.path(), tree);
    assert_eq!(render(root.path(), rules), expected);
}

fn plant(root: &Path, tree: &[(&str, &[u8])]) {
    for (name, content) in tree {
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The walk, then the reading of every candidate: what an indexer sees.
fn render(root: &Path, rules: &WalkRules) -> String {
    let tree = Tree::open(root).unwrap();
    let found = walk(&tree, rules, &|| false).unwrap();
    assert!(found.files.is_sorted_by(|a, b| a.rel < b.rel));
    let mut lines: Vec<String> =
        found.skipped.iter().map(|skipped| format!("{}: {}", skipped.rel, skipped.reason.as_str())).collect();
    for file in &found.files {
        match read_source(&tree, &file.rel, rules) {
            Ok(_) => lines.push(file.rel.clone()),
            Err(reason) => lines.push(format!("{}: read {}", file.rel, reason.as_str())),
        }
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn ignore_files_count_outside_a_repository() {
    let tree: &[(&str, &[u8])] = &[
        (".gitignore", b"target/\n*.log\n!keep.log\n"),
        (".offheapignore", b"secret.txt\n"),
        (".ignore", b"quiet.rs\n"),
        ("a.log", b"x"),
        ("keep.log", b"x"),
        ("secret.txt", b"x"),
        ("quiet.rs", b"x"),
        ("src/main.rs", b"fn main() {}"),
        ("src/.gitignore", b"gen.rs\n"),
        ("src/gen.rs", b"x"),
        ("target/x.rs", b"x"),
        ("node_modules/p/index.js", b"x"),
        (".offheap/config.json", b"{}"),
        (".hidden.rs", b"x"),
        ("empty.rs", b""),
    ];
    let expected = ".gitignore\n.hidden.rs\n.ignore\n.offheapignore\nempty.rs\nkeep.log\nsrc/.gitignore\nsrc/main.rs";
    check(tree, &WalkRules::default(), expected);
}

/// What a file is called says nothing about its content: templates called `.pt`, tables called `.dat`, programs called
/// `.bundle.js` were left out, and one NUL or one letter in Latin-1 hid a source.
#[test]
fn what_is_not_source_says_why() {
    let tree: &[(&str, &[u8])] = &[
        ("Cargo.lock", b"x"),
        ("app.min.js", b"x"),
        ("bom.rs", b"\xef\xbb\xbffn main() {}"),
        ("code.bin", b"\0asm\x01\0\0\0"),
        ("latin1.txt", b"caf\xe9"),
        ("limit.txt", &[b'x'; 10_000]),
        ("logo.PNG", b"x"),
        ("long.txt", &[b'x'; 10_001]),
        ("menu.bundle.js", b"open()\n"),
        ("nul.rs", b"let a = '\0';\n"),
        ("page.pt", b"<p tal:content=\"title\"/>\n"),
        ("picture.rs", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("stations.dat", b"Bern 540 m\n"),
        ("strange.txt", &[0xe4; 3_000]),
        ("utf16.txt", b"f\0n\0 \0m\0a\0i\0n\0\n\0"),
    ];
    let rules = WalkRules { max_file_bytes: 10_000, max_text_bytes: 0, ..WalkRules::default() };
    let expected = "Cargo.lock: generated\napp.min.js\nbom.rs\ncode.bin: read binary\nlatin1.txt\nlimit.txt\nlogo.PNG\n\
        long.txt: too_large\nmenu.bundle.js\nnul.rs\npage.pt\npicture.rs: read binary\nstations.dat\n\
        strange.txt: read unknown_encoding\nutf16.txt";
    check(tree, &rules, expected);
}

#[test]
fn text_is_decoded_without_its_mark_and_with_line_feeds() {
    let root = tempfile::tempdir().unwrap();
    let rules = WalkRules::default();
    for (bytes, text, encoding) in [
        (&b"\xef\xbb\xbf# Title\n"[..], "# Title\n", "UTF-8"),
        (b"\xff\xfea\0\r\0\n\0", "a\r\n", "UTF-16LE"),
        (b"one\rtwo\r\rfour", "one\ntwo\n\nfour", "UTF-8"),
        (b"one\r\ntwo\nthree\rstill three\n", "one\r\ntwo\nthree\rstill three\n", "UTF-8"),
        (b"caf\xe9 noir\rcr\xe8me\r", "café noir\ncrème\n", "windows-1252"),
    ] {
        fs::write(root.path().join("file"), bytes).unwrap();
        let found = source(&Tree::open(root.path()).unwrap(), "file", &rules).unwrap();
        assert_eq!((found.text.as_str(), found.encoding), (text, encoding));
    }
}

#[test]
fn every_reason_is_known_by_its_name() {
    for reason in SkipReason::ALL {
        assert_eq!(SkipReason::named(reason.as_str()), Some(*reason));
    }
    assert_eq!(SkipReason::named("not_utf8"), None);
}

#[test]
fn globs_narrow_and_never_bring_back() {
    let tree: &[(&str, &[u8])] = &[
        (".gitignore", b"ignored.rs\n"),
        ("a.rs", b""),
        ("b.py", b""),
        ("ignored.rs", b""),
        ("docs/c.rs", b""),
        ("vendor/deep/d.rs", b""),
    ];
    let rules = |include: &[&str], exclude: &[&str]| WalkRules {
        include: include.iter().map(|s| s.to_string()).collect(),
        exclude: exclude.iter().map(|s| s.to_string()).collect(),
        ..WalkRules::default()
    };
    check(tree, &rules(&["*.rs"], &[]), "a.rs\ndocs/c.rs\nvendor/deep/d.rs");
    check(tree, &rules(&["*.rs"], &["vendor/", "/a.rs"]), "docs/c.rs");
    check(tree, &rules(&["docs/", "*.py"], &[]), "b.py\ndocs/c.rs");
    check(tree, &rules(&[], &["**/deep/**"]), ".gitignore\na.rs\nb.py\ndocs/c.rs");

    let root = tempfile::tempdir().unwrap();
    let tree = Tree::open(root.path()).unwrap();
    assert!(matches!(walk(&tree, &rules(&["a{b"], &[]), &|| false), Err(Error::Glob { .. })));
}

#[test]
fn a_part_is_what_the_whole_has_there() {
    let root = tempfile::tempdir().unwrap();
    let tree: &[(&str, &[u8])] = &[
        (".gitignore", b"gen/\n*.log\n/a/skip.rs\n"),
        ("a/b/c.rs", b""),
        ("a/b/.gitignore", b"!keep.log\nd.rs\n"),
        ("a/b/keep.log", b""),
        ("a/b/d.rs", b""),
        ("a/skip.rs", b""),
        ("a-b.rs", b""),
        ("a/x.log", b""),
        ("a/gen/y.rs", b""),
        ("z/.git/HEAD", b""),
        ("z/logo.png", b""),
        ("top.rs", b""),
    ];
    plant(root.path(), tree);
    let rules = WalkRules::default();
    let tree = Tree::open(root.path()).unwrap();
    let whole = walk(&tree, &rules, &|| false).unwrap();
    assert_eq!(whole.folders, ["", "a", "a/b", "z"]);
    for paths in [
        &["a/b/c.rs", "a/b/d.rs", "a/b/keep.log", "a/x.log"][..],
        &["a"],
        &["a/b", "top.rs", "gone.rs", "gone/x.rs"],
        &["a/gen/y.rs", "a/gen"],
        &["z"],
        &["z/.git/HEAD"],
        &["a-b.rs"],
        &[""],
        &[],
    ] {
        let paths: BTreeSet<String> = paths.iter().map(|path| path.to_string()).collect();
        let part = walk_paths(&tree, &rules, &paths, &|| false).unwrap();
        let within = |rel: &str| paths.contains("") || is_within(&paths, rel);
        let files: Vec<&str> = whole.files.iter().map(|f| f.rel.as_str()).filter(|rel| within(rel)).collect();
        assert_eq!(part.files.iter().map(|f| f.rel.as_str()).collect::<Vec<_>>(), files, "{paths:?}");
        let skipped: Vec<&Skipped> = whole.skipped.iter().filter(|s| within(&s.rel)).collect();
        assert_eq!(part.skipped.iter().collect::<Vec<_>>(), skipped, "{paths:?}");
        let folders: Vec<&String> = whole.folders.iter().filter(|rel| within(rel)).collect();
        assert_eq!(part.folders.iter().collect::<Vec<_>>(), folders, "{paths:?}");
    }
}

#[test]
fn rules_above_the_root_end_at_the_repository() {
    let outside: &[(&str, &[u8])] = &[(".gitignore", b"*\n"), ("home/project/a.rs", b"")];
    let root = tempfile::tempdir().unwrap();
    plant(root.path(), outside);
    assert_eq!(render(&root.path().join("home/project"), &WalkRules::default()), "a.rs");

    plant(root.path(), &[("home/.git/HEAD", b""), ("home/.gitignore", b"b.rs\n"), ("home/project/b.rs", b"")]);
    assert_eq!(render(&root.path().join("home/project"), &WalkRules::default()), "a.rs");
    assert_eq!(render(&root.path().join("home"), &WalkRules::default()), ".gitignore\nproject/a.rs");
}

#[test]
fn cancelled_and_missing_roots_are_errors() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path(), &[("a.rs", b"")]);
    let tree = Tree::open(root.path()).unwrap();
    assert!(matches!(walk(&tree, &WalkRules::default(), &|| true), Err(Error::Cancelled)));
    assert!(matches!(Tree::open(&root.path().join("missing")), Err(Error::Io { .. })));
    assert!(matches!(Tree::open(&root.path().join("a.rs")), Err(Error::Io { .. })));
    fs::create_dir(root.path().join("folder")).unwrap();
    assert_eq!(read_source(&tree, "missing", &WalkRules::default()), Err(SkipReason::Vanished));
    assert_eq!(read_source(&tree, "folder", &WalkRules::default()), Err(SkipReason::NotAFile));
}

#[test]
fn hashes_are_sha256() {
    let hex: String = content_hash(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[cfg(unix)]
#[test]
fn pipes_links_and_loops_are_never_opened() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    plant(root.path(), &[("a.rs", b"x"), ("dir/b.rs", b"x"), ("trap/c.rs", b"x"), ("locked.rs", b"x")]);
    for name in ["pipe.rs", "trap/.gitignore"] {
        assert!(std::process::Command::new("mkfifo").arg(at(name)).status().unwrap().success());
    }
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.rs")).unwrap();
    std::os::unix::fs::symlink(root.path(), at("dir/loop")).unwrap();
    std::os::unix::fs::symlink("a.rs", at("link.rs")).unwrap();
    fs::set_permissions(at("locked.rs"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let mut expected = vec![
        "a.rs",
        "dir/b.rs",
        "dir/loop: symlink",
        "link.rs: symlink",
        if File::open(at("locked.rs")).is_ok() { "locked.rs" } else { "locked.rs: read unreadable" },
        "pipe.rs: not_a_file",
        "socket.rs: not_a_file",
        "trap: not_a_file",
    ];
    if fs::write(root.path().join(OsStr::from_bytes(b"z\xff.rs")), b"x").is_ok() {
        expected.push("z\u{fffd}.rs: non_utf8_path"); // some file systems refuse such names
    }
    assert_eq!(render(root.path(), &WalkRules::default()), expected.join("\n"));

    let outside = tempfile::tempdir().unwrap();
    let linked_root = outside.path().join("project");
    std::os::unix::fs::symlink(root.path(), &linked_root).unwrap();
    assert_eq!(render(&linked_root, &WalkRules::default()), expected.join("\n"), "the root itself may be a link");
    let tree = Tree::open(root.path()).unwrap();
    assert_eq!(read_source(&tree, "pipe.rs", &WalkRules::default()), Err(SkipReason::NotAFile));
    assert_eq!(read_source(&tree, "link.rs", &WalkRules::default()), Err(SkipReason::Symlink));
    assert_eq!(read_source(&tree, "dir/loop/a.rs", &WalkRules::default()), Err(SkipReason::Symlink));
}

/// `.gitignore -> /proc/self/pagemap`, twenty bytes in git, made the walk allocate memory until the system failed.
#[cfg(unix)]
#[test]
fn ignore_files_that_are_links_do_not_count() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path(), &[("a.rs", b"x"), ("rules", b"a.rs\nb.rs\n"), ("dir/b.rs", b"x"), ("dir/.ignore/x", b"")]);
    for (target, link) in [("rules", ".gitignore"), ("/dev/zero", ".ignore"), ("../rules", "dir/.offheapignore")] {
        std::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
    }
    let expected = ".gitignore: symlink\n.ignore: symlink\na.rs\ndir/.ignore/x\ndir/.offheapignore: symlink\n\
        dir/b.rs\nrules";
    assert_eq!(render(root.path(), &WalkRules::default()), expected);
}

/// A folder whose rules cannot be read is left out: what in it is private is not known.
#[test]
fn a_folder_with_endless_rules_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    let rules = |n: usize| (0..n).map(|i| format!("g{i}\n")).collect::<String>().into_bytes();
    plant(
        root.path(),
        &[
            ("a/.gitignore", &rules(MAX_RULES + 1)),
            ("a/x.rs", b""),
            ("b/.gitignore", &vec![b'#'; MAX_RULE_BYTES + 1]),
            ("b/x.rs", b""),
            ("c/.gitignore", &rules(MAX_RULES / 2)),
            ("c/x.rs", b""),
            ("c/g7", b""),
            ("c/d/.ignore", &rules(MAX_RULES / 2 + 1)), // with those of `c` too many
            ("c/d/x.rs", b""),
            ("e/.gitignore", &rules(MAX_RULES / 2)),
            ("e/x.rs", b""),
        ],
    );
    let expected = "a: too_many_rules\nb: too_many_rules\nc/.gitignore\nc/d: too_many_rules\nc/x.rs\n\
        e/.gitignore\ne/x.rs";
    assert_eq!(render(root.path(), &WalkRules::default()), expected);
    plant(root.path(), &[(".gitignore", &rules(MAX_RULES + 1))]);
    let tree = Tree::open(root.path()).unwrap();
    match walk(&tree, &WalkRules::default(), &|| false) {
        Err(Error::UnsafePath { path, .. }) => assert_eq!(path, root.path().join(".gitignore")),
        other => panic!("{other:?}"),
    }
}

/// Ten thousand folders in each other are deeper than any path can name.
#[cfg(unix)]
#[test]
fn folders_beyond_every_path_are_left_out() {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let root = tempfile::tempdir().unwrap();
    let name = "d".repeat(100);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(root.path(), flags, Mode::empty()).unwrap();
    for _ in 0..60 {
        mkdirat(&folder, name.as_str(), Mode::RWXU).unwrap();
        folder = openat(&folder, name.as_str(), flags, Mode::empty()).unwrap();
    }
    plant(root.path(), &[("a.rs", b"x")]);
    let found = walk(&Tree::open(root.path()).unwrap(), &WalkRules::default(), &|| false).unwrap();
    assert_eq!(found.files.len(), 1);
    assert_eq!(found.skipped.len(), 1);
    assert_eq!(found.skipped[0].reason, SkipReason::PathTooLong);
    let longest = found.folders.iter().map(|rel| root.path().join(rel).as_os_str().len()).max().unwrap();
    assert!(longest <= MAX_PATH_BYTES && longest > MAX_PATH_BYTES - 102, "{longest}");
}

/// Dot-files belong to the project, except those of tools; secrets never do, unless they are asked for by name.
#[test]
fn dot_files_of_tools_and_secrets_are_left_out_with_a_reason() {
    let tree: &[(&str, &[u8])] = &[
        (".github/workflows/ci.yml", b"on: push"),
        (".eslintrc", b"{}"),
        (".venv/lib/x.py", b""),
        (".pytest_cache/v/x", b""),
        (".DS_Store", b""),
        (".env", b"KEY=1"),
        (".env.local", b"KEY=1"),
        (".env.example", b"KEY="),
        ("deploy/server.PEM", b""),
        ("deploy/id_rsa", b""),
        ("deploy/id_rsa.pub", b""),
        ("deploy/aws_credentials", b""),
        ("src/credentials.rs", b""),
        (".ssh/config", b""),
        (".npmrc", b""),
    ];
    let shown = ".DS_Store: hidden\n.env.example\n.env.local: secret\n.env: secret\n.eslintrc\n\
        .github/workflows/ci.yml\n.npmrc: secret\n.pytest_cache: hidden\n.ssh: secret\n.venv: hidden\n\
        deploy/aws_credentials: secret\ndeploy/id_rsa.pub\ndeploy/id_rsa: secret\ndeploy/server.PEM: secret\n\
        src/credentials.rs";
    check(tree, &WalkRules::default(), shown);
    let asked = |include: &[&str]| WalkRules {
        include: include.iter().map(|glob| glob.to_string()).collect(),
        ..WalkRules::default()
    };
    check(tree, &asked(&["deploy/**", "*"]), shown);
    check(tree, &asked(&["*.pem", ".env*"]), ".env\n.env.example\n.env.local\n.pytest_cache: hidden\n.venv: hidden");
    check(
        &[(".offheapignore", b"!*\n!.env\n!.ssh/\n"), (".env", b""), (".npmrc", b""), (".ssh/config", b"")],
        &WalkRules::default(),
        ".env\n.npmrc: secret\n.offheapignore\n.ssh/config",
    );
}

#[test]
fn one_path_is_explained_by_the_rule_that_decides() {
    let root = tempfile::tempdir().unwrap();
    let tree: &[(&str, &[u8])] = &[
        (".gitignore", b"# built\n/out/\n*.log\n"),
        ("src/.gitignore", b"\n!keep.log  \n"),
        ("src/keep.log", b""),
        ("src/a.rs", b""),
        ("src/a.log", b""),
        ("out/deep/b.rs", b""),
        ("node_modules/c/d.js", b""),
        (".env", b""),
        ("vendor/e.rs", b""),
        ("Cargo.lock", b""),
    ];
    plant(root.path(), tree);
    let tree = Tree::open(root.path()).unwrap();
    let rules = WalkRules { exclude: vec!["vendor".into()], ..WalkRules::default() };
    for (rel, expected) in [
        ("src/a.rs", "src/a.rs File Wanted"),
        ("src", "src Folder Wanted"),
        ("src/new.rs", "src/new.rs None Wanted"),
        ("src/keep.log", "src/keep.log File BroughtBack src/.gitignore:2:!keep.log"),
        ("src/a.log", "src/a.log File Ignored .gitignore:3:*.log"),
        ("src/gone/a.log", "src/gone/a.log None Ignored .gitignore:3:*.log"),
        ("out/deep/b.rs", "out None Ignored .gitignore:2:/out/"),
        ("node_modules/c/d.js", "node_modules None Pruned"),
        (".env", ".env File Secret { pattern: \".env\" }"),
        ("vendor/e.rs", "vendor None Excluded { glob: \"vendor\" }"),
        ("Cargo.lock", "Cargo.lock File Skipped(Generated)"),
        ("Cargo.lock/x", "Cargo.lock None Skipped(Vanished)"),
    ] {
        let decision = explain(&tree, &rules, Path::new(rel)).unwrap();
        let because = match &decision.because {
            Because::BroughtBack(rule) => format!("BroughtBack {}:{}:{}", rule.file, rule.line, rule.pattern),
            Because::Ignored(rule) => format!("Ignored {}:{}:{}", rule.file, rule.line, rule.pattern),
            other => format!("{other:?}"),
        };
        let kind = decision.kind.map_or("None".to_owned(), |kind| format!("{kind:?}"));
        assert_eq!(format!("{} {kind} {because}", decision.at), expected, "{rel}");
    }
    assert!(explain(&tree, &rules, Path::new("../x")).is_err());
}

#[test]
fn a_tree_beyond_the_limit_ends_the_walk() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("data")).unwrap();
    for i in 0..5 {
        fs::write(temp.path().join(format!("data/{i}.rs")), "12345678").unwrap();
    }
    fs::write(temp.path().join("a.rs"), "x").unwrap();
    let tree = Tree::open(temp.path()).unwrap();
    let walked = |files, bytes| {
        let rules = WalkRules { limit: Some(TreeLimit { files, bytes }), ..WalkRules::default() };
        walk(&tree, &rules, &|| false)
    };
    assert_eq!(walked(6, 41).unwrap().files.len(), 6);
    for (files, bytes) in [(5, 41), (6, 40)] {
        let Err(Error::TreeTooLarge { .. }) = walked(files, bytes) else { panic!("{files} {bytes}") };
    }
    let Err(Error::TreeTooLarge { busiest, .. }) = walked(3, 41) else { panic!("three") };
    assert_eq!(busiest, "data/");
}

/// `/proc` was walked.
#[cfg(target_os = "linux")]
#[test]
fn what_the_system_makes_up_is_not_entered() {
    let tree = Tree::open(Path::new("/")).unwrap();
    let exclude = ["/*", "!/proc", "/proc/*"].map(str::to_owned).to_vec();
    let found = walk(&tree, &WalkRules { exclude, ..WalkRules::default() }, &|| false).unwrap();
    let proc = found.skipped.iter().find(|skipped| skipped.rel == "proc");
    assert_eq!(proc.map(|skipped| skipped.reason), Some(SkipReason::FileSystem));
    // Named as the root, it is what the user wants to see.
    assert_eq!(Tree::open(Path::new("/proc/self")).unwrap().file_system(), Some("proc"));
}
