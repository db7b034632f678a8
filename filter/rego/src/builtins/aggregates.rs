//! Counting, sums, extremes, order. Source: `v1/topdown/aggregates.go`.

use super::arithmetic;
use super::operands::{all, array, integer, items, set};
use super::{Builtin, Call, Fault, Type};
use crate::value::{Number, Set, Value};
use std::rc::Rc;

const SOURCE: &str = "v1/topdown/aggregates.go";
const ARRAYS: &str = "v1/topdown/array.go";
const SETS: &str = "v1/topdown/sets.go";
const BINARY: &str = "v1/topdown/binary.go";
const ITEMS: &[Type] = &[Type::Union(&[Type::ANY_ARRAY, Type::ANY_SET])];
const NUMBERS: &[Type] = &[Type::Union(&[Type::array_of(&Type::Number), Type::Set(&Type::Number)])];
const COUNTED: &[Type] = &[Type::Union(&[Type::ANY_SET, Type::ANY_ARRAY, Type::ANY_OBJECT, Type::String])];
const TWO_ARRAYS: &[Type] = &[Type::ANY_ARRAY, Type::ANY_ARRAY];
const TWO_SETS: &[Type] = &[Type::ANY_SET, Type::ANY_SET];
const SET_OF_SETS: &[Type] = &[Type::Set(&Type::ANY_SET)];

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("all", ITEMS, Type::Boolean, every, SOURCE).deprecated(),
    Builtin::new("any", ITEMS, Type::Boolean, any, SOURCE).deprecated(),
    Builtin::new("count", COUNTED, Type::Number, count, SOURCE),
    Builtin::new("max", ITEMS, Type::Any, max, SOURCE),
    Builtin::new("min", ITEMS, Type::Any, min, SOURCE),
    Builtin::new("product", NUMBERS, Type::Number, product, SOURCE),
    Builtin::new("sort", ITEMS, Type::ANY_ARRAY, sort, SOURCE),
    Builtin::new("sum", NUMBERS, Type::Number, sum, SOURCE),
    Builtin::new("array.concat", TWO_ARRAYS, Type::ANY_ARRAY, concat, ARRAYS),
    Builtin::new("array.flatten", &[Type::ANY_ARRAY], Type::ANY_ARRAY, flatten, ARRAYS),
    Builtin::new("array.reverse", &[Type::ANY_ARRAY], Type::ANY_ARRAY, reverse, ARRAYS),
    Builtin::new(
        "array.slice",
        &[Type::ANY_ARRAY, Type::Number, Type::Number],
        Type::ANY_ARRAY,
        slice,
        ARRAYS,
    ),
    Builtin::new("and", TWO_SETS, Type::ANY_SET, and, BINARY),
    Builtin::new("or", TWO_SETS, Type::ANY_SET, or, BINARY),
    Builtin::new("intersection", SET_OF_SETS, Type::ANY_SET, intersection, SETS),
    Builtin::new("union", SET_OF_SETS, Type::ANY_SET, union, SETS),
    Builtin::new("set_diff", TWO_SETS, Type::ANY_SET, arithmetic::set_diff, SETS).deprecated(),
];

