//! The SHA-256 of a model file, remembered where computing it takes seconds.
//!
//! A file of 4 GB takes four seconds to read through, more than everything else that its first answer needs. So a
//! large file's digest is kept in a directory of the caller's, under a name that is made of all that the system says about
//! the file: its path, device, inode, size and times, that of the last change of anything included. A write through a
//! memory map may show there late, so a file that was changed within the last minute is not remembered.
//!
//! Only where files have such numbers: on Windows a file is read through each time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
#[cfg(unix)]
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::gguf::Gguf;

/// Smaller files are read through each time.
const LARGE_BYTES: usize = 64 << 20;
/// How long a file must have been left alone.
const SETTLED: Duration = Duration::from_secs(60);

/// The SHA-256 of the whole file, hexadecimal. `memory` is a directory that only the user can write.
pub(crate) fn of(file: &Gguf, memory: Option<&Path>) -> String {
    let place = memory.filter(|_| file.bytes().len() >= LARGE_BYTES).and_then(|dir| place(file, dir, SETTLED));
    remembered(file, place.as_deref())
}

fn remembered(file: &Gguf, place: Option<&Path>) -> String {
    if let Some(known) = place.and_then(recall) {
        return known;
    }
    let digest = hex(&Sha256::digest(file.bytes()));
    // Not remembering costs seconds next time, nothing else; and the file must still be what was read.
    if let Some(place) = place.filter(|_| file.unchanged()) {
        let _ = remember(place, &digest);
    }
    digest
}

/// Where the digest of a file is remembered, if the file was not written to for `settled`.
#[cfg(unix)]
fn place(file: &Gguf, dir: &Path, settled: Duration) -> Option<PathBuf> {
    let path = fs::canonicalize(file.path()).ok()?;
    let (identity, changed) = file.identity();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(changed).ok()?);
    let identity = format!("{}\0{identity}", path.display());
    let settled = SystemTime::now().duration_since(changed).is_ok_and(|age| age >= settled);
    settled.then(|| dir.join(format!("{}.sha256", &hex(&Sha256::digest(identity))[..32])))
}

#[cfg(not(unix))]
fn place(_file: &Gguf, _dir: &Path, _settled: Duration) -> Option<PathBuf> {
    None
}

fn recall(place: &Path) -> Option<String> {
    let text = fs::read_to_string(place).ok()?;
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}

/// Whole or not at all: another process may read it at any time.
fn remember(place: &Path, digest: &str) -> std::io::Result<()> {
    let dir = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut partial = place.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = fs::File::create(&partial).and_then(|mut file| file.write_all(digest.as_bytes()));
    let done = written.and_then(|()| fs::rename(&partial, place));
    if done.is_err() {
        let _ = fs::remove_file(&partial);
    }
    done
}

/// The bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, memory) = (dir.path().join("a.gguf"), dir.path().join("memory"));
        let write = |last: u8| {
            let mut bytes = b"GGUF\x03\0\0\0".to_vec();
            bytes.extend([0; 24]);
            bytes.push(last);
            fs::write(&path, bytes).expect("writable");
            Gguf::open(&path).expect("a sound file, of nothing")
        };
        let at = |file: &Gguf| place(file, &memory, Duration::ZERO);
        let file = write(1);
        assert_eq!(place(&file, &memory, SETTLED), None, "it was written just now");
        let first = remembered(&file, at(&file).as_deref());
        assert_eq!(first, remembered(&file, None));
        // What stands there is believed: that is how one sees that nothing was computed.
        let here = at(&file).expect("settled");
        let mark = "0123456789abcdef".repeat(4);
        fs::write(&here, &mark).expect("writable");
        assert_eq!(remembered(&file, Some(&here)), mark);
        // Half a digest is none.
        fs::write(&here, &mark[..63]).expect("writable");
        assert_eq!(remembered(&file, Some(&here)), first);
        // The same size and time of writing, other bytes.
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("known here");
        let file = write(2);
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("allowed");
        let again = Gguf::open(&path).expect("a sound file");
        assert_ne!(at(&again), Some(here), "it looks the same, and is not");
        assert_ne!(remembered(&again, at(&again).as_deref()), first);
        drop(file);
    }
}
