//! The Tokio runtime of the addon.

use std::sync::OnceLock;

use napi::bindgen_prelude::create_custom_tokio_runtime;

/// Stack of each of the addon's threads.
const STACK_BYTES: usize = 256 << 10;

/// Why there is no thread for the connections; empty where there is one.
static NO_THREAD: OnceLock<String> = OnceLock::new();

/// Why no connection can be made: the system refused a thread. `None` where all is well.
pub fn why_no_thread() -> Option<&'static str> {
    NO_THREAD.get().map(String::as_str)
}

/// Gives napi a runtime of one worker, which is enough for a socket; napi's own would have one for each processor.
///
/// Runs while Node loads the library, where a panic aborts Node. napi's own runtime panics where the system refuses a thread,
/// so napi then gets a runtime without threads, and [`why_no_thread`] makes `locate` fail before anything uses it.
#[napi_derive::module_init]
fn init() {
    let threaded = std::panic::catch_unwind(|| {
        // Tokio prints a panic where a thread cannot be started, so it is tried first.
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| ())?;
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(4) // used only by the pipes of a private daemon on Windows
            .thread_name("offheap-ipc")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
    });
    let why = match threaded {
        Ok(Ok(runtime)) => return create_custom_tokio_runtime(runtime),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the system allows no further thread".to_owned(),
    };
    let _ = NO_THREAD.set(why);
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
        create_custom_tokio_runtime(runtime);
    }
}
