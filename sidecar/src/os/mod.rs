//! What differs between systems, behind functions that are named the same on each.

pub mod memory;
pub mod signals;
#[cfg(windows)]
pub mod windows;

use std::fs::File;

/// Lowers the priority of the calling thread and of the threads that it starts. Only Linux has priorities of threads; on
/// other systems their number must do.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 19);
}

/// Closes the descriptors that the starter left open for its children, all but the three standard streams: a shell that waits
/// for the end of its pipe must not wait for the daemon. To be called before anything is opened.
#[cfg(unix)]
pub fn close_inherited() {
    let list = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(list) else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // SAFETY: this process has opened nothing yet, so the descriptor was inherited; closing one that is not open (the
        // listing's own) only fails.
        unsafe { libc::close(descriptor) };
    }
}

/// On Windows starters keep their handles to themselves: the command line by `windows::keep_standard_handles`, Node as well.
#[cfg(not(unix))]
pub fn close_inherited() {}

/// A file that reads as empty and takes every write.
pub fn null_device() -> std::io::Result<File> {
    File::options().read(true).write(true).open(if cfg!(windows) { "NUL" } else { "/dev/null" })
}
