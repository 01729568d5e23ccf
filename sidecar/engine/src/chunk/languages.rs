//! The languages: what a path and a first look at the text say.

/// The language of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Rust.
    Rust,
    /// JavaScript, with or without JSX.
    JavaScript,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Java.
    Java,
    /// C.
    C,
    /// C++, and headers that cannot be C.
    Cpp,
    /// C#.
    CSharp,
    /// Ruby.
    Ruby,
    /// PHP, with the HTML around it.
    Php,
    /// Kotlin.
    Kotlin,
    /// Swift.
    Swift,
    /// Scala.
    Scala,
    /// Shell scripts for bash and its kin.
    Bash,
    /// Lua.
    Lua,
    /// Haskell.
    Haskell,
    /// Elixir.
    Elixir,
    /// Zig.
    Zig,
    /// A language without a grammar here, by name; `text` when the path says nothing.
    Other(&'static str),
}

impl Language {
    /// The language of a path, by its name and extension.
    pub fn of(rel_path: &str) -> Language {
        let name = rel_path.rsplit('/').next().unwrap_or(rel_path).to_ascii_lowercase();
        let by_name = NAMES.iter().find(|(known, _)| *known == name);
        if let Some((_, language)) = by_name {
            return *language;
        }
        if name.starts_with("dockerfile.") || name.starts_with("makefile.") {
            return Language::of(name.split('.').next().unwrap_or_default());
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let known = EXTENSIONS.iter().find(|(extensions, _)| extensions.contains(&extension));
        known.map_or(Language::Other("text"), |(_, language)| *language)
    }

    /// The language of a file: where the path leaves a choice, the text decides. A `.h` with `class`, `namespace` or
    /// `template` is C++, and a script without an extension is what its first line asks for.
    pub fn detect(rel_path: &str, text: &str) -> Language {
        match Language::of(rel_path) {
            Language::C if rel_path.ends_with(['h', 'H']) && is_cpp_header(text) => Language::Cpp,
            Language::Other("text") => interpreter(text).unwrap_or(Language::Other("text")),
            language => language,
        }
    }

    /// The name that filters use.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Tsx => "tsx",
            Language::Python => "python",
            Language::Go => "go",
            Language::Java => "java",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::CSharp => "csharp",
            Language::Ruby => "ruby",
            Language::Php => "php",
            Language::Kotlin => "kotlin",
            Language::Swift => "swift",
            Language::Scala => "scala",
            Language::Bash => "shell",
            Language::Lua => "lua",
            Language::Haskell => "haskell",
            Language::Elixir => "elixir",
            Language::Zig => "zig",
            Language::Other(name) => name,
        }
    }
}

/// Whether a line of the header starts as only C++ can.
fn is_cpp_header(text: &str) -> bool {
    const CPP: &[&str] =
        &["class ", "namespace ", "template", "using ", "public:", "private:", "protected:", "constexpr "];
    text.lines().any(|line| {
        let line = line.trim_start();
        CPP.iter().any(|start| line.starts_with(start))
    })
}

/// The language of a script by its `#!` line.
fn interpreter(text: &str) -> Option<Language> {
    let mut words = text.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let mut program = words.next()?.rsplit('/').next()?;
    if program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(match program {
        "sh" | "bash" | "dash" | "ksh" | "zsh" | "ash" => Language::Bash,
        "python" | "pypy" => Language::Python,
        "node" | "nodejs" | "bun" => Language::JavaScript,
        "deno" | "ts-node" | "tsx" => Language::TypeScript,
        "ruby" | "jruby" => Language::Ruby,
        "php" => Language::Php,
        "lua" | "luajit" => Language::Lua,
        "elixir" => Language::Elixir,
        "runghc" | "runhaskell" | "stack" => Language::Haskell,
        "scala" | "scala-cli" => Language::Scala,
        "kotlin" => Language::Kotlin,
        "swift" => Language::Swift,
        "perl" => Language::Other("perl"),
        "fish" => Language::Other("shell"),
        "make" => Language::Other("make"),
        "groovy" => Language::Other("groovy"),
        _ => return None,
    })
}

