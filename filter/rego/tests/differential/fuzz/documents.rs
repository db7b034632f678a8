//! Random `input` and `data`, over an alphabet so small that things meet.

use super::random::Random;

/// A JSON document that keeps the text of its numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    /// null, a boolean, a number or a quoted string, as it is written.
    Scalar(String),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
}

/// Strings that meet one another in roles, paths, patterns and keys.
pub const STRINGS: &[&str] = &[
    "a",
    "b",
    "admin",
    "read",
    "/a/b",
    "x",
    "c",
    "ab",
    "abc",
    "y",
    "dev",
    "write",
    "GET",
    "POST",
    "/a",
    "/a/b/c",
    "/api/x",
    "a:b",
    "a:b:c",
    "a.b",
    "k",
    "A",
    "",
    "1",
    "2",
    "10",
    "é",
    "aé",
    "日本",
    "*",
    "a*",
    "%s",
    "10.0.0.1",
    "10.0.0.0/8",
    "1.2.3",
    "x y",
];
/// The first few, which most of what is drawn comes from.
const COMMON: usize = 15;
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "10",
    "-1",
    "1.0",
    "2.0",
    "1.5",
    "0.1",
    "0.5",
    "-0",
    "1e0",
    "1e1",
    "100",
    "18446744073709551616",
    "18446744073709551617",
    "9223372036854775807",
    "-2.5",
    "1e400",
];
/// Fields of `input` and the kind of value that mostly stands there.
pub const FIELDS: &[(&str, Kind)] = &[
    ("role", Kind::Text),
    ("user", Kind::Text),
    ("method", Kind::Text),
    ("path", Kind::Text),
    ("roles", Kind::Texts),
    ("parts", Kind::Texts),
    ("tags", Kind::Any),
    ("level", Kind::Number),
    ("n", Kind::Number),
    ("ok", Kind::Bool),
    ("o", Kind::Object),
    ("xs", Kind::Numbers),
    ("m", Kind::Deep),
    ("items", Kind::Items),
];

/// What a value is to look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Any,
    Text,
    Number,
    Bool,
    Texts,
    Numbers,
    Object,
    Deep,
    Items,
}

pub fn a_string(r: &Random) -> &'static str {
    if r.chance(65) {
        STRINGS[r.below(5)]
    } else if r.chance(70) {
        STRINGS[r.below(COMMON)]
    } else {
        r.word(STRINGS)
    }
}

pub fn a_number(r: &Random) -> &'static str {
    if r.chance(65) {
        NUMBERS[r.below(4)]
    } else if r.chance(65) {
        NUMBERS[r.below(11)]
    } else {
        r.word(NUMBERS)
    }
}

pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

pub fn a_key(r: &Random) -> String {
    r.word(&["a", "a", "a", "b", "b", "k", "k", "role", "role", "id", "admin", "read", "x", "1", "é"])
        .to_string()
}

impl Doc {
    pub fn random(r: &Random, kind: Kind, depth: usize) -> Doc {
        let kind = if r.chance(7) { Kind::Any } else { kind };
        match kind {
            Kind::Text => Doc::Scalar(quoted(a_string(r))),
            Kind::Number => Doc::Scalar(a_number(r).into()),
            Kind::Bool => Doc::Scalar(r.word(&["true", "true", "false"]).into()),
            Kind::Texts => Doc::array(r, Kind::Text, depth),
            Kind::Numbers => Doc::array(r, Kind::Number, depth),
            Kind::Object => Doc::object(r, if r.chance(60) { Kind::Text } else { Kind::Any }, depth),
            Kind::Deep => Doc::object(r, if r.chance(50) { Kind::Texts } else { Kind::Object }, depth),
            Kind::Items => {
                let n = r.below(4);
                Doc::Array(
                    (0..n)
                        .map(|_| {
                            let mut o = vec![("role".to_string(), Doc::random(r, Kind::Text, 0))];
                            if r.chance(70) {
                                o.push(("id".into(), Doc::random(r, Kind::Number, 0)));
                            }
                            if r.chance(50) {
                                o.push(("roles".into(), Doc::random(r, Kind::Texts, 1)));
                            }
                            if r.chance(20) {
                                o.push((a_key(r), Doc::random(r, Kind::Any, 1)));
                            }
                            Doc::Object(once(o))
                        })
                        .collect(),
                )
            }
            Kind::Any => match if depth == 0 { r.below(4) } else { r.below(7) } {
                0 => Doc::Scalar(r.word(&["null", "true", "false"]).into()),
                1 => Doc::Scalar(a_number(r).into()),
                2 | 3 => Doc::Scalar(quoted(a_string(r))),
                4 => Doc::array(r, Kind::Any, depth - 1),
                5 => Doc::object(r, Kind::Any, depth - 1),
                _ => Doc::random(r, Kind::Items, depth),
            },
        }
    }

