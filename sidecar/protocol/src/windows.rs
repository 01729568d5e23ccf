//! Who is who on Windows: the user of this process, what only that user may open, and who is behind a pipe.
//!
//! Users are security identifiers in their text form (`S-1-5-21-...`), which is unique and easy to compare and log.

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

/// The user of this process.
pub fn user() -> io::Result<&'static str> {
    static USER: OnceLock<String> = OnceLock::new();
    if let Some(user) = USER.get() {
        return Ok(user);
    }
    // SAFETY: a constant that stands for this process; nothing to close.
    let user = user_of_token(&token_of(unsafe { GetCurrentProcess() })?)?;
    Ok(USER.get_or_init(|| user))
}

/// A security descriptor: who owns an object, and who may do what with it.
pub struct Descriptor(PSECURITY_DESCRIPTOR);

// SAFETY: memory that nobody changes after it was made.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// Everything for this process's user and for the system, nothing for anybody else, nothing inherited from a
    /// parent. Owned by the user itself: objects of an elevated process would otherwise belong to all administrators,
    /// and the user's other processes could not tell whose they are.
    pub fn private() -> io::Result<Self> {
        Self::parse(&Self::private_text(user()?))
    }

    /// The same for a directory and all that will be made in it.
    fn private_dir() -> io::Result<Self> {
        let user = user()?;
        Self::parse(&format!("O:{user}D:P(A;OICI;FA;;;{user})(A;OICI;FA;;;SY)"))
    }

    /// `GA` is "everything", `SY` the system, `P` shuts out what a parent would pass on.
    fn private_text(user: &str) -> String {
        format!("O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)")
    }

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

    /// What the system's functions take. Valid while `self` is.
    pub fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    /// The owner and the list of who may do what, as the system writes them down.
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

/// Who owns an open pipe, and its whole descriptor.
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

/// Does the server's end of this pipe belong to our user? To be asked before anything is sent.
///
/// The pipe's owner is what counts: only the user itself (or an administrator) can make a pipe that it owns, and nobody
/// else can add an instance to one. The server's process must not contradict it where it lets itself be looked at,
/// which an elevated one may not.
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

/// The process that made a pipe.
pub fn server_process(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut process = 0;
    // SAFETY: the handle is open.
    check(unsafe { GetNamedPipeServerProcessId(raw(pipe), &mut process) })?;
    Ok(process)
}

/// The process that opened a pipe.
pub fn client_process(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut process = 0;
    // SAFETY: the handle is open.
    check(unsafe { GetNamedPipeClientProcessId(raw(pipe), &mut process) })?;
    Ok(process)
}

/// Is the client of this pipe our user? To be asked after something was read from it: before that the system does not
/// know.
pub fn client_is_us(pipe: BorrowedHandle<'_>) -> io::Result<bool> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the handle is open. Between the calls this thread does nothing else, and it never goes on as the client.
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

/// A path as people write it, where that means the same: without the `\\?\` that `canonicalize` puts before it. In paths
/// with it `/` is a letter like others, and few programs take it.
pub fn without_prefix(path: PathBuf) -> PathBuf {
    let Some(text) = path.to_str() else { return path };
    let short = match text.strip_prefix(r"\\?\UNC\") {
        Some(share) => format!(r"\\{share}"),
        None => text.strip_prefix(r"\\?\").unwrap_or(text).to_owned(),
    };
    // Not so for names that end in dots or are those of devices.
    match std::fs::canonicalize(&short) {
        Ok(same) if same == path => PathBuf::from(short),
        _ => path,
    }
}

/// Makes a directory that only this user can enter. One that exists must belong to the user or to the system's own.
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
    // What an elevated process makes belongs to the administrators, who can do everything anyway.
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

/// What the two functions above got. They return the error instead of setting it.
fn owner_of(error: u32, owner: PSID, descriptor: PSECURITY_DESCRIPTOR) -> io::Result<(String, Descriptor)> {
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error as i32));
    }
    let descriptor = Descriptor(descriptor);
    if owner.is_null() {
        return Ok((String::new(), descriptor)); // nobody's: equal to no user
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
    let mut room = [0u64; 16]; // a `TOKEN_USER` and the longest identifier have 84 bytes; words, for the alignment
    let mut length = 0;
    // SAFETY: the room is as long as said and aligned; the identifier that is pointed to lies in it.
    unsafe {
        let at = room.as_mut_ptr().cast::<c_void>();
        let token = raw(token.as_handle());
        check(GetTokenInformation(token, TokenUser, at, size_of_val(&room) as u32, &mut length))?;
        sid_text((*at.cast::<TOKEN_USER>()).User.Sid)
    }
}

fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: callers give a valid identifier; on success the text is ours to free, which `take_text` does.
    unsafe {
        check(ConvertSidToStringSidW(sid, &mut text))?;
        Ok(take_text(text))
    }
}

/// Copies a text of the system and frees it.
///
/// # Safety
///
/// It ends in a zero and was allocated for us.
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
    fn the_user_has_an_identifier_and_private_means_that_user_and_the_system() {
        let user = user().expect("every process has one");
        assert!(user.starts_with("S-1-5-"), "{user}");
        let text = Descriptor::private().expect("well formed").text().expect("printable");
        assert_eq!(text, Descriptor::private_text(user));
        assert!(Descriptor::parse("D:P(A;;GA;;;S-1-nonsense)").is_err());
    }

    #[test]
    fn directories_are_made_for_the_user_alone() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path().join("a").join("run");
        private_dir(&dir).expect("makes it with its parents");
        private_dir(&dir).expect("takes its own");
        std::fs::write(dir.join("file"), "x").expect("usable");
        assert_eq!(user_of_process(std::process::id()).expect("our own"), user().expect("known"));
    }

    #[test]
    fn paths_are_as_people_write_them() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let long = temp.path().canonicalize().expect("exists");
        let short = without_prefix(long.clone());
        assert!(short.to_str().expect("Unicode").as_bytes()[1] == b':', "{short:?} of {long:?}");
        std::fs::write(short.join("a/../b"), "x").expect("slashes work");
        assert_eq!(without_prefix(short.clone()), short);
    }
}
