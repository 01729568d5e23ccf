//! `offheap why`: whether a path is in the index, which rule decides, and what to do. Starts no daemon.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use offheap_protocol::border::find_project;
use offheap_protocol::endpoint::canonical;
use offheap_protocol::{Code, Fault};

use super::output::json::WhyReport;
use super::output::{out, text};
use super::{exit, target};
use crate::args;
use crate::project::why::Why;

pub fn why(args: &args::Why) -> Result<ExitCode, Fault> {
    let path = absolute(&args.path)?;
    let root = root_for(args, &path)?;
    let why = match below(&root, &path) {
        Some(rel) => Why::of(&root, &rel)?,
        None => Why::outside(&path, &root),
    };
    if args.common.json {
        out(&WhyReport::new(&root, &why));
    } else {
        text::why(&why);
    }
    Ok(if why.indexed { ExitCode::SUCCESS } else { ExitCode::from(exit::NOTHING) })
}

/// The project that is asked: that of `--project` or of the working directory; where there is none, the path's own.
fn root_for(args: &args::Why, path: &Path) -> Result<PathBuf, Fault> {
    if args.common.project.is_none() && find_project(Path::new("."))?.is_none() {
        let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
        if let Some(root) = above.and_then(|folder| find_project(folder).transpose()) {
            return root;
        }
    }
    target::project(&args.common)
}

/// The absolute path, without `.` and `..` and without asking what is there.
fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    let here = canonical(Path::new("."))?;
    let mut found = PathBuf::new();
    for part in here.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = found.pop(),
            part => found.push(part),
        }
    }
    if path.as_os_str().is_empty() {
        return Err(Fault::new(Code::InvalidArgument, "the path is empty"));
    }
    Ok(found)
}

/// The path below the root, as it is written or with the links above it resolved.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let resolved = || {
        let folder = path.ancestors().skip(1).find(|folder| folder.is_dir())?;
        Some(canonical(folder).ok()?.join(path.strip_prefix(folder).ok()?))
    };
    path.strip_prefix(root)
        .map(Path::to_path_buf)
        .ok()
        .or_else(|| Some(resolved()?.strip_prefix(root).ok()?.to_path_buf()))
}
