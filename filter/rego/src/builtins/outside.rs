//! What is about the evaluation itself: its runtime, what it prints, templates of text.
//!
//! Source: `v1/topdown/runtime.go`, `print.go`, `trace.go`, `template_string.go`.

use super::operands::{all, array, string};
use super::{Builtin, Call, Fault, Run, Type};
use crate::value::Value;

const PRINT: &str = "v1/topdown/print.go";
const METADATA: &str = "v1/ast/compile.go";

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "opa.runtime",
        &[],
        Type::object_of(&Type::String, &Type::Any),
        runtime,
        "v1/topdown/runtime.go",
    )
    .nondeterministic(),
    Builtin::new("trace", &[Type::String], Type::Boolean, trace, "v1/topdown/trace.go"),
    Builtin::new("print", &[], Type::Any, print, PRINT).variadic(),
    Builtin::new("internal.print", &[Type::array_of(&Type::ANY_SET)], Type::Any, print_all, PRINT),
    Builtin::new("internal.test_case", &[Type::ANY_ARRAY], Type::Boolean, test_case, "v1/topdown/test.go"),
    Builtin::new(
        "internal.template_string",
        &[Type::ANY_ARRAY],
        Type::String,
        template,
        "v1/topdown/template_string.go",
    ),
    // The compiler puts constants in their place.
    Builtin::new("rego.metadata.chain", &[], Type::ANY_ARRAY, nothing, METADATA).runs(Run::Evaluator),
    Builtin::new("rego.metadata.rule", &[], Type::Any, nothing, METADATA).runs(Run::Evaluator),
];

fn runtime(call: &mut Call<'_>, _: &[Value]) -> Result<Value, Fault> {
    Ok(call.runtime.clone())
}

fn nothing(_: &mut Call<'_>, _: &[Value]) -> Result<Value, Fault> {
    Err(Fault::undefined("known when the policy is compiled"))
}

fn trace(_: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [note] = all(args)?;
    string(note)?;
    Ok(Value::Bool(true))
}

fn test_case(_: &mut Call<'_>, _: &[Value]) -> Result<Value, Fault> {
    Ok(Value::Bool(true))
}

/// What each operand is printed as: scalars as they are, a set as each of its members, an empty one as
/// `<undefined>`.
fn printed(call: &mut Call<'_>, operands: &[Value]) -> Result<Vec<Vec<Vec<u8>>>, Fault> {
    let mut all = Vec::with_capacity(operands.len());
    for operand in operands {
        let choices = match operand {
            Value::Set(set) if set.is_empty() => {
                all.push(vec![b"<undefined>".to_vec()]);
                continue;
            }
            Value::Set(set) => set.members(),
            Value::Array(_) | Value::Object(_) => return Err(Fault::Halt("illegal argument type".into())),
            scalar => std::slice::from_ref(scalar),
        };
        let mut texts = Vec::with_capacity(choices.len());
        for choice in choices {
            let mut text = Vec::new();
            match choice {
                Value::String(string) => {
                    call.bytes(string.len())?;
                    text.extend_from_slice(string.as_bytes());
                }
                other => other.write_rego(&mut text, call.budget)?,
            }
            texts.push(text);
        }
        all.push(texts);
    }
    Ok(all)
}

/// One line for each combination of what the operands are.
fn lines(call: &mut Call<'_>, operands: &[Value]) -> Result<(), Fault> {
    let parts = printed(call, operands)?;
    let count = parts.iter().fold(1usize, |count, choices| count.saturating_mul(choices.len()));
    let longest: usize =
        parts.iter().map(|choices| choices.iter().map(Vec::len).max().unwrap_or(0) + 1).sum();
    call.step(count)?;
    call.bytes(count.saturating_mul(longest))?;
    for line in 0..count {
        let mut left = line;
        let mut chosen: Vec<&[u8]> = Vec::with_capacity(parts.len());
        for choices in parts.iter().rev() {
            chosen.push(choices.get(left % choices.len().max(1)).map(Vec::as_slice).unwrap_or_default());
            left /= choices.len().max(1);
        }
        chosen.reverse();
        let text = crate::value::lossy(&chosen.join(&b' ')).into_owned();
        if let Some(printed) = call.printed.as_deref_mut() {
            printed.push(text);
        }
    }
    Ok(())
}

/// `print(…)`, its operands as they are.
fn print(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    if call.printed.is_some() {
        let operands: Result<Vec<_>, _> = args.iter().map(|arg| Value::set(vec![arg.clone()])).collect();
        lines(call, &operands?)?;
    }
    Ok(Value::Bool(true))
}

/// `print(…)` as the compiler writes it: each operand a set of what it can be.
fn print_all(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [operands] = all(args)?;
    if call.printed.is_some() {
        let operands = array(operands)?.clone();
        lines(call, operands.items())?;
    }
    Ok(Value::Bool(true))
}

fn template(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [parts] = all(args)?;
    let parts = printed(call, array(parts)?.clone().items())?;
    if parts.iter().any(|choices| choices.len() > 1) {
        return Err(Fault::Halt(
            "eval_conflict_error: a part of a template string has several values".into(),
        ));
    }
    let parts: Vec<Vec<u8>> = parts.into_iter().flatten().collect();
    Ok(Value::from(parts.concat()))
}
