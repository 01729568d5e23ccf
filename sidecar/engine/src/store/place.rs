//! Where an index lies, and whether to trust it.
//!
//! A data directory below a project's root may have come with the repository. An index that this user made on this
//! machine has a seal: its path and its inode, signed with a secret that is kept outside of every project. Either is
//! enough, so a project may be moved within its file system, or restored from a copy at its old place. Any other index
//! is begun anew.
//!
//! The seal does not prove that the files are unchanged since: git overwrites ignored files without a warning. So the
//! commit point is signed as well (`text/directory.rs`), and with it the manifest and the names of all files; what the
//! files hold is checked where it is used: paths lead nowhere outside, damage is an error.

use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::files::{SEAL, TEXT};
use crate::disk::{Folder, Identity, Tree};
use crate::fingerprint::hex;
use crate::{Error, Result};

/// A seal is two lines of 64 hexadecimal digits.
const SEAL_BYTES: usize = 1 << 10;

/// The place of an index: a directory that the caller trusts, and names of directories below it that a repository may
/// have brought.
#[derive(Clone, Debug)]
pub struct Place {
    base: Base,
    below: Vec<String>,
    secret: Option<[u8; 32]>,
}

#[derive(Clone, Debug)]
enum Base {
    /// Opened by its path, each time.
    Path(PathBuf),
    /// An open directory; it stays the same one when its path names another.
    Open(Folder),
}

impl Base {
    fn path(&self) -> &Path {
        match self {
            Base::Path(path) => path,
            Base::Open(folder) => folder.path(),
        }
    }

    fn open(&self) -> Result<Folder> {
        match self {
            Base::Path(path) => Folder::trusted(path),
            Base::Open(folder) => Ok(folder.clone()),
        }
    }
}

/// Tells commits apart without reading them: time, length and identity of the file that a commit replaces.
pub type Stamp = Option<(std::time::SystemTime, u64, Identity)>;

