//! Text without what belongs to the user alone: where things are, and what they are called.

use std::path::{Path, PathBuf};

use offheap_protocol::Endpoint;

/// What a path that is not ours is replaced by.
const A_PATH: &str = "(path)";
/// Folders of the system, whose names tell nothing of the user.
const SYSTEM: [&str; 6] = ["/proc/", "/sys/", "/dev/", "/usr/", "/bin/", "/etc/"];

/// Replaces paths. Of the project, the runtime directory and the home directory it is told that a path is in them, and of our
/// own files there how they are called.
pub struct Mask {
    /// Directories and what stands for them, longest first.
    known: Vec<(String, &'static str)>,
}

impl Mask {
    /// For the paths of an endpoint and of this user.
    pub fn new(endpoint: &Endpoint) -> Self {
        let home = ["HOME", "USERPROFILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
        let mut known = Vec::new();
        let mut add = |path: &Path, name| {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            for path in [path.display().to_string(), canonical.display().to_string()] {
                if path.chars().filter(|c| matches!(c, '/' | '\\')).count() > 0 && path.len() > 1 {
                    known.push((path, name));
                }
            }
        };
        if let Some(project) = endpoint.project() {
            add(project, "<project>");
        }
        add(endpoint.dir(), "<runtime>");
        home.for_each(|home| add(&home, "~"));
        known.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Mask { known }
    }

    /// `text` without the user's paths.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (path, name) in &self.known {
            text = text.replace(path.as_str(), name);
        }
        // Messages quote paths in back-ticks, because a path may have spaces.
        let mut parts = text.split('`');
        let mut out = words(parts.next().unwrap_or_default());
        let mut is_quoted = true;
        for part in parts {
            out.push('`');
            out +=
                &if is_quoted && part.contains(['/', '\\']) && !part.contains('\n') { path(part) } else { words(part) };
            is_quoted = !is_quoted;
        }
        out
    }

    /// A JSON value whose texts are without the user's paths.
    pub fn json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(list) => list.iter_mut().for_each(|value| self.json(value)),
            serde_json::Value::Object(map) => map.values_mut().for_each(|value| self.json(value)),
            _ => {}
        }
    }
}

/// A text in which each word that is a path is masked.
fn words(text: &str) -> String {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ',' | ';' | '=' | '[' | ']');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_between).unwrap_or(rest.len());
        out += &path(&rest[..end]);
        let next = rest[end..].chars().next().map_or(0, char::len_utf8);
        out += &rest[end..end + next];
        rest = &rest[end + next..];
    }
    out
}

/// A word or a quoted text: masked if it is a path of the user.
fn path(text: &str) -> String {
    let trimmed = text.trim_end_matches([':', '.']);
    let end = &text[trimmed.len()..];
    for (name, ours) in [("<project>", &[".offheap"][..]), ("<runtime>", &[""]), ("~", &[".local/state/offheap"])] {
        let Some(below) = trimmed.strip_prefix(name) else { continue };
        let below = below.trim_start_matches(['/', '\\']);
        let is_ours = below.is_empty() || ours.iter().any(|folder| below.starts_with(folder));
        let shown = if is_ours { trimmed[name.len()..].to_owned() } else { format!("/{A_PATH}") };
        return format!("{name}{shown}{end}");
    }
    let has_drive = trimmed.get(1..3).is_some_and(|drive| drive == ":\\" || drive == ":/");
    let is_absolute = trimmed.len() > 1 && trimmed.starts_with('/') || has_drive || trimmed.starts_with("\\\\");
    let is_system = SYSTEM.iter().any(|folder| trimmed.starts_with(folder));
    if is_absolute && !is_system { format!("{A_PATH}{end}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_where_and_not_what() {
        let mask = Mask {
            known: [("/home/eve/My Shop", "<project>"), ("/run/user/7/offheap", "<runtime>"), ("/home/eve", "~")]
                .map(|(path, name)| (path.to_owned(), name))
                .to_vec(),
        };
        for (text, expected) in [
            ("cannot open `/home/eve/My Shop/secret plans.py`: no", "cannot open `<project>/(path)`: no"),
            ("/home/eve/My Shop/.offheap/config.json", "<project>/.offheap/config.json"),
            ("in /run/user/7/offheap/0123.log.", "in <runtime>/0123.log."),
            ("model /home/eve/models/mine.gguf, of 3", "model ~/(path), of 3"),
            ("at (/srv/eve/x.rs)", "at ((path))"),
            ("`D:\\eve\\x y.gguf` and C:\\eve", "`(path)` and (path)"),
            ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/fs/inotify/max_user_watches"),
            ("5 files, 3/4 done; a.b and ratio 1:2", "5 files, 3/4 done; a.b and ratio 1:2"),
            ("/home/eve/My Shop has none", "<project> has none"),
            ("", ""),
        ] {
            assert_eq!(mask.text(text), expected);
        }
    }
}
