//! What a node defines: the vocabulary of the functions in `languages/` that look for it.

use std::ops::Range;

use tree_sitter::Node;

use super::SymbolKind::{self, *};
use super::one_line;

/// Looks at one node of a kind that may define something.
pub(super) type Finder = for<'t> fn(&Site<'_>, Node<'t>) -> Option<Definition<'t>>;

/// What encloses a node.
#[derive(Clone, Copy)]
pub(super) struct Site<'s> {
    /// The whole file.
    pub text: &'s str,
    /// Inside a function.
    pub in_function: bool,
    /// Directly inside a type, functions are its methods.
    pub in_type: bool,
    /// Directly inside a single object: its values are as good as global.
    pub in_object: bool,
    /// Directly inside a `const` declaration.
    pub constant: bool,
}

/// The name of a symbol.
#[derive(Clone)]
pub(super) struct Name {
    /// Where it is in the text.
    pub range: Range<usize>,
    /// What has the name.
    pub kind: SymbolKind,
    /// Its row, counted from 0.
    pub row: u32,
    /// The name, where it is not simply the text at `range`: `operator==` for `operator ==`.
    pub spelling: Option<String>,
}

/// A definition found at a node.
#[derive(Default)]
pub(super) struct Definition<'t> {
    /// The label of the scope that it opens; `None` when it opens none.
    pub label: Option<String>,
    /// What it defines.
    pub names: Vec<Name>,
    /// Its body; the header ends before it.
    pub body: Option<Node<'t>>,
    /// Inside is code, not definitions.
    pub is_function: bool,
    /// Functions inside are methods.
    pub is_type: bool,
    /// It is a single object: its values are as good as global.
    pub is_object: bool,
    /// Only its names count: the chunks are as if it were not there.
    pub only_names: bool,
    /// Names that mark clauses of one function: of such clauses in a row, only the first has the symbol.
    pub group: Vec<Range<usize>>,
}

impl<'s> Site<'s> {
    /// The text of a node.
    pub fn of(&self, node: Node<'_>) -> &'s str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    /// The beginning of a node's text, in one line.
    pub fn short(&self, node: Node<'_>) -> String {
        one_line(self.of(node), 80)
    }

    /// Method inside a type, else function.
    pub fn function_kind(&self) -> SymbolKind {
        if self.in_type { Method } else { Function }
    }

    /// Only capitals, digits and underscores, and a capital among them.
    pub fn is_capital(&self, node: Node<'_>) -> bool {
        let name = self.of(node);
        name.contains(char::is_uppercase) && !name.contains(|c: char| c.is_lowercase() || c == '$')
    }
}

impl Name {
    /// A name at this place that is written otherwise than the text there.
    pub fn spelled(self, spelling: String) -> Name {
        Name { spelling: Some(spelling), ..self }
    }
}

/// The whole of a node as a name.
pub(super) fn name(node: Node<'_>, kind: SymbolKind) -> Name {
    part_of(node, node.byte_range(), kind)
}

/// The bytes `range`, which begin in the first row of `node`, as a name.
pub(super) fn part_of(node: Node<'_>, range: Range<usize>, kind: SymbolKind) -> Name {
    Name { range, kind, row: row(node), spelling: None }
}

/// The whole of a node as a name, if it is written in the source: not a pattern, not computed. `['x']` and
/// `[Symbol.iterator]` count as written.
pub(super) fn named(node: Node<'_>, kind: SymbolKind) -> Option<Name> {
    if node.kind() == "computed_property_name" {
        let inside = children(node).next()?;
        return match inside.kind() {
            "string" => named(inside, kind),
            "member_expression" => Some(name(node, kind)),
            _ => None,
        };
    }
    let simple = node.kind().ends_with("identifier")
        || matches!(node.kind(), "string" | "type" | "metavariable" | "name" | "word" | "operator_identifier");
    (simple && !node.byte_range().is_empty()).then(|| name(node, kind))
}

/// The row of a node's first byte, counted from 0.
pub(super) fn row(node: Node<'_>) -> u32 {
    u32::try_from(node.start_position().row).unwrap_or(u32::MAX)
}

/// The last part of a dotted name, with a name for the whole before it when they differ.
pub(super) fn dotted(site: &Site<'_>, node: Node<'_>, kind: SymbolKind) -> Vec<Name> {
    let text = site.of(node);
    let whole = name(node, kind);
    match text.rfind('.') {
        Some(dot) => vec![whole, part_of(node, node.start_byte() + dot + 1..node.end_byte(), kind)],
        None => vec![whole],
    }
}

/// A definition whose name is in the field `name` and whose body is in the field `body`.
pub(super) fn define<'t>(site: &Site<'_>, node: Node<'t>, kind: SymbolKind, word: &str) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let is_function = matches!(kind, Function | Method);
    Some(Definition {
        label: Some(format!("{word} {}", site.short(found))),
        names: named(found, kind).into_iter().collect(),
        body: node.child_by_field_name("body"),
        is_function,
        is_type: !is_function && kind != Module,
        ..Definition::default()
    })
}

/// A namespace with a body. One without a body holds for the whole file, and as a label would tell nothing.
pub(super) fn namespace_with_body<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body")?;
    let label =
        node.child_by_field_name("name").map_or("namespace".into(), |found| format!("namespace {}", site.short(found)));
    Some(Definition { label: Some(label), body: Some(body), ..Definition::default() })
}

/// A type: functions in it are methods.
pub(super) fn a_type<'t>(label: String, names: Vec<Name>, body: Option<Node<'t>>) -> Option<Definition<'t>> {
    Some(Definition { label: Some(label), names, body, is_type: true, ..Definition::default() })
}

/// A function: its body is code, not definitions.
pub(super) fn a_function<'t>(label: String, names: Vec<Name>, body: Option<Node<'t>>) -> Option<Definition<'t>> {
    Some(Definition { label: Some(label), names, body, is_function: true, ..Definition::default() })
}

/// Values; the first gives the label.
pub(super) fn values<'t>(site: &Site<'_>, word: &str, names: Vec<Name>) -> Option<Definition<'t>> {
    let first = site.text.get(names.first()?.range.clone())?;
    let label = Some(one_line(&format!("{word} {first}"), 80)); // without a word, the name alone
    Some(Definition { label, names, ..Definition::default() })
}

/// The named children of a node.
pub(super) fn children<'t>(node: Node<'t>) -> impl Iterator<Item = Node<'t>> {
    let mut cursor = node.walk();
    let mut more = cursor.goto_first_child();
    std::iter::from_fn(move || {
        let found = more.then(|| cursor.node());
        more = more && cursor.goto_next_sibling();
        found
    })
    .filter(Node::is_named)
}

/// The first child that is this word or sign, which the grammar does not name.
pub(super) fn keyword<'t>(node: Node<'t>, word: &str) -> Option<Node<'t>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).find(|child| child.kind() == word)
}

/// The first child of a kind.
pub(super) fn child_of_kind<'t>(node: Node<'t>, kind: &str) -> Option<Node<'t>> {
    children(node).find(|child| child.kind() == kind)
}
