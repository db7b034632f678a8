//! What holds of every value: its size, its bounds, and that nothing overflows.

use super::*;
use crate::builtins::{Budget, Limit};

/// Runs on a stack as small as the one in a worker, half of it taken. Without the optimiser a frame is many
/// times as large.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let size = if cfg!(debug_assertions) { 4 * 1024 * 1024 } else { 256 * 1024 };
    std::thread::Builder::new().stack_size(size).spawn(run).unwrap().join().unwrap()
}

fn json(text: &str) -> Result<Value, JsonError> {
    Value::from_json(text.as_bytes(), &mut Budget::unlimited())
}

#[test]
fn a_value_is_small() {
    assert!(size_of::<Value>() <= 24);
    #[cfg(target_pointer_width = "32")]
    assert_eq!(size_of::<Value>(), 16);
}

#[test]
fn a_million_brackets_are_refused_and_cost_no_stack() {
    on_a_small_stack(|| {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[{\"\":", "}]]")] {
            let closed = format!("{}1{}", open.repeat(1_000_000), close.repeat(1_000_000));
            assert_eq!(json(&closed), Err(JsonError::Limit(Limit::Depth)));
            assert_eq!(json(&open.repeat(1_000_000)), Err(JsonError::Limit(Limit::Depth)));
        }
    });
}

#[test]
fn nothing_nests_deeper_than_the_bound() {
    let mut value = Value::from(1);
    for _ in 0..MOST_DEPTH {
        value = Value::array(vec![value]).unwrap();
    }
    assert_eq!(value.depth(), MOST_DEPTH);
    assert_eq!(Value::array(vec![value.clone()]), Err(TooDeep));
    assert_eq!(Value::set(vec![value.clone()]), Err(TooDeep));
    assert_eq!(Value::object(vec![(Value::Null, value.clone())]), Err(TooDeep));
    assert_eq!(Value::object(vec![(value.clone(), Value::Null)]), Err(TooDeep));
    let mut object = Object::new();
    assert_eq!(object.insert(Value::Null, value.clone()), Err(TooDeep));
    assert_eq!(Set::new().insert(value), Err(TooDeep));
}

#[test]
fn the_deepest_value_is_compared_hashed_printed_and_dropped_on_a_small_stack() {
    on_a_small_stack(|| {
        let build = |wrap: fn(Value) -> Result<Value, TooDeep>| {
            (0..MOST_DEPTH).try_fold(Value::from("x"), |value, _| wrap(value)).unwrap()
        };
        let wraps: [fn(Value) -> Result<Value, TooDeep>; 4] = [
            |value| Value::array(vec![value]),
            |value| Value::set(vec![value]),
            |value| Value::object(vec![(Value::from("a"), value)]),
            |value| Value::object(vec![(value, Value::from("a"))]),
        ];
        for wrap in wraps {
            let (a, b) = (build(wrap), build(wrap));
            assert_eq!(a.cmp(&b), std::cmp::Ordering::Equal);
            assert!(a == b);
            let hash = |value: &Value| {
                use std::hash::{DefaultHasher, Hash, Hasher};
                let mut hasher = DefaultHasher::new();
                value.hash(&mut hasher);
                hasher.finish()
            };
            assert_eq!(hash(&a), hash(&b));
            assert!(a.to_rego().len() > MOST_DEPTH as usize);
            // Keys as keys of keys double their text with each level: counted before it is written.
            let mut out = Vec::new();
            let printed = a.write_json(&mut out, &mut Budget::new(1_000_000, 1_000_000));
            assert!(printed.is_ok() || printed == Err(Limit::Bytes), "{printed:?}");
            assert!(out.len() <= 1_000_000);
            drop((a, b));
        }
    });
}

