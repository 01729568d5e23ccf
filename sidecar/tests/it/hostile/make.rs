//! Makes hostile repositories from random numbers.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use offheap_engine::store::{FileRecord, NewChunk, Place, Store};

/// A generator of pseudo-random numbers: xorshift64*.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    /// One element of a list.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Paths in a project that offheap reads, writes, lists or removes because of their names.
const PLACES: &[&str] = &[
    ".offheap",
    ".offheap/data",
    ".offheap/config.json",
    ".offheap/.gitignore",
    ".offheap/.cookie-1",
    ".offheap/.cookie-2",
    ".offheap/data/text",
    ".offheap/data/vectors",
    ".offheap/data/readers",
    ".offheap/data/building",
    ".offheap/data/cache.redb",
    ".offheap/data/cache.redb.damaged",
    ".offheap/data/format",
    ".offheap/data/format.tmp",
    ".offheap/data/seal",
    ".offheap/data/seal.tmp",
    ".offheap/data/clean",
    ".offheap/data/clean.tmp",
    ".offheap/data/damaged",
    ".offheap/data/damaged.tmp",
    ".offheap/data/owner.lock",
    ".offheap/data/text/meta.json",
    ".offheap/data/text/meta.json.tmp",
    ".offheap/data/text/.tantivy-meta.lock",
    ".offheap/data/text/.managed.json",
    ".offheap/data/vectors/gen-1.json",
    ".offheap/data/vectors/gen-1.json.tmp",
    ".offheap/data/vectors/gen-2.json",
    ".offheap/data/vectors/seg-0.vec",
    ".offheap/data/vectors/seg-0.tmp",
    ".offheap/data/building/seg.vec",
    ".offheap/data/readers/1-1",
    ".gitignore",
    ".ignore",
    ".offheapignore",
    ".git",
    ".git/HEAD",
    ".git/info",
    ".git/info/exclude",
    "src",
    "src/.gitignore",
    "src/deep",
    "src/a.py",
    "src/deep/b.py",
    "lib.py",
];

/// A description of each change to a repository, for messages.
pub type Tricks = Vec<String>;

/// Turns the ordinary project at `root` into a hostile one that aims at the directory `outside`. With the user's `secret`, some
/// shipped indexes are sealed, as if they had been copied from this user before.
pub fn make_hostile(root: &Path, outside: &Path, secret: Option<[u8; 32]>, random: &mut Random) -> Tricks {
    let n = 1 + random.below(3);
    (0..n).map(|_| trick(root, outside, secret, random)).collect()
}

/// Makes one random change.
fn trick(root: &Path, outside: &Path, secret: Option<[u8; 32]>, random: &mut Random) -> String {
    match random.below(22) {
        20 => short_lines(root, random),
        21 => ambiguous_source(root, random),
        0..=9 => link(root, outside, random),
        10 | 11 => other_kind(root, random),
        12..=14 => shipped_index(root, outside, secret, random),
        15 => configuration(root, outside, random),
        16 => rules(root, random),
        17 => file_name(root, random),
        18 => deep_folders(root, random),
        _ => owner(root, random),
    }
}

/// Removes what is at `rel`, and whatever on the way to it is not a directory; makes the directories that lead to it.
fn clear(root: &Path, rel: &str) -> PathBuf {
    let path = root.join(rel);
    for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev().skip_while(|path| *path != root).skip(1) {
        let is_last = ancestor == path;
        match std::fs::symlink_metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() && is_last => {
                std::fs::remove_dir_all(ancestor).expect("owned by this user")
            }
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => std::fs::remove_file(ancestor).expect("owned by this user"),
            Err(_) => {}
        }
    }
    std::fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
    path
}

/// Puts a symbolic link into the place of a file or folder.
fn link(root: &Path, outside: &Path, random: &mut Random) -> String {
    let place = random.pick(PLACES);
    let up = "../".repeat(place.matches('/').count() + 1);
    let name = outside.file_name().expect("named").to_str().expect("UTF-8");
    let absolute = |rel: &str| outside.join(rel).to_str().expect("UTF-8").to_owned();
    let target = match random.below(14) {
        0 => format!("{up}{name}"),
        1 => format!("{up}{name}/keys"),
        2 => absolute("keys/id"),
        3 => absolute(""),
        4 => absolute("text"),
        5 => absolute(".offheap"),
        6 => absolute(&format!(".offheap/data/{}", place.rsplit('/').next().expect("a name"))),
        7 => absolute("made-by-mistake"),
        8 => absolute("made-by-mistake/deeper"),
        9 => "..".to_owned(),
        10 => format!("{up}project"),
        11 => random
            .pick(&["/dev/zero", "/dev/random", "/proc/self/pagemap", "/proc/self/mem", "/proc/self/fd"])
            .to_owned(),
        12 => absolute(&format!("{}/x", place.rsplit('/').next().expect("a name"))),
        _ => place.rsplit('/').next().expect("a name").to_owned(), // a link to itself
    };
    symlink(&target, clear(root, place)).expect("a link");
    format!("{place} -> {target}")
}

