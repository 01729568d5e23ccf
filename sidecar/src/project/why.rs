//! Why a path is in the index, or is not, and what to do about it. Needs no daemon and writes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use offheap_engine::chunk::ChunkLimits;
use offheap_engine::disk::Tree;
use offheap_engine::index::{self, Look, Settings};
use offheap_engine::store::{IndexedFile, Snapshot, Store};
use offheap_engine::walk::{self, Because, MAX_LONG_BYTES, NotSource, PathKind, RulePlace, SkipReason};
use offheap_protocol::Fault;

use super::search::walk_rules;
use crate::config::{self, Config};
use crate::fault;

/// What is known about one path.
#[derive(Debug, Default)]
pub struct Why {
    /// Relative to the project, `/` between parts; of a path outside, the whole path.
    pub path: String,
    /// "file", "folder", "other" or "missing".
    pub kind: &'static str,
    /// Whether it is in the index; of a folder, whether any file in it is.
    pub indexed: bool,
    /// "indexed", a reason for skipping a file, or one of those below.
    pub reason: &'static str,
    /// The folder above that decides, where one does.
    pub decided_at: Option<String>,
    /// The rule that decides.
    pub rule: Option<RulePlace>,
    /// What was seen, in words.
    pub detail: Option<String>,
    /// Of a file that is text.
    pub text: Option<Look>,
    /// Of a file of the index.
    pub file: Option<IndexedFile>,
    /// The text, or whether it belongs to the project, is not what it was when it was indexed.
    pub stale: bool,
    /// The generation that was looked at; 0 where there is none.
    pub generation: u64,
    /// Of a folder: files that belong to the project, and those of them that are in the index.
    pub files: Option<(u64, u64)>,
    /// What to do, in one line; empty where there is nothing to do.
    pub remedy: String,
}

/// It is in the index as it is now.
const INDEXED: &str = "indexed";
/// A folder of the project.
const FOLDER: &str = "folder";
/// No such path.
const MISSING: &str = "missing";
/// Not below the project's root.
const OUTSIDE: &str = "outside";
/// An ignore file leaves it out.
const IGNORED: &str = "ignored";
/// In a folder that is never entered.
const PRUNED: &str = "pruned";
/// `index.exclude` leaves it out.
const EXCLUDED: &str = "excluded";
/// `index.include` does not let it in.
const NOT_INCLUDED: &str = "not_included";
/// Nothing of the project was indexed so far.
const NO_INDEX: &str = "no_index";
/// It belongs to the project and was not indexed so far.
const NOT_INDEXED_YET: &str = "not_indexed_yet";
/// There is nothing in it to find.
const NO_TEXT: &str = "no_text";

impl Why {
    /// A path that is not below the root.
    pub fn outside(path: &Path, root: &Path) -> Why {
        Why {
            path: path.to_string_lossy().into_owned(),
            kind: match std::fs::symlink_metadata(path) {
                Ok(found) if found.is_file() => "file",
                Ok(found) if found.is_dir() => "folder",
                Ok(_) => "other",
                Err(_) => "missing",
            },
            reason: OUTSIDE,
            detail: Some(format!("it does not lie in the project `{}`", root.display())),
            remedy: "say which project with --project DIR".to_owned(),
            ..Why::default()
        }
    }

