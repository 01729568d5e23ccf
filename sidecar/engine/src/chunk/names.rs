//! The names of definitions, as each language writes them: whole, with the marks that belong to them.

use super::tests::check_any;
use super::*;

/// Compares the names that each definition of the table gives, between the texts of `around`.
#[track_caller]
fn check(language: &str, table: &[(&str, &[&str])], around: (&str, &str)) {
    for (definition, expected) in table {
        let source = format!("{}{definition}\n{}", around.0, around.1);
        let chunks = check_any(Language::named(language), &source, &ChunkLimits::default());
        let line = around.0.matches('\n').count() as u32 + 1;
        let last = line + definition.matches('\n').count() as u32;
        let symbols = chunks.iter().flat_map(|chunk| &chunk.symbols);
        let inside = symbols.filter(|symbol| (line..=last).contains(&symbol.line));
        let names: Vec<&str> = inside.map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(names, *expected, "{language}: {definition}");
    }
}

#[test]
fn operators_of_cpp_are_named_as_the_standard_spells_them() {
    let members: &[(&str, &[&str])] = &[
        ("T* operator->() const { return p; }", &["operator->"]),
        ("T& operator->*(int m) { return p; }", &["operator->*"]),
        ("T operator()(int x) { return x; }", &["operator()"]),
        ("T operator [] (int i) const { return i; }", &["operator[]"]),
        ("P& operator ++ () { return *this; }", &["operator++"]),
        ("T operator,(int x) { return x; }", &["operator,"]),
        ("auto operator<=>(const P&) const = default;", &["operator<=>"]),
        ("bool operator==(const P&) const = default;", &["operator=="]),
        ("virtual bool operator < (const P&) const = 0;", &["operator<"]),
        ("operator bool() const { return true; }", &["operator bool"]),
        ("explicit operator std::string const&() const { return s; }", &["operator std::string const&"]),
        ("operator T *() { return p; }", &["operator T*"]),
        ("operator std::map<int, long>() { return m; }", &["operator std::map<int, long>"]),
        ("template <class U> operator U() const { return U(); }", &["operator U"]),
        ("awaiter operator co_await() const { return {}; }", &["operator co_await"]),
        ("~P() = default;", &["~P"]),
    ];
    check("cpp", members, ("struct Q {\n", "};\n"));
    let global: &[(&str, &[&str])] = &[
        ("void* operator new[](std::size_t n) { return 0; }", &["operator new[]"]),
        ("void operator delete [] (void* p) noexcept { }", &["operator delete[]"]),
        ("long double operator\"\"_km(long double v) { return v; }", &["operator\"\"_km"]),
        ("long double operator \"\" _mi(long double v) { return v; }", &["operator\"\"_mi"]),
        ("P::operator std::string const&() const { return s; }", &["operator std::string const&"]),
        ("T* P::operator->() const { return p; }", &["operator->"]),
        ("std::ostream& operator<<(std::ostream& o, const P& p) { return o; }", &["operator<<"]),
        ("bool operator!(P p) { return false; }", &["operator!"]),
        ("P::~P() {}", &["~P"]),
        ("URL::URL(int x) : a(x) {}", &["URL"]),
        ("template <> struct hash<Foo> { int operator()(Foo f) const { return 1; } };", &["hash", "operator()"]),
        ("TEST(Suite, Name) { }", &["Name"]),
    ];
    check("cpp", global, ("", ""));
}

#[test]
fn methods_of_ruby_keep_their_marks() {
    let members: &[(&str, &[&str])] = &[
        ("def name=(value)\nend", &["name="]),
        ("def self.limit=(value)\nend", &["limit="]),
        ("def valid?\nend", &["valid?"]),
        ("def save!; end", &["save!"]),
        ("def [](i) = @a[i]", &["[]"]),
        ("def []=(i, v)\nend", &["[]="]),
        ("def <=>(other) = 0", &["<=>"]),
        ("def +@; end", &["+@"]),
        ("def !\nend", &["!"]),
        ("def =~(x); end", &["=~"]),
        ("alias eql? ==", &["eql?"]),
        ("alias :old_name :name", &["old_name"]),
        ("alias :\"old one\" :name", &["old one"]),
        ("alias $new $old", &["$new"]),
        ("alias_method :size?, :length", &["size?"]),
        ("attr_reader :title, \"subtitle\"", &["title", "subtitle"]),
        ("attr_writer :secret", &["secret="]),
        ("attr_accessor :owner", &["owner", "owner="]),
        ("define_method(:ready?) { true }", &["ready?"]),
        ("define_method(\"go!\") { true }", &["go!"]),
        ("define_method(\"go_#{x}\") { true }", &[]),
        ("def größe; end", &["größe"]),
    ];
    check("ruby", members, ("class A\n", "end\n"));
}