fn count(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let count = match value {
        Value::Array(array) => array.len(),
        Value::Object(object) => object.len(),
        Value::Set(set) => set.len(),
        Value::String(text) => {
            call.step(text.len() / 32)?;
            characters(text.as_bytes())
        }
        _ => return Err(Fault::undefined("what has no count")),
    };
    Ok(Value::from(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// How many characters: each byte that is part of none counts as one.
pub(super) fn characters(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

fn numbers(value: &Value) -> Result<Vec<&Number>, Fault> {
    let number = |item: &'_ Value| matches!(item, Value::Number(_));
    let items = items(value)?;
    if !items.iter().all(number) {
        return Err(Fault::undefined("an item must be a number"));
    }
    Ok(items.iter().filter_map(Value::as_number).collect())
}

fn sum(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    arithmetic::sum(call, &numbers(value)?)
}

fn product(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    arithmetic::product(call, &numbers(value)?)
}

/// The largest; of equal ones the last of an array, the only one of a set.
fn max(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    items(value)?.iter().max().cloned().ok_or(Fault::undefined("nothing to choose from"))
}

/// The smallest; of equal ones the last of an array.
fn min(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    items(value)?.iter().rev().min().cloned().ok_or(Fault::undefined("nothing to choose from"))
}

fn sort(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let items = items(value)?;
    call.sorting(u64::from(value.weight()), items.len())?;
    call.room(items.len())?;
    let mut sorted = items.to_vec();
    sorted.sort();
    Ok(Value::array(sorted)?)
}

fn every(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let items = items(value)?;
    call.step(items.len())?;
    Ok(Value::Bool(items.iter().all(|item| item.as_bool() == Some(true))))
}

fn any(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let items = items(value)?;
    call.step(items.len())?;
    Ok(Value::Bool(items.iter().any(|item| item.as_bool() == Some(true))))
}

fn concat(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (first, second) = (array(a)?, array(b)?);
    if first.is_empty() {
        return Ok(b.clone());
    }
    if second.is_empty() {
        return Ok(a.clone());
    }
    call.room(first.len() + second.len())?;
    Ok(Value::array([first.items(), second.items()].concat())?)
}

/// The items, and instead of an array its items.
fn flatten(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let array = array(value)?;
    call.step(array.len())?;
    let length = |item: &Value| item.as_array().map_or(1, |nested| nested.len());
    call.room(array.iter().map(length).fold(0, usize::saturating_add))?;
    let flat = array.iter().flat_map(|item| match item {
        Value::Array(nested) => nested.items(),
        item => std::slice::from_ref(item),
    });
    Ok(Value::array(flat.cloned().collect())?)
}

fn reverse(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    let array = array(value)?;
    call.room(array.len())?;
    Ok(Value::array(array.iter().rev().cloned().collect())?)
}

fn slice(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value, from, to] = all(args)?;
    let array = array(value)?;
    let index = |value| integer(value).map(|index| usize::try_from(index.max(0)).unwrap_or(usize::MAX));
    let (from, to) = (index(from)?, index(to)?);
    let to = to.min(array.len());
    let from = from.min(to);
    if from == 0 && to == array.len() {
        return Ok(value.clone());
    }
    call.room(to - from)?;
    Ok(Value::array(array.items().get(from..to).unwrap_or_default().to_vec())?)
}

/// The members of both, as the smaller set writes them.
fn both(call: &mut Call<'_>, a: &Rc<Set>, b: &Rc<Set>) -> Result<Rc<Set>, Fault> {
    let (small, large) = if b.len() < a.len() { (b, a) } else { (a, b) };
    call.sorting(u64::from(Value::Set(small.clone()).weight()), large.len())?;
    call.room(small.len())?;
    let members = small.iter().filter(|member| large.contains(member)).cloned().collect();
    Ok(Rc::new(Set::of_sorted(members)?))
}

fn and(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    Ok(Value::Set(both(call, set(a)?, set(b)?)?))
}

fn or(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (first, second) = (set(a)?, set(b)?);
    if first.is_empty() {
        return Ok(b.clone());
    }
    if second.is_empty() {
        return Ok(a.clone());
    }
    join(call, &[first, second])
}

/// The members of all, of equal ones the first.
fn join(call: &mut Call<'_>, sets: &[&Rc<Set>]) -> Result<Value, Fault> {
    let count = sets.iter().map(|set| set.len()).fold(0, usize::saturating_add);
    let weight = sets.iter().map(|set| u64::from(Value::Set((*set).clone()).weight())).sum();
    call.sorting(weight, count)?;
    call.room(count)?;
    let mut members = Vec::with_capacity(count);
    sets.iter().for_each(|set| members.extend_from_slice(set.members()));
    Ok(Value::set(members)?)
}

fn sets(value: &Value) -> Result<Vec<&Rc<Set>>, Fault> {
    set(value)?.iter().map(set).collect()
}

fn intersection(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    let sets = sets(value)?;
    let mut sets = sets.into_iter();
    let Some(first) = sets.next() else { return Ok(Value::set(Vec::new())?) };
    let common = sets.try_fold(first.clone(), |common, next| both(call, &common, next))?;
    Ok(Value::Set(common))
}

fn union(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [value] = all(args)?;
    call.walk(value)?;
    join(call, &sets(value)?)
}