/// Files known by their whole name, in lower case.
const NAMES: &[(&str, Language)] = &[
    ("dockerfile", Language::Other("dockerfile")),
    ("containerfile", Language::Other("dockerfile")),
    ("makefile", Language::Other("make")),
    ("gnumakefile", Language::Other("make")),
    ("cmakelists.txt", Language::Other("cmake")),
    ("gemfile", Language::Ruby),
    ("rakefile", Language::Ruby),
    ("guardfile", Language::Ruby),
    ("podfile", Language::Ruby),
    ("fastfile", Language::Ruby),
    ("vagrantfile", Language::Ruby),
    ("brewfile", Language::Ruby),
    ("justfile", Language::Other("just")),
    ("jenkinsfile", Language::Other("groovy")),
    ("go.mod", Language::Other("go-module")),
    (".bashrc", Language::Bash),
    (".bash_profile", Language::Bash),
    (".profile", Language::Bash),
    (".zshrc", Language::Bash),
    (".editorconfig", Language::Other("ini")),
    (".gitconfig", Language::Other("ini")),
    ("cargo.lock", Language::Other("toml")),
    ("poetry.lock", Language::Other("toml")),
    ("composer.lock", Language::Other("json")),
    ("pipfile", Language::Other("toml")),
    ("mix.lock", Language::Elixir),
    (".eslintrc", Language::Other("json")),
    (".prettierrc", Language::Other("json")),
    (".babelrc", Language::Other("json")),
    (".clang-format", Language::Other("yaml")),
];

/// Files known by their extension, in lower case.
const EXTENSIONS: &[(&[&str], Language)] = &[
    (&["rs"], Language::Rust),
    (&["js", "mjs", "cjs", "jsx"], Language::JavaScript),
    (&["ts", "mts", "cts"], Language::TypeScript),
    (&["tsx"], Language::Tsx),
    (&["py", "pyi", "pyw"], Language::Python),
    (&["go"], Language::Go),
    (&["java"], Language::Java),
    (&["c", "h"], Language::C),
    (
        &["cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "inl", "ipp", "tpp", "ixx", "cppm", "cu", "cuh", "ino"],
        Language::Cpp,
    ),
    (&["cs", "csx"], Language::CSharp),
    (&["rb", "rake", "gemspec", "ru", "podspec", "rbi"], Language::Ruby),
    (&["php", "phtml", "php5", "inc"], Language::Php),
    (&["kt", "kts"], Language::Kotlin),
    (&["swift"], Language::Swift),
    (&["scala", "sc", "sbt"], Language::Scala),
    (&["sh", "bash", "zsh", "ksh", "bats", "ebuild"], Language::Bash),
    (&["lua", "rockspec"], Language::Lua),
    (&["hs"], Language::Haskell),
    (&["ex", "exs"], Language::Elixir),
    (&["zig", "zon"], Language::Zig),
    (&["md", "markdown", "mdx"], Language::Other("markdown")),
    (&["json", "jsonc", "json5", "geojson", "webmanifest"], Language::Other("json")),
    (&["yaml", "yml"], Language::Other("yaml")),
    (&["toml"], Language::Other("toml")),
    (&["html", "htm", "xhtml"], Language::Other("html")),
    (&["css", "scss", "sass", "less"], Language::Other("css")),
    (&["xml", "xsd", "xsl", "svg", "csproj", "props", "targets", "plist"], Language::Other("xml")),
    (&["vue"], Language::Other("vue")),
    (&["svelte"], Language::Other("svelte")),
    (&["erb", "eex", "heex", "leex", "twig", "hbs", "ejs", "jinja", "j2"], Language::Other("template")),
    (&["m", "mm"], Language::Other("objective-c")),
    (&["groovy", "gradle"], Language::Other("groovy")),
    (&["dart"], Language::Other("dart")),
    (&["pl", "pm"], Language::Other("perl")),
    (&["r"], Language::Other("r")),
    (&["jl"], Language::Other("julia")),
    (&["erl", "hrl"], Language::Other("erlang")),
    (&["lhs"], Language::Other("haskell")),
    (&["ml", "mli"], Language::Other("ocaml")),
    (&["fs", "fsi", "fsx"], Language::Other("fsharp")),
    (&["vb"], Language::Other("visual-basic")),
    (&["clj", "cljs", "cljc", "edn"], Language::Other("clojure")),
    (&["el", "lisp", "scm"], Language::Other("lisp")),
    (&["nim"], Language::Other("nim")),
    (&["cr"], Language::Other("crystal")),
    (&["sol"], Language::Other("solidity")),
    (&["fish"], Language::Other("shell")),
    (&["ps1", "psm1"], Language::Other("powershell")),
    (&["bat", "cmd"], Language::Other("batch")),
    (&["sql"], Language::Other("sql")),
    (&["graphql", "gql"], Language::Other("graphql")),
    (&["proto"], Language::Other("protobuf")),
    (&["thrift"], Language::Other("thrift")),
    (&["tf", "hcl"], Language::Other("hcl")),
    (&["nix"], Language::Other("nix")),
    (&["cmake"], Language::Other("cmake")),
    (&["mk", "mak"], Language::Other("make")),
    (&["bzl", "star", "bazel"], Language::Other("starlark")),
    (&["ini", "cfg", "conf", "properties"], Language::Other("ini")),
    (&["rst"], Language::Other("restructuredtext")),
    (&["adoc", "asciidoc"], Language::Other("asciidoc")),
    (&["tex"], Language::Other("latex")),
    (&["s", "asm"], Language::Other("assembly")),
];
