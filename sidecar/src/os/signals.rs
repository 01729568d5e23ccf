//! Signals: requests of the system to end, and the loss of a mapped file.

/// Exit code when a mapped model file was truncated; a client starts the daemon again.
#[cfg(unix)]
const EXIT_MAP_LOST: i32 = 75;

/// Requests of the system to end, from when they are watched.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(windows)]
    ctrl_c: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(unix)]
impl Signals {
    /// Begins to watch. Must be called within the event loop.
    pub fn watch() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next request to end; its name, for the log.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(windows)]
impl Signals {
    /// Begins to watch. Must be called within the event loop.
    pub fn watch() -> std::io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_shutdown};
        Ok(Signals { ctrl_c: ctrl_c()?, shutdown: ctrl_shutdown()? })
    }

    /// Waits for the next request to end; its name, for the log.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.ctrl_c.recv() => "Ctrl-C",
            _ = self.shutdown.recv() => "the system shuts down",
        }
    }
}

/// Makes the loss of a mapped file end the process with [`EXIT_MAP_LOST`]. Reading a page of a mapped file that was cut raises
/// SIGBUS, from which no thread can recover; the daemon that is started next checks the file.
#[cfg(unix)]
pub fn exit_on_lost_map() {
    extern "C" fn on_sigbus(_: libc::c_int) {
        let text = b"a memory-mapped file was truncated or its disk failed; exiting\n";
        // SAFETY: write and _exit may be called from a signal handler; the buffer is static.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(EXIT_MAP_LOST);
        }
    }
    // SAFETY: the handler only calls functions that are safe in one.
    unsafe { libc::signal(libc::SIGBUS, on_sigbus as *const () as libc::sighandler_t) };
}

/// Windows does not let a mapped file be cut.
#[cfg(windows)]
pub fn exit_on_lost_map() {}
