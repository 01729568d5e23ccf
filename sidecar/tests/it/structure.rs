//! The shape of the Rust code: no circular imports, short functions, short files. `npm/scripts/structure.mjs` checks the
//! same for JavaScript.
//!
//! A module imports another one when a path in its code leads there. At each level of the module tree, the imports between
//! sibling modules, each with everything below it, must form no circle. Naming an ancestor does not count as an import.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::source::{ModulePath, SourceFile, is_test, source_files};

/// Each crate's name and its root file.
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

/// The paths that occur in a file's code, and its functions with their numbers of lines.
#[derive(Default)]
struct Contents {
    paths: Vec<Vec<String>>,
    functions: Vec<(String, usize)>,
}

impl Contents {
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

impl<'ast> Visit<'ast> for Contents {
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
        // The arguments of a macro are tokens; paths are found in them where they parse as a list of expressions.
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(expressions) = item.parse_body_with(parser) {
            expressions.iter().for_each(|expression| self.visit_expr(expression));
        }
        visit::visit_macro(self, item);
    }
}

/// The module of `modules` to which a path in the code of `from` leads; `None` for paths into other crates and local names.
fn resolve(path: &[String], from: &ModulePath, modules: &BTreeSet<ModulePath>) -> Option<ModulePath> {
    let (mut base, mut rest) = match path.first()?.as_str() {
        "crate" => (ModulePath::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => (from.clone(), path),
        // The first name is a child module of `from`, or it is not a module of this crate.
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

/// Every import as the importing module, the imported module and the importing file.
fn imports(files: &[SourceFile]) -> Vec<(ModulePath, ModulePath, String)> {
    let modules: BTreeSet<ModulePath> = files.iter().map(|file| file.module.clone()).collect();
    let mut found = Vec::new();
    for file in files {
        let mut contents = Contents::default();
        contents.visit_file(&file.syntax);
        let targets: BTreeSet<ModulePath> =
            contents.paths.iter().filter_map(|path| resolve(path, &file.module, &modules)).collect();
        let is_ancestor = |target: &ModulePath| file.module.starts_with(target);
        let targets = targets.into_iter().filter(|target| !is_ancestor(target));
        found.extend(targets.map(|target| (file.module.clone(), target, file.relative_path())));
    }
    found
}

/// Circles among sibling modules, each as text: the names of its modules and the imports between them.
fn circles(imports: &[(ModulePath, ModulePath, String)]) -> Vec<String> {
    // For each parent module: pairs of an importing and an imported child, with the imports that make the pair.
    let mut levels: BTreeMap<ModulePath, BTreeMap<(String, String), BTreeSet<String>>> = BTreeMap::new();
    for (from, to, file) in imports {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if common < from.len() && common < to.len() {
            let pair = (from[common].clone(), to[common].clone());
            let import = format!("{file} -> {}", to.join("::"));
            levels.entry(from[..common].to_vec()).or_default().entry(pair).or_default().insert(import);
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
                let within = edges.iter().filter(|((a, b), _)| circle.contains(a) && circle.contains(b));
                let within = within.flat_map(|(_, imports)| imports);
                let within: Vec<String> = within.map(|import| format!("    {import}")).collect();
                let names: Vec<String> = circle.into_iter().collect();
                let place = if parent.is_empty() { "the crate".to_owned() } else { parent.join("::") };
                found.push(format!("in {place}: {}\n{}", names.join(", "), within.join("\n")));
            }
        }
    }
    found
}

/// The files of each crate, by the crate's name.
fn all_files() -> Vec<(&'static str, Vec<SourceFile>)> {
    CRATES.iter().map(|(name, root)| (*name, source_files(root))).collect()
}

#[test]
fn modules_form_no_circle() {
    let found: Vec<String> = all_files()
        .iter()
        .flat_map(|(name, files)| circles(&imports(files)).into_iter().map(move |circle| format!("{name}, {circle}")))
        .collect();
    assert!(found.is_empty(), "modules import each other in a circle:\n{}", found.join("\n"));
}

#[test]
fn functions_and_files_are_short() {
    let mut long = Vec::new();
    let mut n_functions = 0;
    for file in all_files().into_iter().flat_map(|(_, files)| files) {
        let path = file.relative_path();
        let n_lines = file.text.lines().count();
        if n_lines > MAX_FILE_LINES && !LONG_FILES.iter().any(|(allowed, _)| *allowed == path) {
            long.push(format!("{path}: {n_lines} lines, at most {MAX_FILE_LINES}"));
        }
        let mut contents = Contents::default();
        contents.visit_file(&file.syntax);
        n_functions += contents.functions.len();
        let too_long = contents.functions.into_iter().filter(|(_, n_lines)| *n_lines > MAX_FUNCTION_LINES);
        long.extend(
            too_long.map(|(name, n_lines)| format!("{path}: {name}: {n_lines} lines, at most {MAX_FUNCTION_LINES}")),
        );
    }
    assert!(n_functions > 500, "only {n_functions} functions were found");
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
            let path = file.relative_path();
            if n_children > 0 && !is_folder && !is_root {
                wrong.push(format!("{path} has child modules but is not a mod.rs"));
            }
            let n_files =
                file.path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).map_or(0, Iterator::count);
            if is_folder && n_files < 2 {
                wrong.push(format!("{path} is the only file in its folder"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_finds_a_circle() {
    let parse = |module: &str, text: &str| {
        let path = module.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        SourceFile::parse(module.into(), path, text.to_owned())
    };
    let crate_root = || parse("", "mod a; mod b; fn main() { a::run() }");
    let found = |a: &str, b: &str| {
        circles(&imports(&[crate_root(), parse("a", a), parse("b", b), parse("b::c", "use super::B;")]))
    };
    assert_eq!(found("use crate::b::B;", "mod c; pub struct B;"), Vec::<String>::new());
    let circle = found("use crate::b::B; pub fn run() {}", "mod c; fn f() { println!(\"{}\", crate::a::run()) }");
    assert_eq!(circle.len(), 1, "{circle:?}");
    assert!(circle[0].starts_with("in the crate: a, b\n"), "{circle:?}");
    // An import of a child module, and one by a path that is relative to the child.
    let nested = circles(&imports(&[
        crate_root(),
        parse("a", "use super::b::c::C;"),
        parse("b", "mod c;"),
        parse("b::c", "use super::super::a;"),
    ]));
    assert_eq!(nested.len(), 1, "{nested:?}");
}
