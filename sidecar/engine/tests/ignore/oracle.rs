//! A repository for tests, and git's own answer about it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use offheap_engine::disk::Tree;
use offheap_engine::walk::{GitSettings, SkipReason, WalkRules, explain, walk};

/// A folder with a home directory and a repository.
pub struct Repository {
    temporary: tempfile::TempDir,
}

impl Repository {
    pub fn new() -> Repository {
        Repository::with(&["init", "-q", "top"])
    }

    /// Made with these arguments of git, which must make `top`.
    pub fn with(arguments: &[&str]) -> Repository {
        let repository = Repository { temporary: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.at("home")).unwrap();
        std::fs::write(repository.at("home/.gitconfig"), "[user]\nname = a\nemail = a@b\n").unwrap();
        repository.git_in("", arguments, b"");
        repository
    }

    pub fn at(&self, rel: &str) -> PathBuf {
        self.temporary.path().join(rel)
    }

    pub fn top(&self) -> PathBuf {
        self.at("top")
    }

    /// Writes files below the top; a name that ends in `/` is a folder.
    pub fn plant(&self, files: &[(&str, &[u8])]) {
        for (name, content) in files {
            let path = self.top().join(name);
            if name.ends_with('/') {
                std::fs::create_dir_all(path).unwrap();
                continue;
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// Runs git at the top; the test fails when it fails, or when there is no git.
    pub fn git(&self, arguments: &[&str]) -> Vec<u8> {
        self.git_in("top", arguments, b"")
    }

    pub fn git_in(&self, folder: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("git");
        command.current_dir(self.at(folder)).args(["-c", "protocol.file.allow=always"]).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", self.at("home")).env_remove("XDG_CONFIG_HOME");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("these tests compare with git, which must be installed");
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn rules(&self) -> WalkRules {
        let home = self.at("home");
        let variable = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "GIT_CONFIG_NOSYSTEM" => Some("1".into()),
            _ => None,
        };
        WalkRules { git: GitSettings::of_environment(variable), ..WalkRules::default() }
    }

    /// What git lists below `folder`, and is there.
    pub fn listed(&self, folder: &str) -> BTreeSet<String> {
        let out = self.git_in(folder, &["ls-files", "-co", "--exclude-standard", "-z"], b"");
        let names = out.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        names
            .filter(|name| is_file(&self.at(folder), name))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// What the walk finds below `folder`: files, and names that it leaves out for what they are.
    pub fn walked(&self, folder: &str) -> BTreeSet<String> {
        let tree = Tree::open(&self.at(folder)).unwrap();
        let found = walk(&tree, &self.rules(), &|| false).unwrap();
        let of_names = |reason: SkipReason| matches!(reason, SkipReason::Hidden | SkipReason::Secret);
        let skipped = found.skipped.into_iter().filter(|skipped| !of_names(skipped.reason)).map(|skipped| skipped.rel);
        found.files.into_iter().map(|file| file.rel).chain(skipped).collect()
    }

    /// Compares both.
    pub fn check_walk(&self, what: &str) {
        let (listed, walked) = (self.listed("top"), self.walked("top"));
        let difference = difference(&listed, &walked);
        assert_eq!(difference, "", "{what}");
    }

    /// Compares both, and each path's explanation with the walk.
    pub fn check(&self, what: &str) {
        self.check_walk(what);
        self.check_explanations("top");
    }

    /// Each file's explanation, of some hundred files, says what the walk does.
    pub fn check_explanations(&self, folder: &str) {
        let tree = Tree::open(&self.at(folder)).unwrap();
        let rules = self.rules();
        let found = walk(&tree, &rules, &|| false).unwrap();
        let wanted: BTreeSet<&str> = found.files.iter().map(|file| file.rel.as_str()).collect();
        let files = all_files(&self.at(folder));
        let step = files.len() / 300 + 1;
        for rel in files.into_iter().step_by(step) {
            let decision = explain(&tree, &rules, &rel).unwrap();
            assert_eq!(decision.is_wanted(), wanted.contains(decision.rel.as_str()), "{decision:?}");
        }
    }
}

/// What only git lists (`-`) and what only the walk finds (`+`), with no more than ten lines.
pub fn difference(listed: &BTreeSet<String>, walked: &BTreeSet<String>) -> String {
    let missing = listed.difference(walked).map(|name| format!("- {name:?}"));
    let more = walked.difference(listed).map(|name| format!("+ {name:?}"));
    missing.chain(more).take(10).collect::<Vec<_>>().join("\n")
}

fn is_file(top: &Path, name: &[u8]) -> bool {
    std::fs::symlink_metadata(top.join(path_of(name))).is_ok_and(|metadata| !metadata.is_dir())
}

pub fn path_of(name: &[u8]) -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(name.to_vec()));
    #[cfg(not(unix))]
    return PathBuf::from(String::from_utf8_lossy(name).into_owned());
}

fn all_files(top: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(top.join(&folder)).unwrap().flatten() {
            let rel = folder.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() != ".git" => folders.push(rel),
                true => {}
                false => files.push(rel),
            }
        }
    }
    files
}
