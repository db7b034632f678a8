//! Types, as far as they refuse policies: `v1/ast/check.go`, `v1/types`.
//!
//! What OPA refuses for its types is refused, since a call that cannot hold would make a `not` around it hold. Where OPA's
//! own answer depends on the order of a hash table, or where a type has grown beyond [`MOST_MEMBERS`], [`MOST_PARTS`] or
//! [`MOST_DEPTH`], any value is taken.

mod check;
mod documents;
mod layers;
mod references;
mod term;
#[cfg(test)]
mod tests;

pub(crate) use check::Checker;
pub(crate) use documents::Types;

use std::cmp::Ordering;
use std::rc::Rc;

use crate::builtins;
use crate::value::Value;

/// The most members of a union, and fields of an object that is put together of rules.
const MOST_MEMBERS: usize = 128;

/// The most parts of a type that is put together of others. A policy can name one type twice in the next, again and again:
/// the types of forty lines would have a million million parts.
const MOST_PARTS: u32 = 4096;

/// The most types within one another; what walks a type calls itself.
const MOST_DEPTH: u32 = 160;

/// The most pairs of parts that are compared to find whether two types have a value in common.
const MOST_PAIRS: u32 = 4096;

/// A type, if it is known.
pub(crate) type Known = Option<Type>;

#[derive(Clone, Debug)]
pub(crate) enum Type {
    Null,
    Boolean,
    Number,
    String,
    Array(Rc<ArrayType>),
    Object(Rc<ObjectType>),
    Set(Rc<SetType>),
    /// One of these, sorted; any value if there is none.
    Any(Rc<[Type]>),
    Function(Rc<FunctionType>),
}

#[derive(Clone, Debug)]
pub(crate) struct ArrayType {
    pub(crate) items: Vec<Known>,
    pub(crate) rest: Known,
    size: Size,
}

#[derive(Clone, Debug)]
pub(crate) struct SetType {
    pub(crate) of: Known,
    size: Size,
}

#[derive(Clone, Debug)]
pub(crate) struct ObjectType {
    /// Sorted by key.
    pub(crate) fields: Vec<(Value, Known)>,
    pub(crate) rest: Option<(Known, Known)>,
    size: Size,
}

/// How large a type is.
#[derive(Clone, Copy, Debug)]
struct Size {
    parts: u32,
    depth: u32,
}

impl Size {
    const LEAF: Size = Size { parts: 1, depth: 1 };

