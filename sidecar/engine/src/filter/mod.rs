//! Which files a search looks at: globs of paths, as people write them, and names of languages.
//!
//! A glob may mean several things: `app/[id]/page.tsx` a folder called `[id]` or one called `i` or `d`, `src/a.ts` a
//! path below the root or below the folder that the caller is in. [`glob`] lists them, the most literal first, and
//! the first that any file of the project fits is the one that was meant ([`Globs::choose`]).

mod glob;
mod paths;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::paths::{Cursor, Globs, Visit};
use crate::vector::Bitmap;

/// Which chunks a search may return. An empty list allows all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Path globs in gitignore's language. A later one beats an earlier one, and `!` excludes. With exclusions only,
    /// every other path is allowed.
    pub globs: Vec<String>,
    /// The folder below the root that `./` means, and every other path as well where nothing below the root fits it;
    /// empty for the root.
    pub folder: String,
    /// Languages, as they were given to `put_file`.
    pub languages: Vec<String>,
    /// The chunks of one snapshot that pass, once that is worked out: see `Snapshot::narrow`.
    pub chosen: Option<Arc<Bitmap>>,
}

impl Filter {
    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty() && self.languages.is_empty() && self.chosen.is_none()
    }
}
