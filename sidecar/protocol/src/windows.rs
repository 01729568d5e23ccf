//! The current user on Windows, security descriptors for that user alone, and the users at the two ends of a pipe.
//!
//! A user is a security identifier (SID) in its text form (`S-1-5-21-...`), which is unique and easy to compare and log.

use std::ffi::c_void;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, GetSecurityInfo, SDDL_REVISION_1,
    SE_FILE_OBJECT, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetTokenInformation, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    RevertToSelf, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::CreateDirectoryW;
use windows_sys::Win32::System::Pipes::{
    GetNamedPipeClientProcessId, GetNamedPipeServerProcessId, ImpersonateNamedPipeClient,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcess, OpenProcessToken, OpenThreadToken,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

/// The SID of the current user.
pub fn user() -> io::Result<&'static str> {
    static USER: OnceLock<String> = OnceLock::new();
    if let Some(user) = USER.get() {
        return Ok(user);
    }
    // SAFETY: gives a pseudo handle of this process, which need not be closed.
    let user = user_of_token(&token_of(unsafe { GetCurrentProcess() })?)?;
    Ok(USER.get_or_init(|| user))
}

/// A security descriptor: the owner of an object and the access rights of others.
pub struct Descriptor(PSECURITY_DESCRIPTOR);

// SAFETY: the memory is never changed after it was made, and may be freed by any thread.
unsafe impl Send for Descriptor {}
// SAFETY: the memory is never changed after it was made.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// Full access for the current user and for the system, none for others, nothing inherited. The owner is the user, because
    /// objects of an elevated process would otherwise belong to the administrators, and the user's other processes could
    /// not tell whose they are.
    pub fn private() -> io::Result<Self> {
        Self::parse(&Self::private_text(user()?))
    }

    /// Like [`private`](Self::private), for a directory; files and directories made in it inherit the access rights.
    fn private_dir() -> io::Result<Self> {
        let user = user()?;
        Self::parse(&format!("O:{user}D:P(A;OICI;FA;;;{user})(A;OICI;FA;;;SY)"))
    }

    /// The descriptor as text: `GA` is full access, `SY` the system, `P` prevents inheritance from the parent.
    fn private_text(user: &str) -> String {
        format!("O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)")
    }

    /// Reads a descriptor from its text form (SDDL).
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        let wide: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor = null_mut();
        // SAFETY: the text ends in a zero; on success the descriptor is ours to free.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                wide.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        })?;
        Ok(Descriptor(descriptor))
    }

    /// The form that the functions of the system take. Must not be used after `self` was dropped.
    pub fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    /// The owner and the access rights in their text form (SDDL).
    pub fn text(&self) -> io::Result<String> {
        let mut text = null_mut();
        let which = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
        // SAFETY: the descriptor is valid; on success the text is ours to free, which `take_text` does.
        unsafe {
            check(ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0,
                SDDL_REVISION_1,
                which,
                &mut text,
                null_mut(),
            ))?;
            Ok(take_text(text))
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: allocated by the system for us, freed once.
        unsafe { LocalFree(self.0) };
    }
}

/// The SID of an open pipe's owner, and the pipe's descriptor.
pub fn pipe_owner(pipe: BorrowedHandle<'_>) -> io::Result<(String, Descriptor)> {
    let (mut owner, mut descriptor): (PSID, PSECURITY_DESCRIPTOR) = (null_mut(), null_mut());
    let which = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    // SAFETY: the handle is open; `owner` points into the descriptor, which lives until the end of this function.
    let error = unsafe {
        let owner = &mut owner;
        let (group, dacl, sacl) = (null_mut(), null_mut(), null_mut());
        GetSecurityInfo(raw(pipe), SE_KERNEL_OBJECT, which, owner, group, dacl, sacl, &mut descriptor)
    };
    owner_of(error, owner, descriptor)
}

