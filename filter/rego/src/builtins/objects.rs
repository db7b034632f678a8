//! Objects. Source: `v1/topdown/object.go`, `subset.go`.

use super::operands::{all, array, object};
use super::{Builtin, Call, Fault, Type};
use crate::value::{Array, Object, Set, Value, sort_by_key};
use std::borrow::Cow;
use std::rc::Rc;

const SOURCE: &str = "v1/topdown/object.go";
const KEYS: Type = Type::Union(&[Type::ANY_ARRAY, Type::ANY_SET, Type::ANY_OBJECT]);
const PARTS: Type = Type::Union(&[Type::ANY_OBJECT, Type::ANY_SET, Type::ANY_ARRAY]);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("object.filter", &[Type::ANY_OBJECT, KEYS], Type::ANY_OBJECT, filter, SOURCE),
    Builtin::new("object.get", &[Type::ANY_OBJECT, Type::Any, Type::Any], Type::Any, get, SOURCE),
    Builtin::new("object.keys", &[Type::ANY_OBJECT], Type::ANY_SET, keys, SOURCE),
    Builtin::new("object.remove", &[Type::ANY_OBJECT, KEYS], Type::ANY_OBJECT, remove, SOURCE),
    Builtin::new("object.subset", &[PARTS, PARTS], Type::Boolean, subset, "v1/topdown/subset.go"),
    Builtin::new("object.union", &[Type::ANY_OBJECT, Type::ANY_OBJECT], Type::ANY_OBJECT, union, SOURCE),
    Builtin::new("object.union_n", &[Type::array_of(&Type::ANY_OBJECT)], Type::ANY_OBJECT, union_n, SOURCE),
];

/// By a key, or by a path if the key is an array.
fn get(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, path, default] = all(args)?;
    let object = object(value)?;
    call.walk(path)?;
    let found = match path {
        Value::Array(path) => path.iter().try_fold(value, |value, key| value.get(key)),
        key => object.get(key),
    };
    Ok(found.unwrap_or(default).clone())
}

fn keys(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let object = object(value)?;
    call.room(object.len())?;
    Ok(Value::Set(Rc::new(Set::of_sorted(object.keys().cloned().collect())?)))
}

/// The keys that an argument names: items, members or keys.
fn key_set<'a>(call: &mut Call<'_>, value: &'a Value) -> Result<Cow<'a, Set>, Fault> {
    match value {
        Value::Set(set) => Ok(Cow::Borrowed(set)),
        Value::Array(array) => {
            call.sorting(u64::from(value.weight()), array.len())?;
            call.room(array.len())?;
            Ok(Cow::Owned(Set::from_members(array.items().to_vec())?))
        }
        Value::Object(object) => {
            call.room(object.len())?;
            Ok(Cow::Owned(Set::of_sorted(object.keys().cloned().collect())?))
        }
        _ => Err(Fault::undefined("an operand must be an object, a set or an array")),
    }
}

fn remove(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, keys] = all(args)?;
    let object = object(value)?;
    let keys = key_set(call, keys)?;
    call.sorting(object.len() as u64, keys.len())?;
    call.room(2 * object.len())?;
    let kept = object.iter().filter(|(key, _)| !keys.contains(key)).cloned().collect();
    Ok(Value::Object(Rc::new(Object::of_sorted(kept)?)))
}

fn filter(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, keys] = all(args)?;
    let object = object(value)?;
    let keys = key_set(call, keys)?;
    call.sorting(object.len() as u64, keys.len())?;
    call.room(2 * object.len().min(keys.len()))?;
    // Keys are written as the larger of both writes them.
    let kept: Vec<_> = if object.len() < keys.len() {
        let pair = |key: &Value| Some((key.clone(), object.get(key)?.clone()));
        keys.iter().filter_map(pair).collect()
    } else {
        object.iter().filter(|(key, _)| keys.contains(key)).cloned().collect()
    };
    Ok(Value::Object(Rc::new(Object::of_sorted(kept)?)))
}

fn union(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (first, second) = (object(a)?, object(b)?);
    if first.is_empty() {
        return Ok(b.clone());
    }
    call.compare(a, b)?;
    if second.is_empty() || a == b {
        return Ok(a.clone());
    }
    Ok(Value::Object(merge(call, first, second)?))
}