#[test]
fn names_of_haskell_keep_primes_and_lose_the_signs_of_infix() {
    let table: &[(&str, &[&str])] = &[
        ("foldl' f z (x:xs) = foldl' f (f z x) xs", &["foldl'"]),
        ("go'' = 2", &["go''"]),
        ("a <+> b = a", &["<+>"]),
        ("(>>=>) a b = a", &[">>=>"]),
        ("(<$$>) :: Functor f => f a -> (a -> b) -> f b", &["<$$>"]),
        ("x `plus` y = x + y", &["plus"]),
        ("data a :+: b = L a | R b", &[":+:"]),
        ("newtype (f :. g) a = C (f (g a))", &[":."]),
        ("type a ~> b = a -> b", &["~>"]),
        ("data T' = T'", &["T'"]),
        ("pattern Pt' x = x", &["Pt'"]),
    ];
    check("haskell", table, ("", ""));
}

#[test]
fn names_in_back_ticks_are_whole() {
    let kotlin: &[(&str, &[&str])] = &[
        ("fun `returns 404 when missing`() { val x = 1 }", &["`returns 404 when missing`"]),
        ("fun String.`is odd`() = true", &["`is odd`"]),
        ("class `Weird Class`", &["`Weird Class`"]),
        ("const val `MAX-X` = 1", &["`MAX-X`"]),
        ("typealias `Str Alias` = String", &["`Str Alias`"]),
    ];
    check("kotlin", kotlin, ("", ""));
    let scala: &[(&str, &[&str])] = &[
        ("def `returns 404 when missing`() = 1", &["`returns 404 when missing`"]),
        ("def unary_! : Boolean = true", &["unary_!"]),
        ("def ::(o: A): A = o", &["::"]),
        ("def value_=(v: Int): Unit = {}", &["value_="]),
        ("def isEmpty_? = true", &["isEmpty_?"]),
        ("def +(o: A) = o", &["+"]),
        ("type `My Type` = Int", &["`My Type`"]),
    ];
    check("scala", scala, ("class A {\n", "}\n"));
    let swift: &[(&str, &[&str])] = &[
        ("func `default`() { }", &["`default`"]),
        ("static func + (l: V, r: V) -> V { return l }", &["+"]),
        ("static prefix func - (v: V) -> V { v }", &["-"]),
        ("static func <=> (l: V, r: V) -> Bool { true }", &["<=>"]),
        ("var `class`: Int { 1 }", &["`class`"]),
        ("enum `Type` { case a }", &["`Type`"]),
    ];
    check("swift", swift, ("struct V {\n", "}\n"));
}

#[test]
fn names_of_javascript_are_private_quoted_and_computed() {
    let members: &[(&str, &[&str])] = &[
        ("#method() { return 1 }", &["#method"]),
        ("#count = 0;", &["#count"]),
        ("static #inst = null;", &["#inst"]),
        ("#arrow = () => 1;", &["#arrow"]),
        ("get #g() { return 1 }", &["#g"]),
        ("set size(v) { }", &["size"]),
        ("constructor() { }", &["constructor"]),
        ("'content-type'() { }", &["content-type"]),
        ("\"quoted method\"() { }", &["quoted method"]),
        ("['lit']() { }", &["lit"]),
        ("[Symbol.iterator]() { }", &["[Symbol.iterator]"]),
        ("async *[Symbol.asyncIterator]() { }", &["[Symbol.asyncIterator]"]),
        ("'prop-fn' = () => 1;", &["prop-fn"]),
        ("[computed]() { }", &[]),
        ("count = 0;", &[]),
        ("$dollar() { }", &["$dollar"]),
    ];
    check("javascript", members, ("class A {\n", "}\n"));
    check("typescript", members, ("class A {\n", "}\n"));
    check("typescript", &[("private #priv: number = 1;", &["#priv"])], ("class A {\n", "}\n"));
    let interface: &[(&str, &[&str])] =
        &[("\"quoted\"(): void", &["quoted"]), ("[Symbol.iterator](): Iterator<number>", &["[Symbol.iterator]"])];
    check("typescript", interface, ("interface A {\n", "}\n"));
    let statements: &[(&str, &[&str])] = &[
        ("exports['bracket-name'] = function () { }", &["bracket-name"]),
        ("module.exports['other-name'] = () => 1", &["other-name"]),
        ("Foo.prototype[Symbol.iterator] = function () { }", &["[Symbol.iterator]"]),
        ("const o = { 'x-y': () => 1, ['lit']: () => 1 }", &["o", "x-y", "lit"]),
        ("table[key] = function () { }", &[]),
    ];
    check("javascript", statements, ("", ""));
}

