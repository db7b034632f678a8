//! Builtins that the engine would panic in, spend unbounded time in, or read a pattern otherwise than OPA in.
//!
//! A panic ends the VM and with it a worker's traffic (INVARIANT no panic). Each replacement answers undefined
//! where OPA answers with a builtin error, as OPA does when builtin errors are not strict. Cost: `with` cannot
//! replace these functions in a test.

use std::sync::LazyLock;

use super::regex;
use anyhow::Result;

use regorus::{
    Engine, LimitError, Source, Value,
    unstable::{BUILTINS, Expr, Ref, Span},
};

/// Most elements that one range or one expanded network may have.
const MAX_ELEMENTS: i64 = 1 << 16;

/// Builtins that take a regular expression: name, number of arguments, which of them is the pattern.
const PATTERNS: &[(&str, u8, usize)] = &[
    ("regex.match", 2, 0),
    ("regex.is_valid", 1, 0),
    ("regex.split", 2, 0),
    ("regex.find_n", 3, 0),
    ("regex.find_all_string_submatch_n", 3, 0),
    ("regex.replace", 3, 1),
];

/// Whether a call of this name reaches a builtin of the engine or one of ours.
pub(super) fn is_builtin(name: &str) -> bool {
    name == "print" || BUILTINS.contains_key(name)
}

/// Puts the replacements into an engine.
pub(super) fn install(engine: &mut Engine) -> Result<()> {
    engine.add_extension("object.subset".to_owned(), 2, Box::new(|args| Ok(object_subset(&args))))?;
    engine.add_extension("strings.count".to_owned(), 2, Box::new(|args| Ok(strings_count(&args))))?;
    engine.add_extension("numbers.range".to_owned(), 2, Box::new(|args| Ok(range(&args, 1))))?;
    engine.add_extension("numbers.range_step".to_owned(), 3, Box::new(|args| Ok(range_step(&args))))?;
    engine.add_extension("net.cidr_expand".to_owned(), 1, Box::new(|args| cidr_expand(&args)))?;
    engine.add_extension("time.parse_ns".to_owned(), 2, Box::new(|args| time_parse_ns(&args)))?;
    for (name, arguments, pattern) in PATTERNS {
        let call = |args: Vec<Value>| with_pattern(name, *pattern, args);
        engine.add_extension((*name).to_owned(), *arguments, Box::new(call))?;
    }
    Ok(())
}

fn object_subset(args: &[Value]) -> Value {
    match args {
        [sup, sub] => is_subset(sup, sub).map_or(Value::Undefined, Value::from),
        _ => Value::Undefined,
    }
}

/// Source: OPA's `object.subset`: objects recurse, arrays match as a contiguous run, an array may hold a set.
fn is_subset(sup: &Value, sub: &Value) -> Option<bool> {
    match (sup, sub) {
        (Value::Object(sup), Value::Object(sub)) => Some(sub.iter().all(|(key, sub_value)| {
            sup.get(key)
                .is_some_and(|sup_value| is_subset(sup_value, sub_value).unwrap_or(sup_value == sub_value))
        })),
        (Value::Set(sup), Value::Set(sub)) => Some(sub.iter().all(|value| sup.contains(value))),
        (Value::Array(sup), Value::Array(sub)) => {
            let (sup, sub) = (sup.as_slice(), sub.as_slice());
            Some(sub.is_empty() || sup.windows(sub.len()).any(|window| window == sub))
        }
        (Value::Array(sup), Value::Set(sub)) => {
            Some(sub.iter().all(|value| sup.as_slice().iter().any(|held| held == value)))
        }
        _ => None,
    }
}

/// Source: Go's `strings.Count`, which OPA calls: runs that do not overlap; the empty string is between all runes.
fn strings_count(args: &[Value]) -> Value {
    match args {
        [Value::String(text), Value::String(part)] if part.is_empty() => {
            Value::from(text.chars().count() + 1)
        }
        [Value::String(text), Value::String(part)] => Value::from(text.matches(part.as_ref()).count()),
        _ => Value::Undefined,
    }
}

fn range_step(args: &[Value]) -> Value {
    match args.split_last().map(|(step, bounds)| (step.as_i64(), bounds)) {
        Some((Ok(step), bounds)) if step > 0 => range(bounds, step),
        _ => Value::Undefined,
    }
}

fn range(bounds: &[Value], step: i64) -> Value {
    let [from, to] = bounds else {
        return Value::Undefined;
    };
    let (Ok(from), Ok(to)) = (from.as_i64(), to.as_i64()) else {
        return Value::Undefined;
    };
    let Some(count) = to.checked_sub(from).map(|span| span.saturating_abs() / step) else {
        return Value::Undefined;
    };
    if count >= MAX_ELEMENTS {
        return Value::Undefined;
    }
    let step = if to < from { -step } else { step };
    (0..=count).map(|index| Value::from(from + index * step)).collect::<Vec<_>>().into()
}

