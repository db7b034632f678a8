//! The builtins, each with what keeps a call of it from ending or holding the VM.
//!
//! A panic ends the VM and with it a worker's traffic (INVARIANT no panic), as does a result that does not fit its
//! memory, and the engine's limit of time is not looked at inside a builtin. Arguments come from requests. So nothing
//! of the engine is called before [`BUILTINS`] has been asked: the number and kind of the arguments, how large they
//! are, and a check of its own wherever that is not enough. What is of the wrong kind or malformed is undefined, as in
//! OPA when builtin errors are not strict; what would be too much is an error of the evaluation, for undefined would
//! be a wrong answer.

mod encoding;
mod limits;
mod numbers;
mod patterns;
mod text;
mod time;
mod values;

use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use regorus::{
    Engine, LimitError, Source, Value,
    unstable::{BUILTINS as ENGINE, Expr, Lexer, Ref, Span, TokenKind},
};

use super::{module::Module, value::string as text_of};
use limits::{MAX_BYTES, MAX_NUMBER_BITS, Refusal, number_bits};
use numbers::Memo;

/// One builtin: what it takes, and how a call of it is answered.
struct Builtin {
    name: &'static str,
    takes: &'static [Kinds],
    answer: Answer,
}

/// Sets of kinds of values.
#[derive(Clone, Copy)]
struct Kinds(u8);

const TEXT: Kinds = Kinds(1);
const NUMBER: Kinds = Kinds(2);
const ARRAY: Kinds = Kinds(4);
const SET: Kinds = Kinds(8);
const LIST: Kinds = Kinds(4 | 8);
const OBJECT: Kinds = Kinds(16);
const KEYS: Kinds = Kinds(4 | 8 | 16);
const TEXTS: Kinds = Kinds(1 | 4 | 8);
const INSTANT: Kinds = Kinds(2 | 4);
const DELIMITERS: Kinds = Kinds(4 | 32);
const ANY: Kinds = Kinds(u8::MAX);

