//! Checks of a project: its configuration, its index, and what the system grants it.

use std::path::Path;

use offheap_engine::Error;
use offheap_engine::store::Store;
use offheap_protocol::endpoint::PROJECT_DIR;
use offheap_protocol::{Code, Fault};

use super::check::{ok, problem, warning};
use crate::cli::output::json::Check;
use crate::config::{self, Config};
use crate::fault;

/// Limit of watched directories below which the check warns: larger projects need more.
const MIN_WATCHES: u64 = 8192;

/// The project's configuration. Also gives the configuration, if it can be used.
pub fn configuration(root: &Path) -> (Vec<Check>, Option<Config>) {
    const CHECK: &str = "configuration";
    let (config, notes) = match Config::read_with_notes(root) {
        Ok(read) => read,
        Err(fault) => return (vec![problem(CHECK, &fault)], None),
    };
    let remedy = "correct .offheap/config.json: the values that a repository can set are limited";
    let mut found: Vec<Check> = notes.into_iter().map(|note| warning(CHECK, note, remedy)).collect();
    let file = root.join(PROJECT_DIR).join("config.json");
    found.push(match file.is_file() {
        true => ok(CHECK, file.display().to_string()),
        false => ok(CHECK, format!("{} has none: the defaults apply", root.display())),
    });
    (found, Some(config))
}

/// The index, every byte of it, and whether its directory can be written.
pub fn index(root: &Path) -> Vec<Check> {
    let place = config::place(root);
    match config::has_index(&place) {
        Ok(true) => {}
        Ok(false) => return vec![ok("index", "none yet: `offheap index` creates it")],
        Err(fault) => return vec![problem("index", &fault)],
    }
    let elsewhere = match place.path() {
        path if path.starts_with(root) => String::new(),
        path => format!(", in `{}`", path.display()),
    };
    let mut found = Vec::new();
    // Some damage makes the libraries panic. Their messages are of no use to the user.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = || match Store::verify_read_only(&place) {
        Err(error @ (Error::IndexDamaged { .. } | Error::IndexFormat { .. })) => Err(error),
        // Full verification must write a note about what it reads. On a read-only disk, only the checks of opening are made.
        _ => Store::open_read_only(&place),
    };
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    std::panic::set_hook(hook);
    let damaged = || Fault::new(Code::IndexDamaged, "reading the index panics").hint("run `offheap index --rebuild`");
    let Ok(checked) = checked else { return vec![problem("index", &damaged())] };
    found.push(match checked {
        Ok(snapshot) => {
            let stats = snapshot.stats();
            let text = format!(
                "{} files, {} chunks, {} vectors, generation {}{}",
                stats.files, stats.chunks, stats.vectors, snapshot.generation, elsewhere
            );
            match stats.vectors + stats.text_only < stats.chunks {
                true => warning("index", format!("{text}: some chunks have no vector"), "run `offheap index`"),
                false => ok("index", text),
            }
        }
        Err(error) => problem("index", &fault::from_engine(&error)),
    });
    let Ok(Some(folder)) = place.open() else { return found };
    let probe = format!("doctor-{}", std::process::id());
    let written = folder.create_new(&probe).and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
    let _ = folder.remove(&probe);
    if let Err(error) = written {
        found.push(warning(
            "index directory",
            format!("`{}` cannot be written: {error}", folder.path().display()),
            "make it writable: search works, indexing does not",
        ));
    }
    found
}

/// How many directories the system lets a user watch; `None` where it does not tell.
pub fn watches() -> Option<Check> {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    let limit: u64 = limit.trim().parse().ok()?;
    Some(match limit < MIN_WATCHES {
        true => warning(
            "file watching",
            format!("the system lets a user watch {limit} directories; larger projects are polled every 30 s"),
            "raise fs.inotify.max_user_watches",
        ),
        false => ok("file watching", format!("up to {limit} directories")),
    })
}
