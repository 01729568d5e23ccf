//! Which paths a repository tracks: the names in git's index, versions 2 to 4, split ones too.
//!
//! The format is that of git's `Documentation/gitformat-index.txt`. Nothing but names is read of it.

use std::path::Path;

use crate::disk::read_outside;

/// Longest index that is read; one of a million files has a tenth of that.
const MAX_INDEX_BYTES: u64 = 1 << 30;
/// Most entries: each costs some bytes of memory besides its name.
const MAX_ENTRIES: usize = 20_000_000;
/// The mode of an entry that stands for a whole folder in a sparse index.
const SPARSE_FOLDER: u32 = 0o040_000;

/// The tracked paths, in the order of their bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    names: Vec<u8>,
    /// Where each name begins; one more for the end of the last.
    begins: Vec<u32>,
}

/// What is wrong with an index.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged;

impl Tracked {
    /// The paths that `git_dir` tracks, from the top of the work tree on; none without an index. With `fold`, letters of
    /// ASCII are made small.
    pub fn read(git_dir: &Path, hash_bytes: usize, fold: bool) -> Result<Tracked, Damaged> {
        let path = git_dir.join("index");
        let bytes = match read_outside(&path, MAX_INDEX_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Tracked::default()),
            bytes => bytes.map_err(|_| Damaged)?,
        };
        let own = parse(&bytes, hash_bytes)?;
        let mut names = own.names;
        let base;
        if let Some(link) = own.link {
            let hex: String = link.base.iter().map(|byte| format!("{byte:02x}")).collect();
            base = read_outside(&git_dir.join(format!("sharedindex.{hex}")), MAX_INDEX_BYTES).map_err(|_| Damaged)?;
            let shared = parse(&base, hash_bytes)?;
            let deleted = bits(link.deleted, shared.names.len())?;
            let kept = shared.names.into_iter().enumerate().filter(|(n, _)| !deleted.get(*n).copied().unwrap_or(false));
            names.extend(kept.map(|(_, name)| name));
        }
        names.retain(|name| !name.is_empty()); // of entries that a split index replaces
        if fold {
            names.iter_mut().for_each(|name| name.to_mut().make_ascii_lowercase());
        }
        names.sort_unstable();
        names.dedup();
        Tracked::of(&names)
    }

    fn of(names: &[Name]) -> Result<Tracked, Damaged> {
        let mut tracked = Tracked { names: Vec::new(), begins: Vec::with_capacity(names.len() + 1) };
        for name in names {
            tracked.begins.push(u32::try_from(tracked.names.len()).map_err(|_| Damaged)?);
            tracked.names.extend_from_slice(name);
        }
        tracked.begins.push(u32::try_from(tracked.names.len()).map_err(|_| Damaged)?);
        Ok(tracked)
    }

    /// Whether this very path is tracked: a file, or a repository within the repository.
    pub fn has(&self, path: &[u8]) -> bool {
        self.name(self.first_from(path)) == Some(path)
    }

    /// Whether anything below a folder is tracked.
    pub fn has_below(&self, folder: &[u8]) -> bool {
        let below = [folder, b"/"].concat();
        self.name(self.first_from(&below)).is_some_and(|name| name.starts_with(&below))
    }

    fn name(&self, n: usize) -> Option<&[u8]> {
        let (begin, end) = (*self.begins.get(n)?, *self.begins.get(n + 1)?);
        self.names.get(begin as usize..end as usize)
    }

    /// The number of the first name that is not before `path`.
    fn first_from(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.begins.len().saturating_sub(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle) {
                Some(name) if name < path => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }
}

/// A path, borrowed from the index unless its format shortens names.
type Name<'a> = std::borrow::Cow<'a, [u8]>;

/// One file of an index.
struct Parsed<'a> {
    names: Vec<Name<'a>>,
    link: Option<Link<'a>>,
}

/// What a split index says about the one it builds on.
struct Link<'a> {
    /// The hash in that one's name.
    base: &'a [u8],
    /// The compressed bits of the entries that are gone.
    deleted: &'a [u8],
}