    fn array(r: &Random, of: Kind, depth: usize) -> Doc {
        let n = *r.pick(&[0, 1, 1, 2, 2, 3, 4]);
        Doc::Array((0..n).map(|_| Doc::random(r, of, depth.saturating_sub(1))).collect())
    }

    fn object(r: &Random, of: Kind, depth: usize) -> Doc {
        let n = *r.pick(&[0, 1, 1, 2, 2, 3]);
        Doc::Object(once((0..n).map(|_| (a_key(r), Doc::random(r, of, depth.saturating_sub(1)))).collect()))
    }

    /// An `input`: mostly an object with some of the fields.
    pub fn input(r: &Random) -> Option<Doc> {
        if r.chance(2) {
            return None;
        }
        if r.chance(2) {
            return Some(Doc::random(r, Kind::Any, 2));
        }
        let most = *r.pick(&[30, 60, 90]);
        let mut fields = Vec::new();
        for &(name, kind) in FIELDS {
            if r.chance(most) {
                fields.push((name.to_string(), Doc::random(r, kind, 2)));
            }
        }
        Some(Doc::Object(fields))
    }

    /// Base documents under `data.d`.
    pub fn data(r: &Random) -> Doc {
        let fields = FIELDS.iter().filter(|_| r.chance(80)).collect::<Vec<_>>();
        let d = fields.into_iter().map(|&(name, kind)| (name.to_string(), Doc::random(r, kind, 2))).collect();
        let mut all = vec![("d".to_string(), Doc::Object(d))];
        if r.chance(30) {
            all.push(("e".into(), Doc::random(r, Kind::Deep, 2)));
        }
        if r.chance(10) {
            // Beside rules: merged with them, or a conflict at load.
            all.push(("t".into(), Doc::Object(once(vec![(a_key(r), Doc::random(r, Kind::Any, 2))]))));
        }
        Doc::Object(all)
    }

    /// A document that was read.
    pub fn of(json: &serde_json::Value) -> Doc {
        match json {
            serde_json::Value::Array(items) => Doc::Array(items.iter().map(Doc::of).collect()),
            serde_json::Value::Object(pairs) => {
                Doc::Object(pairs.iter().map(|(k, v)| (k.clone(), Doc::of(v))).collect())
            }
            other => Doc::Scalar(other.to_string()),
        }
    }

    /// All documents that are a little smaller, the smallest first.
    pub fn smaller(&self) -> Vec<Doc> {
        let mut out = Vec::new();
        match self {
            Doc::Scalar(text) => {
                for simple in ["1", "\"a\"", "true"] {
                    if text.len() > simple.len() {
                        out.push(Doc::Scalar(simple.into()));
                    }
                }
            }
            Doc::Array(items) => {
                out.push(Doc::Scalar("1".into()));
                out.push(Doc::Array(vec![]));
                out.extend(items.iter().cloned());
                for i in 0..items.len() {
                    let mut fewer = items.clone();
                    fewer.remove(i);
                    out.push(Doc::Array(fewer));
                }
                for (i, item) in items.iter().enumerate() {
                    for s in item.smaller() {
                        let mut with = items.clone();
                        with[i] = s;
                        out.push(Doc::Array(with));
                    }
                }
            }
            Doc::Object(pairs) => {
                out.push(Doc::Scalar("1".into()));
                out.push(Doc::Object(vec![]));
                for i in 0..pairs.len() {
                    let mut fewer = pairs.clone();
                    fewer.remove(i);
                    out.push(Doc::Object(fewer));
                }
                for (i, (_, item)) in pairs.iter().enumerate() {
                    for s in item.smaller() {
                        let mut with = pairs.clone();
                        with[i].1 = s;
                        out.push(Doc::Object(with));
                    }
                }
            }
        }
        out.retain(|d| d.size() < self.size());
        out
    }

    fn size(&self) -> usize {
        self.to_string().len()
    }
}

/// Keys once each.
fn once(mut pairs: Vec<(String, Doc)>) -> Vec<(String, Doc)> {
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(k, _)| seen.insert(k.clone()));
    pairs
}

impl std::fmt::Display for Doc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doc::Scalar(text) => f.write_str(text),
            Doc::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Doc::Object(pairs) => {
                f.write_str("{")?;
                for (i, (k, v)) in pairs.iter().enumerate() {
                    write!(f, "{}{}: {v}", if i > 0 { ", " } else { "" }, quoted(k))?;
                }
                f.write_str("}")
            }
        }
    }
}