#[test]
fn operators_and_keywords_as_names_in_csharp_and_dart() {
    let csharp: &[(&str, &[&str])] = &[
        ("public static V operator +(V a, V b) => a;", &["operator +"]),
        ("public static bool operator==(V a, V b) { return true; }", &["operator =="]),
        ("public static bool operator true(V a) => true;", &["operator true"]),
        ("public static implicit operator int(V v) => 1;", &["operator int"]),
        ("public static explicit operator List<string>(V v) => null;", &["operator List<string>"]),
        ("public int this[int i] { get { return 1; } }", &["this[]"]),
        ("int IFoo.this[string s] => 2;", &["this[]"]),
        ("void IFoo.Bar() { }", &["Bar"]),
        ("~V() { }", &["~V"]),
        ("public void @event(int x) { }", &["@event"]),
        ("const int @const = 1;", &["@const"]),
    ];
    check("csharp", csharp, ("class V {\n", "}\n"));
    let dart: &[(&str, &[&str])] = &[
        ("V operator +(V o) => o;", &["operator +"]),
        ("bool operator ==(Object o) => true;", &["operator =="]),
        ("void operator []=(int i, V v) {}", &["operator []="]),
        ("V operator -() => this;", &["operator -"]),
        ("int operator *(int x);", &["operator *"]),
        ("int get size => 1;", &["size"]),
        ("set size(int v) {}", &["size"]),
        ("factory V.make() => V._();", &["make"]),
    ];
    check("dart", dart, ("class V {\n", "}\n"));
}

#[test]
fn names_of_the_other_languages() {
    let rust: &[(&str, &[&str])] = &[
        ("pub fn r#type() {}", &["r#type"]),
        ("pub fn r#match<'r#a>(x: &'r#a str) {}", &["r#match"]),
        ("mod r#async { pub const r#LOOP: u8 = 1; }", &["r#async", "r#LOOP"]),
        ("macro_rules! r#try { () => {} }", &["r#try"]),
        ("fn größe() {}", &["größe"]),
    ];
    check("rust", rust, ("", ""));
    let shell: &[(&str, &[&str])] = &[
        ("ns::do_it() { echo 1; }", &["ns::do_it"]),
        ("function my-func { echo 1; }", &["my-func"]),
        ("foo.bar() { echo; }", &["foo.bar"]),
        ("function a::b::c() { :; }", &["a::b::c"]),
        ("@test() { :; }", &["@test"]),
    ];
    check("shell", shell, ("", ""));
    let python: &[(&str, &[&str])] = &[
        ("def __init__(self): pass", &["__init__"]),
        ("def naïve(self): pass", &["naïve"]),
        ("class Größe: pass", &["Größe"]),
        ("type Alias[T] = list[T]", &["Alias"]),
        ("type Plain = list", &["Plain"]),
    ];
    check("python", python, ("", ""));
    let elixir: &[(&str, &[&str])] = &[
        ("def valid?(x), do: x", &["valid?"]),
        ("def save!(x), do: x", &["save!"]),
        ("def a <~> b, do: a", &["<~>"]),
        ("def +a, do: a", &["+"]),
        ("def !a do\n  a\nend", &["!"]),
        ("defdelegate reverse?(x), to: Foo, as: :r", &["reverse?"]),
        ("defguard is_even?(x) when rem(x, 2) == 0", &["is_even?"]),
        ("def unquote(name)(x), do: x", &[]),
    ];
    check("elixir", elixir, ("defmodule A do\n", "end\n"));
    let lua: &[(&str, &[&str])] = &[
        ("function M.foo() end", &["foo"]),
        ("function M:bar() end", &["bar"]),
        ("M[\"quoted-name\"] = function() end", &["quoted-name"]),
        ("function M.__tostring() end", &["__tostring"]),
        ("local f <const> = function() end", &["f"]),
    ];
    check("lua", lua, ("", ""));
    let zig: &[(&str, &[&str])] = &[
        ("pub fn @\"quoted name\"() void {}", &["@\"quoted name\""]),
        ("pub const @\"weird const\" = 1;", &["@\"weird const\""]),
    ];
    check("zig", zig, ("", ""));
    check("go", &[("func (t *T) Méthode() {}", &["Méthode"])], ("package a\n", ""));
    check(
        "java",
        &[("void naïve() {}", &["naïve"]), ("static final int GRÖSSE = 1;", &["GRÖSSE"])],
        ("class A {\n", "}\n"),
    );
    check(
        "php",
        &[("public function &ref() { }", &["ref"]), ("function größe() { }", &["größe"])],
        ("<?php\nclass A {\n", "}\n"),
    );
}
