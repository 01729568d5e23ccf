//! The shape of the Rust code: imports without circles, short functions, short files. `npm/scripts/structure.mjs` does the same
//! for JavaScript.
//!
//! A module's file imports another one's when a path in its code leads there. At each level of the module tree, imports between
//! sibling modules, everything below them included, must form no circle. A child that names its own ancestors is no import.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::support::repository;

/// Root files of the crates, by the name under which the code calls them.
const CRATES: &[(&str, &str)] = &[
    ("offheap", "sidecar/src/main.rs"),
    ("offheap_engine", "sidecar/engine/src/lib.rs"),
    ("offheap_protocol", "sidecar/protocol/src/lib.rs"),
    ("offheap_addon", "src/lib.rs"),
];
const MAX_FUNCTION_LINES: usize = 80;
const MAX_FILE_LINES: usize = 500;
/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// A module's path from its crate's root, which is empty.
type ModulePath = Vec<String>;

/// One file, parsed.
struct File {
    path: PathBuf,
    module: ModulePath,
    syntax: syn::File,
    n_lines: usize,
}

/// A crate's files, found by following `mod name;` from its root. Test modules are left out.
fn files_of(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    let mut pending = vec![(root.to_path_buf(), ModulePath::new())];
    while let Some((path, module)) = pending.pop() {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let is_root = module.is_empty() || path.ends_with("mod.rs");
        let folder = if is_root { path.parent().expect("a file").to_path_buf() } else { path.with_extension("") };
        for item in &syntax.items {
            if let syn::Item::Mod(child) = item
                && child.content.is_none()
                && !is_test(&child.attrs)
            {
                let name = child.ident.to_string();
                let beside = folder.join(format!("{name}.rs"));
                let file = if beside.exists() { beside } else { folder.join(&name).join("mod.rs") };
                pending.push((file, [module.clone(), vec![name]].concat()));
            }
        }
        files.push(File { path, module, syntax, n_lines: text.lines().count() });
    }
    files
}

/// Whether an item is compiled for tests only.
fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let words = quote_free(attr);
        attr.path().is_ident("test") || attr.path().is_ident("cfg") && words.starts_with("test")
    })
}

/// The tokens within an attribute's brackets, as text.
fn quote_free(attr: &syn::Attribute) -> String {
    attr.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default()
}

/// Collects the paths that a file's code names, and its functions' lengths.
#[derive(Default)]
struct Names {
    paths: Vec<Vec<String>>,
    functions: Vec<(String, usize)>,
}

impl Names {
    fn add_tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.paths.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.paths.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.paths.push(prefix.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(prefix, item)),
        }
    }

    fn add_function(&mut self, name: &syn::Ident, item: impl Spanned) {
        let span = item.span();
        self.functions.push((name.to_string(), span.end().line - span.start().line + 1));
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.add_function(&item.sig.ident, &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add_function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // Arguments of macros are tokens; those that are expressions can be looked into.
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(expressions) = item.parse_body_with(parser) {
            expressions.iter().for_each(|expression| self.visit_expr(expression));
        }
        visit::visit_macro(self, item);
    }
}