/// Both, the second over the first; objects in both are merged.
fn merge(call: &mut Call<'_>, a: &Rc<Object>, b: &Rc<Object>) -> Result<Rc<Object>, Fault> {
    call.room(2 * (a.len() + b.len()))?;
    call.sorting((a.len() + b.len()) as u64, a.len().max(b.len()))?;
    let mut pairs = Vec::with_capacity(a.len() + b.len());
    for (key, ours) in a.iter() {
        let value = match (b.get(key), ours) {
            (None, _) => ours.clone(),
            (Some(Value::Object(theirs)), Value::Object(ours)) => Value::Object(merge(call, ours, theirs)?),
            (Some(theirs), _) => theirs.clone(),
        };
        pairs.push((key.clone(), value));
    }
    pairs.extend(b.iter().filter(|(key, _)| !a.contains_key(key)).cloned());
    Ok(Rc::new(Object::from_pairs(pairs)?))
}

fn union_n(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let objects = array(value)?;
    let objects: Vec<&Rc<Object>> = objects.iter().map(object).collect::<Result<_, _>>()?;
    match objects.as_slice() {
        [one] => Ok(Value::Object((*one).clone())),
        many => Ok(Value::Object(merge_all(call, many)?)),
    }
}

/// All of them, later ones over earlier ones. What is no object stops the merging of what came before it.
fn merge_all(call: &mut Call<'_>, objects: &[&Rc<Object>]) -> Result<Rc<Object>, Fault> {
    let count = objects.iter().map(|object| object.len()).fold(0, usize::saturating_add);
    call.room(count.saturating_mul(2))?;
    call.sorting(count as u64, count)?;
    let mut entries: Vec<(Value, Value)> = Vec::with_capacity(count);
    objects.iter().rev().for_each(|object| entries.extend(object.iter().cloned()));
    sort_by_key(&mut entries);
    let mut pairs = Vec::with_capacity(count);
    for same in entries.chunk_by(|a, b| a.0 == b.0) {
        let Some((key, last)) = same.first() else { continue };
        let objects: Vec<&Rc<Object>> = same.iter().map_while(|(_, value)| value.as_object()).collect();
        let value = match objects.as_slice() {
            [] | [_] => last.clone(),
            many => {
                let many: Vec<_> = many.iter().rev().copied().collect();
                Value::Object(merge_all(call, &many)?)
            }
        };
        pairs.push((key.clone(), value));
    }
    Ok(Rc::new(Object::of_sorted(pairs)?))
}

fn subset(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [over, under] = all(args)?;
    let found = match (over, under) {
        (Value::Object(over), Value::Object(under)) => object_subset(call, over, under)?,
        (Value::Set(over), Value::Set(under)) => set_subset(call, over, under)?,
        (Value::Array(over), Value::Array(under)) => array_subset(call, over, under)?,
        (Value::Array(over), Value::Set(under)) => {
            call.sorting(u64::from(Value::Array(over.clone()).weight()), under.len())?;
            // Each item that is a member counts, the same one twice too: `[1, 1]` has all of `{1, 2}`.
            let mut unmatched = under.len() as i64;
            over.iter().any(|item| {
                unmatched -= i64::from(under.contains(item));
                unmatched == 0
            })
        }
        _ => return Err(Fault::undefined("operands must be of one type, or an array and a set")),
    };
    Ok(Value::Bool(found))
}

fn object_subset(call: &mut Call<'_>, over: &Object, under: &Object) -> Result<bool, Fault> {
    call.sorting(under.len() as u64, over.len())?;
    for (key, wanted) in under.iter() {
        let Some(have) = over.get(key) else { return Ok(false) };
        call.compare(have, wanted)?;
        let found = have == wanted
            || match (have, wanted) {
                (Value::Object(over), Value::Object(under)) => object_subset(call, over, under)?,
                (Value::Set(over), Value::Set(under)) => set_subset(call, over, under)?,
                (Value::Array(over), Value::Array(under)) => array_subset(call, over, under)?,
                _ => false,
            };
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_subset(call: &mut Call<'_>, over: &Set, under: &Set) -> Result<bool, Fault> {
    let weight = under.iter().map(|member| u64::from(member.weight())).sum();
    call.sorting(weight, over.len())?;
    Ok(under.iter().all(|member| over.contains(member)))
}

/// Whether one array lies in the other without a gap.
fn array_subset(call: &mut Call<'_>, over: &Array, under: &Array) -> Result<bool, Fault> {
    if under.is_empty() {
        return Ok(true);
    }
    for window in over.items().windows(under.len()) {
        let mut found = true;
        for (have, wanted) in window.iter().zip(under.iter()) {
            call.compare(have, wanted)?;
            found = have == wanted;
            if !found {
                break;
            }
        }
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
