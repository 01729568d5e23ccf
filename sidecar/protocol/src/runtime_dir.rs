//! Which directory has the sockets: the first of a few that this user can use, the same for every client and daemon.

use std::path::{Path, PathBuf};

/// Longest path of a socket, bytes. The strictest system, macOS, allows 103 and gives misleading errors above that.
pub const MAX_SOCKET_BYTES: usize = 95;

/// A runtime directory, and why it is not the first choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir {
    /// The directory. It may not exist yet.
    pub path: PathBuf,
    /// Why `XDG_RUNTIME_DIR` is not used although it is set; for the user, to be told once.
    pub note: Option<String>,
}

/// The user's runtime directory: `OFFHEAP_RUNTIME_DIR`; else `$XDG_RUNTIME_DIR/offheap` where this user can use it; else
/// `/run/user/<uid>/offheap` where that can be used (on Linux); else `/tmp/offheap-<uid>`. On Windows
/// `%LOCALAPPDATA%\offheap\run`.
///
/// After `su` and `sudo -E`, `XDG_RUNTIME_DIR` is another user's: nothing is made there. Not `$TMPDIR`, because it differs
/// between sandboxes and sessions of one user, and is emptied by cleaners.
pub fn choose(var: impl Fn(&str) -> Option<PathBuf>) -> RuntimeDir {
    if let Some(path) = var("OFFHEAP_RUNTIME_DIR") {
        return RuntimeDir { path, note: None };
    }
    #[cfg(windows)]
    {
        let base = var("LOCALAPPDATA").unwrap_or_else(std::env::temp_dir);
        RuntimeDir { path: base.join("offheap").join("run"), note: None }
    }
    #[cfg(not(windows))]
    {
        let user = crate::unix::user();
        let mut why = None;
        if let Some(dir) = var("XDG_RUNTIME_DIR") {
            match usable(&dir) {
                Ok(path) => return RuntimeDir { path, note: None },
                Err(reason) => why = Some(format!("XDG_RUNTIME_DIR is `{}`, which {reason}", dir.display())),
            }
        }
        let of_system =
            cfg!(target_os = "linux").then(|| usable(Path::new(&format!("/run/user/{user}"))).ok()).flatten();
        let path = of_system.unwrap_or_else(|| PathBuf::from(format!("/tmp/offheap-{user}")));
        let note = why.map(|why| format!("{why}; `{}` is used instead", path.display()));
        RuntimeDir { path, note }
    }
}

/// The folder `offheap` in a runtime directory of the system, or why this user cannot use it.
#[cfg(not(windows))]
fn usable(dir: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{Access, AtFlags, CWD, accessat};

    // Longest directory that leaves room for the name of a socket.
    const ROOM: usize = MAX_SOCKET_BYTES - "/offheap/0123456789abcdef.sock".len();
    if !dir.is_absolute() {
        return Err("is not an absolute path".to_owned());
    }
    if dir.as_os_str().len() > ROOM {
        return Err("is too long for the path of a socket".to_owned());
    }
    let us = crate::unix::user();
    let meta = std::fs::metadata(dir).map_err(|error| format!("cannot be used: {error}"))?;
    if !meta.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if meta.uid() != us {
        return Err(format!("belongs to user {}, not to user {us}", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err("other users can write to".to_owned());
    }
    let own = dir.join("offheap");
    let to_write = match std::fs::symlink_metadata(&own) {
        Err(_) => dir,
        Ok(meta) if meta.is_dir() && meta.uid() == us => own.as_path(),
        Ok(meta) if meta.is_dir() => return Err(format!("has a folder `offheap` of user {}", meta.uid())),
        Ok(_) => return Err("has an `offheap` that is not a directory".to_owned()),
    };
    accessat(CWD, to_write, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| format!("cannot be written: {}", std::io::Error::from(error)))?;
    Ok(own)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_xdg(dir: &Path) -> RuntimeDir {
        choose(|name| (name == "XDG_RUNTIME_DIR").then(|| dir.to_path_buf()))
    }

    #[test]
    fn what_cannot_be_used_is_passed_over_and_said() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let set_mode =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
        let dir = temp.path().join("run");
        let missing = with_xdg(&dir);
        assert!(missing.note.expect("a note").contains("XDG_RUNTIME_DIR"));
        assert!(!missing.path.starts_with(&dir));
        std::fs::create_dir(&dir).expect("directory");
        set_mode(&dir, 0o700);
        assert_eq!(with_xdg(&dir), RuntimeDir { path: dir.join("offheap"), note: None });
        set_mode(&dir, 0o777);
        assert!(with_xdg(&dir).note.expect("a note").contains("other users"));
        set_mode(&dir, 0o700);
        std::os::unix::fs::symlink("/", dir.join("offheap")).expect("link");
        assert!(with_xdg(&dir).note.expect("a note").contains("not a directory"));
        std::fs::remove_file(dir.join("offheap")).expect("there");
        if crate::unix::user() != 0 {
            set_mode(&dir, 0o500);
            assert!(with_xdg(&dir).note.expect("a note").contains("written"));
            set_mode(&dir, 0o700);
        } else {
            let foreign = temp.path().join("foreign");
            std::fs::create_dir(&foreign).expect("directory");
            std::os::unix::fs::chown(&foreign, Some(12345), None).expect("root may");
            assert!(with_xdg(&foreign).note.expect("a note").contains("12345"));
            set_mode(&dir, 0o700);
            std::fs::create_dir(dir.join("offheap")).expect("directory");
            std::os::unix::fs::chown(dir.join("offheap"), Some(12345), None).expect("root may");
            assert!(with_xdg(&dir).note.expect("a note").contains("12345"));
        }
        let long = PathBuf::from(format!("/{}", "x".repeat(90)));
        assert!(with_xdg(&long).note.expect("a note").contains("too long"));
        assert!(with_xdg(Path::new("relative")).note.is_some());
        assert_eq!(choose(|_| None).note, None);
    }
}
