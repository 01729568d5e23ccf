//! Rules by hand, each against the same tree.

use super::oracle::Repository;

/// What every case has: one of its folders holds each of these.
const TREE: &[&str] = &[
    "a",
    "b",
    "ab",
    "A.py",
    "a.py",
    "b.js",
    "a.py{}",
    "a.{py,js}",
    "foo",
    "foo.txt",
    "foobar",
    "xfoo",
    "subxfoo",
    "subyfoo",
    "foo\t",
    "x y",
    "space ",
    "#c",
    "!n",
    "[x]",
    "a-b",
    "back\\slash",
    "1.log",
    "keep.log",
    "d/a",
    "d/a.py",
    "d/foo",
    "d/foo/x",
    "d/e/a",
    "d/e/keep.log",
    "d/e/f/foo",
    "foo2/bar",
    "build/out/x.o",
    "build/keep/y",
    "ü.txt",
    ".dot",
    ".d/x",
    "lib/a/b/c",
    "lib/b/c",
    "lib/a/x/y/b/c",
];

#[rustfmt::skip] // a table
const RULES: &[&str] = &[
    // names and ends
    "a", "a\n!a", "!a", "*", "*\n!*.py", "*\n!*/\n!*.py", "*.py", "*.py{}", "*.{py,js}", "*.log\n!keep.log", "foo*", "*foo", "*o*", "f?o", "?",
    "??", "???", "a?", "*.*", ".*", ".d", ".d/", "!.dot\n.*", "x y", "x\\ y", "x*y", "\\a", "\\*", "\\a.py", "a\\.py", "a.py\\", "\\", "\\\\", "back\\\\slash",
    "back\\slash", "back?slash", "back*",
    // comments, negation, spaces, ends of lines
    "#c", "\\#c", " #c", "!n", "\\!n", "!!n", "!\\!n", "space ", "space\\ ", "space\\  ", "space?", "a ", "a  ", "a \\ ", "foo\t", "foo\t ", "foo\\\t", "\ta", "a\r",
    "a\r\nb\r\n", "a\r\n\r\nb", "\r", "\r\n", "", "\n\n", " ", "\t", "a\n\n\nb", "\u{feff}a", "\u{feff}#c\na", "a\n\u{feff}b", "a\0b", "\0", "a\x0b",
    // slashes
    "/a", "/d", "d/", "d", "/d/", "a/", "foo/", "/foo/", "d/a", "/d/a", "d/a/", "d/*", "d/*\n!d/a", "d/**", "d/**\n!d/e", "d/**\n!d/e/\n!d/e/a", "*/a", "*/*", "/*",
    "/*/", "/*/*", "*/", "**", "**/", "/**", "/**/", "**/a", "/**/a", "**/foo", "a/**", "d/**/a", "d/**/foo", "d/**/", "lib/**/c", "lib/**/b/c", "lib/a/**/b",
    "lib/*/b", "lib/*/c", "lib/**b/c", "lib/a**", "lib/**a/b", "lib/*/*/*", "lib/*/*/", "**/b/**", "**/b/c", "**/x/**/c", "/", "//", "//a", "d//a", "d/\n", "./a", "../a", "d/./a",
    "d/../a", "a/b/c/d/e/f", "**/**/a", "**/**/**", "***", "***/a", "d/***", "d/***/a", "d**", "d**/a", "d/**a", "d/e**/a", "**d/a", "**foo", "foo**", "f**o",
    "lib/**\\/c", "**\\/c", "lib/**/c\n!lib/b/c", "d\\/a", "\\/a", "build/\n!build/keep/", "build/*\n!build/keep", "build/**\n!build/keep/**", "build/*/\n!build/keep/y",
    // classes
    "[ab]", "[!a]", "[^a]", "[a-c]", "[a-", "[", "[]", "[]a]", "[!]a]", "[!]", "[a", "a[", "*[", "[x]", "\\[x\\]", "[[]x]", "[[]x[]]", "[\\[]x[\\]]", "*[/]*", "d[/]a", "d[!x]a", "d/[a]",
    "sub[!x]foo", "sub[^x]foo", "sub[xy]foo", "sub?foo", "[a-b-z]", "[a\\-z]b", "a[-]b", "a[--]b", "a[--/]b", "a[b-]b", "a[!-]b", "[[:upper:]]*", "[[:lower:]]", "[[:alpha:]]*",
    "[[:digit:]]*", "[![:alpha:]]*", "[[:punct:]]*", "*[[:space:]]*", "[[:alnum:]]", "[[:xdigit:]]", "[[:blank:]]", "*[[:blank:]]", "[[:cntrl:]]", "[[:graph:]]", "[[:print:]]*",
    "[[:nope:]]", "[[:upper:", "[[:upper]", "[:upper:]", "[[:a]b", "[[:]x]", "[[::]]", "[z-a]", "[a-a]", "[\\a-\\c]", "[a-\\c]", "[\\\\]", "*[\\\\]*", "[]-a]", "[!]-a]", "[[:alpha:]-z]",
    // braces, and what other tools would read as more
    "{a,b}", "a.py{}", "*{*", "*.py{,}", "a.{py,js}", "(a|b)", "a|b", "+(a)", "@(a)", "~", "$a", "%", "ü*", "?.txt", "??.txt", "[ü]*", "\u{fc}.txt", "*.TXT", "A.PY", "a.PY", "[A-Z].py", "[A].py",
    "\\A.py", "**/A.py", "*\n!/d\n/d/*\n!/d/e", "*\n!/d/\n!/d/e/\n!/d/e/a", "foo\n!d/foo", "foo\n!foo/x", "d/foo\n!d/foo/x", "!*", "*.log\n!*.log\n1.log", "a\n!a\na", "a\n!/a", "/a\n!a",
];

fn compare(what: &str, settings: &[&str]) {
    let repository = Repository::new();
    for (n, rules) in RULES.iter().enumerate() {
        let files: Vec<(String, &[u8])> = TREE.iter().map(|name| (format!("c{n}/{name}"), &b""[..])).collect();
        for (name, content) in &files {
            // "d/foo" is a file in odd cases and a folder in the others.
            if !(n % 2 == 0 && name.ends_with("/d/foo/x") || n % 2 == 1 && name.ends_with("/d/foo")) {
                repository.plant(&[(name, content)]);
            }
        }
        repository.plant(&[(&format!("c{n}/.gitignore"), rules.as_bytes())]);
    }
    settings.iter().for_each(|setting| drop(repository.git(&["config", setting, "true"])));
    repository.check_walk(what);
}

#[test]
fn rules_by_hand_are_as_git_says() {
    assert!(RULES.len() >= 200, "{}", RULES.len());
    compare("with case", &[]);
    compare("without case", &["core.ignorecase"]);
}