    /// What is known about the path `rel` below a project's root.
    pub fn of(root: &Path, rel: &Path) -> Result<Why, Fault> {
        let engine = |error: offheap_engine::Error| fault::from_engine(&error);
        let tree = Tree::open(root).map_err(engine)?;
        let (config, _) = Config::read_in(&tree)?;
        let settings = Settings { rules: walk_rules(config.index), limits: ChunkLimits::default(), rebuild: false };
        let decision = walk::explain(&tree, &settings.rules, rel).map_err(engine)?;
        let place = config::place_in(&tree);
        let has_index = config::has_index(&place)?;
        let snapshot = if has_index { Some(Store::open_read_only(&place).map_err(engine)?) } else { None };
        let snapshot = snapshot.filter(|snapshot| snapshot.generation > 0);
        let mut why = Why {
            path: if decision.rel.is_empty() { ".".to_owned() } else { decision.rel.clone() },
            kind: match decision.kind {
                Some(PathKind::File) => "file",
                Some(PathKind::Folder) => "folder",
                Some(PathKind::Other) => "other",
                None => kind_of_missing(root, rel),
            },
            generation: snapshot.as_ref().map_or(0, |snapshot| snapshot.generation),
            decided_at: (decision.at != decision.rel).then(|| decision.at.clone()),
            ..Why::default()
        };
        if let Some(snapshot) = &snapshot {
            why.file = snapshot.file(&decision.rel).map_err(engine)?;
        }
        why.indexed = why.file.is_some();
        match decision.because {
            Because::Wanted => {}
            Because::BroughtBack(rule) => why.rule = Some(rule),
            Because::Tracked { though } => why.detail = Some(tracked(&though)),
            because => {
                why.leave_out(because, &settings);
                return Ok(why.ended());
            }
        }
        match why.kind {
            "folder" => why.look_into(&tree, &settings, snapshot.as_ref(), &decision.rel).map_err(engine)?,
            "missing" => {
                why.reason = MISSING;
                why.remedy = "check the path".to_owned();
            }
            _ => why.look_at(&tree, &settings, snapshot.as_ref(), &decision.rel),
        }
        Ok(why.ended())
    }

    /// Of a file that is in the index, but will not be after the next run.
    fn ended(mut self) -> Why {
        if self.file.is_some() && ![INDEXED, NOT_INDEXED_YET].contains(&self.reason) {
            self.stale = true;
            self.remedy = format!("it leaves the index at the next run of `offheap index`; {}", self.remedy);
        }
        self
    }

    /// The name, or a rule, leaves the path out.
    fn leave_out(&mut self, because: Because, settings: &Settings) {
        let at = self.decided_at.clone().unwrap_or_else(|| self.path.clone());
        let slash = if self.decided_at.is_some() || self.kind == "folder" { "/" } else { "" };
        let back = format!("`!/{at}{slash}` in .offheapignore");
        match because {
            Because::Wanted | Because::BroughtBack(_) | Because::Tracked { .. } => {}
            Because::Ignored(rule) => {
                self.reason = IGNORED;
                self.remedy = format!("change line {} of `{}`, or write {back}", rule.line, rule.file);
                self.rule = Some(rule);
            }
            Because::Pruned => {
                self.reason = PRUNED;
                self.detail = Some(format!("`{at}` has the name of a folder that is never entered"));
                self.remedy = "nothing can be done: such folders hold tools' files, not sources".to_owned();
            }
            Because::Excluded { glob } => {
                self.reason = EXCLUDED;
                self.detail = Some(format!("`{glob}` in `index.exclude`"));
                self.remedy = "take the glob out of `index.exclude` in .offheap/config.json".to_owned();
            }
            Because::NotIncluded => {
                self.reason = NOT_INCLUDED;
                self.detail = Some(format!("`index.include` has only {}", settings.rules.include.join(", ")));
                self.remedy = "add a glob for it to `index.include` in .offheap/config.json".to_owned();
            }
            Because::Secret { pattern } => {
                self.reason = SkipReason::Secret.as_str();
                self.detail = Some(format!("its name is that of a file with keys or passwords (`{pattern}`)"));
                self.remedy = format!("if it has none, write {back}");
            }
            Because::Skipped(reason) => {
                self.skip(NotSource { reason, detail: String::new() }, settings);
                if reason == SkipReason::Hidden {
                    self.remedy = format!("add it to git, or write {back}");
                }
            }
        }
    }

