//! `offheap init`: marks a directory as a project.

use std::path::Path;
use std::process::ExitCode;

use offheap_protocol::Fault;
use offheap_protocol::endpoint::canonical;

use super::output::json::{InitReport, path_text};
use super::output::{self, out};
use crate::project::width::check_width;
use crate::{args, config};

pub fn init(args: &args::Init) -> Result<ExitCode, Fault> {
    let dir = canonical(args.dir.as_deref().unwrap_or(Path::new(".")))?;
    check_width(&dir, args.force)?;
    let created = config::init(&dir)?;
    if args.json {
        out(&InitReport { project: path_text(&dir), created });
    } else if created {
        output::say(&format!("Initialised {}. Next: offheap index", dir.display()));
    } else {
        output::say(&format!("{} is a project already", dir.display()));
    }
    Ok(ExitCode::SUCCESS)
}
