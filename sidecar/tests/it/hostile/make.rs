//! Repositories as an attacker would make them, from a seed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use offheap_engine::store::{FileRecord, NewChunk, Place, Store};

/// A small generator of numbers: xorshift64*.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Places below a project's root that are read, written, listed or removed because of their names.
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

/// What was done to a repository, for messages.
pub type Tricks = Vec<String>;

/// Turns the ordinary project at `root` into a hostile one. `outside` has what it is after; `secret` is the user's, with which
/// some indexes are sealed, as if they had been taken from this user before.
pub fn hostile(root: &Path, outside: &Path, secret: Option<[u8; 32]>, dice: &mut Dice) -> Tricks {
    let n = 1 + dice.below(3);
    (0..n).map(|_| trick(root, outside, secret, dice)).collect()
}

fn trick(root: &Path, outside: &Path, secret: Option<[u8; 32]>, dice: &mut Dice) -> String {
    match dice.below(22) {
        20 => lines(root, dice),
        21 => brackets(root, dice),
        0..=9 => link(root, outside, dice),
        10 | 11 => other_kind(root, dice),
        12..=14 => shipped_index(root, outside, secret, dice),
        15 => configuration(root, outside, dice),
        16 => rules(root, dice),
        17 => names(root, dice),
        18 => deep(root, dice),
        _ => owner(root, dice),
    }
}

/// Clears a place, whatever stands there or on the way to it.
fn clear(root: &Path, rel: &str) -> PathBuf {
    let path = root.join(rel);
    for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev().skip_while(|path| *path != root).skip(1) {
        let is_last = ancestor == path;
        match std::fs::symlink_metadata(ancestor) {
            Ok(metadata) if metadata.is_dir() && is_last => std::fs::remove_dir_all(ancestor).expect("ours"),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => std::fs::remove_file(ancestor).expect("ours"),
            Err(_) => {}
        }
    }
    std::fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
    path
}

fn link(root: &Path, outside: &Path, dice: &mut Dice) -> String {
    let place = dice.pick(PLACES);
    let up = "../".repeat(place.matches('/').count() + 1);
    let name = outside.file_name().expect("named").to_str().expect("UTF-8");
    let absolute = |rel: &str| outside.join(rel).to_str().expect("UTF-8").to_owned();
    let target = match dice.below(14) {
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
        11 => {
            dice.pick(&["/dev/zero", "/dev/random", "/proc/self/pagemap", "/proc/self/mem", "/proc/self/fd"]).to_owned()
        }
        12 => absolute(&format!("{}/x", place.rsplit('/').next().expect("a name"))),
        _ => place.rsplit('/').next().expect("a name").to_owned(), // to itself
    };
    symlink(&target, clear(root, place)).expect("a link");
    format!("{place} -> {target}")
}

fn other_kind(root: &Path, dice: &mut Dice) -> String {
    let place = dice.pick(PLACES);
    let path = clear(root, place);
    let kind = match dice.below(6) {
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
            drop(std::os::unix::net::UnixListener::bind(&path)); // a path may be too long for one
            "a socket"
        }
    };
    format!("{place} is {kind}")
}

/// An index that came with the repository, and whose paths lead outside.
fn shipped_index(root: &Path, outside: &Path, secret: Option<[u8; 32]>, dice: &mut Dice) -> String {
    clear(root, ".offheap/data");
    // An earlier trick may have given it away; then nobody could have made an index in it.
    let _ = std::os::unix::fs::lchown(root.join(".offheap"), Some(rustix::process::geteuid().as_raw()), None);
    let secret = secret.filter(|_| dice.below(3) > 0);
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
        "src/secret/secret.py".to_owned(), // `src/secret` is made a link below
        "lib.py".to_owned(),
    ];
    for (i, rel) in paths.iter().enumerate() {
        let record = FileRecord { hash: [i as u8; 32], size: 1, mtime_ns: 1, n_chunks: 1 };
        let text = "apple banana shipped";
        let chunk = NewChunk {
            bytes: 0..20,
            first_line: 1,
            last_line: 2,
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
    let damage = dice.below(4);
    if damage == 0 {
        let format = dice.pick(&["", "1\n", "2\n", "99\n", "x"]);
        std::fs::write(root.join(".offheap/data/format"), format).expect("writable");
    }
    format!("a shipped index{}", if secret.is_some() { ", sealed" } else { "" })
}

fn configuration(root: &Path, outside: &Path, dice: &mut Dice) -> String {
    let model = outside.join("secret.py").display().to_string();
    let text = match dice.below(11) {
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

fn rules(root: &Path, dice: &mut Dice) -> String {
    let place = dice.pick(&[".gitignore", ".ignore", ".offheapignore", "src/.gitignore", ".git/info/exclude"]);
    let (what, text) = match dice.below(9) {
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

/// A source as long as a configuration may ask for, of the shortest lines.
fn lines(root: &Path, dice: &mut Dice) -> String {
    let line = dice.pick(&["a\n", "\n", "#\n"]);
    std::fs::write(clear(root, ".offheap/config.json"), r#"{"index":{"max_file_bytes":67108864}}"#).expect("writable");
    std::fs::write(clear(root, "big.txt"), line.repeat((dice.pick(&[1, 1, 1, 4]) << 18) / line.len()))
        .expect("writable");
    format!("a long file of {line:?}")
}

/// A source that a parser keeps every reading of.
fn brackets(root: &Path, dice: &mut Dice) -> String {
    let (name, text) = dice.pick(&[
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

fn names(root: &Path, dice: &mut Dice) -> String {
    use std::os::unix::ffi::OsStrExt;
    let name: Vec<u8> = match dice.below(6) {
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

fn deep(root: &Path, dice: &mut Dice) -> String {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let (depth, name) = dice.pick(&[
        (300, "d"),
        (45, "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"),
    ]);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(root, flags, Mode::empty()).expect("the root");
    for _ in 0..depth {
        let _ = mkdirat(&folder, name, Mode::RWXU);
        folder = openat(&folder, name, flags, Mode::empty()).expect("made just now");
    }
    format!("{depth} folders in each other")
}

/// Something below `.offheap` belongs to somebody else. Only root can make that.
fn owner(root: &Path, dice: &mut Dice) -> String {
    let place = dice.pick(&[".offheap", ".offheap/data", ".offheap/data/vectors", ".offheap/data/format"]);
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
