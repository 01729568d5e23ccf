//! Finds the endpoint of a project and the sidecar binary.

use std::path::{Path, PathBuf};

use offheap_protocol::border::root_of;
use offheap_protocol::{Code, Endpoint, Fault};

/// The endpoint for the project of `dir`, as [`root_of`] finds it; without `dir`, the endpoint
/// of the user's daemon without a project.
pub fn endpoint(dir: Option<String>) -> Result<Endpoint, Fault> {
    let Some(dir) = dir else { return Endpoint::new(None) };
    Endpoint::new(Some(root_of(Path::new(&dir))?.into_path()))
}

/// Path of the sidecar binary: `OFFHEAP_SIDECAR`, or the binary beside the addon's file, so that both are of one build. `addon`
/// is the addon's path or `file://` URL.
///
/// Errors: [`Code::SidecarNotFound`].
pub fn sidecar(addon: &str) -> Result<PathBuf, Fault> {
    if let Some(path) = std::env::var_os("OFFHEAP_SIDECAR").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        return Err(Fault::new(
            Code::SidecarNotFound,
            format!("OFFHEAP_SIDECAR names `{}`, which is not a file", path.display()),
        ));
    }
    let name = if cfg!(windows) { "offheap.exe" } else { "offheap" };
    let path = file_url(addon).with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Fault::new(Code::SidecarNotFound, format!("the sidecar `{}` is missing", path.display())).hint(
        "reinstall offheap with its optional dependencies; node_modules copied from another system does not work; \
         in a bundle or archive (Electron asar), unpack it or set OFFHEAP_SIDECAR",
    ))
}

/// The path of a `file://` URL, as Node gives it for the addon, percent-decoded; any other text is taken as a path.
fn file_url(url: &str) -> PathBuf {
    let Some(path) = url.strip_prefix("file://") else { return PathBuf::from(url) };
    let path = if cfg!(windows) { path.trim_start_matches('/') } else { path };
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        out.push(byte.unwrap_or(bytes[i]));
        i += if byte.is_some() { 3 } else { 1 };
    }
    PathBuf::from(String::from_utf8_lossy(&out).into_owned())
}