fn cidr_expand(args: &[Value]) -> Result<Value> {
    let Some(Value::String(network)) = args.first() else {
        return Ok(Value::Undefined);
    };
    let host_bits = network.split_once('/').and_then(|(address, prefix)| {
        let address_bits: u32 = if address.contains(':') { 128 } else { 32 };
        address_bits.checked_sub(prefix.parse::<u32>().ok()?)
    });
    match host_bits {
        Some(bits) if 1_i64.checked_shl(bits).is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) => {
            original("net.cidr_expand", args)
        }
        _ => Ok(Value::Undefined),
    }
}

fn time_parse_ns(args: &[Value]) -> Result<Value> {
    match args {
        [Value::String(layout), Value::String(_)] if layout.is_ascii() => original("time.parse_ns", args),
        _ => Ok(Value::Undefined),
    }
}

fn with_pattern(name: &str, position: usize, mut args: Vec<Value>) -> Result<Value> {
    if let Some(Value::String(pattern)) = args.get(position) {
        let pattern = Value::from(regex::as_in_go(pattern));
        if let Some(argument) = args.get_mut(position) {
            *argument = pattern;
        }
    }
    original(name, &args)
}

/// Calls the engine's own builtin on arguments that it can bear.
///
/// Errors: a limit of the engine that the call exceeds; any other fault is undefined, as in OPA.
fn original(name: &str, args: &[Value]) -> Result<Value> {
    static SPAN: LazyLock<Option<Span>> = LazyLock::new(|| {
        let source = Source::from_contents(String::new(), " ".to_owned()).ok()?;
        Some(Span { source, line: 1, col: 1, start: 0, end: 0 })
    });
    let (Some((builtin, _)), Some(span)) = (BUILTINS.get(name), SPAN.as_ref()) else {
        return Ok(Value::Undefined);
    };
    let operand = || Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
    let operands: Vec<Ref<Expr>> = args.iter().map(|_| operand()).collect();
    match builtin(span, &operands, args, false) {
        Err(error) if error.is::<LimitError>() => Err(error),
        result => Ok(result.unwrap_or(Value::Undefined)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(expression: &str) -> Value {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        install(&mut engine).unwrap();
        engine.add_policy("t.rego".to_owned(), format!("package t\n\nx := {expression}\n")).unwrap();
        engine.eval_rule("data.t.x".to_owned()).unwrap()
    }

    #[test]
    fn arguments_that_make_the_engine_panic_have_an_answer() {
        assert_eq!(eval("object.subset([1], [])"), Value::from(true));
        assert_eq!(eval("object.subset({\"a\": [1]}, {\"a\": []})"), Value::from(true));
        assert_eq!(eval("strings.count(\"ab\", \"\")"), Value::from(3_u64));
        assert_eq!(eval("numbers.range_step(1, 5, 0)"), Value::Undefined);
        assert_eq!(eval("numbers.range_step(1, 5, -1)"), Value::Undefined);
        assert_eq!(eval("time.parse_ns(\"é\", \"2020\")"), Value::Undefined);
    }

    #[test]
    fn replaced_builtins_answer_as_opa_does() {
        assert_eq!(
            eval("object.subset({\"a\": 1, \"b\": {\"c\": 2}}, {\"b\": {\"c\": 2}})"),
            Value::from(true)
        );
        assert_eq!(eval("object.subset([1, 2, 3], [2, 3])"), Value::from(true));
        assert_eq!(eval("object.subset([1, 2, 3], {3, 1})"), Value::from(true));
        assert_eq!(eval("object.subset({1, 2}, {3})"), Value::from(false));
        assert_eq!(eval("strings.count(\"aaa\", \"aa\")"), Value::from(1_u64));
        assert_eq!(eval("numbers.range(3, 1)"), Value::from(vec![3.into(), 2.into(), Value::from(1_u64)]));
        assert_eq!(
            eval("numbers.range_step(1, 6, 2)"),
            Value::from(vec![1.into(), 3.into(), Value::from(5_u64)])
        );
        assert_eq!(eval("count(net.cidr_expand(\"10.0.0.0/30\"))"), Value::from(4_u64));
        assert_eq!(
            eval("time.parse_ns(\"2006-01-02\", \"1970-01-02\")"),
            Value::from(86_400_000_000_000_u64)
        );
    }

    #[test]
    fn ranges_and_networks_beyond_the_limit_are_undefined() {
        assert_eq!(eval("numbers.range(1, 3000000)"), Value::Undefined);
        assert_eq!(eval("numbers.range(-9223372036854775808, 9223372036854775807)"), Value::Undefined);
        assert_eq!(eval("net.cidr_expand(\"10.0.0.0/8\")"), Value::Undefined);
        assert_eq!(eval("net.cidr_expand(\"::/0\")"), Value::Undefined);
    }
}
