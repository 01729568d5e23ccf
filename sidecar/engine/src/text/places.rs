//! Chunks by a file and a line of it, as a stack trace names them: with the folders of another machine before the path, or with
//! the file's name alone.

use std::collections::HashMap;

use tantivy::TantivyError;

use super::TextReader;
use super::filter::Filter;
use super::record::StoredChunk;
use crate::Result;

/// A name that more files have says nothing about which is meant.
const MAX_NAMESAKES: usize = 3;
/// Most chunks of a file that are looked at.
const MAX_CHUNKS: usize = 4_000;
/// Folders whose files are usually not the project's own.
const FOREIGN_FOLDERS: [&str; 6] = ["node_modules", "site-packages", "dist-packages", "registry", "rustc", "mod"];

/// A place in a file.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file, with `/` between folders; it may begin above the project or below it.
    pub path: &'a str,
    /// The line, counted from 1.
    pub line: u32,
    /// The function around it.
    pub function: Option<&'a str>,
}

/// Indexed files that a place may mean: those that have most of its folders in common.
#[derive(Default)]
struct Namesakes {
    /// Folders and name in common, counted from the end.
    in_common: usize,
    paths: Vec<String>,
}

impl TextReader {
    /// For each place the chunk that it is in, of each file that it may mean; nothing where it is in no indexed file.
    ///
    /// A chunk of the named function is preferred to the one that holds the line, which may have moved since.
    pub fn chunks_at(&self, places: &[Place<'_>], filter: &Filter, most: usize) -> Result<Vec<Vec<u64>>> {
        let allowed = self.allowed(filter)?;
        let mut n_found = 0;
        let mut chunks = Vec::with_capacity(places.len());
        for (place, files) in places.iter().zip(self.files_like(places)?) {
            let mut found = Vec::new();
            for path in files.iter().take_while(|_| n_found < most) {
                let mut ids = self.ids_of_path(path)?;
                ids.retain(|id| allowed.as_ref().is_none_or(|allowed| allowed.contains(*id)));
                ids.sort_unstable();
                ids.truncate(MAX_CHUNKS);
                let stored: Vec<StoredChunk> = self.chunks(&ids)?.into_iter().flatten().collect();
                found.extend(nearest(place, &stored).map(|at| ids[at]));
            }
            n_found += usize::from(!found.is_empty());
            chunks.push(found);
        }
        Ok(chunks)
    }

    /// For each place the indexed files that it may mean. Reads the names of all files once.
    fn files_like(&self, places: &[Place<'_>]) -> Result<Vec<Vec<String>>> {
        let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, place) in places.iter().enumerate() {
            wanted.entry(file_name(place.path)).or_default().push(i);
        }
        let mut best: Vec<Namesakes> = places.iter().map(|_| Namesakes::default()).collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        for segment in self.searcher.segment_readers() {
            let index = segment.inverted_index(self.fields.path)?;
            let mut terms = index.terms().stream().map_err(TantivyError::from)?;
            while terms.advance() {
                let Ok(path) = std::str::from_utf8(terms.key()) else { continue };
                for &i in wanted.get(file_name(path)).into_iter().flatten() {
                    best[i].meet(places[i].path, path);
                }
            }
        }
        Ok(best
            .into_iter()
            .map(|files| if files.paths.len() > MAX_NAMESAKES { Vec::new() } else { files.paths })
            .collect())
    }
}

impl Namesakes {
    /// Keeps `indexed` if `named` may mean it and nothing before it fits better.
    fn meet(&mut self, named: &str, indexed: &str) {
        let in_common = named.rsplit('/').zip(indexed.rsplit('/')).take_while(|(a, b)| a == b).count();
        let parts = |path: &str| path.split('/').count();
        let is_whole = in_common == parts(named).min(parts(indexed));
        let is_foreign = named.split('/').any(|folder| FOREIGN_FOLDERS.contains(&folder));
        let enough = if is_whole && !is_foreign {
            1
        } else if is_whole {
            2
        } else {
            3
        };
        if in_common < enough || in_common < self.in_common {
            return;
        }
        if in_common > self.in_common {
            self.in_common = in_common;
            self.paths.clear();
        }
        // Segments share paths while a file is being replaced.
        if self.paths.len() <= MAX_NAMESAKES && !self.paths.iter().any(|path| path == indexed) {
            self.paths.push(indexed.to_owned());
        }
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The chunk of a file that a place means: of those of the named function, or else of all, the one nearest to the line.
fn nearest(place: &Place<'_>, chunks: &[StoredChunk]) -> Option<usize> {
    let is_of_function = |chunk: &StoredChunk| {
        let Some(function) = place.function else { return false };
        let scope = chunk.scope.rsplit(" > ").next().unwrap_or_default();
        chunk.symbols.iter().any(|symbol| symbol.name == function) || scope.rsplit(' ').next() == Some(function)
    };
    let distance = |chunk: &StoredChunk| match place.line {
        line if line < chunk.first_line => chunk.first_line - line,
        line => line.saturating_sub(chunk.last_line),
    };
    let at = |of_function: bool| {
        let fitting = chunks.iter().enumerate().filter(|(_, chunk)| !of_function || is_of_function(chunk));
        fitting.min_by_key(|(at, chunk)| (distance(chunk), *at)).map(|(at, _)| at)
    };
    at(true).or_else(|| at(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(named: &str, indexed: &[&str]) -> Vec<String> {
        let mut files = Namesakes::default();
        indexed.iter().for_each(|path| files.meet(named, path));
        if files.paths.len() > MAX_NAMESAKES { Vec::new() } else { files.paths }
    }

    #[test]
    fn a_place_means_the_file_with_most_of_its_folders() {
        let decoders = ["json/decoder.py", "email/decoder.py"];
        assert_eq!(meant("usr/lib/python3.11/json/decoder.py", &decoders), ["json/decoder.py"]);
        assert_eq!(meant("json/decoder.py", &["lib/json/decoder.py", "decoder.py"]), ["lib/json/decoder.py"]);
        assert_eq!(meant("home/a/app/main.py", &["main.py"]), ["main.py"]);
        assert_eq!(meant("C.java", &["src/main/java/a/C.java"]), ["src/main/java/a/C.java"]);
        assert_eq!(meant("other/place/decoder.py", &["json/decoder.py"]), [""; 0], "only the name is the same");
        assert_eq!(meant("node_modules/x/index.js", &["index.js"]), [""; 0], "another's file");
        assert_eq!(meant("lib/site-packages/app/db.py", &["src/app/db.py", "app/db.py"]), ["app/db.py"]);
        assert_eq!(meant("mod.rs", &["a/mod.rs", "b/mod.rs", "c/mod.rs", "d/mod.rs"]), [""; 0], "too many");
    }
}
