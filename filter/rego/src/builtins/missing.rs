//! What OPA has and is not here: each entry says why, and a policy that calls it is refused by name.

use super::{Builtin, Type};

const GRAPHQL: &str =
    "GraphQL is not available: its grammar and its rules would make the module larger by some 150 KB";
const HTTP: &str = "requests during an evaluation are not available";
const DNS: &str = "name resolution is not available";
const PARSE: &str = "the syntax tree of a module is not available: the one here is not that of OPA";
const TEMPLATE: &str =
    "text templates are not available: Go's templates are a language with functions of their own";

/// The table of what is missing.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::missing(
        "graphql.is_valid",
        &[Type::Union(&[Type::String, Type::ANY_OBJECT]), Type::Union(&[Type::String, Type::ANY_OBJECT])],
        Type::Boolean,
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "graphql.parse",
        &[Type::Union(&[Type::String, Type::ANY_OBJECT]), Type::Union(&[Type::String, Type::ANY_OBJECT])],
        Type::Array(&[Type::ANY_OBJECT, Type::ANY_OBJECT], None),
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "graphql.parse_and_verify",
        &[Type::Union(&[Type::String, Type::ANY_OBJECT]), Type::Union(&[Type::String, Type::ANY_OBJECT])],
        Type::Array(&[Type::Boolean, Type::ANY_OBJECT, Type::ANY_OBJECT], None),
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "graphql.parse_query",
        &[Type::String],
        Type::ANY_OBJECT,
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "graphql.parse_schema",
        &[Type::String],
        Type::ANY_OBJECT,
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "graphql.schema_is_valid",
        &[Type::Union(&[Type::String, Type::ANY_OBJECT])],
        Type::Boolean,
        GRAPHQL,
        "v1/topdown/graphql.go",
    ),
    Builtin::missing(
        "http.send",
        &[Type::object_of(&Type::String, &Type::Any)],
        Type::ANY_OBJECT,
        HTTP,
        "v1/topdown/http.go",
    )
    .nondeterministic(),
    Builtin::missing(
        "net.lookup_ip_addr",
        &[Type::String],
        Type::Set(&Type::String),
        DNS,
        "v1/topdown/net.go",
    )
    .nondeterministic(),
    Builtin::missing(
        "rego.parse_module",
        &[Type::String, Type::String],
        Type::object_of(&Type::String, &Type::Any),
        PARSE,
        "v1/topdown/parse.go",
    ),
    Builtin::missing(
        "strings.render_template",
        &[Type::String, Type::object_of(&Type::String, &Type::Any)],
        Type::String,
        TEMPLATE,
        "v1/topdown/template.go",
    ),
];
