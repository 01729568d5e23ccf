//! Finds the model's file: the bundled one, one in the project, or one in the Hugging Face cache; and downloads into the latter.

use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use offheap_protocol::{Code, Fault};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{self, DEFAULT_MODEL};

/// A model file, with the checksum that it must have, where one is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Recorded SHA-256, hexadecimal.
    pub sha256: Option<String>,
    /// The project whose configuration named the file: the file must lie inside it, links included.
    pub below: Option<PathBuf>,
}

/// The part of a model package's `model.json` that loading needs.
#[derive(Deserialize)]
struct Manifest {
    file: String,
    sha256: String,
}

/// A file on the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    repo: String,
    file: String,
    revision: String,
}

impl HubFile {
    /// Parses `owner/repo/path/to/file.gguf[@revision]`.
    ///
    /// Errors: `INVALID_ARGUMENT` for anything else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let invalid = || Fault::new(Code::InvalidArgument, format!("`{text}` is not owner/repo/file.gguf[@revision]"));
        let (path, revision) = text.rsplit_once('@').unwrap_or((text, "main"));
        let mut parts = path.splitn(3, '/');
        let (Some(owner), Some(name), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid());
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part != ".."
                && part != "."
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if !plain(owner)
            || !plain(name)
            || !file.split('/').all(plain)
            || !file.ends_with(".gguf")
            || !revision.split('/').all(plain)
        {
            return Err(invalid());
        }
        Ok(HubFile { repo: format!("{owner}/{name}"), file: file.to_owned(), revision: revision.to_owned() })
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone())
    }

    /// The file in the cache, if it was downloaded.
    fn cached(&self) -> Option<PathBuf> {
        Cache::from_env().repo(self.repo()).get(&self.file)
    }

    /// Downloads the file into the cache that it shares with Python's tools, or finds it there.
    pub fn pull(&self, progress: bool) -> Result<PathBuf, Fault> {
        if let Some(path) = self.cached() {
            return Ok(path);
        }
        if std::env::var("HF_HUB_OFFLINE").is_ok_and(|on| !matches!(on.as_str(), "" | "0" | "false")) {
            return Err(Fault::new(Code::ModelNotFound, format!("{}/{} has not been fetched", self.repo, self.file))
                .hint("HF_HUB_OFFLINE forbids fetching it now"));
        }
        let failed = |error: hf_hub::api::sync::ApiError| {
            Fault::new(
                Code::ModelNotFound,
                format!("cannot fetch {}/{}: {}", self.repo, self.file, crate::fault::chain(&error)),
            )
            .hint("check the name and the network; HF_ENDPOINT and HF_TOKEN are honoured")
        };
        let mut hub = hf_hub::api::sync::ApiBuilder::from_env();
        if let Some(token) = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()) {
            hub = hub.with_token(Some(token)); // the builder reads the token's file only
        }
        let api = hub.with_progress(progress).build().map_err(failed)?;
        let path = api.repo(self.repo()).get(&self.file).map_err(failed)?;
        check_blob(&path)?;
        Ok(path)
    }
}

/// Compares a large file with the SHA-256 that the hub names it by, and removes it if they differ. The hub's client does not
/// compare, so a cut download would stay in the cache.
fn check_blob(path: &Path) -> Result<(), Fault> {
    let io = |error: std::io::Error| crate::fault::io(&error, format!("cannot read `{}`: {error}", path.display()));
    let blob = path.canonicalize().map_err(io)?;
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(()); // small files are named otherwise
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(&blob).map_err(io)?, &mut hash).map_err(io)?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == name.to_ascii_lowercase() {
        return Ok(());
    }
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(&blob);
    Err(Fault::new(Code::ModelDamaged, format!("the download has SHA-256 {found}, the hub announced {name}"))
        .hint("it was removed; run the same command again"))
}

/// Finds the model that `named` asks for.
///
/// `model_dir` is the default model's package as JavaScript resolved it. A repository's configuration can only name
/// the bundled model, a file inside the project, or a file that the user pulled. `OFFHEAP_MODEL` is the user's own
/// choice and may name any file.
pub fn resolve(named: &str, project: Option<&Path>, model_dir: Option<&Path>) -> Result<ModelFile, Fault> {
    if let Some(model) = config::model_override() {
        if model.ends_with(".gguf") && !model.starts_with("hf:") {
            let path = PathBuf::from(model);
            return if path.is_file() {
                Ok(ModelFile { path, sha256: None, below: None })
            } else {
                Err(missing(&path))
            };
        }
        return named_model(&model, project, model_dir);
    }
    named_model(named, project, model_dir)
}

