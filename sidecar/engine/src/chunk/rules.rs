//! The rules of the languages whose definitions take more than a look at one field.

use super::SymbolKind::*;
use super::find;
use super::grammar::{Rule, Table};

pub(super) const JAVA: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("class_declaration", Rule::Define(Class, "class")),
    ("record_declaration", Rule::Define(Class, "record")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("annotation_type_declaration", Rule::Define(Interface, "@interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("module_declaration", Rule::Define(Module, "module")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("annotation_type_element_declaration", Rule::Define(Method, "method")),
    ("constructor_declaration", Rule::Define(Method, "constructor")),
    ("compact_constructor_declaration", Rule::Define(Method, "constructor")),
    ("constant_declaration", Rule::Find(find::java_field)),
    ("field_declaration", Rule::Find(find::java_field)),
];

pub(super) const C: Table = &[
    ("comment", Rule::Lead),
    ("preproc_if", Rule::Wrapper),
    ("preproc_ifdef", Rule::Wrapper),
    ("preproc_else", Rule::Wrapper),
    ("preproc_elif", Rule::Wrapper),
    ("linkage_specification", Rule::Wrapper),
    ("declaration_list", Rule::Wrapper),
    ("function_definition", Rule::Find(find::c_function)),
    ("struct_specifier", Rule::Find(find::c_type)),
    ("union_specifier", Rule::Find(find::c_type)),
    ("enum_specifier", Rule::Find(find::c_type)),
    ("type_definition", Rule::Find(find::c_typedef)),
    ("declaration", Rule::Find(find::c_declaration)),
    ("preproc_def", Rule::Find(find::c_macro)),
    ("preproc_function_def", Rule::Find(find::c_macro)),
];

/// On top of [`C`].
pub(super) const CPP: Table = &[
    ("access_specifier", Rule::Lead),
    ("template_declaration", Rule::HeadedWrapper),
    ("class_specifier", Rule::Find(find::c_type)),
    ("field_declaration", Rule::Find(find::c_declaration)),
    ("namespace_definition", Rule::Find(find::cpp_namespace)),
    ("alias_declaration", Rule::Define(Type, "using")),
    ("concept_definition", Rule::Define(Type, "concept")),
];

pub(super) const CSHARP: Table = &[
    ("comment", Rule::Lead),
    ("preproc_if", Rule::Wrapper),
    ("namespace_declaration", Rule::Find(find::namespace)),
    ("class_declaration", Rule::Define(Class, "class")),
    ("record_declaration", Rule::Define(Class, "record")),
    ("struct_declaration", Rule::Define(Struct, "struct")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("delegate_declaration", Rule::Define(Type, "delegate")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("local_function_statement", Rule::Define(Function, "function")),
    ("constructor_declaration", Rule::Find(find::csharp_member)),
    ("destructor_declaration", Rule::Find(find::csharp_member)),
    ("property_declaration", Rule::Find(find::csharp_member)),
    ("event_declaration", Rule::Find(find::csharp_member)),
    ("indexer_declaration", Rule::Find(find::csharp_member)),
    ("operator_declaration", Rule::Find(find::csharp_member)),
    ("conversion_operator_declaration", Rule::Find(find::csharp_member)),
    ("field_declaration", Rule::Find(find::csharp_field)),
    ("event_field_declaration", Rule::Find(find::csharp_field)),
];

pub(super) const RUBY: Table = &[
    ("comment", Rule::Lead),
    ("module", Rule::Find(find::ruby_type)),
    ("class", Rule::Find(find::ruby_type)),
    ("singleton_class", Rule::Find(find::ruby_type)),
    ("method", Rule::Find(find::ruby_method)),
    ("singleton_method", Rule::Find(find::ruby_method)),
    ("alias", Rule::Find(find::ruby_alias)),
    ("assignment", Rule::Find(find::ruby_constant)),
    ("call", Rule::Find(find::ruby_call)),
];

pub(super) const PHP: Table = &[
    ("comment", Rule::Lead),
    ("namespace_definition", Rule::Find(find::namespace)),
    ("class_declaration", Rule::Define(Class, "class")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("trait_declaration", Rule::Define(Trait, "trait")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("function_definition", Rule::Define(Function, "function")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("const_declaration", Rule::Find(find::php_constants)),
    ("function_call_expression", Rule::Find(find::php_define)),
];

pub(super) const KOTLIN: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("class_declaration", Rule::Find(find::kotlin_class)),
    ("object_declaration", Rule::Find(find::kotlin_object)),
    ("companion_object", Rule::Find(find::kotlin_object)),
    ("function_declaration", Rule::Find(find::kotlin_function)),
    ("secondary_constructor", Rule::Find(find::kotlin_function)),
    ("anonymous_initializer", Rule::Find(find::kotlin_function)),
    ("property_declaration", Rule::Find(find::kotlin_property)),
    ("type_alias", Rule::Find(find::kotlin_alias)),
];

pub(super) const SWIFT: Table = &[
    ("comment", Rule::Lead),
    ("multiline_comment", Rule::Lead),
    ("class_declaration", Rule::Find(find::swift_class)),
    ("protocol_declaration", Rule::Define(Interface, "protocol")),
    ("typealias_declaration", Rule::Define(Type, "typealias")),
    ("associatedtype_declaration", Rule::Define(Type, "associatedtype")),
    ("macro_declaration", Rule::Define(Macro, "macro")),
    ("function_declaration", Rule::Find(find::swift_function)),
    ("protocol_function_declaration", Rule::Find(find::swift_function)),
    ("init_declaration", Rule::Find(find::swift_function)),
    ("deinit_declaration", Rule::Find(find::swift_function)),
    ("subscript_declaration", Rule::Find(find::swift_function)),
    ("property_declaration", Rule::Find(find::swift_property)),
    ("protocol_property_declaration", Rule::Find(find::swift_property)),
];

pub(super) const SCALA: Table = &[
    ("comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("package_clause", Rule::Wrapper),
    ("trait_definition", Rule::Define(Trait, "trait")),
    ("class_definition", Rule::Define(Class, "class")),
    ("enum_definition", Rule::Define(Enum, "enum")),
    ("full_enum_case", Rule::Define(Class, "case")),
    ("type_definition", Rule::Define(Type, "type")),
    ("function_definition", Rule::Define(Function, "def")),
    ("function_declaration", Rule::Define(Function, "def")),
    ("object_definition", Rule::Find(find::scala_object)),
    ("package_object", Rule::Find(find::scala_object)),
    ("val_definition", Rule::Find(find::scala_value)),
    ("var_definition", Rule::Find(find::scala_value)),
    ("given_definition", Rule::Find(find::scala_value)),
    ("extension_definition", Rule::Find(find::scala_extension)),
];

pub(super) const BASH: Table = &[
    ("comment", Rule::Lead),
    ("function_definition", Rule::Define(Function, "function")),
    ("variable_assignment", Rule::Find(find::bash_variable)),
];

pub(super) const LUA: Table = &[
    ("comment", Rule::Lead),
    ("variable_declaration", Rule::Wrapper),
    ("function_declaration", Rule::Find(find::lua_function)),
    ("assignment_statement", Rule::Find(find::lua_assignment)),
    ("field", Rule::Find(find::lua_field)),
];

pub(super) const HASKELL: Table = &[
    ("comment", Rule::Lead),
    ("haddock", Rule::Lead),
    ("pragma", Rule::Lead),
    ("declarations", Rule::Wrapper),
    ("header", Rule::Find(find::haskell_module)),
    ("signature", Rule::Note(find::haskell_signature)),
    ("function", Rule::Find(find::haskell_function)),
    ("bind", Rule::Find(find::haskell_function)),
    ("data_type", Rule::Find(find::haskell_type)),
    ("newtype", Rule::Find(find::haskell_type)),
    ("type_synonym", Rule::Find(find::haskell_type)),
    ("type_family", Rule::Find(find::haskell_type)),
    ("data_family", Rule::Find(find::haskell_type)),
    ("class", Rule::Find(find::haskell_type)),
    ("instance", Rule::Find(find::haskell_instance)),
];

pub(super) const ELIXIR: Table = &[
    ("comment", Rule::Lead),
    ("call", Rule::Find(find::elixir_call)),
    ("unary_operator", Rule::Note(find::elixir_attribute)),
];

pub(super) const ZIG: Table = &[
    ("comment", Rule::Lead),
    ("function_declaration", Rule::Define(Function, "fn")),
    ("variable_declaration", Rule::Find(find::zig_variable)),
    ("struct_declaration", Rule::Find(find::zig_container)),
    ("union_declaration", Rule::Find(find::zig_container)),
    ("enum_declaration", Rule::Find(find::zig_container)),
    ("opaque_declaration", Rule::Find(find::zig_container)),
    ("test_declaration", Rule::Find(find::zig_test)),
];
