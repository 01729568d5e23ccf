//! Patterns and trees by chance, from a seed.

use super::oracle::{Repository, path_of};

/// Pairs of rules and tree in one repository: git is started a few times for each repository, not for each pair.
const PAIRS: usize = 250;
/// Repositories of the test that always runs: 5,250 pairs.
const REPOSITORIES: u64 = 21;

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"ab",
    b"A",
    b"foo",
    b"Foo",
    b"bar",
    b"foobar",
    b"a.py",
    b"b.PY",
    b"c.js",
    b"a.py{}",
    b"a{b}",
    b"x y",
    b"sp ",
    b"t\t",
    b"[a]",
    b"a]b",
    b"a-b",
    b"!a",
    b"#b",
    b"a\\b",
    b"*",
    b"?q",
    b"caf\xe9",
    b"\xff\xfe",
    "é".as_bytes(),
    b"sub",
    b"sub!x",
    b"subyfoo",
    b"1",
    b"_",
    b"a+b",
    b"a,b",
    b"\r",
    b"\t",
    b"a\nb",
    b"aaaa",
    b"abab",
    b".dot",
    b".a.py",
    b"$x",
    b"~t~",
];
const FOLDERS: &[&[u8]] = &[b"a", b"b", b"foo", b"Foo", b"sub", b"x y", b"d", b"ab", b"[a]", b".dir", b"\xe9"];
const PIECES: &[&[u8]] = &[
    b"*",
    b"*",
    b"*",
    b"**",
    b"**/",
    b"/**",
    b"/",
    b"/",
    b"?",
    b"[",
    b"]",
    b"\\",
    b"\\*",
    b"\\ ",
    b" ",
    b"\t",
    b"[a-c]",
    b"[!a]",
    b"[^b]",
    b"[]a]",
    b"[a\\]]",
    b"[[:upper:]]",
    b"[[:alpha:]x]",
    b"[[:bad:]]",
    b"[[:a]",
    b"[/]",
    b"[a-",
    b"[--0]",
    b"{a,b}",
    b"{}",
    b".py",
    b".*",
    b"a",
    b"b",
    b"foo",
    b"A",
    b"\\A",
    b"[A]",
    b"[A-Z]",
    b"[z-a]",
    b"\xe9",
    b"\xff",
    b"!",
    b"#",
    b"-",
    b"\r",
    b"***",
    b"**a",
];

/// A generator of numbers: xorshift, which is the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one<'a>(&mut self, list: &[&'a [u8]]) -> &'a [u8] {
        list[self.below(list.len())]
    }

    fn pattern(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        if self.below(4) == 0 {
            line.push(b'!');
        }
        if self.below(5) == 0 {
            line.push(b'/');
        }
        for _ in 0..1 + self.below(4) {
            let piece = if self.below(3) == 0 { self.one(NAMES) } else { self.one(PIECES) };
            line.extend_from_slice(piece);
            if self.below(6) == 0 {
                line.push(b'/');
            }
        }
        line.retain(|byte| *byte != b'\n');
        line
    }

    fn rules(&mut self) -> Vec<u8> {
        let mut file = Vec::new();
        if self.below(20) == 0 {
            file.extend_from_slice(b"\xef\xbb\xbf");
        }
        let end: &[u8] = if self.below(6) == 0 { b"\r\n" } else { b"\n" };
        for _ in 0..1 + self.below(4) {
            file.extend(self.pattern());
            file.extend_from_slice(end);
        }
        if self.below(5) == 0 {
            file.extend(self.pattern());
        }
        file
    }
}

/// Makes a repository of [`PAIRS`] pairs, and compares.
fn compare(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let repository = Repository::new();
    if seed.is_multiple_of(3) {
        repository.git(&["config", "core.ignorecase", "true"]);
    }
    if seed.is_multiple_of(4) {
        std::fs::write(repository.top().join(".git/info/exclude"), chance.rules()).unwrap();
    }
    if seed.is_multiple_of(5) {
        std::fs::create_dir_all(repository.at("home/.config/git")).unwrap();
        std::fs::write(repository.at("home/.config/git/ignore"), chance.rules()).unwrap();
    }
    let mut tracked: Vec<u8> = Vec::new();
    for pair in 0..PAIRS {
        let mut folder = format!("p{pair}").into_bytes();
        for depth in 0..2 {
            let at = repository.top().join(path_of(&folder));
            if std::fs::create_dir_all(&at).is_err() {
                break; // a file of that name
            }
            if depth == 0 || chance.below(4) == 0 {
                std::fs::write(at.join(".gitignore"), chance.rules()).unwrap();
            }
            for _ in 0..2 + chance.below(3) {
                let name = chance.one(NAMES);
                // Some file systems refuse some names.
                if std::fs::write(at.join(path_of(name)), b"").is_ok() && chance.below(12) == 0 {
                    tracked.extend([&folder[..], b"/", name, b"\0"].concat());
                }
            }
            if chance.below(2) == 0 {
                break;
            }
            folder.push(b'/');
            folder.extend_from_slice(chance.one(FOLDERS));
        }
    }
    // Without case, `a` is tracked where `A` is, and git lists one name of the two.
    if seed.is_multiple_of(2) && !seed.is_multiple_of(3) {
        repository.git_in("top", &["update-index", "--add", "-z", "--stdin"], &tracked);
    }
    repository.check_walk(&format!("seed {seed}"));
    if seed.is_multiple_of(8) {
        repository.check_explanations("top");
    }
}

#[test]
fn five_thousand_pairs_are_as_git_says() {
    (0..REPOSITORIES).for_each(compare);
}

/// `OFFHEAP_SEEDS=1000..1200 cargo test -p offheap-engine --test ignore -- --ignored`: each seed is 250 pairs.
#[test]
#[ignore = "takes as long as it is told to"]
fn pairs_of_other_seeds() {
    let seeds = std::env::var("OFFHEAP_SEEDS").unwrap_or("1000..1100".to_owned());
    let (first, end) = seeds.split_once("..").expect("OFFHEAP_SEEDS is like 1000..1100");
    (first.parse().unwrap()..end.parse().unwrap()).for_each(compare);
}