    /// Of what holds these.
    fn around<'a>(of: impl Iterator<Item = &'a Known>) -> Size {
        let within = of.flatten().map(Type::size).fold(Size { parts: 0, depth: 0 }, |all, one| Size {
            parts: all.parts.saturating_add(one.parts),
            depth: all.depth.max(one.depth),
        });
        Size { parts: within.parts.saturating_add(1), depth: within.depth + 1 }
    }

    fn is_too_large(self) -> bool {
        self.parts > MOST_PARTS || self.depth > MOST_DEPTH
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FunctionType {
    pub(crate) args: Vec<Known>,
    pub(crate) result: Known,
    pub(crate) variadic: bool,
}

impl Type {
    pub(crate) fn any() -> Type {
        Type::Any(Rc::from([]))
    }

    pub(crate) fn array(items: Vec<Known>, rest: Known) -> Type {
        let size = Size::around(items.iter().chain([&rest]));
        if size.is_too_large() { Type::any() } else { Type::Array(Rc::new(ArrayType { items, rest, size })) }
    }

    pub(crate) fn object(fields: Vec<(Value, Known)>, rest: Option<(Known, Known)>) -> Type {
        let of_rest = rest.iter().flat_map(|(key, value)| [key, value]);
        let size = Size::around(fields.iter().map(|(_, of)| of).chain(of_rest));
        if size.is_too_large() { Type::any() } else { Type::object_of(fields, rest, size) }
    }

    fn object_of(mut fields: Vec<(Value, Known)>, rest: Option<(Known, Known)>, size: Size) -> Type {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Type::Object(Rc::new(ObjectType { fields, rest, size }))
    }

    pub(crate) fn set(of: Known) -> Type {
        let size = Size::around([&of].into_iter());
        if size.is_too_large() { Type::any() } else { Type::Set(Rc::new(SetType { of, size })) }
    }

    fn size(&self) -> Size {
        match self {
            Type::Array(array) => array.size,
            Type::Object(object) => object.size,
            Type::Set(set) => set.size,
            Type::Any(members) => members.iter().map(Type::size).fold(Size::LEAF, |all, one| Size {
                parts: all.parts.saturating_add(one.parts),
                depth: all.depth.max(one.depth + 1),
            }),
            Type::Null | Type::Boolean | Type::Number | Type::String | Type::Function(_) => Size::LEAF,
        }
    }

    pub(crate) fn is_any(&self) -> bool {
        matches!(self, Type::Any(members) if members.is_empty())
    }

    fn rank(&self) -> u8 {
        match self {
            Type::Null => 0,
            Type::Boolean => 1,
            Type::Number => 2,
            Type::String => 3,
            Type::Array(_) => 4,
            Type::Object(_) => 5,
            Type::Set(_) => 6,
            Type::Any(_) => 7,
            Type::Function(_) => 8,
        }
    }

    /// The type of a value, which is no larger than the value.
    pub(crate) fn of(value: &Value) -> Type {
        let array = |items: Vec<Known>| {
            let size = Size::around(items.iter());
            Type::Array(Rc::new(ArrayType { items, rest: None, size }))
        };
        match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Array(values) => array(values.iter().map(|v| Some(Type::of(v))).collect()),
            // As JSON a set is an array.
            Value::Set(set) => array(set.iter().map(|v| Some(Type::of(v))).collect()),
            Value::Object(object) => {
                let fields: Vec<_> = object.iter().map(|(k, v)| (k.clone(), Some(Type::of(v)))).collect();
                let size = Size::around(fields.iter().map(|(_, of)| of));
                Type::object_of(fields, None, size)
            }
        }
    }

    /// The type that the table of builtins names.
    pub(crate) fn of_table(table: &builtins::Type) -> Type {
        match table {
            builtins::Type::Any => Type::any(),
            builtins::Type::Null => Type::Null,
            builtins::Type::Boolean => Type::Boolean,
            builtins::Type::Number => Type::Number,
            builtins::Type::String => Type::String,
            builtins::Type::Array(items, rest) => {
                Type::array(items.iter().map(|t| Some(Type::of_table(t))).collect(), rest.map(Type::of_table))
            }
            builtins::Type::Object(fields, rest) => Type::object(
                fields.iter().map(|f| (Value::from(f.key), Some(Type::of_table(&f.value)))).collect(),
                rest.map(|(k, v)| (Some(Type::of_table(k)), Some(Type::of_table(v)))),
            ),
            builtins::Type::Set(of) => Type::set(Some(Type::of_table(of))),
            builtins::Type::Union(of) => {
                let mut members: Vec<Type> = of.iter().map(Type::of_table).collect();
                members.sort_by(compare);
                Type::Any(members.into())
            }
        }
    }
}