/// Puts a file of an unexpected kind or size into the place of a file or folder.
fn other_kind(root: &Path, random: &mut Random) -> String {
    let place = random.pick(PLACES);
    let path = clear(root, place);
    let kind = match random.below(6) {
        0 => {
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o644.into(), 0).expect("a pipe");
            "a pipe"
        }
        1 => {
            std::fs::create_dir(&path).expect("a directory");
            "a directory"
        }
        2 => {
            std::fs::write(&path, "a file\n").expect("a file");
            "a file"
        }
        3 => {
            let file = std::fs::File::create(&path).expect("a file");
            file.set_len(3 << 30).expect("a sparse file");
            "a sparse file of 3 GB"
        }
        4 => {
            std::fs::write(&path, "").expect("a file");
            "an empty file"
        }
        _ => {
            drop(std::os::unix::net::UnixListener::bind(&path)); // fails where the path is too long for a socket
            "a socket"
        }
    };
    format!("{place} is {kind}")
}

/// Makes an index that came with the repository and contains paths that lead outside of it.
fn shipped_index(root: &Path, outside: &Path, secret: Option<[u8; 32]>, random: &mut Random) -> String {
    clear(root, ".offheap/data");
    // An earlier change may have given `.offheap` to another user, in which no index can be made.
    let _ = std::os::unix::fs::lchown(root.join(".offheap"), Some(rustix::process::geteuid().as_raw()), None);
    let secret = secret.filter(|_| random.below(3) > 0);
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let place = match secret {
        Some(secret) => Place::below(root, &[".offheap", "data"], secret),
        None => Place::from(elsewhere.path()),
    };
    let mut store = Store::open(&place).expect("a store");
    let paths = [
        format!("../{}/secret.py", outside.file_name().expect("named").to_str().expect("UTF-8")),
        outside.join("secret.py").to_str().expect("UTF-8").to_owned(),
        "src/../../outside/secret.py".to_owned(),
        "src/secret/secret.py".to_owned(), // `src/secret` becomes a link below
        "lib.py".to_owned(),
    ];
    for (i, rel) in paths.iter().enumerate() {
        let record = FileRecord { hash: [i as u8; 32], n_chunks: 1, ..FileRecord::default() };
        let text = "apple banana shipped";
        let chunk = NewChunk {
            bytes: 0..20,
            first_line: 1,
            last_line: 2,
            languages: vec![],
            scope: "",
            symbols: vec![("apple", "function", 1)],
            text,
            key: [i as u8; 32],
        };
        store.put_file(rel, "python", record, &[chunk]).expect("put");
    }
    store.commit().expect("committed");
    drop(store);
    if secret.is_none() {
        let to = root.join(".offheap/data");
        let copied = std::process::Command::new("cp").arg("-r").args([elsewhere.path(), &to]).status();
        assert!(copied.expect("cp runs").success());
    }
    if root.join("src").is_dir() && !root.join("src").is_symlink() && !root.join("src/secret").is_symlink() {
        symlink(outside, root.join("src/secret")).expect("a link");
    }
    let damage = random.below(4);
    if damage == 0 {
        let format = random.pick(&["", "1\n", "2\n", "99\n", "x"]);
        std::fs::write(root.join(".offheap/data/format"), format).expect("writable");
    }
    format!("a shipped index{}", if secret.is_some() { ", sealed" } else { "" })
}

