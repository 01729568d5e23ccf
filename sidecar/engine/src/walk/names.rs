//! Names that decide by themselves: folders that are never entered, folders and files of tools, secrets.

use std::ffi::OsStr;

/// Folders never entered, ignored or not.
pub const PRUNED: &[&str] = &[".git", ".hg", ".svn", ".offheap", "node_modules", "__pycache__"];

/// Whether a folder of this name is never entered. A `.git` may be a file, or a link.
pub fn is_pruned(name: &OsStr, is_folder: bool) -> bool {
    if !is_folder {
        return name == OsStr::new(".git");
    }
    PRUNED.iter().any(|pruned| name == OsStr::new(pruned))
}

/// Names with a dot at their begin under which tools keep what they can make again, or what is theirs alone. In a
/// repository that tracks such a file it belongs to the project all the same.
#[rustfmt::skip] // a table
const OF_TOOLS: &[&str] = &[
    ".DS_Store", ".Spotlight-V100", ".TemporaryItems", ".Trash", ".Trashes", ".aider", ".angular", ".astro",
    ".aws-sam", ".bare", ".bundle", ".bzr", ".ccls-cache", ".chalice", ".chroma", ".clangd", ".cocoindex_code",
    ".codegraph", ".conda", ".coverage", ".dart_tool", ".devenv", ".directory", ".direnv", ".docusaurus", ".dub",
    ".dvc", ".eggs", ".elixir_ls", ".env_cache", ".expo", ".externalNativeBuild", ".factorypath", ".fleet",
    ".flutter-plugins", ".fseventsd", ".gradle", ".grepai", ".hypothesis", ".idea", ".ipynb_checkpoints", ".jj",
    ".julia", ".kotlin", ".lake", ".lancedb", ".lazy", ".local", ".localized", ".m2", ".metadata", ".metals",
    ".meteor", ".mono", ".mypy", ".netlify", ".next", ".nox", ".npm", ".nuget", ".nuxt", ".nvm", ".nyc_output",
    ".output", ".parcel", ".pdm-build", ".pdm-python", ".pijul", ".pixi", ".playwright", ".pnpm", ".pnpm-store",
    ".pub", ".pulumi", ".pyenv", ".pytype", ".rbenv", ".react-router", ".rush", ".rustup", ".rvm", ".scannerwork",
    ".semble", ".serverless", ".sl", ".stack-work", ".svelte-kit", ".temp", ".terraform", ".tmp", ".tox", ".trunk",
    ".tsbuildinfo", ".turbo", ".venv", ".vercel", ".virtualenv", ".virtualenvs", ".vs", ".vscode-server",
    ".vscode-test", ".wrangler", ".yarn", ".zed_cache",
];

/// Whether a name with a dot at its begin is a tool's, not the project's.
pub fn is_hidden(name: &[u8]) -> bool {
    if name.first() != Some(&b'.') {
        return false;
    }
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let ends = |end: &str| name.to_ascii_lowercase().ends_with(end);
    OF_TOOLS.binary_search(&name).is_ok()
        || ends("cache")
        || [".swp", ".swo", ".un~", "~"].into_iter().any(ends)
        || [".#", "._", ".aider.", ".nfs", ".Trash-", ".fuse_hidden"].iter().any(|begin| name.starts_with(begin))
}

/// Extensions of keys and of what holds keys.
const SECRET_ENDS: &[&str] = &[
    ".pem",
    ".key",
    ".p12",
    ".pfx",
    ".pkcs12",
    ".p8",
    ".jks",
    ".keystore",
    ".ppk",
    ".kdb",
    ".kdbx",
    ".keytab",
    ".agekey",
    ".ovpn",
    ".tfstate",
    ".tfstate.backup",
    ".kubeconfig",
    "accesskeys.csv",
];

/// Secrets by whole name.
const SECRET_NAMES: &[&str] = &[
    ".boto",
    ".dockercfg",
    ".envrc",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".mylogin.cnf",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".s3cfg",
    ".terraformrc",
    "terraform.rc",
    ".vault-token",
    ".viminfo",
    ".lesshst",
    "htpasswd",
    "wallet.dat",
];

/// Folders of secrets, with all they hold.
const SECRET_FOLDERS: &[&str] = &[".ssh", ".gnupg", ".password-store"];

/// Secrets by the name of their folder and their own.
const SECRET_PLACES: &[&str] = &[
    ".aws/config",
    ".aws/credentials",
    ".docker/config.json",
    ".kube/config",
    "gh/hosts.yml",
    ".cargo/credentials.toml",
];

