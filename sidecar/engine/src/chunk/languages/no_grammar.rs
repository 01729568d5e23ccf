//! Languages without a grammar here: files are cut at blank lines, or along headings and keys (`plain.rs`).

use super::LanguageSpec;

/// What a file is when neither its path nor its first line says more.
pub(super) static TEXT: LanguageSpec = plain("text", &[], &[], &[]);

/// Name, extensions, file names, interpreters.
pub(super) static LANGUAGES: [LanguageSpec; 45] = [
    plain("markdown", &["md", "markdown", "mdx"], &[], &[]),
    plain(
        "json",
        &["json", "jsonc", "json5", "geojson", "webmanifest"],
        &["composer.lock", ".eslintrc", ".prettierrc", ".babelrc"],
        &[],
    ),
    plain("yaml", &["yaml", "yml"], &[".clang-format"], &[]),
    plain("toml", &["toml"], &["cargo.lock", "poetry.lock", "pipfile"], &[]),
    plain("html", &["html", "htm", "xhtml"], &[], &[]),
    plain("css", &["css", "scss", "sass", "less"], &[], &[]),
    plain("xml", &["xml", "xsd", "xsl", "svg", "csproj", "props", "targets", "plist"], &[], &[]),
    plain("vue", &["vue"], &[], &[]),
    plain("svelte", &["svelte"], &[], &[]),
    plain("template", &["erb", "eex", "heex", "leex", "twig", "hbs", "ejs", "jinja", "j2"], &[], &[]),
    plain("objective-c", &["m", "mm"], &[], &[]),
    plain("groovy", &["groovy", "gradle"], &["jenkinsfile"], &["groovy"]),
    plain("perl", &["pl", "pm"], &[], &["perl"]),
    plain("r", &["r"], &[], &[]),
    plain("julia", &["jl"], &[], &[]),
    plain("erlang", &["erl", "hrl"], &[], &[]),
    plain("haskell", &["lhs"], &[], &[]),
    plain("ocaml", &["ml", "mli"], &[], &[]),
    plain("fsharp", &["fs", "fsi", "fsx"], &[], &[]),
    plain("visual-basic", &["vb"], &[], &[]),
    plain("clojure", &["clj", "cljs", "cljc", "edn"], &[], &[]),
    plain("lisp", &["el", "lisp", "scm"], &[], &[]),
    plain("nim", &["nim"], &[], &[]),
    plain("crystal", &["cr"], &[], &[]),
    plain("solidity", &["sol"], &[], &[]),
    plain("shell", &["fish"], &[], &["fish"]),
    plain("powershell", &["ps1", "psm1"], &[], &[]),
    plain("batch", &["bat", "cmd"], &[], &[]),
    plain("sql", &["sql"], &[], &[]),
    plain("graphql", &["graphql", "gql"], &[], &[]),
    plain("protobuf", &["proto"], &[], &[]),
    plain("thrift", &["thrift"], &[], &[]),
    plain("hcl", &["tf", "hcl"], &[], &[]),
    plain("nix", &["nix"], &[], &[]),
    plain("cmake", &["cmake"], &["cmakelists.txt"], &[]),
    plain("make", &["mk", "mak"], &["makefile", "gnumakefile"], &["make"]),
    plain("starlark", &["bzl", "star", "bazel"], &[], &[]),
    plain("ini", &["ini", "cfg", "conf", "properties"], &[".editorconfig", ".gitconfig"], &[]),
    plain("restructuredtext", &["rst"], &[], &[]),
    plain("asciidoc", &["adoc", "asciidoc"], &[], &[]),
    plain("latex", &["tex"], &[], &[]),
    plain("assembly", &["s", "asm"], &[], &[]),
    plain("dockerfile", &[], &["dockerfile", "containerfile"], &[]),
    plain("just", &[], &["justfile"], &[]),
    plain("go-module", &[], &["go.mod"], &[]),
];

const fn plain(
    name: &'static str,
    extensions: &'static [&'static str],
    file_names: &'static [&'static str],
    interpreters: &'static [&'static str],
) -> LanguageSpec {
    LanguageSpec {
        name,
        title: name,
        extensions,
        file_names,
        interpreters,
        claims: None,
        angles_nest: false,
        grammar: None,
    }
}
