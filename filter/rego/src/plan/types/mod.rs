//! Types, as far as they refuse policies: `v1/ast/check.go`, `v1/types`.
//!
//! What OPA refuses for its types is refused, since a call that cannot hold would make a `not` around it hold. Where OPA's
//! own answer depends on the order of a hash table, or where a type has grown beyond [`MOST_MEMBERS`], any value is taken.

mod check;
mod term;

pub(crate) use check::{Checker, Types};

use std::cmp::Ordering;
use std::rc::Rc;

use crate::builtins;
use crate::value::Value;

/// The most members of a union, and fields of an object that is put together of rules.
const MOST_MEMBERS: usize = 128;

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
    Set(Rc<Known>),
    /// One of these, sorted; any value if there is none.
    Any(Rc<[Type]>),
    Function(Rc<FunctionType>),
}

#[derive(Clone, Debug)]
pub(crate) struct ArrayType {
    pub(crate) items: Vec<Known>,
    pub(crate) rest: Known,
}

#[derive(Clone, Debug)]
pub(crate) struct ObjectType {
    /// Sorted by key.
    pub(crate) fields: Vec<(Value, Known)>,
    pub(crate) rest: Option<(Known, Known)>,
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
        Type::Array(Rc::new(ArrayType { items, rest }))
    }

    pub(crate) fn object(mut fields: Vec<(Value, Known)>, rest: Option<(Known, Known)>) -> Type {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Type::Object(Rc::new(ObjectType { fields, rest }))
    }

    pub(crate) fn set(of: Known) -> Type {
        Type::Set(Rc::new(of))
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

    /// The type of a value.
    pub(crate) fn of(value: &Value) -> Type {
        match value {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::Array(array) => Type::array(array.iter().map(|v| Some(Type::of(v))).collect(), None),
            // As JSON a set is an array.
            Value::Set(set) => Type::array(set.iter().map(|v| Some(Type::of(v))).collect(), None),
            Value::Object(object) => {
                Type::object(object.iter().map(|(k, v)| (k.clone(), Some(Type::of(v)))).collect(), None)
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
        (Type::Set(a), Type::Set(b)) => compare_known(a, b),
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
                    Some(Type::Any(members.into()))
                }
            }
        }
    }
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
            let at = usize::try_from(key.as_number()?.to_i64()?).ok()?;
            match array.items.get(at) {
                Some(item) => item.clone(),
                None => array.rest.clone(),
            }
        }
        Type::Object(object) => match object.fields.binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(at) => object.fields.get(at).and_then(|(_, t)| t.clone()),
            Err(_) => {
                let (rest_key, rest_value) = object.rest.as_ref()?;
                if contains(rest_key, &Type::of(key)) { rest_value.clone() } else { None }
            }
        },
        Type::Set(of) => {
            let of_key = Type::of(key);
            match &**of {
                Some(Type::Any(_)) if contains(of, &of_key) => Some(of_key),
                Some(of) if compare(of, &of_key).is_eq() => Some(of.clone()),
                _ => None,
            }
        }
        Type::Any(members) if members.is_empty() => Some(Type::any()),
        Type::Any(members) => members.iter().fold(None, |all, m| or(select(m, key), all)),
        _ => None,
    }
}

/// The type of the keys that a step can have.
pub(crate) fn keys(a: &Type) -> Known {
    match a {
        Type::Array(_) => Some(Type::Number),
        Type::Object(object) => {
            let fields = object.fields.iter().fold(None, |all, (k, _)| or(all, Some(Type::of(k))));
            match &object.rest {
                Some((key, _)) => or(fields, key.clone()),
                None => fields,
            }
        }
        Type::Set(of) => (**of).clone(),
        Type::Any(members) if members.is_empty() => Some(Type::any()),
        Type::Any(members) => members.iter().fold(None, |all, m| or(keys(m), all)),
        _ => None,
    }
}

/// The type of the values that a step can find.
pub(crate) fn values(a: &Type) -> Known {
    match a {
        Type::Array(array) => {
            let items = array.items.iter().fold(None, |all, t| or(all, t.clone()));
            or(items, array.rest.clone())
        }
        Type::Object(object) => {
            let fields = object.fields.iter().fold(None, |all, (_, t)| or(all, t.clone()));
            match &object.rest {
                Some((_, value)) => or(fields, value.clone()),
                None => fields,
            }
        }
        Type::Set(of) => (**of).clone(),
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
        Some(Type::Set(of)) => is_nil(of),
        _ => false,
    }
}

fn is_nil_type(a: &Type) -> bool {
    is_nil(&Some(a.clone()))
}

/// Whether a value can be of both.
pub(crate) fn unifies(a: &Known, b: &Known) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    let any = |members: &[Type], other: &Type| {
        !matches!(other, Type::Function(_))
            && (members.is_empty() || members.iter().any(|m| unifies(&Some(m.clone()), &Some(other.clone()))))
    };
    match (a, b) {
        (Type::Any(x), Type::Any(y)) => any(x, b) || any(y, a),
        (Type::Any(x), _) => any(x, b),
        (_, Type::Any(y)) => any(y, a),
        (Type::Array(x), Type::Array(y)) => {
            let fits = |x: &ArrayType, y: &ArrayType| {
                x.items.iter().enumerate().all(|(i, t)| {
                    let other = y.items.get(i).unwrap_or(&y.rest);
                    unifies(t, other)
                })
            };
            fits(x, y) && fits(y, x) && (x.rest.is_none() || y.rest.is_none() || unifies(&x.rest, &y.rest))
        }
        (Type::Object(x), Type::Object(y)) => {
            let fits = |x: &ObjectType, y: &ObjectType| {
                x.fields.iter().all(|(key, t)| match select(&Type::Object(Rc::new(y.clone())), key) {
                    None => {
                        let open = |o: &ObjectType| o.rest.as_ref().is_some_and(|(_, v)| v.is_some());
                        open(x) || open(y)
                    }
                    other => unifies(t, &other),
                })
            };
            let rest = match (&x.rest, &y.rest) {
                (Some((_, x)), Some((_, y))) if x.is_some() && y.is_some() => unifies(x, y),
                _ => true,
            };
            fits(x, y) && fits(y, x) && rest
        }
        (Type::Set(x), Type::Set(y)) => unifies(x, y),
        (Type::Function(x), Type::Function(y)) => {
            x.args.len() == y.args.len() && x.args.iter().zip(&y.args).all(|(x, y)| unifies(x, y))
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
        Some(Type::Set(of)) => match &**of {
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