/// Whether the server's end of a pipe belongs to the current user. A client must check it before it sends anything.
///
/// The owner of the pipe decides: only that user or an administrator can make a pipe with this owner, and no other user can
/// add an instance to it. The user of the server's process must be the same where it can be read; an elevated process
/// may refuse that.
pub fn server_is_us(pipe: BorrowedHandle<'_>) -> io::Result<bool> {
    let us = user()?;
    let (owner, _) = pipe_owner(pipe)?;
    if owner != us {
        return Ok(false);
    }
    match user_of_process(server_process(pipe)?) {
        Ok(user) => Ok(user == us),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        Err(error) => Err(error),
    }
}

/// The id of the process at the server's end of a pipe.
pub fn server_process(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut process = 0;
    // SAFETY: the handle is open.
    check(unsafe { GetNamedPipeServerProcessId(raw(pipe), &mut process) })?;
    Ok(process)
}

/// The id of the process at the client's end of a pipe.
pub fn client_process(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut process = 0;
    // SAFETY: the handle is open.
    check(unsafe { GetNamedPipeClientProcessId(raw(pipe), &mut process) })?;
    Ok(process)
}

/// Whether the client of a pipe runs as the current user. Fails before something was read from the client, because the system
/// does not know it earlier.
pub fn client_is_us(pipe: BorrowedHandle<'_>) -> io::Result<bool> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the handle is open. Between the calls this thread does nothing else; if it cannot stop impersonating the client,
    // the process aborts.
    let opened = unsafe {
        check(ImpersonateNamedPipeClient(raw(pipe)))?;
        let as_ourselves = 1;
        let opened = check(OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, as_ourselves, &mut token));
        if RevertToSelf() == 0 {
            std::process::abort();
        }
        opened
    };
    opened?;
    // SAFETY: just opened, and ours.
    let token = unsafe { OwnedHandle::from_raw_handle(token.cast()) };
    Ok(user_of_token(&token)? == user()?)
}

/// A path without the `\\?\` that `canonicalize` puts before it, where that names the same file. With this prefix, `/` does not
/// separate names, and few programs accept such a path.
pub fn without_prefix(path: PathBuf) -> PathBuf {
    let Some(text) = path.to_str() else { return path };
    let short = match text.strip_prefix(r"\\?\UNC\") {
        Some(share) => format!(r"\\{share}"),
        None => text.strip_prefix(r"\\?\").unwrap_or(text).to_owned(),
    };
    // It names another file where a name ends in a dot or is that of a device.
    match std::fs::canonicalize(&short) {
        Ok(same) if same == path => PathBuf::from(short),
        _ => path,
    }
}

/// Makes a directory, and its parents, that only the current user can enter. One that exists must belong to the user, to the
/// administrators or to the system.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let wide: Vec<u16> = dir.as_os_str().encode_wide().chain([0]).collect();
    let descriptor = Descriptor::private_dir()?;
    // SAFETY: the path ends in a zero, the descriptor outlives the call.
    match check(unsafe { CreateDirectoryW(wide.as_ptr(), &descriptor.attributes()) }) {
        Err(error) if error.raw_os_error() == Some(ERROR_ALREADY_EXISTS as i32) => {}
        other => return other,
    }
    let owner = dir_owner(&wide)?;
    // Directories made by an elevated process belong to the administrators, who have access to everything anyway.
    const ADMINISTRATORS: &str = "S-1-5-32-544";
    const SYSTEM: &str = "S-1-5-18";
    if [user()?, ADMINISTRATORS, SYSTEM].contains(&owner.as_str()) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it belongs to {owner}, not to you ({})", user()?)))
}

fn dir_owner(path: &[u16]) -> io::Result<String> {
    let (mut owner, mut descriptor): (PSID, PSECURITY_DESCRIPTOR) = (null_mut(), null_mut());
    // SAFETY: the path ends in a zero; `owner` points into the descriptor, which lives until the end of this function.
    let error = unsafe {
        let owner = &mut owner;
        let (path, which) = (path.as_ptr(), OWNER_SECURITY_INFORMATION);
        GetNamedSecurityInfoW(path, SE_FILE_OBJECT, which, owner, null_mut(), null_mut(), null_mut(), &mut descriptor)
    };
    owner_of(error, owner, descriptor).map(|(owner, _)| owner)
}

