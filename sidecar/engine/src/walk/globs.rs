//! Path globs in gitignore's language, as configurations and searches give them, compiled within limits.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::shortened;
use crate::{Error, Result};

/// Longest glob.
const MAX_GLOB_BYTES: usize = 1_000;
/// Braces in one glob: compiling takes a stack frame for each that is nested.
const MAX_BRACES: usize = 8;

/// Compiles up to `max_globs` globs. All become one automaton, whose size grows with their product.
///
/// With `closed_classes`, a `[` that nothing closes is an error; otherwise it matches nothing, as in git. Errors:
/// [`Error::Glob`].
pub(crate) fn compile(globs: &[String], max_globs: usize, closed_classes: bool) -> Result<Gitignore> {
    check_sizes(globs, max_globs)?;
    for glob in globs {
        check_braces(glob).map_err(|problem| Error::Glob { glob: shortened(glob), problem })?;
    }
    let refused = |glob: &str, error: ignore::Error| Error::Glob {
        glob: shortened(glob),
        problem: shortened(&error.to_string()),
    };
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(!closed_classes);
    for glob in globs {
        builder.add_line(None, glob).map_err(|error| refused(glob, error))?;
    }
    builder.build().map_err(|error| refused(&summary(globs), error))
}

/// Refuses more globs, and longer ones, than anybody writes.
pub(crate) fn check_sizes(globs: &[String], max_globs: usize) -> Result<()> {
    let refuse = |glob: &str, problem: String| Err(Error::Glob { glob: shortened(glob), problem });
    if globs.len() > max_globs {
        return refuse(&summary(globs), format!("more than {max_globs} globs"));
    }
    match globs.iter().find(|glob| glob.len() > MAX_GLOB_BYTES) {
        Some(glob) => refuse(glob, format!("longer than {MAX_GLOB_BYTES} bytes")),
        None => Ok(()),
    }
}

/// Says what is wrong with a glob that would take too much stack to compile. Braces that a backslash stands before do
/// not count.
pub(crate) fn check_braces(glob: &str) -> std::result::Result<(), String> {
    let mut chars = glob.chars();
    let mut n_braces = 0;
    while let Some(char) = chars.next() {
        match char {
            '\\' => _ = chars.next(),
            '{' => n_braces += 1,
            _ => {}
        }
    }
    if n_braces > MAX_BRACES { Err(format!("more than {MAX_BRACES} braces")) } else { Ok(()) }
}

/// A list of globs as a message can show it.
fn summary(globs: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = globs.iter().take(SHOWN).map(|glob| shortened(glob)).collect::<Vec<_>>().join(", ");
    if globs.len() > SHOWN { format!("{shown} and {} more", globs.len() - SHOWN) } else { shown }
}
