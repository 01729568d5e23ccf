//! Many globs against many paths.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::glob::{self, Reading};
use crate::error::shortened;
use crate::walk::globs;
use crate::{Error, Result};

/// Most globs of one search.
const MAX_GLOBS: usize = 1_000;

/// Takes one path of the project; the second argument says whether a file has it, which may be costly to find out.
pub(crate) type Visit<'a> = dyn FnMut(&str, &mut dyn FnMut() -> Result<bool>) -> Result<()> + 'a;

/// Path globs, each in the meaning that fits the project.
pub(crate) struct Globs {
    /// None for a search without globs.
    set: Option<Set>,
    /// Of each glob: whether it leaves out what it matches.
    excludes: Vec<bool>,
    /// Whether a path is allowed that no glob matches.
    otherwise: bool,
}

impl Globs {
    /// Finds out what each glob means in a project whose paths `each` calls its argument with. Also gives the places of
    /// the globs that no path fits.
    ///
    /// Errors: [`Error::Glob`] for one that is none, and that no path is called like; those of `each`.
    pub fn choose(
        written: &[String],
        folder: &str,
        mut each: impl FnMut(&mut Visit<'_>) -> Result<()>,
    ) -> Result<(Globs, Vec<usize>)> {
        globs::check_sizes(written, MAX_GLOBS)?;
        let readings: Vec<Vec<Reading>> = written.iter().map(|one| meanings(one, folder)).collect();
        let all = Set::of(&readings)?;
        // The smallest rank of a reading that fits.
        let mut chosen: Vec<Option<usize>> = vec![None; written.len()];
        let mut cursor = Cursor::default();
        each(&mut |path, is_there| {
            let mut is_known = false;
            for &at in cursor.matches(&all, path) {
                let (one, rank) = all.of[at];
                if chosen[one].is_none_or(|known| rank < known) {
                    is_known = is_known || is_there()?;
                    if !is_known {
                        break;
                    }
                    chosen[one] = Some(rank);
                }
            }
            Ok(())
        })?;
        let mut meant = Vec::with_capacity(written.len());
        let (mut excludes, mut unmatched) = (Vec::new(), Vec::new());
        for (i, one) in written.iter().enumerate() {
            match chosen[i] {
                Some(rank) => {
                    excludes.push(readings[i][rank].excludes);
                    meant.push(vec![readings[i][rank].clone()]);
                }
                None => {
                    all.check(i, one)?;
                    excludes.push(glob::excludes(one));
                    meant.push(Vec::new());
                    if !glob::is_blank(one) {
                        unmatched.push(i);
                    }
                }
            }
        }
        let otherwise = written.iter().zip(&excludes).all(|(one, excludes)| *excludes || glob::is_blank(one));
        let set = if written.is_empty() { None } else { Some(Set::of(&meant)?) };
        Ok((Globs { set, excludes, otherwise }, unmatched))
    }

    /// Whether a path passes; paths in order are the fastest. The last glob decides that matches the path or a folder
    /// above it.
    pub fn allow(&self, cursor: &mut Cursor, path: &str) -> bool {
        let Some(set) = &self.set else { return true };
        let last = cursor.matches(set, path).iter().map(|&at| set.of[at].0).max();
        last.map_or(self.otherwise, |one| !self.excludes[one])
    }
}

fn meanings(written: &str, folder: &str) -> Vec<Reading> {
    if glob::is_blank(written) { Vec::new() } else { glob::readings(written, folder, glob::HERE) }
}

/// Readings, compiled.
struct Set {
    set: GlobSet,
    /// Of each glob in `set`: the place of what was written, and its rank among the readings of that.
    of: Vec<(usize, usize)>,
    only_folders: Vec<bool>,
    /// What was written and has a reading that is no glob, and why.
    refused: Vec<(usize, String)>,
}

impl Set {
    fn of(readings: &[Vec<Reading>]) -> Result<Set> {
        let mut builder = GlobSetBuilder::new();
        let (mut of, mut only_folders, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (one, readings) in readings.iter().enumerate() {
            for (rank, reading) in readings.iter().enumerate() {
                let glob = GlobBuilder::new(&reading.text)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .case_insensitive(reading.ignores_case)
                    .build();
                let glob = glob.map_err(|error| error.kind().to_string());
                match globs::check_braces(&reading.text).and(glob) {
                    Ok(glob) => {
                        builder.add(glob);
                        of.push((one, rank));
                        only_folders.push(reading.only_folders);
                    }
                    Err(problem) => refused.push((one, problem)),
                }
            }
        }
        let too_large = |error: globset::Error| Error::Glob {
            glob: format!("{} globs", readings.len()),
            problem: shortened(&error.to_string()),
        };
        Ok(Set { set: builder.build().map_err(too_large)?, of, only_folders, refused })
    }

    /// Fails for a glob that is none.
    fn check(&self, one: usize, written: &str) -> Result<()> {
        match self.refused.iter().find(|(refused, _)| *refused == one) {
            Some((_, problem)) => Err(Error::Glob { glob: shortened(written), problem: shortened(problem) }),
            None => Ok(()),
        }
    }
}

/// What matches the folders above the last path: many paths share them.
#[derive(Default)]
pub(crate) struct Cursor {
    path: String,
    /// Length of a folder's path, and what matches it or a folder above it.
    folders: Vec<(usize, Vec<usize>)>,
    found: Vec<usize>,
    own: Vec<usize>,
}

impl Cursor {
    /// The readings that match a path or a folder above it. Of one set only, from the first call on.
    fn matches(&mut self, set: &Set, path: &str) -> &[usize] {
        let is_above = |len: usize, last: &str| path.as_bytes().get(len) == Some(&b'/') && path[..len] == last[..len];
        while self.folders.last().is_some_and(|(len, _)| !is_above(*len, &self.path)) {
            self.folders.pop();
        }
        let mut at = self.folders.last().map_or(0, |(len, _)| len + 1);
        while let Some(slash) = path[at..].find('/') {
            let end = at + slash;
            set.set.matches_into(&path[..end], &mut self.own);
            let mut found = self.folders.last().map(|(_, found)| found.clone()).unwrap_or_default();
            found.extend(&self.own);
            self.folders.push((end, found));
            at = end + 1;
        }
        set.set.matches_into(path, &mut self.own);
        self.found.clear();
        self.found.extend(self.folders.last().iter().flat_map(|(_, found)| found));
        self.found.extend(self.own.iter().filter(|&&at| !set.only_folders[at]));
        self.path.clear();
        self.path.push_str(path);
        &self.found
    }
}