/// The outcome of `GetSecurityInfo` and `GetNamedSecurityInfoW`, which return their error instead of setting it.
fn owner_of(error: u32, owner: PSID, descriptor: PSECURITY_DESCRIPTOR) -> io::Result<(String, Descriptor)> {
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error as i32));
    }
    let descriptor = Descriptor(descriptor);
    if owner.is_null() {
        return Ok((String::new(), descriptor)); // no owner: equal to no user
    }
    Ok((sid_text(owner)?, descriptor))
}

fn user_of_process(id: u32) -> io::Result<String> {
    // SAFETY: no pointers.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and ours.
    let process = unsafe { OwnedHandle::from_raw_handle(process.cast()) };
    user_of_token(&token_of(raw(process.as_handle()))?)
}

fn token_of(process: HANDLE) -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the process's handle is open; on success the token is ours to close.
    unsafe {
        check(OpenProcessToken(process, TOKEN_QUERY, &mut token))?;
        Ok(OwnedHandle::from_raw_handle(token.cast()))
    }
}

fn user_of_token(token: &OwnedHandle) -> io::Result<String> {
    let mut buffer = [0u64; 16]; // a `TOKEN_USER` and the longest SID have 84 bytes; `u64` for the alignment
    let mut length = 0;
    // SAFETY: the buffer has the length that is passed and the alignment; the SID that is pointed to lies in it.
    unsafe {
        let at = buffer.as_mut_ptr().cast::<c_void>();
        let token = raw(token.as_handle());
        check(GetTokenInformation(token, TokenUser, at, size_of_val(&buffer) as u32, &mut length))?;
        sid_text((*at.cast::<TOKEN_USER>()).User.Sid)
    }
}

fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: callers pass a valid SID; on success the text is ours to free, which `take_text` does.
    unsafe {
        check(ConvertSidToStringSidW(sid, &mut text))?;
        Ok(take_text(text))
    }
}

/// Copies a text that the system allocated, and frees it.
///
/// # Safety
///
/// The text ends in a zero, was allocated with `LocalAlloc` for the caller, and is not used afterwards.
unsafe fn take_text(text: *mut u16) -> String {
    // SAFETY: reads up to the zero, which the caller promises, then frees once.
    unsafe {
        let length = (0..).take_while(|i| *text.add(*i) != 0).count();
        let out = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
        LocalFree(text.cast());
        out
    }
}

fn raw(handle: BorrowedHandle<'_>) -> HANDLE {
    handle.as_raw_handle().cast()
}

fn check(done: i32) -> io::Result<()> {
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_descriptor_names_the_user_and_the_system() {
        let user = user().expect("every process has one");
        assert!(user.starts_with("S-1-5-"), "{user}");
        let text = Descriptor::private().expect("well formed").text().expect("printable");
        assert_eq!(text, Descriptor::private_text(user));
        assert!(Descriptor::parse("D:P(A;;GA;;;S-1-nonsense)").is_err());
    }

    #[test]
    fn a_private_directory_is_made_with_its_parents() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path().join("a").join("run");
        private_dir(&dir).expect("makes it with its parents");
        private_dir(&dir).expect("takes its own");
        std::fs::write(dir.join("file"), "x").expect("usable");
        assert_eq!(user_of_process(std::process::id()).expect("our own"), user().expect("known"));
    }

    #[test]
    fn paths_lose_the_prefix_of_canonicalize() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let long = temp.path().canonicalize().expect("exists");
        let short = without_prefix(long.clone());
        assert!(short.to_str().expect("Unicode").as_bytes()[1] == b':', "{short:?} of {long:?}");
        std::fs::write(short.join("a/../b"), "x").expect("slashes work");
        assert_eq!(without_prefix(short.clone()), short);
    }
}
