//! Types of arguments and results, enough for the type errors that OPA raises at load.

/// A type, as OPA's `v1/types` has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Type {
    /// Any value.
    Any,
    /// `null`
    Null,
    /// `true`, `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array of fixed first items, and of any number of `rest` after them.
    Array(&'static [Type], Option<&'static Type>),
    /// An object of fixed fields, and of any number of other keys and values.
    Object(&'static [Field], Option<(&'static Type, &'static Type)>),
    /// A set.
    Set(&'static Type),
    /// One of these.
    Union(&'static [Type]),
}

/// A fixed field of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its key.
    pub key: &'static str,
    /// The type of its value.
    pub value: Type,
}

impl Type {
    /// An array of any length.
    pub const fn array_of(item: &'static Type) -> Type {
        Type::Array(&[], Some(item))
    }

    /// An object of any size.
    pub const fn object_of(key: &'static Type, value: &'static Type) -> Type {
        Type::Object(&[], Some((key, value)))
    }

    /// Any array.
    pub const ANY_ARRAY: Type = Type::array_of(&Type::Any);
    /// Any object.
    pub const ANY_OBJECT: Type = Type::object_of(&Type::Any, &Type::Any);
    /// Any set.
    pub const ANY_SET: Type = Type::Set(&Type::Any);
}
