//! `offheap pull`: downloads a model into the Hugging Face cache.

use std::io::IsTerminal;
use std::process::ExitCode;

use offheap_protocol::Fault;

use super::output::json::{PullReport, path_text};
use super::output::{self, out};
use crate::args;
use crate::model::file::HubFile;

pub fn pull(args: &args::Pull) -> Result<ExitCode, Fault> {
    let name = args.model.strip_prefix("hf:").unwrap_or(&args.model);
    let path = HubFile::parse(name)?.pull(!args.json && std::io::stderr().is_terminal())?;
    if args.json {
        out(&PullReport { model: format!("hf:{name}"), path: path_text(&path) });
    } else {
        output::say(&format!("{}\nUse it: set \"model\": \"hf:{name}\" in .offheap/config.json", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}
