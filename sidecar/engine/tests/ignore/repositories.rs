//! Repositories of every kind: what they track, how their index is written, repositories in repositories.

use std::collections::BTreeSet;
use std::fs;

use offheap_engine::disk::Tree;
use offheap_engine::walk::{Because, SkipReason, explain, walk};

use super::oracle::{Repository, difference};

const IGNORED_AND_TRACKED: &[(&str, &[u8])] = &[
    (".gitignore", b"out/\n*.log\n.github/\n"),
    ("out/deep/kept.txt", b""),
    ("out/deep/other.txt", b""),
    ("out/more/other.txt", b""),
    ("a.log", b""),
    ("b.log", b""),
    (".github/ci.yml", b""),
    (".venv/x.py", b""),
    ("src/a.rs", b""),
];

fn tracked() -> Repository {
    with_tracked(Repository::new())
}

fn with_tracked(repository: Repository) -> Repository {
    repository.plant(IGNORED_AND_TRACKED);
    repository.git(&["add", "-f", "out/deep/kept.txt", "a.log", ".github/ci.yml", ".venv/x.py", "src/a.rs"]);
    repository
}

#[test]
fn what_is_tracked_belongs_to_the_project_in_every_format_of_the_index() {
    let expected = [".github/ci.yml", ".gitignore", ".venv/x.py", "a.log", "out/deep/kept.txt", "src/a.rs"];
    let repository = tracked();
    for steps in [
        &[][..],
        &[&["update-index", "--index-version", "3"][..]],
        &[&["update-index", "--index-version", "4"]],
        &[&["update-index", "--index-version", "2"]],
        &[&["add", "-N", "."]],
        &[
            &["update-index", "--split-index"],
            &["rm", "-q", "--cached", "src/a.rs"],
            &["add", "-f", "b.log"],
            &["rm", "-q", "--cached", "b.log"],
        ],
        &[&["update-index", "--no-split-index"]],
        &[&["commit", "-qm", "a"], &["sparse-checkout", "set", "src"], &["sparse-checkout", "disable"]],
    ] {
        steps.iter().for_each(|step| drop(repository.git(step)));
        repository.check(&format!("{steps:?}"));
        assert_eq!(repository.walked("top"), expected.map(str::to_owned).into(), "{steps:?}");
    }
    with_tracked(Repository::with(&["init", "-q", "--object-format=sha256", "top"])).check("sha256");
}

