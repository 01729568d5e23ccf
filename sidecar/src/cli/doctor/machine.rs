//! Checks of this program and what it runs on: the model, the processor, the disks.

use std::path::Path;

use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::kernel;
use offheap_protocol::{Code, Fault};

use super::check::{ok, problem, warning};
use crate::VERSION;
use crate::cli::output::json::Check;
use crate::model::file;
use crate::{config, fault};

/// Free space on a disk below which the check warns.
const MIN_FREE_BYTES: u64 = 200 << 20;

/// This program.
pub fn program() -> Check {
    let exe = std::env::current_exe().map_or_else(|error| error.to_string(), |exe| exe.display().to_string());
    ok("program", format!("offheap {VERSION}, {exe}"))
}

/// The model that is configured as `named`.
pub fn model(named: &str, project: Option<&Path>) -> Check {
    let package = std::env::var_os("OFFHEAP_MODEL_DIR").map(std::path::PathBuf::from);
    let opened = file::resolve(named, project, package.as_deref()).and_then(|file| {
        let options =
            Options { threads: 1, sha256: file.sha256.as_deref(), below: file.below.as_deref(), ..Options::default() };
        let embedder = Embedder::open(&file.path, &options).map_err(|error| fault::from_engine(&error))?;
        let info = embedder.info();
        let (name, quantisation, dim) = (&info.name, &info.quantisation, info.dim);
        Ok(format!("{name}, {quantisation}, {dim} dimensions\n{}", file.path.display()))
    });
    match opened {
        Ok(detail) => ok("model", detail),
        Err(fault) => problem("model", &fault),
    }
}

/// Which compute kernel is used, and why.
pub fn processor() -> Check {
    const CHECK: &str = "processor";
    let forced = config::kernel();
    let usable: Vec<&str> = kernel::usable_names().collect();
    let unusable: Vec<&str> = kernel::unusable_names().collect();
    let threads = config::threads();
    match (kernel::choose(forced.as_deref()), &forced) {
        (Ok(chosen), Some(_)) => ok(
            CHECK,
            format!("{} on {threads} threads, set by OFFHEAP_KERNEL\nusable: {}", chosen.name, usable.join(", ")),
        ),
        (Ok(chosen), None) => {
            let lacks =
                if unusable.is_empty() { String::new() } else { format!("; not supported: {}", unusable.join(", ")) };
            ok(CHECK, format!("{} on {threads} threads\nusable: {}{lacks}", chosen.name, usable.join(", ")))
        }
        (Err(usable), forced) => {
            let name = forced.as_deref().unwrap_or_default();
            let message = format!("OFFHEAP_KERNEL is `{name}`, this processor runs {}", usable.join(", "));
            problem(CHECK, &Fault::new(Code::InvalidArgument, message).hint("unset OFFHEAP_KERNEL"))
        }
    }
}

/// The free space on the disk of `dir`, where the system tells.
pub fn disk(check: &'static str, dir: &Path) -> Option<Check> {
    let free = free_bytes(dir)?;
    let text = format!("{:.1} GB free", free as f64 / 1e9);
    Some(match free < MIN_FREE_BYTES {
        true => warning(check, text, "free some space: indexing stops when the disk is full, and continues later"),
        false => ok(check, text),
    })
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