/// A directory whose index is trusted without a seal. For tests and tools.
impl From<&Path> for Place {
    fn from(path: &Path) -> Place {
        Place { base: Base::Path(path.to_path_buf()), below: Vec::new(), secret: None }
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Place {
        Place::from(path.as_path())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Place {
        place.clone()
    }
}

impl Place {
    /// The directory `below`, one name after the other, under `base`. An index there is trusted when it has a seal made
    /// with `secret`.
    pub fn below(base: &Path, below: &[&str], secret: [u8; 32]) -> Place {
        let below = below.iter().map(|name| (*name).to_owned()).collect();
        Place { base: Base::Path(base.to_path_buf()), below, secret: Some(secret) }
    }

    /// As [`Place::below`], under an open root.
    pub fn within(root: &Tree, below: &[&str], secret: [u8; 32]) -> Place {
        Place { base: Base::Open(root.folder()), ..Place::below(root.path(), below, secret) }
    }

    /// The path, for messages and comparisons.
    pub fn path(&self) -> PathBuf {
        self.below.iter().fold(self.base.path().to_path_buf(), |path, name| path.join(name))
    }

    /// The directory; `None` when there is none. Errors: [`Error::UnsafePath`], [`Error::Io`].
    pub fn open(&self) -> Result<Option<Folder>> {
        let mut folder = match self.base.open() {
            Err(e) if e.is_absent() => return Ok(None),
            folder => folder?,
        };
        for name in &self.below {
            match folder.folder(name)? {
                Some(inner) => folder = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// The directory, made when there is none. Directories on the way to it are made only for a place from a path.
    pub fn create(&self) -> Result<Folder> {
        if self.below.is_empty() {
            let path = self.base.path();
            std::fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
        }
        let mut folder = self.base.open()?;
        for name in &self.below {
            folder = folder.make_folder(name)?.0;
        }
        Ok(folder)
    }

    /// The stamp of the commit point now. A different one later means that another generation can be opened.
    pub fn stamp(&self) -> Stamp {
        self.open().ok().flatten()?.folder(TEXT).ok().flatten()?.stamp_of("meta.json")
    }

    /// Whether there is an index, trusted or not.
    pub fn has_index(&self) -> Result<bool> {
        Ok(self.open()?.is_some_and(|folder| !super::files::is_empty(&folder)))
    }

    /// Whether the index there was made by this user on this machine.
    pub fn is_ours(&self) -> bool {
        self.open().ok().flatten().is_some_and(|folder| self.check_seal(&folder).is_ok())
    }

    /// The key that commits are signed with; `None` where any index is trusted.
    pub(super) fn secret(&self) -> Option<[u8; 32]> {
        self.secret
    }

    /// Errors with [`Error::IndexForeign`] unless the index in `folder` is ours.
    pub(super) fn check_seal(&self, folder: &Folder) -> Result<()> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let seal = folder.read(SEAL, SEAL_BYTES)?.unwrap_or_default();
        let proofs = proofs(folder)?;
        let is_ours = seal.split(|byte| *byte == b'\n').any(|line| {
            let Some(tag) = unhex(line) else { return false };
            proofs.iter().any(|proof| signed(secret, proof).verify_slice(&tag).is_ok())
        });
        match is_ours {
            true => Ok(()),
            false => Err(Error::IndexForeign { path: folder.path().to_path_buf() }),
        }
    }

    /// Seals an index that was begun in `folder` just now.
    pub(super) fn seal(&self, folder: &Folder) -> Result<()> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let line = |proof: &Vec<u8>| hex(&signed(secret, proof).finalize().into_bytes()) + "\n";
        let text: String = proofs(folder)?.iter().map(line).collect();
        folder.write_durably(SEAL, text.as_bytes())
    }
}

/// The two things that are signed, path and inode: each tells this directory from one that came from elsewhere.
fn proofs(folder: &Folder) -> Result<Vec<Vec<u8>>> {
    let path = [b"path\0", folder.path().as_os_str().as_encoded_bytes()].concat();
    let Identity { device, inode } = folder.identity()?;
    let inode = (inode != 0).then(|| format!("inode\0{device}\0{inode}").into_bytes());
    Ok(std::iter::once(path).chain(inode).collect())
}

fn signed(secret: &[u8; 32], proof: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.chain_update(b"offheap index\0").chain_update(proof)
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).map(|digit| digit as u8);
    let pairs = text.chunks_exact(2).map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?));
    (text.len() == 64).then(|| pairs.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_where_it_was_made_and_nowhere_else() {
        let temp = tempfile::tempdir().unwrap();
        let place = |base: &str, secret: u8| Place::below(&temp.path().join(base), &[".offheap", "data"], [secret; 32]);
        let check = |place: &Place| place.check_seal(&place.open().unwrap().unwrap()).is_ok();
        std::fs::create_dir(temp.path().join("a")).unwrap();
        let a = place("a", 1);
        assert!(a.open().unwrap().is_none());
        let folder = a.create().unwrap();
        assert!(!check(&a), "it has no seal");
        a.seal(&folder).unwrap();
        assert!(check(&a));
        assert!(!check(&place("a", 2)), "another user's, or another machine's");
        // Moved, it is the same directory; copied, as with a repository, it is not.
        let copied = place("b", 1);
        std::fs::create_dir(temp.path().join("b")).unwrap();
        let seal = std::fs::read(a.path().join(SEAL)).unwrap();
        std::fs::write(copied.create().unwrap().path().join(SEAL), &seal).unwrap();
        assert!(!check(&copied));
        std::fs::rename(temp.path().join("a"), temp.path().join("c")).unwrap();
        assert_eq!(check(&place("c", 1)), cfg!(unix));
        // Restored from a copy at its old place.
        std::fs::create_dir(temp.path().join("a")).unwrap();
        std::fs::write(a.create().unwrap().path().join(SEAL), &seal).unwrap();
        assert!(check(&a));
        std::fs::write(a.path().join(SEAL), "x").unwrap();
        assert!(!check(&a));
    }
}
