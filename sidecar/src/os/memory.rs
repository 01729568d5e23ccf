//! Resident memory of this process.

/// Anonymous and file-backed resident bytes: `RssAnon`, `RssFile` of `/proc/self/status`.
#[cfg(target_os = "linux")]
pub fn resident() -> (Option<u64>, Option<u64>) {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return (None, None) };
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    (kilobytes("RssAnon:").map(|kb| kb * 1024), kilobytes("RssFile:").map(|kb| kb * 1024))
}

/// This system does not report it.
#[cfg(not(target_os = "linux"))]
pub fn resident() -> (Option<u64>, Option<u64>) {
    (None, None)
}

/// Gives back what the allocator keeps for later. After an index run that is most of what it used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: trims the heaps of this process; takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other systems' allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