/// Private keys of SSH by the begin of their name; `.pub` is the public half.
const SECRET_BEGINS: &[&str] = &["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];

/// Files of access to services: words at the end of the name, before one of [`OF_DATA`].
const SECRET_STEMS: &[&str] =
    &["credentials", "kubeconfig", "client_secret", "service-account", "service_account", "serviceaccount"];
/// Words anywhere in the name of a JSON file that a provider of services gave out.
const SECRET_WORDS: &[&str] =
    &["client_secret", "service-account", "service_account", "serviceaccount", "firebase-adminsdk", "gha-creds"];
/// Extensions of files that hold settings; the empty one is for none.
const OF_DATA: &[&str] = &["", "json", "yaml", "yml", "ini", "toml", "xml", "csv", "db", "cfg", "conf", "env"];

/// Parts of the names of `.env` files that hold no values.
const WITHOUT_VALUES: &[&str] =
    &["example", "sample", "template", "tmpl", "tpl", "dist", "default", "defaults", "schema"];

/// Which pattern of secrets a path matches; `None` for most. Case does not count.
pub fn secret(rel: &[u8], is_folder: bool) -> Option<String> {
    let rel = String::from_utf8_lossy(rel).to_ascii_lowercase();
    let (folder, name) = rel.rsplit_once('/').unwrap_or(("", &rel));
    let folder = folder.rsplit('/').next().unwrap_or(folder);
    let found = |list: &[&'static str], is: &dyn Fn(&str) -> bool| list.iter().copied().find(|one| is(one));
    if is_folder {
        return found(SECRET_FOLDERS, &|one| one == name).map(|one| format!("{one}/"));
    }
    if let Some(pattern) = environment(name) {
        return Some(pattern.to_owned());
    }
    if let Some(end) = found(SECRET_ENDS, &|end| name.ends_with(end)) {
        return Some(format!("*{end}"));
    }
    if let Some(whole) = found(SECRET_NAMES, &|whole| whole == name) {
        return Some(whole.to_owned());
    }
    if name.starts_with('.') && name.ends_with("_history") {
        return Some(".*_history".to_owned());
    }
    let begins = |begin: &str| {
        name.strip_prefix(begin).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
            && !name.ends_with(".pub")
    };
    if let Some(begin) = found(SECRET_BEGINS, &begins) {
        return Some(format!("{begin}*"));
    }
    if let Some(place) = found(SECRET_PLACES, &|place| place.split_once('/') == Some((folder, name))) {
        return Some(place.to_owned());
    }
    let plain = name.strip_prefix('.').unwrap_or(name);
    let (stem, extension) = plain.rsplit_once('.').unwrap_or((plain, ""));
    if !OF_DATA.contains(&extension) {
        return None;
    }
    if let Some(word) = found(SECRET_WORDS, &|word| extension == "json" && name.contains(word)) {
        return Some(format!("*{word}*.json"));
    }
    if stem == "secrets" {
        return Some("secrets.*".to_owned());
    }
    found(SECRET_STEMS, &|end| stem.ends_with(end))
        .map(|end| format!("*{end}.{extension}").trim_end_matches('.').to_owned())
}

/// The pattern of files with settings for the environment of a program that a name matches.
fn environment(name: &str) -> Option<&'static str> {
    let parts = |rest: &str| rest.split(['.', '-', '_']).any(|part| WITHOUT_VALUES.contains(&part));
    match name.strip_prefix(".env") {
        Some("") => return Some(".env"),
        Some(rest) if rest.starts_with(['.', '-', '_']) => return (!parts(rest)).then_some(".env.*"),
        _ => {}
    }
    let stem = name.strip_suffix(".env")?;
    (!parts(stem)).then_some("*.env")
}

/// Whether a glob names a secret: one of its parts is, without its wildcards, the name of one. `*.pem` and `.env*` name
/// secrets, `*`, `src/**` and `*.json` do not, although they match some.
pub fn names_secret(glob: &[u8]) -> bool {
    let mut plain = Vec::with_capacity(glob.len());
    let mut in_class = false;
    for byte in glob {
        match byte {
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' | b'?' | b'\\' => {}
            _ if in_class => {}
            other => plain.push(*other),
        }
    }
    let plain = plain.strip_prefix(b"!").unwrap_or(&plain);
    let glob = plain.strip_prefix(b"/").unwrap_or(plain);
    let glob = glob.strip_suffix(b"/").unwrap_or(glob);
    let ends = glob.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    secret(glob, false).is_some() || ends.chain([glob.len()]).any(|end| secret(&glob[..end], true).is_some())
}
