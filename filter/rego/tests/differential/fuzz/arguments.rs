//! Arguments of builtin functions, from pools of corner cases.

use portcullis_rego::builtins::Type;
use portcullis_rego::value::{Number, Value};

use super::random::Random;

/// A value and its text, which the oracle reads: numbers are in both as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    Null,
    Bool(bool),
    Number(String),
    Text(Vec<u8>),
    Array(Vec<Arg>),
    Object(Vec<(Arg, Arg)>),
    Set(Vec<Arg>),
}

pub fn txt(text: &str) -> Arg {
    Arg::Text(text.as_bytes().to_vec())
}

pub const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "10",
    "16",
    "-1",
    "-2",
    "-3",
    "100",
    "1.0",
    "2.0",
    "-1.0",
    "1.5",
    "2.5",
    "-1.5",
    "-0.5",
    "0.5",
    "0.1",
    "0.2",
    "0.3",
    "-0",
    "-0.0",
    "0.0",
    "1e0",
    "1e1",
    "1e2",
    "1E2",
    "1e-2",
    "1.10",
    "1e+2",
    "12e-1",
    "1e20",
    "1e21",
    "1e22",
    "123456.5",
    "1234567.5",
    "999999.5",
    "0.000012",
    "0.0001",
    "0.00001",
    "1e-7",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551617",
    "123456789012345678901234567890",
    "1.0000000000000000000001",
    "3.14159265358979",
    "33.33",
    "1e308",
    "1e309",
    "1e400",
    "-1e400",
    "4294967296",
    "2147483648",
    "65536",
    "255",
    "127",
    "1700000000000000000",
    "1700000000",
    "86400",
    "63",
    "64",
    "65",
    "12345678901234567890.5",
    "0.1e1",
    "5e-324",
    "1.7976931348623157e308",
    "99999999999999999999",
    "0.3333333333333333333",
    "6.02e23",
    "1.25",
    "1.35",
    "1.005",
    "-7",
    "-7.5",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "ab",
    "abc",
    "A",
    "aA",
    "aé",
    "é",
    "日本語",
    "ß",
    "ẞ",
    "ﬁ",
    "İ",
    "ı",
    "ſ",
    "K",
    "ǆ",
    "Σας",
    "\u{1F600}",
    "a\u{301}",
    "\u{0}",
    "\n",
    "\t",
    " ",
    "  a ",
    "\u{a0}",
    "\u{85}",
    "\u{3000}",
    "\u{200b}",
    "a b",
    "a,b,c",
    "aaa",
    "abab",
    "xyz",
    "1",
    "01",
    "1.5",
    "-1",
    "+5",
    ".5",
    "5.",
    "1e3",
    "0x10",
    "0x1p4",
    "1_000",
    "010",
    "inf",
    "nan",
    "null",
    "true",
    "false",
    "a.b.c",
    "a/b/c",
    "/a/b",
    "a:b",
    "a:b:c",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "[]",
    "\"",
    "\\",
    "'",
    "`",
    "<a&b>",
    "\u{2028}",
    "\u{fffd}",
    "\u{feff}",
    "%",
    "%41",
    "$1",
    "*",
    "?",
    "admin",
    "user@example.com",
    "The quick brown fox",
    "AbC dEf",
    "ABCDEF",
    "0123456789abcdef",
    "zzzzzzzzzzzzzzzzzzzz",
    "\r\n",
    "a\nb",
    "é日\u{1F600}x",
    "..",
    "-",
    "--",
    "a-b_c~d",
    "x=1&y=2",
    "q w&e;r",
];
const BAD: &[&[u8]] = &[
    b"\xff",
    b"\xfe\xff",
    b"a\xffb",
    b"\xc3",
    b"\xe2\x82",
    b"\xc3\xa9\xff",
    b"\x80\x80",
    b"\xed\xa0\x80",
    b"\xf5\x80\x80\x80",
];

pub fn a_text(r: &Random) -> Arg {
    match r.below(20) {
        0 => Arg::Text(r.pick(BAD).to_vec()),
        1..=3 => {
            let n = 1 + r.below(4);
            let mut all = Vec::new();
            for _ in 0..n {
                all.extend_from_slice(r.word(TEXTS).as_bytes());
            }
            Arg::Text(all)
        }
        4..=8 => {
            let n = r.below(7);
            Arg::Text((0..n).map(|_| *r.pick(b"abAB.-1 /")).collect())
        }
        _ => txt(r.word(TEXTS)),
    }
}

