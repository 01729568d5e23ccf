//! The SHA-256 of a model file, remembered where computing it takes seconds.
//!
//! A file of 4 GB takes four seconds to read through, more than everything else that its first answer needs. So a
//! large file's digest is kept in a directory of the caller's, under a name that is made of all that the system says about
//! the file: its path, device, inode, size and times. A file that was replaced or written to has another name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::gguf::Gguf;

/// Smaller files are read through each time.
const LARGE_BYTES: usize = 64 << 20;

/// The SHA-256 of the whole file, hexadecimal. `memory` is a directory that only the user can write.
pub(crate) fn of(file: &Gguf, memory: Option<&Path>) -> String {
    let place = memory.filter(|_| file.bytes().len() >= LARGE_BYTES).and_then(|dir| place(file, dir));
    if let Some(known) = place.as_deref().and_then(recall) {
        return known;
    }
    let digest = hex(&Sha256::digest(file.bytes()));
    // Not remembering costs seconds next time, nothing else; and the file must still be what was read.
    if let Some(place) = place.filter(|_| file.unchanged()) {
        let _ = remember(&place, &digest);
    }
    digest
}

fn place(file: &Gguf, dir: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(file.path()).ok()?;
    let identity = format!("{}\0{}", path.display(), file.identity());
    Some(dir.join(format!("{}.sha256", &hex(&Sha256::digest(identity))[..32])))
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

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