#[derive(Clone, Copy)]
enum Answer {
    /// By the engine: what it does is linear in texts and numbers, which are bounded, or looks at one value.
    Plain,
    /// By the engine, once this has found nothing against it.
    Checked(fn(&[Value]) -> Result<(), Refusal>),
    /// By this, which may ask the engine.
    Own(fn(&'static str, &[Value]) -> Result<Value>),
    /// By the engine once in an evaluation: the answer is not the same twice.
    Once,
    /// By the engine without us: it takes no arguments.
    Bare,
}

use Answer::{Bare, Checked, Once, Own, Plain};

const fn row(name: &'static str, takes: &'static [Kinds], answer: Answer) -> Builtin {
    Builtin { name, takes, answer }
}

#[rustfmt::skip]
const BUILTINS: &[Builtin] = &[
    row("__builtin_sets.intersection", &[SET, SET], Checked(values::keys)),
    row("__builtin_sets.union", &[SET, SET], Checked(values::keys)),
    row("abs", &[NUMBER], Plain),
    row("array.concat", &[ARRAY, ARRAY], Checked(values::shallow)),
    row("array.reverse", &[ARRAY], Checked(values::shallow)),
    row("array.slice", &[ARRAY, NUMBER, NUMBER], Own(numbers::slice)),
    row("base64.decode", &[TEXT], Plain),
    row("base64.encode", &[TEXT], Plain),
    row("base64.is_valid", &[TEXT], Plain),
    row("base64url.decode", &[TEXT], Plain),
    row("base64url.encode", &[TEXT], Plain),
    row("base64url.encode_no_pad", &[TEXT], Plain),
    row("bits.and", &[NUMBER, NUMBER], Plain),
    row("bits.lsh", &[NUMBER, NUMBER], Checked(numbers::left_shift)),
    row("bits.negate", &[NUMBER], Plain),
    row("bits.or", &[NUMBER, NUMBER], Plain),
    row("bits.rsh", &[NUMBER, NUMBER], Plain),
    row("bits.xor", &[NUMBER, NUMBER], Plain),
    row("ceil", &[NUMBER], Plain),
    row("concat", &[TEXT, LIST], Checked(text::concat)),
    row("contains", &[TEXT, TEXT], Plain),
    row("count", &[ANY], Plain),
    row("endswith", &[TEXT, TEXT], Plain),
    row("floor", &[NUMBER], Plain),
    row("format_int", &[NUMBER, NUMBER], Plain),
    row("glob.match", &[TEXT, DELIMITERS, TEXT], Checked(patterns::glob)),
    row("glob.quote_meta", &[TEXT], Own(patterns::quote_glob)),
    row("graph.reachable", &[OBJECT, LIST], Own(values::reachable)),
    row("graph.reachable_paths", &[OBJECT, LIST], Own(values::reachable_paths)),
    row("hex.decode", &[TEXT], Plain),
    row("hex.encode", &[TEXT], Plain),
    row("indexof", &[TEXT, TEXT], Own(text::indexof)),
    row("indexof_n", &[TEXT, TEXT], Own(text::indexof_n)),
    row("intersection", &[SET], Own(values::intersection_of_sets)),
    row("is_array", &[ANY], Plain),
    row("is_boolean", &[ANY], Plain),
    row("is_null", &[ANY], Plain),
    row("is_number", &[ANY], Plain),
    row("is_object", &[ANY], Plain),
    row("is_set", &[ANY], Plain),
    row("is_string", &[ANY], Plain),
    row("json.filter", &[OBJECT, LIST], Checked(values::paths)),
    row("json.is_valid", &[TEXT], Own(encoding::json_is_valid)),
    row("json.marshal", &[ANY], Checked(encoding::json_marshal)),
    row("json.marshal_with_options", &[ANY, OBJECT], Checked(encoding::json_marshal_with_options)),
    row("json.patch", &[ANY, ARRAY], Checked(values::patch)),
    row("json.remove", &[OBJECT, LIST], Checked(values::remove_paths)),
    row("json.unmarshal", &[TEXT], Own(encoding::json_unmarshal)),
    row("lower", &[TEXT], Plain),
    row("max", &[LIST], Checked(values::whole)),
    row("min", &[LIST], Checked(values::whole)),
    row("net.cidr_contains", &[TEXT, TEXT], Plain),
    row("net.cidr_expand", &[TEXT], Own(numbers::cidr_expand)),
    row("net.cidr_is_valid", &[TEXT], Plain),
    row("numbers.range", &[NUMBER, NUMBER], Own(numbers::range)),
    row("numbers.range_step", &[NUMBER, NUMBER, NUMBER], Own(numbers::range_step)),
    row("object.filter", &[OBJECT, KEYS], Checked(values::keys)),
    row("object.get", &[OBJECT, ANY, ANY], Checked(values::lookup)),
    row("object.keys", &[OBJECT], Checked(values::keys)),
    row("object.remove", &[OBJECT, KEYS], Checked(values::keys)),
    row("object.subset", &[ANY, ANY], Own(values::subset)),
    row("object.union", &[OBJECT, OBJECT], Checked(values::union)),
    row("object.union_n", &[ARRAY], Checked(values::union_n)),
    row("opa.runtime", &[], Bare),
    row("product", &[LIST], Checked(numbers::product)),
    row("rand.intn", &[TEXT, NUMBER], Once),
    row("regex.find_all_string_submatch_n", &[TEXT, TEXT, NUMBER], Own(patterns::find)),
    row("regex.find_n", &[TEXT, TEXT, NUMBER], Own(patterns::find)),
    row("regex.is_valid", &[ANY], Own(patterns::is_valid)),
    row("regex.match", &[TEXT, TEXT], Own(patterns::matches)),
    row("regex.replace", &[TEXT, TEXT, TEXT], Own(patterns::replace)),
    row("regex.split", &[TEXT, TEXT], Own(patterns::split)),
    row("regex.template_match", &[TEXT, TEXT, TEXT, TEXT], Own(patterns::template_match)),
    row("replace", &[TEXT, TEXT, TEXT], Checked(text::replace)),
    row("round", &[NUMBER], Plain),
    row("semver.compare", &[TEXT, TEXT], Plain),
    row("semver.is_valid", &[ANY], Plain),
    row("sort", &[LIST], Checked(values::whole)),
    row("split", &[TEXT, TEXT], Checked(text::split)),
    row("sprintf", &[TEXT, ARRAY], Checked(text::sprintf)),
    row("startswith", &[TEXT, TEXT], Plain),
    row("strings.any_prefix_match", &[TEXTS, TEXTS], Checked(text::any_match)),
    row("strings.any_suffix_match", &[TEXTS, TEXTS], Checked(text::any_match)),
    row("strings.count", &[TEXT, TEXT], Own(text::count)),
    row("strings.replace_n", &[OBJECT, TEXT], Own(text::replace_n)),
    row("strings.reverse", &[TEXT], Plain),
    row("substring", &[TEXT, NUMBER, NUMBER], Own(text::substring)),
    row("sum", &[LIST], Checked(values::whole)),
    row("time.add_date", &[INSTANT, NUMBER, NUMBER, NUMBER], Own(time::of_instants)),
    row("time.clock", &[INSTANT], Own(time::of_instants)),
    row("time.date", &[INSTANT], Own(time::of_instants)),
    row("time.diff", &[INSTANT, INSTANT], Own(time::of_instants)),
    row("time.format", &[INSTANT], Own(time::format)),
    row("time.now_ns", &[], Bare),
    row("time.parse_duration_ns", &[TEXT], Own(time::parse_duration_ns)),
    row("time.parse_ns", &[TEXT, TEXT], Own(time::parse_ns)),
    row("time.parse_rfc3339_ns", &[TEXT], Plain),
    row("time.weekday", &[INSTANT], Own(time::of_instants)),
    row("to_number", &[ANY], Own(numbers::to_number)),
    row("trace", &[TEXT], Plain),
    row("trim", &[TEXT, TEXT], Checked(text::trim)),
    row("trim_left", &[TEXT, TEXT], Checked(text::trim)),
    row("trim_prefix", &[TEXT, TEXT], Plain),
    row("trim_right", &[TEXT, TEXT], Checked(text::trim)),
    row("trim_space", &[TEXT], Plain),
    row("trim_suffix", &[TEXT, TEXT], Plain),
    row("type_name", &[ANY], Plain),
    row("union", &[SET], Own(values::union_of_sets)),
    row("units.parse", &[TEXT], Own(numbers::quantity)),
    row("units.parse_bytes", &[TEXT], Own(numbers::quantity)),
    row("upper", &[TEXT], Plain),
    row("urlquery.decode", &[TEXT], Plain),
    row("urlquery.decode_object", &[TEXT], Checked(encoding::urlquery_decode_object)),
    row("urlquery.encode", &[TEXT], Plain),
    row("urlquery.encode_object", &[OBJECT], Own(encoding::urlquery_encode_object)),
    row("uuid.parse", &[TEXT], Plain),
    row("uuid.rfc4122", &[TEXT], Once),
    row("walk", &[ANY], Checked(values::walk)),
    row("yaml.is_valid", &[TEXT], Own(encoding::yaml_is_valid)),
    row("yaml.marshal", &[ANY], Checked(encoding::yaml_marshal)),
    row("yaml.unmarshal", &[TEXT], Own(encoding::yaml_unmarshal)),
];

/// Whether a call of this name is answered: a builtin that has no row is not, so that none is called unguarded.
pub(super) fn is_builtin(name: &str) -> bool {
    name == "print" || BUILTINS.iter().any(|builtin| builtin.name == name)
}

/// Puts what the modules may call into an engine: each of them costs every request, which clones the engine.
pub(super) fn install(engine: &mut Engine, modules: &[&Module]) -> Result<()> {
    // A function may also be named without being called: `with f as regex.match`.
    let all = modules.iter().any(|module| replaces_functions(&module.text));
    for builtin in BUILTINS {
        let mut calls = modules.iter().flat_map(|module| &module.calls);
        if !matches!(builtin.answer, Bare) && (all || calls.any(|call| call.name == builtin.name)) {
            let arguments = u8::try_from(builtin.takes.len())?;
            let mut memo = Memo::default();
            let call = move |args: Vec<Value>| builtin.call(args, &mut memo);
            engine.add_extension(builtin.name.to_owned(), arguments, Box::new(call))?;
        }
    }
    Ok(())
}

fn replaces_functions(text: &str) -> bool {
    let Ok(source) = Source::from_contents(String::new(), text.to_owned()) else { return true };
    let mut lexer = Lexer::new(&source);
    while let Ok(token) = lexer.next_token() {
        match token.0 {
            TokenKind::Eof => return false,
            TokenKind::Ident if token.1.text() == "with" => return true,
            _ => {}
        }
    }
    true
}

// === impl Builtin ===

impl Builtin {
    fn call(&self, args: Vec<Value>, memo: &mut Memo) -> Result<Value> {
        let answer = self.judge(&args).and_then(|is_answered| match self.answer {
            _ if !is_answered => Ok(Value::Undefined),
            Plain | Bare => original(self.name, &args),
            Checked(check) => {
                check(&args)?;
                original(self.name, &args)
            }
            Own(answer) => answer(self.name, &args),
            Once => memo.call(self.name, args),
        });
        answer.map_err(|error| anyhow!("`{}` is not called: {error}", self.name))
    }

    /// Whether the arguments are what it takes. Errors: one is larger than any builtin takes.
    fn judge(&self, args: &[Value]) -> Result<bool> {
        if args.len() != self.takes.len() {
            return Ok(false);
        }
        for (value, kinds) in args.iter().zip(self.takes) {
            if kinds.0 & kind(value).0 == 0 {
                return Ok(false);
            }
            match value {
                Value::String(text) if text.len() > MAX_BYTES => return Err(Refusal::Size.into()),
                Value::Number(_) if number_bits(value) > MAX_NUMBER_BITS => {
                    return Err(Refusal::Number.into());
                }
                _ => {}
            }
        }
        Ok(true)
    }
}

fn kind(value: &Value) -> Kinds {
    match value {
        Value::String(_) => TEXT,
        Value::Number(_) => NUMBER,
        Value::Array(_) => ARRAY,
        Value::Set(_) => SET,
        Value::Object(_) => OBJECT,
        Value::Null => Kinds(32),
        Value::Bool(_) => Kinds(64),
        Value::Undefined => Kinds(0),
    }
}

/// Calls the engine's own builtin on arguments that it can bear.
///
/// Errors: a limit of the engine that the call exceeds; any other fault is undefined, as in OPA.
fn original(name: &str, args: &[Value]) -> Result<Value> {
    /// What the engine names in its messages; it takes one for each argument, and no builtin has more.
    static PLACE: LazyLock<Option<(Span, [Ref<Expr>; 4])>> = LazyLock::new(|| {
        let source = Source::from_contents(String::new(), " ".to_owned()).ok()?;
        let span = Span { source, line: 1, col: 1, start: 0, end: 0 };
        let operand = || Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
        Some((span.clone(), [operand(), operand(), operand(), operand()]))
    });
    let (Some((builtin, _)), Some((span, operands))) = (ENGINE.get(name), PLACE.as_ref()) else {
        return Ok(Value::Undefined);
    };
    let operands = operands.get(..args.len()).unwrap_or_default();
    match builtin(span, operands, args, false) {
        Err(error) if error.is::<LimitError>() => Err(error),
        result => Ok(result.unwrap_or(Value::Undefined)),
    }
}

#[cfg(test)]
mod tests;