fn named_model(named: &str, project: Option<&Path>, model_dir: Option<&Path>) -> Result<ModelFile, Fault> {
    if named == DEFAULT_MODEL {
        return bundled(model_dir);
    }
    if let Some(hub) = named.strip_prefix("hf:") {
        let path = HubFile::parse(hub)?.cached().ok_or_else(|| {
            Fault::new(Code::ModelNotFound, format!("model `{named}` has not been fetched"))
                .hint(format!("run `offheap pull {hub}`"))
        })?;
        return Ok(ModelFile { path, sha256: None, below: None });
    }
    let Some(project) = project.filter(|_| named.ends_with(".gguf")) else {
        return Err(Fault::new(Code::ModelNotFound, format!("there is no model called `{named}`"))
            .hint(format!("use `{DEFAULT_MODEL}`, a .gguf file inside the project, or hf:owner/repo/file.gguf")));
    };
    let path = project.join(named).canonicalize().map_err(|_| missing(&project.join(named)))?;
    if !path.starts_with(project) {
        return Err(Fault::new(Code::ConfigInvalid, format!("model `{named}` lies outside the project"))
            .hint("set OFFHEAP_MODEL to use a file from elsewhere"));
    }
    Ok(ModelFile { path, sha256: None, below: Some(project.to_path_buf()) })
}

fn bundled(model_dir: Option<&Path>) -> Result<ModelFile, Fault> {
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize()).unwrap_or_default();
    let dirs = model_dir.map(Path::to_path_buf).into_iter().chain(package_dirs(&exe));
    let Some(dir) = dirs.into_iter().find(|dir| dir.join("model.json").is_file()) else {
        return Err(Fault::new(
            Code::ModelNotFound,
            format!("the package of the default model `{DEFAULT_MODEL}` is not installed"),
        )
        .hint("run `npm install offheap-model-all-minilm-l6-v2`, or set OFFHEAP_MODEL to a .gguf file"));
    };
    let manifest = dir.join("model.json");
    let damaged = |why: String| {
        Fault::new(Code::ModelDamaged, format!("`{}`: {why}", manifest.display()))
            .hint("install the model's package again")
    };
    let text = std::fs::read_to_string(&manifest).map_err(|error| damaged(error.to_string()))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let path = dir.join(&manifest.file);
    if !path.is_file() {
        return Err(missing(&path));
    }
    Ok(ModelFile { path, sha256: Some(manifest.sha256), below: None })
}

/// Directories where the default model's package can be: beside the binary's own package in `node_modules`, or in this
/// repository.
fn package_dirs(exe: &Path) -> Vec<PathBuf> {
    let folder = format!("model-{DEFAULT_MODEL}");
    let mut dirs = Vec::new();
    for (up, base) in exe.ancestors().skip(1).take(4).enumerate() {
        dirs.push(base.join("npm").join(&folder));
        if up > 0 {
            dirs.push(base.join(format!("offheap-{folder}")));
        }
    }
    dirs
}

fn missing(path: &Path) -> Fault {
    Fault::new(Code::ModelNotFound, format!("the model file `{}` does not exist", path.display()))
        .hint("install the model's package again, or correct OFFHEAP_MODEL or `model` in .offheap/config.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_are_parsed_and_cannot_climb() {
        let parse = |text: &str| HubFile::parse(text).map(|hub| (hub.repo, hub.file, hub.revision));
        assert_eq!(parse("a/b/c.gguf").expect("valid"), ("a/b".into(), "c.gguf".into(), "main".into()));
        assert_eq!(parse("a/b/d/c.gguf@v1").expect("valid"), ("a/b".into(), "d/c.gguf".into(), "v1".into()));
        for bad in
            ["", "a/b", "a/b/c.bin", "a/b/../c.gguf", "../b/c.gguf", "a/b/c.gguf@", "a/b/c.gguf@../x", "a//c.gguf"]
        {
            assert_eq!(HubFile::parse(bad).expect_err(bad).code, Code::InvalidArgument);
        }
    }

    #[test]
    fn a_repository_cannot_name_a_file_outside_itself() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let project = temp.path().join("project").canonicalize().unwrap_or(temp.path().join("project"));
        std::fs::create_dir_all(&project).expect("directory");
        let project = project.canonicalize().expect("exists");
        std::fs::write(temp.path().join("outside.gguf"), "x").expect("file");
        std::fs::write(project.join("inside.gguf"), "x").expect("file");
        let code = |named: &str| named_model(named, Some(&project), None).map_err(|fault| fault.code);
        assert_eq!(code("../outside.gguf"), Err(Code::ConfigInvalid));
        assert_eq!(code("absent.gguf"), Err(Code::ModelNotFound));
        assert_eq!(code("surprise"), Err(Code::ModelNotFound));
        assert!(code("inside.gguf").is_ok());
    }
}