pub fn a_number(r: &Random) -> Arg {
    let text = match r.below(12) {
        0..=3 => format!("{}", r.below(12) as i64 - 3),
        4 => format!("{}.{}", r.below(2000) as i64 - 1000, r.below(1000)),
        5 => format!("{}", r.next() as i64),
        6 => {
            let digits = 1 + r.below(40);
            let mut s = String::from(if r.chance(30) { "-" } else { "" });
            s.push_str(&(1 + r.below(9)).to_string());
            (1..digits).for_each(|_| s.push_str(&r.below(10).to_string()));
            if r.chance(40) {
                s.push('.');
                (0..1 + r.below(20)).for_each(|_| s.push_str(&r.below(10).to_string()));
            }
            if r.chance(20) {
                s.push_str(&format!("e{}", r.below(60) as i64 - 30));
            }
            s
        }
        _ => r.word(NUMBERS).to_string(),
    };
    Arg::Number(text)
}

pub fn small_int(r: &Random) -> Arg {
    match r.below(12) {
        0 => Arg::Number(r.word(&["1.0", "2.0", "1e1", "-0", "1.5", "0.0"]).into()),
        1 => a_number(r),
        _ => Arg::Number((r.below(12) as i64 - 3).to_string()),
    }
}

pub fn any(r: &Random, depth: usize) -> Arg {
    match if depth == 0 { r.below(8) } else { r.below(14) } {
        0 => Arg::Null,
        1 => Arg::Bool(r.chance(50)),
        2..=4 => a_number(r),
        5..=7 => a_text(r),
        8..=10 => Arg::Array(some_of(r, |r| any(r, depth - 1))),
        11 | 12 => Arg::Object(some_of(r, |r| {
            (if r.chance(75) { key(r) } else { any(r, depth - 1) }, any(r, depth - 1))
        })),
        _ => Arg::Set(some_of(r, |r| any(r, depth - 1))),
    }
}

pub fn key(r: &Random) -> Arg {
    if r.chance(80) {
        txt(r.word(&["a", "b", "c", "d", "x", "1", "0", "a/b", "~", "", "é"]))
    } else {
        a_text(r)
    }
}

pub fn some_of<T>(r: &Random, one: impl Fn(&Random) -> T) -> Vec<T> {
    let n = *r.pick(&[0, 1, 1, 2, 2, 3, 3, 4, 5]);
    (0..n).map(|_| one(r)).collect()
}

/// A document of plain JSON over few keys, so that paths meet it.
pub fn document(r: &Random, depth: usize) -> Arg {
    match if depth == 0 { r.below(3) } else { r.below(9) } {
        0 => small_int(r),
        1 => key(r),
        2 => [Arg::Null, Arg::Bool(true), Arg::Bool(false), Arg::Number("1.0".into())][r.below(4)].clone(),
        3 | 4 => Arg::Array(some_of(r, |r| document(r, depth - 1))),
        5 => Arg::Set(some_of(r, |r| document(r, depth - 1))),
        _ => Arg::Object(some_of(r, |r| (key(r), document(r, depth - 1)))),
    }
}

/// An argument of the type.
pub fn of_type(r: &Random, wanted: &Type, depth: usize) -> Arg {
    match wanted {
        Type::Any => any(r, depth.min(2)),
        Type::Null => Arg::Null,
        Type::Boolean => Arg::Bool(r.chance(50)),
        Type::Number => {
            if r.chance(50) {
                small_int(r)
            } else {
                a_number(r)
            }
        }
        Type::String => a_text(r),
        Type::Array(first, rest) => {
            let mut items: Vec<Arg> = first.iter().map(|t| of_type(r, t, depth.saturating_sub(1))).collect();
            if let Some(rest) = rest {
                items.extend(some_of(r, |r| of_type(r, rest, depth.saturating_sub(1))));
            }
            Arg::Array(items)
        }
        Type::Object(fields, rest) => {
            let mut pairs = Vec::new();
            for field in fields.iter() {
                pairs.push((txt(field.key), of_type(r, &field.value, depth.saturating_sub(1))));
            }
            if let Some((k, v)) = rest {
                pairs.extend(some_of(r, |r| {
                    let k = if matches!(k, Type::Any | Type::String) && r.chance(80) {
                        key(r)
                    } else {
                        of_type(r, k, 0)
                    };
                    (k, of_type(r, v, depth.saturating_sub(1)))
                }));
            }
            Arg::Object(pairs)
        }
        Type::Set(of) => Arg::Set(some_of(r, |r| of_type(r, of, depth.saturating_sub(1)))),
        Type::Union(types) => {
            let t = r.pick(types);
            of_type(r, t, depth)
        }
    }
}