/// Writes a hostile configuration.
fn configuration(root: &Path, outside: &Path, random: &mut Random) -> String {
    let model = outside.join("secret.py").display().to_string();
    let text = match random.below(11) {
        0 => r#"{"index":{"max_file_bytes":18446744073709551615,"spare_embeddings":18446744073709551615}}"#.to_owned(),
        1 => {
            r#"{"daemon":{"ttl_minutes":1e300,"auto_shutdown_on_idle":false,"eviction_check_interval_seconds":1e-300}}"#
                .to_owned()
        }
        2 => format!(r#"{{"model":"{model}.gguf"}}"#),
        3 => r#"{"model":"../outside/secret.gguf"}"#.to_owned(),
        4 => "{\"\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}31m\":1}".to_owned(),
        5 => "[".repeat(200_000),
        6 => " ".repeat(300_000),
        8 => format!(r#"{{"index":{{"exclude":["{}a{}"]}}}}"#, "{".repeat(100_000), "}".repeat(100_000)),
        9 => {
            let globs: Vec<String> = (0..1_400).map(|i| format!(r#""*a{}b{i}""#, "?".repeat(40))).collect();
            format!(r#"{{"index":{{"exclude":[{}]}}}}"#, globs.join(","))
        }
        7 => r#"{"index":{"include":["*{a,b"],"exclude":["[z-a]"]}}"#.to_owned(),
        _ => format!(r#"{{"index":{{"include":["{}"]}}}}"#, "*a".repeat(5_000)),
    };
    std::fs::write(clear(root, ".offheap/config.json"), &text).expect("writable");
    format!("configuration {}", text.chars().take(60).collect::<String>().escape_debug())
}

/// Writes a hostile ignore file.
fn rules(root: &Path, random: &mut Random) -> String {
    let place = random.pick(&[".gitignore", ".ignore", ".offheapignore", "src/.gitignore", ".git/info/exclude"]);
    let (what, text) = match random.below(9) {
        0 => ("50 MB of lines", "x*y\n".repeat(12 << 20)),
        1 => ("a line of 10 MB", "*a".repeat(5 << 20)),
        2 => ("many rules", (0..19_000).map(|i| format!("n{i}*\n")).collect()),
        3 => ("classes", (0..2_000).map(|i| format!("[a-z]*[!{i}]**/?[[:alpha:]]\n")).collect()),
        4 => ("stars and question marks", (0..1_400).map(|i| format!("*a{}b{i}\n", "?".repeat(40))).collect()),
        5 => ("braces in braces", "{".repeat(200_000) + "a" + &"}".repeat(200_000) + "\n"),
        6 => ("double stars", "**/a/".repeat(60) + "b\n"),
        7 => ("stars", "*a".repeat(2_000) + "b\n"),
        _ => ("alternatives", format!("{{{}}}\n", "a,".repeat(100_000)) + "lib.py\n"),
    };
    std::fs::write(clear(root, place), text).expect("writable");
    format!("{place}: {what}")
}

/// Writes a long source file of the shortest possible lines, and a configuration that allows files of that size.
fn short_lines(root: &Path, random: &mut Random) -> String {
    let line = random.pick(&["a\n", "\n", "#\n"]);
    std::fs::write(clear(root, ".offheap/config.json"), r#"{"index":{"max_file_bytes":67108864}}"#).expect("writable");
    std::fs::write(clear(root, "big.txt"), line.repeat((random.pick(&[1, 1, 1, 4]) << 18) / line.len()))
        .expect("writable");
    format!("a long file of {line:?}")
}

/// Writes a source file that is so ambiguous that a parser keeps many readings of it.
fn ambiguous_source(root: &Path, random: &mut Random) -> String {
    let (name, text) = random.pick(&[
        ("x.ts", "(a<"),
        ("x.hs", "a<("),
        ("x.hs", "a?("),
        ("x.cs", "a<"),
        ("x.cpp", "a<(b"),
        ("x.js", "`${"),
    ]);
    std::fs::write(clear(root, name), text.repeat((1 << 20) / text.len() - 1)).expect("writable");
    format!("{name} of {text}")
}

/// Makes a file with a hostile name.
fn file_name(root: &Path, random: &mut Random) -> String {
    use std::os::unix::ffi::OsStrExt;
    let name: Vec<u8> = match random.below(6) {
        0 => b"bad\xff\xfe.py".to_vec(),
        1 => vec![b'n'; 255],
        2 => b"esc\x1b[31m\x9b31m\n.py".to_vec(),
        3 => b".OFFHEAP".to_vec(),
        4 => "\u{202e}yp.tseb".as_bytes().to_vec(),
        _ => b"..\\..\\outside\\secret.py".to_vec(),
    };
    let _ = std::fs::write(root.join(std::ffi::OsStr::from_bytes(&name)), "apple = 1\n");
    format!("a name {:?}", String::from_utf8_lossy(&name))
}

/// Makes deeply nested folders.
fn deep_folders(root: &Path, random: &mut Random) -> String {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let (depth, name) = random.pick(&[
        (300, "d"),
        (45, "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"),
    ]);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(root, flags, Mode::empty()).expect("the root");
    for _ in 0..depth {
        let _ = mkdirat(&folder, name, Mode::RWXU);
        folder = openat(&folder, name, flags, Mode::empty()).expect("it was just made");
    }
    format!("{depth} nested folders")
}

/// Gives a file or folder below `.offheap` to another user. Without root's rights it does nothing.
fn owner(root: &Path, random: &mut Random) -> String {
    let place = random.pick(&[".offheap", ".offheap/data", ".offheap/data/vectors", ".offheap/data/format"]);
    let path = root.join(place);
    if std::fs::symlink_metadata(&path).is_err() {
        let path = clear(root, place);
        match place.ends_with("format") {
            true => std::fs::write(path, "2\n").expect("writable"),
            false => std::fs::create_dir(path).expect("writable"),
        }
    }
    let _ = std::os::unix::fs::lchown(&path, Some(12_345), None);
    format!("{place} belongs to another user")
}
