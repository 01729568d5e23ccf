//! The Rust sources of the crates, test code left out.

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;

use crate::support::repository;

/// A module's path from the root of its crate. The root's path is empty.
pub type ModulePath = Vec<String>;

/// One parsed source file.
pub struct SourceFile {
    pub path: PathBuf,
    pub module: ModulePath,
    pub syntax: syn::File,
    pub text: String,
}

impl SourceFile {
    pub fn parse(path: PathBuf, module: ModulePath, text: String) -> SourceFile {
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        SourceFile { path, module, syntax, text }
    }

    /// The path from the repository, with `/` on every system.
    pub fn relative_path(&self) -> String {
        self.path.strip_prefix(repository()).unwrap_or(&self.path).display().to_string().replace('\\', "/")
    }

    /// Lines with their numbers from 1, without comment lines and without items that are compiled for tests only.
    pub fn code_lines(&self) -> Vec<(usize, &str)> {
        let test_items = self.syntax.items.iter().filter(|item| is_test(attributes(item)));
        let test_lines: Vec<_> = test_items.map(|item| item.span().start().line..=item.span().end().line).collect();
        let lines = self.text.lines().enumerate().map(|(i, line)| (i + 1, line));
        lines
            .filter(|(number, _)| !test_lines.iter().any(|range| range.contains(number)))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .collect()
    }
}

/// The files of a crate, found by following `mod name;` from its root file. Test modules are left out.
pub fn source_files(root: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut pending = vec![(repository().join(root), ModulePath::new())];
    while let Some((path, module)) = pending.pop() {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SourceFile::parse(path, module, text);
        let owns_folder = file.module.is_empty() || file.path.ends_with("mod.rs");
        let parent = file.path.parent().expect("a file is in a directory");
        let folder = if owns_folder { parent.to_path_buf() } else { file.path.with_extension("") };
        for item in &file.syntax.items {
            if let syn::Item::Mod(child) = item
                && child.content.is_none()
                && !is_test(&child.attrs)
            {
                pending.push(child_module(&folder, &file.module, child.ident.to_string()));
            }
        }
        files.push(file);
    }
    files
}

fn child_module(folder: &Path, parent: &ModulePath, name: String) -> (PathBuf, ModulePath) {
    let single_file = folder.join(format!("{name}.rs"));
    let file = if single_file.exists() { single_file } else { folder.join(&name).join("mod.rs") };
    (file, [parent.clone(), vec![name]].concat())
}

/// Whether an item is compiled for tests only: `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        let condition = condition.replace(' ', "");
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[test]
fn test_code_and_comments_are_left_out() {
    let text = "\
//! A module.
use std::fs;
/// A function.
fn kept() {}
#[cfg(unix)]
fn also_kept() {}
#[cfg(test)]
use std::env;
#[cfg(test)]
mod tests {
    #[test]
    fn runs() {}
}
#[cfg(all(test, unix))]
mod unix_tests {}
";
    let file = SourceFile::parse(PathBuf::from("file.rs"), ModulePath::new(), text.to_owned());
    let expected = [(2, "use std::fs;"), (4, "fn kept() {}"), (5, "#[cfg(unix)]"), (6, "fn also_kept() {}")];
    assert_eq!(file.code_lines(), expected);
}