impl Arg {
    pub fn value(&self) -> Value {
        match self {
            Arg::Null => Value::Null,
            Arg::Bool(b) => Value::Bool(*b),
            Arg::Number(text) => {
                Value::Number(Number::parse(text).unwrap_or_else(|| panic!("{text} is a number")))
            }
            Arg::Text(bytes) => Value::from(bytes.clone()),
            Arg::Array(items) => Value::array(items.iter().map(Arg::value).collect()).expect("shallow"),
            Arg::Object(pairs) => {
                Value::object(pairs.iter().map(|(k, v)| (k.value(), v.value())).collect()).expect("shallow")
            }
            Arg::Set(items) => Value::set(items.iter().map(Arg::value).collect()).expect("shallow"),
        }
    }

    /// Whether the keys of every object in it differ: OPA loses pairs of an object that is built with equal ones (a chain of its
    /// hash table is cut), which is no question of the function.
    pub fn distinct(&self) -> bool {
        match self {
            Arg::Array(items) | Arg::Set(items) => items.iter().all(Arg::distinct),
            Arg::Object(pairs) => {
                let keys: Vec<Value> = pairs.iter().map(|(k, _)| k.value()).collect();
                (0..keys.len()).all(|i| !keys[..i].contains(&keys[i]))
                    && pairs.iter().all(|(k, v)| k.distinct() && v.distinct())
            }
            _ => true,
        }
    }

    /// All arguments that are a little smaller.
    pub fn smaller(&self) -> Vec<Arg> {
        let mut out = Vec::new();
        let list = |items: &[Arg], make: &dyn Fn(Vec<Arg>) -> Arg, out: &mut Vec<Arg>| {
            out.push(make(vec![]));
            for i in 0..items.len() {
                let mut fewer = items.to_vec();
                fewer.remove(i);
                out.push(make(fewer));
            }
            for (i, item) in items.iter().enumerate() {
                for s in item.smaller() {
                    let mut with = items.to_vec();
                    with[i] = s;
                    out.push(make(with));
                }
            }
        };
        match self {
            Arg::Null | Arg::Bool(_) => {}
            Arg::Number(text) => {
                for simple in ["0", "1", "2", "0.5"] {
                    out.push(Arg::Number(simple.into()));
                }
                for i in 0..text.len() {
                    let mut fewer = text.clone();
                    fewer.remove(i);
                    if serde_json::from_str::<f64>(&fewer).is_ok() {
                        out.push(Arg::Number(fewer));
                    }
                }
            }
            Arg::Text(bytes) => {
                out.push(txt(""));
                out.push(txt("a"));
                if let Ok(text) = std::str::from_utf8(bytes) {
                    let chars: Vec<char> = text.chars().collect();
                    for size in [chars.len() / 2, chars.len() / 4, 1] {
                        if size == 0 {
                            continue;
                        }
                        for start in (0..chars.len()).step_by(size) {
                            let left: String =
                                chars[..start].iter().chain(chars.iter().skip(start + size)).collect();
                            out.push(txt(&left));
                        }
                    }
                } else {
                    for i in 0..bytes.len() {
                        let mut fewer = bytes.clone();
                        fewer.remove(i);
                        out.push(Arg::Text(fewer));
                    }
                }
            }
            Arg::Array(items) => list(items, &Arg::Array, &mut out),
            Arg::Set(items) => list(items, &Arg::Set, &mut out),
            Arg::Object(pairs) => {
                out.push(Arg::Object(vec![]));
                for i in 0..pairs.len() {
                    let mut fewer = pairs.clone();
                    fewer.remove(i);
                    out.push(Arg::Object(fewer));
                }
                for (i, (k, v)) in pairs.iter().enumerate() {
                    for s in v.smaller() {
                        let mut with = pairs.clone();
                        with[i].1 = s;
                        out.push(Arg::Object(with));
                    }
                    for s in k.smaller() {
                        let mut with = pairs.clone();
                        with[i].0 = s;
                        out.push(Arg::Object(with));
                    }
                }
            }
        }
        let size = self.to_string().len();
        out.retain(|a| a.to_string().len() < size);
        out
    }
}

/// The text form that the oracle reads and writes.
impl std::fmt::Display for Arg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items = |f: &mut std::fmt::Formatter<'_>, open: &str, items: &[Arg], close: &str| {
            f.write_str(open)?;
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
            }
            f.write_str(close)
        };
        match self {
            Arg::Null => f.write_str("null"),
            Arg::Bool(b) => write!(f, "{b}"),
            Arg::Number(text) => f.write_str(text),
            Arg::Text(bytes) => f.write_str(&super::subject::quote(bytes)),
            Arg::Array(a) => items(f, "[", a, "]"),
            Arg::Set(s) if s.is_empty() => f.write_str("set()"),
            Arg::Set(s) => items(f, "{", s, "}"),
            Arg::Object(pairs) => {
                f.write_str("{")?;
                for (i, (k, v)) in pairs.iter().enumerate() {
                    write!(f, "{}{k}: {v}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}