#[test]
fn equal_numbers_are_one_key_however_they_are_written() {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let hash = |text: &str| {
        let mut hasher = DefaultHasher::new();
        Number::from_text(text).hash(&mut hasher);
        hasher.finish()
    };
    let equal: &[&[&str]] = &[
        &["1", "1.0", "1e0", "10e-1", "+1", "01", "0x1p0", "1_0e-1"],
        &["0", "-0", "0.0", "0e99999999999", "-0.000"],
        &["10", "1e1", "0.1e2", "0xap0"],
        &["0.5", "5e-1", ".5", "0.50", "0x1p-1"],
        &["9223372036854775808", "9223372036854775808.0", "9.223372036854775808e18"],
        &["-9223372036854775808", "-9.223372036854775808e18"],
        &["1e400", "10e399"],
    ];
    for group in equal {
        for (a, b) in group.iter().zip(group.iter().skip(1)) {
            assert_eq!(Number::from_text(a), Number::from_text(b), "{a} {b}");
            assert_eq!(hash(a), hash(b), "{a} {b}");
        }
    }
    let ascending = [
        "-1e999999999999",
        "-1e400",
        "-9223372036854775809",
        "-9223372036854775808",
        "-1.5",
        "-1",
        "-1e-400",
        "0",
        "1e-400",
        "0.1",
        "0.10000000000000000001",
        "0.2",
        "1",
        "1.0000000000000000000001",
        "2",
        "10",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551617",
        "1e20",
        "1e400",
        "1e999999999999",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(Number::from_text(a).cmp(&Number::from_text(b)), i.cmp(&j), "{a} {b}");
        }
    }
}

#[test]
fn json_is_read_in_pieces_as_in_one() {
    let text = br#" {"a": [1, 2.50, {"b": "c\u00e9\n\ud83d\ude00"}], "d": null, "a": -1e3, "x": [[], {}]} "#;
    let whole = Value::from_json(text, &mut Budget::unlimited()).unwrap();
    assert_eq!(whole.to_rego(), "{\"a\": -1e3, \"d\": null, \"x\": [[], {}]}");
    for piece in 1..text.len() {
        let mut reader = JsonReader::new();
        let mut budget = Budget::unlimited();
        while !reader.advance(text, piece, &mut budget).unwrap() {}
        assert_eq!(reader.finish().to_rego(), whole.to_rego());
    }
}

#[test]
fn reading_is_counted() {
    let text = format!("[{}]", vec!["1"; 1_000].join(","));
    let mut budget = Budget::new(500, u64::MAX);
    assert_eq!(Value::from_json(text.as_bytes(), &mut budget), Err(JsonError::Limit(Limit::Steps)));
    let mut budget = Budget::new(u64::MAX, 1_000);
    assert_eq!(Value::from_json(text.as_bytes(), &mut budget), Err(JsonError::Limit(Limit::Bytes)));
}

#[test]
fn of_equal_keys_the_first_is_kept_with_the_last_value() {
    let pairs = |texts: &[(&str, i64)]| {
        texts
            .iter()
            .map(|(key, value)| (Value::Number(Number::from_text(key)), Value::from(*value)))
            .collect()
    };
    let object = Object::from_pairs(pairs(&[("1", 1), ("2", 2), ("1.0", 3), ("1e0", 4)])).unwrap();
    assert_eq!(Value::Object(Rc::new(object)).to_rego(), "{1: 4, 2: 2}");
    let unique = |pairs| ObjectBuilder::from_iter(pairs).finish_unique().unwrap();
    let same: Vec<(Value, Value)> = pairs(&[("1", 1), ("1.0", 1)]);
    assert_eq!(unique(same).unwrap().len(), 1);
    let different: Vec<(Value, Value)> = pairs(&[("1", 1), ("1.0", 2)]);
    assert!(unique(different).is_none());
}

/// Random insertions beside a reference that knows nothing of sorting.
#[test]
fn objects_and_sets_are_what_was_put_in() {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most) as i64
    };
    for _ in 0..200 {
        let mut object = Object::new();
        let mut builder = ObjectBuilder::new();
        let mut set = Set::new();
        let mut reference = std::collections::BTreeMap::new();
        for _ in 0..next(60) {
            let (key, value) = (next(20), next(100));
            let key = if key % 3 == 0 { Value::from(format!("k{key}")) } else { Value::from(key) };
            object.insert(key.clone(), Value::from(value)).unwrap();
            builder.push(key.clone(), Value::from(value));
            set.insert(key.clone()).unwrap();
            reference.insert(key, Value::from(value));
        }
        let expected: Vec<(Value, Value)> = reference.into_iter().collect();
        assert_eq!(object.pairs(), expected);
        assert_eq!(builder.finish().unwrap().pairs(), expected);
        assert_eq!(set.members(), expected.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        for (key, value) in &expected {
            assert_eq!(object.get(key), Some(value));
            assert!(set.contains(key));
            if let Value::String(text) = key {
                assert_eq!(object.get_str(text.as_bytes()), Some(value));
                assert!(set.contains_str(text.as_bytes()));
            }
        }
        assert_eq!(object.get(&Value::from(999)), None);
        assert_eq!(object.get_str(b"none"), None);
    }
}