fn compare_known(a: &Known, b: &Known) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn compare_lists(a: &[Known], b: &[Known]) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| compare_known(a, b)).find(|o| o.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

pub(crate) fn compare(a: &Type, b: &Type) -> Ordering {
    match (a, b) {
        (Type::Array(a), Type::Array(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ordering::Equal;
            }
            compare_known(&a.rest, &b.rest).then_with(|| compare_lists(&a.items, &b.items))
        }
        (Type::Object(a), Type::Object(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ordering::Equal;
            }
            let rest = match (&a.rest, &b.rest) {
                (Some(a), Some(b)) => compare_known(&a.0, &b.0).then_with(|| compare_known(&a.1, &b.1)),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            rest.then_with(|| {
                let mut fields = a.fields.iter().zip(&b.fields);
                let unequal = fields.find_map(|(a, b)| {
                    let order = a.0.cmp(&b.0).then_with(|| compare_known(&a.1, &b.1));
                    order.is_ne().then_some(order)
                });
                unequal.unwrap_or_else(|| a.fields.len().cmp(&b.fields.len()))
            })
        }
        (Type::Set(a), Type::Set(b)) if Rc::ptr_eq(a, b) => Ordering::Equal,
        (Type::Set(a), Type::Set(b)) => compare_known(&a.of, &b.of),
        (Type::Any(a), Type::Any(b)) => {
            let unequal = a.iter().zip(b.iter()).map(|(a, b)| compare(a, b)).find(|o| o.is_ne());
            unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Type::Function(a), Type::Function(b)) => a
            .args
            .len()
            .cmp(&b.args.len())
            .then_with(|| compare_lists(&a.args, &b.args))
            .then_with(|| compare_known(&a.result, &b.result)),
        _ => a.rank().cmp(&b.rank()),
    }
}

/// A value of one or the other.
pub(crate) fn or(a: Known, b: Known) -> Known {
    let (a, b) = match (a, b) {
        (None, other) | (other, None) => return other,
        (Some(a), Some(b)) => (a, b),
    };
    match (&a, &b) {
        (Type::Function(a), Type::Function(b)) => {
            if a.args.len() != b.args.len() || a.variadic != b.variadic {
                return None;
            }
            let args = a.args.iter().zip(&b.args).map(|(a, b)| or(a.clone(), b.clone())).collect();
            let result = or(a.result.clone(), b.result.clone());
            Some(Type::Function(Rc::new(FunctionType { args, result, variadic: a.variadic })))
        }
        (Type::Function(_), _) | (_, Type::Function(_)) => None,
        (Type::Any(members), _) if members.is_empty() => Some(a),
        (_, Type::Any(members)) if members.is_empty() => Some(b),
        _ => {
            let mut members: Vec<Type> = Vec::new();
            for part in [&a, &b] {
                match part {
                    Type::Any(of) => members.extend(of.iter().cloned()),
                    other => members.push(other.clone()),
                }
            }
            members.sort_by(compare);
            members.dedup_by(|a, b| compare(a, b).is_eq());
            if members.len() > MOST_MEMBERS {
                return Some(Type::any());
            }
            match (members.pop(), members.is_empty()) {
                (Some(only), true) => Some(only),
                (last, _) => {
                    members.extend(last);
                    let union = Type::Any(members.into());
                    Some(if union.size().is_too_large() { Type::any() } else { union })
                }
            }
        }
    }
}

/// A value of one of these; of neighbours that are equal, only one is looked at.
fn union<'a>(parts: impl Iterator<Item = &'a Known>) -> Known {
    let mut all = None;
    let mut before: Option<&Known> = None;
    for part in parts {
        if before.is_some_and(|before| compare_known(before, part).is_eq()) {
            continue;
        }
        before = Some(part);
        all = or(all, part.clone());
    }
    all
}

fn contains(a: &Known, b: &Type) -> bool {
    match a {
        Some(Type::Any(members)) => {
            !matches!(b, Type::Function(_))
                && (members.is_empty() || members.iter().any(|m| compare(m, b).is_eq()))
        }
        Some(a) => compare(a, b).is_eq(),
        None => false,
    }
}

/// The type of what a constant step finds.
pub(crate) fn select(a: &Type, key: &Value) -> Known {
    match a {
        Type::Array(array) => {
            // An index is spelled as an integer: `2.0` is none.
            let at: usize = key.as_number()?.to_text().parse().ok()?;
            match array.items.get(at) {
                Some(item) => item.clone(),
                None => array.rest.clone(),
            }
        }
        Type::Object(object) => select_field(object, key),
        Type::Set(set) => {
            let of_key = Type::of(key);
            match &set.of {
                Some(Type::Any(_)) if contains(&set.of, &of_key) => Some(of_key),
                Some(of) if compare(of, &of_key).is_eq() => Some(of.clone()),
                _ => None,
            }
        }
        Type::Any(members) if members.is_empty() => Some(Type::any()),
        Type::Any(members) => members.iter().fold(None, |all, m| or(select(m, key), all)),
        _ => None,
    }
}

fn select_field(object: &ObjectType, key: &Value) -> Known {
    match object.fields.binary_search_by(|(k, _)| k.cmp(key)) {
        Ok(at) => object.fields.get(at).and_then(|(_, t)| t.clone()),
        Err(_) => {
            let (rest_key, rest_value) = object.rest.as_ref()?;
            if contains(rest_key, &Type::of(key)) { rest_value.clone() } else { None }
        }
    }
}

/// The type of the keys that a step can have.
pub(crate) fn keys(a: &Type) -> Known {
    match a {
        Type::Array(_) => Some(Type::Number),
        Type::Object(object) => {
            let fields: Vec<Known> = object.fields.iter().map(|(k, _)| Some(Type::of(k))).collect();
            let fields = union(fields.iter());
            match &object.rest {
                Some((key, _)) => or(fields, key.clone()),
                None => fields,
            }
        }
        Type::Set(set) => set.of.clone(),
        Type::Any(members) if members.is_empty() => Some(Type::any()),
        Type::Any(members) => members.iter().fold(None, |all, m| or(keys(m), all)),
        _ => None,
    }
}

/// The type of the values that a step can find.
pub(crate) fn values(a: &Type) -> Known {
    match a {
        Type::Array(array) => {
            let items = union(array.items.iter());
            or(items, array.rest.clone())
        }
        Type::Object(object) => {
            let fields = union(object.fields.iter().map(|(_, of)| of));
            match &object.rest {
                Some((_, value)) => or(fields, value.clone()),
                None => fields,
            }
        }
        Type::Set(set) => set.of.clone(),
        Type::Any(members) if members.is_empty() => Some(Type::any()),
        Type::Any(members) => members.iter().fold(None, |all, m| or(values(m), all)),
        _ => None,
    }
}

/// Whether a part of it is not known.
pub(crate) fn is_nil(a: &Known) -> bool {
    match a {
        None => true,
        Some(Type::Function(f)) => f.args.iter().any(is_nil) || is_nil(&f.result),
        Some(Type::Array(array)) => {
            array.items.iter().any(is_nil) || array.rest.as_ref().is_some_and(is_nil_type)
        }
        Some(Type::Object(object)) => {
            object.fields.iter().any(|(_, t)| is_nil(t))
                || object.rest.as_ref().is_some_and(|(k, v)| is_nil(k) || is_nil(v))
        }
        Some(Type::Set(set)) => is_nil(&set.of),
        _ => false,
    }
}

fn is_nil_type(a: &Type) -> bool {
    is_nil(&Some(a.clone()))
}

/// Whether a value can be of both.
pub(crate) fn unifies(a: &Known, b: &Known) -> bool {
    unifies_within(a, b, &mut MOST_PAIRS.clone())
}

/// The same, and true where more pairs of parts than these would have to be compared.
fn unifies_within(a: &Known, b: &Known, pairs: &mut u32) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    types_unify(a, b, pairs)
}

