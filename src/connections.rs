//! The connections of this process: one for each daemon, shared by all environments (the main thread and worker threads).

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard};

use offheap_protocol::{Client, Endpoint};

static CONNECTIONS: LazyLock<Mutex<HashMap<Endpoint, Client>>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, HashMap<Endpoint, Client>> {
    CONNECTIONS.lock().expect("no code that panics runs under this lock")
}

/// The connection to the daemon at `endpoint`, if there is one that can be used.
pub fn get(endpoint: &Endpoint) -> Option<Client> {
    lock().get(endpoint).filter(|client| client.is_usable()).cloned()
}

/// Adds a connection and returns the one to use. That is another one if another environment was faster; `client` then ends
/// when it is dropped.
pub fn add(endpoint: Endpoint, client: Client) -> Client {
    let mut connections = lock();
    connections.retain(|_, client| client.is_usable());
    connections.entry(endpoint).or_insert(client).clone()
}
