//! Standard handles on Windows: which of them a child gets, and putting others in their place.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, IntoRawHandle};

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};

const STANDARD: [STD_HANDLE; 3] = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE];

/// Keeps child processes from inheriting the standard handles. Children get every handle that is marked as inheritable, not only
/// the three that `Command` names, and those of this process came marked from its starter: a daemon would keep the pipe that the
/// starter reads from open.
pub fn keep_standard_handles() {
    for which in STANDARD {
        // SAFETY: no pointers. The call fails for a handle that is missing or cannot be changed (an old console's), which no
        // child gets either.
        unsafe { SetHandleInformation(GetStdHandle(which), HANDLE_FLAG_INHERIT, 0) };
    }
}

/// Puts `file` in the place of a standard descriptor, 0, 1 or 2, and closes what was there.
pub fn replace(file: &File, descriptor: i32) -> io::Result<()> {
    let which = STANDARD[descriptor as usize];
    let own = file.try_clone()?;
    // With the locks no thread writes while the handle changes, so none writes to a handle number that was reused.
    let _writers = (io::stdout().lock(), io::stderr().lock());
    // SAFETY: standard handles are looked up at each use. The new one is leaked here, so it stays open until the next
    // change; the old one is unused from then on, and is closed once.
    unsafe {
        let old = GetStdHandle(which);
        if SetStdHandle(which, own.as_raw_handle()) == 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = own.into_raw_handle();
        let elsewhere = STANDARD.into_iter().any(|other| other != which && GetStdHandle(other) == old);
        if !old.is_null() && old != INVALID_HANDLE_VALUE && !elsewhere {
            CloseHandle(old);
        }
    }
    Ok(())
}