/// Reads bytes from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Damaged> {
        self.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| Damaged)
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        self.take(4)?.try_into().map(u32::from_be_bytes).map_err(|_| Damaged)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        self.take(8)?.try_into().map(u64::from_be_bytes).map_err(|_| Damaged)
    }

    /// Up to a zero, which is taken as well.
    fn text(&mut self) -> Result<&'a [u8], Damaged> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Damaged)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    /// A number in groups of seven bits, in git's encoding of offsets.
    fn offset(&mut self) -> Result<usize, Damaged> {
        let mut value: usize = 0;
        for n in 0.. {
            let byte = self.take(1)?[0];
            if n > 0 {
                value = value.checked_add(1).ok_or(Damaged)?;
            }
            value = value.checked_mul(128).ok_or(Damaged)? + usize::from(byte & 127);
            if byte & 128 == 0 {
                break;
            }
        }
        Ok(value)
    }
}

fn parse(bytes: &[u8], hash_bytes: usize) -> Result<Parsed<'_>, Damaged> {
    let body = bytes.len().checked_sub(hash_bytes).ok_or(Damaged)?; // the last hash is that of all before it
    let mut rest = Bytes(&bytes[..body]);
    if rest.take(4)? != b"DIRC" {
        return Err(Damaged);
    }
    let version = rest.u32()?;
    let n = rest.u32()? as usize;
    let shortest = 40 + hash_bytes + 2;
    if !(2..=4).contains(&version) || n > MAX_ENTRIES || n > bytes.len() / shortest {
        return Err(Damaged);
    }
    let mut names: Vec<Name> = Vec::with_capacity(n);
    let mut sum = 0; // of shortened names, which are longer than the file
    let mut before: Vec<u8> = Vec::new();
    for _ in 0..n {
        let length = rest.0.len();
        rest.take(24)?;
        let mode = rest.u32()?;
        rest.take(12 + hash_bytes)?;
        let is_extended = rest.u16()? & 0x4000 != 0;
        if is_extended {
            rest.take(2)?;
        }
        let name = if version == 4 {
            let cut = rest.offset()?;
            before.truncate(before.len().checked_sub(cut).ok_or(Damaged)?);
            before.extend_from_slice(rest.text()?);
            sum += before.len();
            if sum as u64 > MAX_INDEX_BYTES {
                return Err(Damaged);
            }
            before.clone().into()
        } else {
            let name = rest.text()?;
            let used = length - rest.0.len();
            rest.take((8 - used % 8) % 8)?;
            name.into()
        };
        if mode != SPARSE_FOLDER {
            names.push(name);
        } else {
            names.push(Name::default());
        }
    }
    let mut link = None;
    while rest.0.len() >= 8 {
        let kind = rest.take(4)?;
        let length = rest.u32()? as usize;
        let mut content = Bytes(rest.take(length)?);
        if kind == b"link" {
            link = Some(Link { base: content.take(hash_bytes)?, deleted: content.0 });
        }
    }
    Ok(Parsed { names, link: link.filter(|link| link.base.iter().any(|byte| *byte != 0)) })
}

/// The first `n` bits of a bitmap in the format EWAH; all are zero in an empty one.
fn bits(bytes: &[u8], n: usize) -> Result<Vec<bool>, Damaged> {
    let mut bits = Vec::new();
    if bytes.is_empty() {
        return Ok(bits);
    }
    let mut rest = Bytes(bytes);
    rest.u32()?;
    let mut words = rest.u32()? as usize;
    while words > 0 && bits.len() < n {
        let run = rest.u64()?;
        words -= 1;
        let (bit, length, literals) = (run & 1 == 1, (run >> 1) & 0xffff_ffff, (run >> 33) as usize);
        let room = (n - bits.len()) as u64;
        bits.resize(bits.len() + (length * 64).min(room) as usize, bit);
        for _ in 0..literals {
            let word = rest.u64()?;
            words = words.checked_sub(1).ok_or(Damaged)?;
            if bits.len() < n {
                bits.extend((0..64).map(|at| word >> at & 1 == 1));
            }
        }
    }
    Ok(bits)
}