/// The module, among `modules`, in which the path that `from` names ends; `None` for other crates' and local names.
fn resolve(path: &[String], from: &ModulePath, modules: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let (mut base, mut rest) = match path.first()?.as_str() {
        "crate" => (ModulePath::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => (from.clone(), path),
        // A child of the module where the path stands, or nothing of this crate's.
        first => {
            let child = [from.clone(), vec![first.to_owned()]].concat();
            if !modules.contains(&child) {
                return None;
            }
            (from.clone(), path)
        }
    };
    while rest.first().is_some_and(|name| name == "super") {
        base.pop();
        rest = &rest[1..];
    }
    for name in rest {
        let deeper = [base.clone(), vec![name.clone()]].concat();
        if !modules.contains(&deeper) {
            break;
        }
        base = deeper;
    }
    Some(base)
}

/// Who imports whom, as pairs of modules with the file that does it.
fn imports(files: &[File]) -> Vec<(ModulePath, ModulePath, PathBuf)> {
    let modules: BTreeSet<ModulePath> = files.iter().map(|file| file.module.clone()).collect();
    let mut found = Vec::new();
    for file in files {
        let mut names = Names::default();
        names.visit_file(&file.syntax);
        let targets: BTreeSet<ModulePath> =
            names.paths.iter().filter_map(|path| resolve(path, &file.module, &modules)).collect();
        let is_ancestor = |target: &ModulePath| file.module.starts_with(target);
        let targets = targets.into_iter().filter(|target| !is_ancestor(target));
        found.extend(targets.map(|target| (file.module.clone(), target, file.path.clone())));
    }
    found
}

/// Circles among siblings, each as the names of its modules and the imports that tie it.
fn circles(imports: &[(ModulePath, ModulePath, PathBuf)]) -> Vec<String> {
    // For each parent module: its children, and which child imports which through which files.
    let mut levels: BTreeMap<ModulePath, BTreeMap<(String, String), BTreeSet<String>>> = BTreeMap::new();
    for (from, to, file) in imports {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if common < from.len() && common < to.len() {
            let pair = (from[common].clone(), to[common].clone());
            let tie = format!("{} -> {}", shown(file), to.join("::"));
            levels.entry(from[..common].to_vec()).or_default().entry(pair).or_default().insert(tie);
        }
    }
    let mut found = Vec::new();
    for (parent, edges) in &levels {
        let reaches = |start: &String| {
            let mut seen = BTreeSet::new();
            let mut pending = vec![start];
            while let Some(at) = pending.pop() {
                let next = edges.keys().filter(|(from, _)| from == at).map(|(_, to)| to);
                pending.extend(next.filter(|to| seen.insert((*to).clone())));
            }
            seen
        };
        let mut done = BTreeSet::new();
        for (from, _) in edges.keys() {
            let circle: BTreeSet<String> =
                reaches(from).into_iter().filter(|other| reaches(other).contains(from)).collect();
            if circle.contains(from) && circle.iter().all(|name| done.insert(name.clone())) {
                let ties = edges.iter().filter(|((a, b), _)| circle.contains(a) && circle.contains(b));
                let ties: Vec<String> =
                    ties.flat_map(|(_, ties)| ties.iter().map(|tie| format!("    {tie}"))).collect();
                let names: Vec<String> = circle.into_iter().collect();
                let within = if parent.is_empty() { "the crate".to_owned() } else { parent.join("::") };
                found.push(format!("in {within}: {}\n{}", names.join(", "), ties.join("\n")));
            }
        }
    }
    found
}

fn all_files() -> Vec<(&'static str, Vec<File>)> {
    CRATES.iter().map(|(name, root)| (*name, files_of(&repository().join(root)))).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string().replace('\\', "/")
}

#[test]
fn modules_form_no_circle() {
    let found: Vec<String> = all_files()
        .iter()
        .flat_map(|(name, files)| circles(&imports(files)).into_iter().map(move |circle| format!("{name}, {circle}")))
        .collect();
    assert!(found.is_empty(), "modules import each other:\n{}", found.join("\n"));
}

#[test]
fn functions_and_files_are_short() {
    let mut long = Vec::new();
    let mut n_functions = 0;
    for file in all_files().into_iter().flat_map(|(_, files)| files) {
        let path = shown(&file.path);
        if file.n_lines > MAX_FILE_LINES && !LONG_FILES.iter().any(|(allowed, _)| *allowed == path) {
            long.push(format!("{path}: {} lines, at most {MAX_FILE_LINES}", file.n_lines));
        }
        let mut names = Names::default();
        names.visit_file(&file.syntax);
        n_functions += names.functions.len();
        let too_long = names.functions.into_iter().filter(|(_, n_lines)| *n_lines > MAX_FUNCTION_LINES);
        long.extend(
            too_long.map(|(name, n_lines)| format!("{path}: {name}: {n_lines} lines, at most {MAX_FUNCTION_LINES}")),
        );
    }
    assert!(n_functions > 500, "functions are found: {n_functions}");
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn folders_have_a_mod_file_and_more_than_one_child() {
    let mut wrong = Vec::new();
    for (_, files) in all_files() {
        for file in &files {
            let children = files
                .iter()
                .filter(|child| child.module.len() == file.module.len() + 1 && child.module.starts_with(&file.module));
            let n_children = children.count();
            let is_folder = file.path.ends_with("mod.rs");
            let is_root = file.module.is_empty();
            let path = shown(&file.path);
            if n_children > 0 && !is_folder && !is_root {
                wrong.push(format!("{path} has modules below it and is no mod.rs"));
            }
            let n_files =
                file.path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).map_or(0, Iterator::count);
            if is_folder && n_files < 2 {
                wrong.push(format!("{path} is alone in its folder"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_finds_a_circle() {
    let parse = |module: &str, text: &str| File {
        path: PathBuf::from(module),
        module: module.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        syntax: syn::parse_file(text).expect("Rust"),
        n_lines: 1,
    };
    let crate_root = || parse("", "mod a; mod b; fn main() { a::run() }");
    let found = |a: &str, b: &str| {
        circles(&imports(&[crate_root(), parse("a", a), parse("b", b), parse("b::c", "use super::B;")]))
    };
    assert_eq!(found("use crate::b::B;", "mod c; pub struct B;"), Vec::<String>::new());
    let circle = found("use crate::b::B; pub fn run() {}", "mod c; fn f() { println!(\"{}\", crate::a::run()) }");
    assert_eq!(circle.len(), 1, "{circle:?}");
    assert!(circle[0].starts_with("in the crate: a, b\n"), "{circle:?}");
    // Through a child, and by a path relative to it.
    let nested = circles(&imports(&[
        crate_root(),
        parse("a", "use super::b::c::C;"),
        parse("b", "mod c;"),
        parse("b::c", "use super::super::a;"),
    ]));
    assert_eq!(nested.len(), 1, "{nested:?}");
}