#[test]
fn why_says_that_a_path_is_tracked_though_a_rule_ignores_it() {
    let repository = tracked();
    let tree = Tree::open(&repository.top()).unwrap();
    let said = |rel: &str| explain(&tree, &repository.rules(), rel.as_ref()).unwrap().because;
    match said("out/deep/kept.txt") {
        Because::Tracked { though } => match *though {
            Because::Ignored(rule) => assert_eq!((&*rule.file, rule.line, &*rule.pattern), (".gitignore", 1, "out/")),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    assert!(matches!(said("out/deep/other.txt"), Because::Ignored(rule) if rule.pattern == "out/"));
    assert!(matches!(said(".venv/y.py"), Because::Skipped(SkipReason::Hidden)));
}

#[test]
fn the_rules_of_offheap_are_stronger_than_git() {
    let repository = tracked();
    repository.plant(&[(".offheapignore", b"a.log\n!b.log\n"), (".ignore", b"kept.txt\n")]);
    let walked = repository.walked("top");
    assert!(
        walked.contains("b.log") && !walked.contains("a.log") && !walked.contains("out/deep/kept.txt"),
        "{walked:?}"
    );
}

#[test]
fn a_damaged_index_is_said_and_the_rules_hold() {
    let repository = tracked();
    let index = repository.top().join(".git/index");
    let whole = fs::read(&index).unwrap();
    for damage in
        [&whole[..whole.len() / 2], b"", b"DIRC\0\0\0\x09\0\0\0\x01", b"DIRC\0\0\0\x02\xff\xff\xff\xff", &[7; 4096]]
    {
        fs::write(&index, damage).unwrap();
        let found = walk(&Tree::open(&repository.top()).unwrap(), &repository.rules(), &|| false).unwrap();
        let files: Vec<&str> = found.files.iter().map(|file| file.rel.as_str()).collect();
        assert_eq!(files, [".gitignore", "src/a.rs"]);
        assert!(
            found.skipped.iter().any(|s| s.rel == ".git/index" && s.reason == SkipReason::Unreadable),
            "{:?}",
            found.skipped
        );
    }
}

#[test]
fn any_bytes_in_place_of_an_index_end_in_an_answer() {
    let repository = tracked();
    repository.git(&["update-index", "--index-version", "4", "--split-index"]);
    let index = repository.top().join(".git/index");
    let whole = fs::read(&index).unwrap();
    let tree = Tree::open(&repository.top()).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x81;
        fs::write(&index, bytes).unwrap();
        walk(&tree, &repository.rules(), &|| false).unwrap();
    }
}

#[test]
fn the_users_file_counts_as_git_finds_it() {
    let repository = Repository::new();
    repository.plant(&[("a.one", b""), ("b.two", b""), ("c.three", b""), ("d.txt", b"")]);
    fs::create_dir_all(repository.at("home/.config/git")).unwrap();
    fs::write(repository.at("home/.config/git/ignore"), "*.one\n").unwrap();
    repository.check("the default file");
    fs::write(repository.at("home/two"), "*.two\n").unwrap();
    fs::write(repository.at("home/.config/git/config"), "[core]\nexcludesFile = ~/two # mine\n").unwrap();
    repository.check("named by the configuration in .config");
    fs::write(repository.at("home/three"), "*.three\n").unwrap();
    let with_include = "[user]\nname=a\n[include]\npath = more\n[includeIf \"gitdir:**/top/.git\"]\npath=cond\n";
    fs::write(repository.at("home/.gitconfig"), with_include).unwrap();
    fs::write(repository.at("home/more"), "[core] excludesfile=\"~/three\"").unwrap();
    repository.check("included");
    fs::write(repository.at("home/cond"), "[CORE]\n\texcludesFILE = ~/none\n").unwrap();
    repository.check("included on a condition");
    fs::write(repository.top().join("own"), "d*\n").unwrap();
    repository.git(&["config", "core.excludesFile", "own"]);
    repository.check("of the repository, relative");
    for path in ["", "/dev/null", "/", "/dev/zero", "absent"] {
        repository.git(&["config", "core.excludesFile", path]);
        // git reads the first for ever, and refuses the second.
        if !["/dev/zero", "/"].contains(&path) {
            repository.check(path);
        }
        assert!(repository.walked("top").contains("a.one"), "{path}");
    }
}

#[cfg(unix)]
#[test]
fn a_linked_ignore_file_does_not_count_and_a_linked_repository_does() {
    use std::os::unix::fs::symlink;
    let repository = tracked();
    repository.plant(&[("rules", b"*\n"), ("sub/x", b""), (".git/info/exclude", b"*.txt\n")]);
    symlink("../rules", repository.top().join("sub/.gitignore")).unwrap();
    repository.check("a linked .gitignore");
    fs::rename(repository.top().join(".git"), repository.at("moved")).unwrap();
    symlink("../moved", repository.top().join(".git")).unwrap();
    repository.check("a linked .git");
    symlink(repository.top().join("rules"), repository.at("linked")).unwrap();
    repository.git(&["config", "core.excludesFile", "../linked"]);
    repository.check("a linked file of the user");
}

#[test]
fn names_in_the_index_fold_with_the_case() {
    let repository = Repository::new();
    repository.plant(&[(".gitignore", b"out/\n*.LOG\n"), ("Out/Kept", b""), ("Out/other", b""), ("a.log", b"")]);
    repository.git(&["add", "-f", "Out/Kept"]);
    repository.git(&["config", "core.ignorecase", "true"]);
    repository.check("folded");
}

/// What git says of each repository by itself, together.
fn union(repository: &Repository, nested: &[&str]) -> BTreeSet<String> {
    let own = repository.listed("top");
    let of = |folder: &&str| {
        let listed = repository.listed(&format!("top/{folder}"));
        listed.into_iter().map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    own.into_iter().chain(nested.iter().flat_map(of)).collect()
}

#[test]
fn repositories_in_repositories_have_their_own_rules() {
    let repository = Repository::new();
    repository.git_in("", &["init", "-q", "other"], b"");
    fs::write(repository.at("other/.gitignore"), "*.o\n").unwrap();
    for name in ["x.c", "x.log", "y.log"] {
        fs::write(repository.at("other").join(name), "").unwrap();
    }
    repository.git_in("other", &["add", "."], b"");
    repository.git_in("other", &["commit", "-qm", "a"], b"");
    repository.git(&["submodule", "--quiet", "add", "../other", "libs/sub"]);
    repository.git(&["init", "-q", "nested"]);
    repository.plant(&[
        (".gitignore", b"*.log\nlibs/\n/hidden/\n"),
        ("libs/sub/new.log", b""),
        ("libs/sub/x.o", b""),
        ("libs/plain.c", b""),
        ("nested/a.log", b""),
        ("nested/.git/info/exclude", b"b*\n"),
        ("nested/b.c", b""),
        ("nested/sub/c.c", b""),
        ("broken/.git/HEAD", b"ref: refs/heads/main\n"),
        ("broken/a.log", b""),
        ("broken/a.c", b""),
        ("z.log", b""),
    ]);
    let walked = repository.walked("top");
    assert_eq!(difference(&union(&repository, &["libs/sub", "nested"]), &walked), "");
    repository.check_explanations("top");
    let below = repository.walked("top/nested");
    assert_eq!(difference(&repository.listed("top/nested"), &below), "");
    let below = repository.walked("top/nested/sub");
    assert_eq!(difference(&repository.listed("top/nested/sub"), &below), "");
}

#[test]
fn work_trees_are_walked_once() {
    let repository = tracked();
    repository.git(&["commit", "-qm", "a"]);
    repository.git(&["worktree", "add", "-q", "trees/inside"]);
    repository.git(&["worktree", "add", "-q", "../beside"]);
    fs::write(repository.at("beside/new.log"), "").unwrap();
    fs::write(repository.top().join(".git/info/exclude"), "new*\n").unwrap();
    let walked = repository.walked("top");
    assert!(
        walked.contains("trees/inside") && !walked.iter().any(|rel| rel.starts_with("trees/inside/")),
        "{walked:?}"
    );
    let tree = Tree::open(&repository.top()).unwrap();
    let said = explain(&tree, &repository.rules(), "trees/inside/src/a.rs".as_ref()).unwrap();
    assert_eq!(said.because, Because::Skipped(SkipReason::Worktree));
    for root in ["beside", "top/trees/inside"] {
        assert_eq!(difference(&repository.listed(root), &repository.walked(root)), "", "{root}");
        repository.check_explanations(root);
    }
    let both: Vec<String> = repository.walked("").into_iter().filter(|rel| rel.ends_with("src/a.rs")).collect();
    assert_eq!(both, ["top/src/a.rs"]);

    let bare = Repository::with(&["init", "-q", "top"]);
    bare.plant(&[("a.rs", b"")]);
    bare.git(&["add", "."]);
    bare.git(&["commit", "-qm", "a"]);
    bare.git_in("", &["clone", "-q", "--bare", "top", "all/.bare"], b"");
    for name in ["two", "one"] {
        bare.git_in("all/.bare", &["worktree", "add", "-q", "-b", name, &format!("../{name}")], b"");
    }
    assert_eq!(bare.walked("all"), ["one/a.rs", "two"].map(str::to_owned).into());
}

#[test]
fn sparse_checkouts_are_as_git_lists_them() {
    let repository = tracked();
    repository.plant(&[("x/a.rs", b""), ("x/deep/b.rs", b""), ("y/c.rs", b"")]);
    repository.git(&["add", "x", "y"]);
    repository.git(&["commit", "-qm", "a"]);
    repository.git(&["sparse-checkout", "set", "x"]);
    repository.check("cones");
    repository.git(&["sparse-checkout", "reapply", "--sparse-index"]);
    repository.plant(&[("x/new.log", b""), ("y/new.rs", b"")]);
    repository.check("a sparse index");
    repository.git(&["sparse-checkout", "set", "--no-cone", "*.rs"]);
    repository.check("patterns");
}