fn types_unify(a: &Type, b: &Type, pairs: &mut u32) -> bool {
    *pairs = pairs.saturating_sub(1);
    if *pairs == 0 {
        return true;
    }
    match (a, b) {
        (Type::Any(members), other) | (other, Type::Any(members)) => {
            !matches!(other, Type::Function(_))
                && (members.is_empty() || members.iter().any(|member| types_unify(member, other, pairs)))
        }
        (Type::Array(x), Type::Array(y)) => {
            let items = (0..x.items.len().max(y.items.len())).all(|at| {
                let (x, y) = (x.items.get(at).unwrap_or(&x.rest), y.items.get(at).unwrap_or(&y.rest));
                unifies_within(x, y, pairs)
            });
            items && (x.rest.is_none() || y.rest.is_none() || unifies_within(&x.rest, &y.rest, pairs))
        }
        (Type::Object(x), Type::Object(y)) => {
            let open = |o: &ObjectType| o.rest.as_ref().is_some_and(|(_, v)| v.is_some());
            let may_lack = open(x) || open(y);
            let mut fit = |key: &Value, of: &Known, other: &ObjectType| match select_field(other, key) {
                None => may_lack,
                other => unifies_within(of, &other, pairs),
            };
            let has = |o: &ObjectType, key: &Value| o.fields.binary_search_by(|(k, _)| k.cmp(key)).is_ok();
            // What both have is compared once.
            let fields = x.fields.iter().all(|(key, of)| fit(key, of, y))
                && y.fields.iter().filter(|(key, _)| !has(x, key)).all(|(key, of)| fit(key, of, x));
            let rest = match (&x.rest, &y.rest) {
                (Some((_, x)), Some((_, y))) if x.is_some() && y.is_some() => unifies_within(x, y, pairs),
                _ => true,
            };
            fields && rest
        }
        (Type::Set(x), Type::Set(y)) => unifies_within(&x.of, &y.of, pairs),
        (Type::Function(x), Type::Function(y)) => {
            x.args.len() == y.args.len()
                && x.args.iter().zip(&y.args).all(|(x, y)| unifies_within(x, y, pairs))
        }
        _ => a.rank() == b.rank(),
    }
}

/// A type in words.
pub(crate) fn show(a: &Known) -> String {
    match a {
        None => "???".into(),
        Some(Type::Null) => "null".into(),
        Some(Type::Boolean) => "boolean".into(),
        Some(Type::Number) => "number".into(),
        Some(Type::String) => "string".into(),
        Some(Type::Array(_)) => "array".into(),
        Some(Type::Object(_)) => "object".into(),
        Some(Type::Set(set)) => match &set.of {
            Some(Type::Any(_)) | None => "set".into(),
            of => format!("set of {}", show(of)),
        },
        Some(Type::Any(members)) if members.is_empty() => "any".into(),
        Some(Type::Any(members)) => {
            let mut names: Vec<String> = members.iter().map(|m| show(&Some(m.clone()))).collect();
            names.dedup();
            names.truncate(6);
            names.join(" or ")
        }
        Some(Type::Function(_)) => "function".into(),
    }
}
