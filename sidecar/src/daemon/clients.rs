//! Who is connected, by the name that each client gave itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use offheap_protocol::message::{ClientStatus, MAX_CLIENT_NAME_CHARS, MAX_CLIENT_NAMES, is_obeyed};

use crate::UNPOISONED;

/// What is shown for a client whose name has no character that can be shown.
const UNNAMED: &str = "unnamed";

/// The number of open connections for each name.
#[derive(Default)]
pub struct Clients(Mutex<BTreeMap<String, u32>>);

/// A connection that counts for its client's name as long as this lives.
pub struct Connected {
    clients: Arc<Clients>,
    name: String,
}

impl Connected {
    /// The client's name, as it is shown.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut names = self.clients.0.lock().expect(UNPOISONED);
        if let Some(n) = names.get_mut(&self.name) {
            *n -= 1;
            if *n == 0 {
                names.remove(&self.name);
            }
        }
    }
}

impl Clients {
    /// Counts a connection of a client that calls itself `name`.
    pub fn add(self: &Arc<Self>, name: &str) -> Connected {
        let name = cleaned(name);
        *self.0.lock().expect(UNPOISONED).entry(name.clone()).or_default() += 1;
        Connected { clients: self.clone(), name }
    }

    /// The names with the most connections.
    pub fn report(&self) -> Vec<ClientStatus> {
        let names = self.0.lock().expect(UNPOISONED);
        let mut clients: Vec<ClientStatus> =
            names.iter().map(|(name, &connections)| ClientStatus { name: name.clone(), connections }).collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.connections)); // stable: equal numbers stay in the order of names
        clients.truncate(MAX_CLIENT_NAMES);
        clients
    }
}

/// A name in one short line, without characters that a terminal may act on.
fn cleaned(name: &str) -> String {
    let shown = |c: char| if c.is_control() || is_obeyed(c) { ' ' } else { c };
    let name: String = name.chars().take(MAX_CLIENT_NAME_CHARS).map(shown).collect();
    let name = name.trim();
    if name.is_empty() { UNNAMED.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_name_until_they_end() {
        let clients = Arc::new(Clients::default());
        let open = [clients.add("b"), clients.add("a"), clients.add("b")];
        let report = |clients: &Clients| -> Vec<(String, u32)> {
            clients.report().into_iter().map(|client| (client.name, client.connections)).collect()
        };
        assert_eq!(report(&clients), [("b".to_owned(), 2), ("a".to_owned(), 1)]);
        drop(open);
        assert_eq!(report(&clients), []);
    }

    #[test]
    fn a_report_holds_the_busiest_names_and_none_is_long_or_obeyed() {
        let clients = Arc::new(Clients::default());
        let open: Vec<_> = (0..500).map(|i| clients.add(&format!("n{i}"))).chain([clients.add("n77")]).collect();
        let report = clients.report();
        assert_eq!((report.len(), report[0].name.as_str(), report[0].connections), (MAX_CLIENT_NAMES, "n77", 2));
        drop(open);
        for (given, shown) in
            [("\x1b[31mred\u{202e}\nline", "[31mred  line"), ("", UNNAMED), ("\n\t ", UNNAMED), ("a name", "a name")]
        {
            assert_eq!(cleaned(given), shown);
        }
        assert_eq!(cleaned(&"é".repeat(100_000)).chars().count(), MAX_CLIENT_NAME_CHARS);
    }
}
