//! Which files a search looks at: what a request says, as the engine takes it.

use std::path::Path;

use offheap_engine::chunk;
use offheap_engine::store::Filter;
use offheap_protocol::endpoint::canonical;
use offheap_protocol::message::SearchRequest;
use offheap_protocol::{Code, Fault};

/// Most languages of one search.
const MAX_LANGUAGES: usize = 100;
/// Most globs that an answer names because no file fits them.
const MAX_UNMATCHED: usize = 100;

/// The filter of a search in the project at `root`.
///
/// Errors: `INVALID_ARGUMENT` for a language that is unknown.
pub fn filter(root: &Path, search: &SearchRequest) -> Result<Filter, Fault> {
    Ok(Filter {
        globs: search.globs.iter().map(|glob| below(root, glob)).collect(),
        folder: search.folder.clone(),
        languages: languages(&search.languages)?,
        chosen: None,
    })
}

/// The languages that names mean, as the index calls them.
///
/// Errors: `INVALID_ARGUMENT` for one that is unknown, with the nearest.
pub fn languages(written: &[String]) -> Result<Vec<String>, Fault> {
    if written.len() > MAX_LANGUAGES {
        return Err(Fault::new(Code::InvalidArgument, format!("more than {MAX_LANGUAGES} languages")));
    }
    let mut names = Vec::new();
    for one in written {
        let found = chunk::named(one).map_err(|nearest| {
            let shown: String = one.chars().take(60).collect();
            let nearest: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("language `{shown}` is unknown; the nearest are {}", nearest.join(", "));
            Fault::new(Code::InvalidArgument, message).hint(
                "languages have the names, aliases and extensions of GitHub's Linguist, in any case: `typescript`, `ts`, `c++`",
            )
        })?;
        names.extend(found.into_iter().map(str::to_owned));
    }
    Ok(names)
}

/// The globs of a request that no file fits, by their places.
pub fn unmatched(search: &SearchRequest, places: &[usize]) -> Vec<String> {
    places.iter().take(MAX_UNMATCHED).filter_map(|&at| search.globs.get(at).cloned()).collect()
}

/// A glob that is an absolute path below the root, also through links above the root, as a path from the root. All
/// others as they are.
fn below(root: &Path, glob: &str) -> String {
    let (mark, written) = glob.strip_prefix('!').map_or(("", glob), |rest| ("!", rest));
    let path = if cfg!(windows) { written.replace('\\', "/") } else { written.to_owned() };
    if !Path::new(&path).is_absolute() {
        return glob.to_owned();
    }
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends.filter(|end| *end > 0) {
        match canonical(Path::new(&path[..end])) {
            Ok(folder) if folder == root => return format!("{mark}/{}", path[end..].trim_start_matches('/')),
            Ok(_) => {}
            Err(_) => break, // there is no such folder, so none below it either
        }
    }
    glob.to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_lead_below_the_root() {
        let temp = tempfile::tempdir().expect("a directory");
        let real = temp.path().canonicalize().expect("it is there").join("real");
        let root = real.join("project");
        std::fs::create_dir_all(root.join("app/[id]")).expect("made");
        std::os::unix::fs::symlink(&real, temp.path().join("link")).expect("made");
        let linked = temp.path().join("link/project");
        for top in [&root, &linked] {
            let top = top.to_str().expect("text");
            for (written, expected) in [
                ("/app/**", "/app/**"),
                ("/app/[id]/page.tsx", "/app/[id]/page.tsx"),
                ("/app/nowhere/x", "/app/nowhere/x"),
                ("/app/", "/app/"),
                ("/", "/"),
                ("", "/"),
                ("/../other", "/../other"),
            ] {
                assert_eq!(below(&root, &format!("{top}{written}")), expected, "{top}");
                assert_eq!(below(&root, &format!("!{top}{written}")), format!("!{expected}"), "{top}");
            }
        }
        for other in ["/app", "/etc/passwd", "./app", "app", "!app", "", "!", "/"] {
            assert_eq!(below(&root, other), other);
        }
    }

    #[test]
    fn unknown_languages_are_refused_with_the_nearest() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(languages(&names(&["c++", "TypeScript"])), Ok(names(&["cpp", "tsx", "typescript"])));
        let fault = languages(&names(&["go", "pyhton"])).expect_err("it is unknown");
        assert_eq!(fault.code, Code::InvalidArgument);
        assert!(fault.message.starts_with("language `pyhton` is unknown; the nearest are `python`,"), "{fault:?}");
        let fault = languages(&["x".repeat(1 << 20)]).expect_err("it is unknown");
        assert!(fault.message.len() < 200, "{}", fault.message.len());
        assert!(languages(&names(&["go"; MAX_LANGUAGES + 1])).is_err());
    }
}