    /// The content, or what the path is, leaves it out.
    fn skip(&mut self, not: NotSource, settings: &Settings) {
        self.reason = not.reason.as_str();
        self.detail = Some(not.detail).filter(|detail| !detail.is_empty());
        self.remedy = match not.reason {
            SkipReason::TooLarge => {
                let (longest, most) = (settings.rules.longest(), config::MAX_TEXT_BYTES);
                format!("the limit is {longest} bytes; raise `index.max_text_bytes` (to {most} at most), or divide it")
            }
            SkipReason::Binary => "nothing can be done: it is not text".to_owned(),
            SkipReason::Generated => "nothing can be done: lock files are never indexed".to_owned(),
            SkipReason::UnknownEncoding => {
                "save it as UTF-8, or name its encoding in its first lines (`coding: NAME`)".to_owned()
            }
            SkipReason::NonUtf8Path => "rename it: its path is not UTF-8".to_owned(),
            SkipReason::Symlink => "ask for the path that the link leads to: links are not followed".to_owned(),
            SkipReason::NotAFile => "nothing can be done: it is neither a file nor a folder".to_owned(),
            SkipReason::TooManyRules => "shorten the ignore files there".to_owned(),
            SkipReason::PathTooLong => "shorten its path: the system opens none that is as long".to_owned(),
            SkipReason::Unreadable => "let this user read it".to_owned(),
            SkipReason::Vanished => "ask again: it was changed meanwhile".to_owned(),
            SkipReason::Worktree => "index that work tree as a project of its own".to_owned(),
            _ => String::new(),
        };
    }

    /// A file that belongs to the project.
    fn look_at(&mut self, tree: &Tree, settings: &Settings, snapshot: Option<&Arc<Snapshot>>, rel: &str) {
        let look = match index::look(tree, rel, settings) {
            Ok(look) => look,
            Err(not) => return self.skip(not, settings),
        };
        let run = "run `offheap index`, or search with --fresh";
        let (reason, remedy) = match (&self.file, snapshot) {
            (Some(file), _) if file.hash == look.hash => (INDEXED, ""),
            (Some(_), _) => {
                self.stale = true;
                self.detail = Some("it changed since it was indexed".to_owned());
                (INDEXED, run)
            }
            (None, None) => (NO_INDEX, "run `offheap index`"),
            (None, Some(_)) if !look.has_chunks => (NO_TEXT, ""),
            (None, Some(snapshot)) if look.text_only && snapshot.text_only_bytes() + look.bytes > MAX_LONG_BYTES => {
                self.detail =
                    Some(format!("the long texts of the project have no more room in {MAX_LONG_BYTES} bytes"));
                (SkipReason::TooLarge.as_str(), "leave other long texts out in .offheapignore, or divide it")
            }
            (None, Some(_)) => (NOT_INDEXED_YET, run),
        };
        if reason == NO_TEXT {
            self.detail = Some("there is nothing in it to find: it is empty, or data alone".to_owned());
        }
        (self.reason, self.remedy, self.text) = (reason, remedy.to_owned(), Some(look));
    }

    /// A folder that belongs to the project.
    fn look_into(
        &mut self,
        tree: &Tree,
        settings: &Settings,
        snapshot: Option<&Arc<Snapshot>>,
        rel: &str,
    ) -> offheap_engine::Result<()> {
        let found = walk::walk_paths(tree, &settings.rules, &BTreeSet::from([rel.to_owned()]), &|| false)?;
        let mut n_indexed = 0;
        for file in &found.files {
            n_indexed += u64::from(snapshot.map_or(Ok(false), |snapshot| snapshot.has_path(&file.rel))?);
        }
        self.files = Some((found.files.len() as u64, n_indexed));
        self.indexed = n_indexed > 0;
        self.reason = if snapshot.is_some() { FOLDER } else { NO_INDEX };
        self.remedy = match snapshot {
            None => "run `offheap index`".to_owned(),
            Some(_) if n_indexed < found.files.len() as u64 => "ask for one of its files".to_owned(),
            Some(_) => String::new(),
        };
        Ok(())
    }
}

/// What is at a path of which a folder above it decides.
fn kind_of_missing(root: &Path, rel: &Path) -> &'static str {
    match std::fs::symlink_metadata(root.join(rel)) {
        Ok(found) if found.is_dir() => "folder",
        Ok(found) if found.is_file() => "file",
        Ok(_) => "other",
        Err(_) => "missing",
    }
}

/// What there is to say about a path that is in because git tracks it.
fn tracked(though: &Because) -> String {
    match though {
        Because::Ignored(rule) => {
            format!("git tracks it, although line {} of `{}` (`{}`) ignores it", rule.line, rule.file, rule.pattern)
        }
        _ => "git tracks it, although its name is that of a tool's".to_owned(),
    }
}
