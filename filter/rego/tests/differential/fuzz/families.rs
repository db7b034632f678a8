//! Arguments that mean something to a family of functions: patterns, layouts, documents as text.

use super::arguments::{Arg, a_number, a_text, any, document, key, small_int, some_of, txt};
use super::random::Random;

mod documents;
mod notations;
mod patterns;
mod times;
mod tokens;

use documents::{a_patch, a_path, json_text, yaml_text};
use notations::{a_semver, a_uri, an_address, encoded, query_text, units};
use patterns::a_delimiters;
pub(crate) use patterns::{a_format, a_glob, a_regex, a_subject};
use times::{a_duration, a_layout, a_time, an_instant};

fn glue(r: &Random, most: usize, pieces: &[&'static str]) -> String {
    let n = 1 + r.below(most);
    (0..n).map(|_| r.word(pieces)).collect()
}

/// A path into the document, mostly one that is there.
fn path_into(r: &Random, document: &Arg) -> Vec<Arg> {
    let mut at = document;
    let mut path = Vec::new();
    for _ in 0..4 {
        match at {
            Arg::Object(pairs) if !pairs.is_empty() && !r.chance(15) => {
                let (k, v) = r.pick(pairs);
                path.push(k.clone());
                at = v;
            }
            Arg::Array(items) if !items.is_empty() && !r.chance(15) => {
                let i = r.below(items.len());
                path.push(if r.chance(50) { Arg::Number(i.to_string()) } else { txt(&i.to_string()) });
                at = &items[i];
            }
            Arg::Set(items) if !items.is_empty() && !r.chance(15) => {
                let v = r.pick(items);
                path.push(v.clone());
                at = v;
            }
            _ => break,
        }
    }
    match r.below(8) {
        0 => path.push(key(r)),
        1 => path.push(txt("-")),
        2 => {
            path.pop();
        }
        _ => {}
    }
    path
}

fn as_path(r: &Random, path: Vec<Arg>) -> Arg {
    if r.chance(30) {
        return Arg::Array(path);
    }
    let mut s = String::new();
    for part in &path {
        if r.chance(97) || !s.is_empty() {
            s.push('/');
        }
        match part {
            Arg::Text(bytes) => {
                s.push_str(&String::from_utf8_lossy(bytes).replace('~', "~0").replace('/', "~1"))
            }
            other => s.push_str(&other.to_string()),
        }
    }
    txt(&s)
}

fn an_object(r: &Random, depth: usize) -> Arg {
    if r.chance(8) {
        return document(r, depth);
    }
    Arg::Object(some_of(r, |r| (key(r), document(r, depth - 1))))
}

/// Arguments that suit each other.
pub fn together(name: &str, r: &Random) -> Option<Vec<Arg>> {
    Some(match name {
        "time.parse_ns" => {
            const TOKENS: &[(&str, &[&str])] = &[
                ("2006", &["2020", "1970", "0001", "9999", "1999"]),
                ("06", &["20", "69", "68", "7"]),
                ("January", &["March", "march", "MAY", "Mar"]),
                ("Jan", &["Mar", "dec", "March"]),
                ("01", &["02", "12", "13", "1"]),
                ("1", &["2", "11", "0"]),
                ("_2", &[" 3", "3", "29"]),
                ("02", &["03", "30", "31", "3"]),
                ("2", &["3", "29", "31"]),
                ("002", &["060", "366", "000"]),
                ("__2", &[" 60", "  1", "60"]),
                ("15", &["13", "23", "24", "7"]),
                ("03", &["01", "12", "13"]),
                ("3", &["1", "12", "0"]),
                ("04", &["05", "59", "60"]),
                ("4", &["5", "59"]),
                ("05", &["06", "59.5", "59,25", "60", "07.1234567891"]),
                ("5", &["6", "59.123"]),
                ("PM", &["AM", "PM", "pm"]),
                ("pm", &["am", "pm", "PM"]),
                ("Monday", &["Tuesday", "monday", "Xday"]),
                ("Mon", &["Tue", "mon"]),
                ("MST", &["UTC", "CET", "EST", "GMT", "GMT-5", "GMT+3", "+03", "ABCDE", "abc", "WITA"]),
                ("Z07:00", &["Z", "+02:00", "-07:30", "+0200"]),
                ("Z0700", &["Z", "+0200", "-0730"]),
                ("-0700", &["+0200", "-0730", "Z"]),
                ("-07:00", &["+02:00", "-23:59", "+24:01"]),
                ("-07", &["+02", "-07", "+25"]),
                ("Z07", &["Z", "+02"]),
                ("-07:00:00", &["+02:00:30", "-01:02:03"]),
                (".000", &[".123", ".1", ",123"]),
                (".999", &[".123", "", ".5"]),
                (".000000000", &[".123456789"]),
            ];
            let (mut layout, mut text) = (String::new(), String::new());
            let usual: &[usize] = match r.below(4) {
                0 => &[0, 4, 7],
                1 => &[0, 4, 7, 11, 14, 16, 23],
                2 => &[8, 3, 0],
                _ => &[0],
            };
            let mut all = usual.to_vec();
            for _ in 0..r.below(4) {
                all.push(r.below(TOKENS.len()));
            }
            if r.chance(30) {
                let (i, j) = (r.below(all.len()), r.below(all.len()));
                all.swap(i, j);
            }
            for i in all {
                let (token, values) = TOKENS[i];
                let between = r.word(&["-", " ", ":", "T", "", "/", ", "]);
                layout.push_str(token);
                layout.push_str(between);
                text.push_str(if r.chance(85) { values[0] } else { r.word(values) });
                text.push_str(between);
            }
            if r.chance(5) {
                text.push('x');
            }
            vec![txt(&layout), txt(&text)]
        }
        "json.patch" => {
            let document = if r.chance(80) { an_object(r, 3) } else { document(r, 3) };
            let patches = some_of(r, |r| {
                let mut pairs = vec![
                    (txt("op"), txt(r.word(&["add", "remove", "replace", "move", "copy", "test", "add"]))),
                    (txt("path"), as_path(r, path_into(r, &document))),
                ];
                pairs.push((txt("value"), document_or_part(r, &document)));
                pairs.push((txt("from"), as_path(r, path_into(r, &document))));
                Arg::Object(pairs)
            });
            vec![document, Arg::Array(patches)]
        }
        "json.filter" | "json.remove" => {
            let document = an_object(r, 3);
            let paths = some_of(r, |r| as_path(r, path_into(r, &document)));
            let paths = if r.chance(50) { Arg::Array(paths) } else { Arg::Set(paths) };
            vec![document, paths]
        }
        "object.get" => {
            let document = an_object(r, 3);
            let path = path_into(r, &document);
            let path = match path.first() {
                Some(first) if r.chance(50) => first.clone(),
                _ => Arg::Array(path),
            };
            vec![document, path, small_int(r)]
        }
        "object.union" | "object.subset" => vec![an_object(r, 3), an_object(r, 3)],
        "object.remove" | "object.filter" => {
            let document = an_object(r, 2);
            let keys = special(name, 1, r)?;
            vec![document, keys]
        }
        "semver.compare" => {
            let one = |r: &Random| {
                let pre = if r.chance(50) {
                    String::new()
                } else {
                    format!(
                        "-{}",
                        (0..1 + r.below(3))
                            .map(|_| r.word(&["1", "2", "10", "alpha", "beta", "a", "1a", "A", "rc-1", "01"]))
                            .collect::<Vec<_>>()
                            .join(".")
                    )
                };
                txt(&format!(
                    "{}1.{}.{}{pre}{}",
                    r.word(&["", "", "v"]),
                    r.below(3),
                    r.below(3),
                    r.word(&["", "", "+b", "+1.2"])
                ))
            };
            vec![one(r), one(r)]
        }
        "net.cidr_contains" | "net.cidr_intersects" | "net.cidr_overlap" => {
            let one = |r: &Random| {
                let v4 = format!(
                    "{}.{}.{}.{}",
                    r.word(&["10", "192", "0"]),
                    r.word(&["0", "168"]),
                    r.word(&["0", "1"]),
                    r.word(&["0", "1", "128", "255"])
                );
                let v6 = r.word(&[
                    "::1",
                    "2001:db8::",
                    "2001:db8:1::1",
                    "::ffff:10.0.0.1",
                    "::",
                    "fe80::1",
                    "::ffff:a00:1",
                    "1:2:3:4:5:6:7:8",
                ]);
                let (address, bits) = if r.chance(65) {
                    (v4, r.word(&["0", "8", "16", "24", "25", "31", "32"]))
                } else {
                    (v6.to_string(), r.word(&["0", "8", "32", "64", "96", "104", "127", "128"]))
                };
                (address, bits)
            };
            let ((a, n), (b, m)) = (one(r), one(r));
            let right = if name == "net.cidr_contains" && r.chance(50) { b } else { format!("{b}/{m}") };
            vec![txt(&format!("{a}/{n}")), txt(&right)]
        }
        _ => return tokens::together(name, r),
    })
}

fn document_or_part(r: &Random, document_: &Arg) -> Arg {
    if r.chance(40) {
        let mut at = document_.clone();
        for _ in 0..r.below(4) {
            at = match &at {
                Arg::Object(pairs) if !pairs.is_empty() => r.pick(pairs).1.clone(),
                Arg::Array(items) if !items.is_empty() => r.pick(items).clone(),
                _ => break,
            };
        }
        return at;
    }
    document(r, 1)
}

/// An argument that suits the function at this place, if there is anything special about it.
pub fn special(name: &str, index: usize, r: &Random) -> Option<Arg> {
    let family = name.split('.').next().unwrap_or(name);
    Some(match (name, index) {
        (
            "regex.match"
            | "re_match"
            | "regex.split"
            | "regex.find_n"
            | "regex.find_all_string_submatch_n"
            | "regex.is_valid",
            0,
        )
        | ("regex.replace", 1) => txt(&a_regex(r)),
        ("regex.replace", 2) => txt(&glue(
            r,
            4,
            &[
                "$1", "$0", "${n}", "$n", "$m", "$$", "$", "x", "-", "${1}a", "$1x", "$é", "${", "$01",
                "\\1", "é",
            ],
        )),
        ("regex.globs_match", _) => txt(&glue(
            r,
            4,
            &["a", "b", ".", ".*", "[a-c]", "[abc]+", "*", "+", "\\.", "[", "x*", "é", "[^a]"],
        )),
        ("regex.template_match", 0) => txt(&glue(
            r,
            4,
            &["/a/", "{[a-z]+}", "{.*}", "x", "{a|b}", "{", "}", "{b{2}}", "a.b", "é", "{\\d+}"],
        )),
        ("regex.template_match", 2) => txt("{"),
        ("regex.template_match", 3) => txt("}"),
        ("regex.find_n" | "regex.find_all_string_submatch_n", 2) => small_int(r),
        (
            "regex.match"
            | "re_match"
            | "regex.split"
            | "regex.find_n"
            | "regex.find_all_string_submatch_n"
            | "regex.template_match",
            1,
        )
        | ("regex.replace", 0) => a_subject(r),
        ("glob.match", 0) | ("glob.quote_meta", 0) => txt(&a_glob(r)),
        ("glob.match", 1) => a_delimiters(r),
        ("glob.match", 2) => {
            txt(&glue(r, 6, &["a", "b", "c", "ab", "/", ".", ":", "*", "é", "日", "x", "api", "-", "/a/b"]))
        }
        ("sprintf", 0) => txt(&a_format(r)),
        ("sprintf", 1) => Arg::Array(some_of(r, |r| any(r, 2))),
        ("time.parse_ns", 0) | ("time.format", 9) => txt(&a_layout(r)),
        ("time.parse_ns", 1) => {
            if r.chance(50) {
                txt(&a_time(r))
            } else {
                txt(&glue(
                    r,
                    6,
                    &[
                        "2020", "01", "12", "Jan", "jan", "Mon", "15", "04", "05", ":", "-", " ", "PM", "am",
                        ".5", "Z", "+02:00", "UTC", "CET", "99", "29", "Feb", "T", "/", "3", "366", "060",
                    ],
                ))
            }
        }
        ("time.parse_rfc3339_ns", 0) => txt(&a_time(r)),
        ("time.parse_duration_ns", 0) => txt(&a_duration(r)),
        ("time.add_date", 1..) => small_int(r),
        _ if family == "time" => an_instant(r),
        ("json.unmarshal" | "json.is_valid", 0) => txt(&json_text(r)),
        ("yaml.unmarshal" | "yaml.is_valid", 0) => txt(&yaml_text(r)),
        ("json.marshal_with_options", 1) => Arg::Object(some_of(r, |r| {
            let k = r.word(&["indent", "prefix", "pretty", "x"]);
            let v = if r.chance(80) {
                if k == "pretty" {
                    Arg::Bool(r.chance(60))
                } else {
                    txt(r.word(&["", " ", "\t", "  ", "--"]))
                }
            } else {
                any(r, 0)
            };
            (txt(k), v)
        })),
        ("json.filter" | "json.remove", 1) => {
            let paths = some_of(r, a_path);
            if r.chance(50) { Arg::Array(paths) } else { Arg::Set(paths) }
        }
        ("json.patch", 1) => Arg::Array(some_of(r, a_patch)),
        (
            "json.filter"
            | "json.remove"
            | "json.patch"
            | "json.marshal"
            | "yaml.marshal"
            | "walk"
            | "json.marshal_with_options",
            0,
        ) => document(r, 3),
        ("object.keys", 0) => an_object(r, 3),
        ("object.get" | "object.union" | "object.remove" | "object.filter" | "object.subset", 0)
        | ("object.union" | "object.subset", 1) => document(r, 3),
        ("object.get", 1) => {
            if r.chance(50) {
                key(r)
            } else {
                a_path(r)
            }
        }
        ("object.remove" | "object.filter", 1) => {
            let keys = some_of(r, key);
            match r.below(3) {
                0 => Arg::Array(keys),
                1 => Arg::Set(keys),
                _ => Arg::Object(keys.into_iter().map(|k| (k, Arg::Null)).collect()),
            }
        }
        ("net.cidr_contains_matches" | "net.cidr_merge", _) => match r.below(5) {
            0 => an_address(r),
            1 => Arg::Set(some_of(r, an_address)),
            2 => Arg::Object(some_of(r, |r| {
                (key(r), if r.chance(70) { an_address(r) } else { Arg::Array(vec![an_address(r), key(r)]) })
            })),
            3 => Arg::Array(some_of(r, |r| Arg::Array(vec![an_address(r), small_int(r)]))),
            _ => Arg::Array(some_of(r, an_address)),
        },
        ("net.cidr_expand", _) => txt(r.word(&[
            "10.0.0.0/30",
            "10.0.0.1/31",
            "2001:db8::/126",
            "10.0.0.0/24",
            "1.2.3.4",
            "::ffff:1.2.3.4/127",
            "",
            "255.255.255.252/30",
        ])),
        _ if family == "net" => an_address(r),
        _ if family == "semver" => a_semver(r),
        _ if family == "units" => units(r),
        _ if family == "uri" => a_uri(r),
        _ if family == "base64" || family == "base64url" || family == "hex" => {
            if r.chance(50) {
                encoded(r)
            } else {
                a_text(r)
            }
        }
        ("urlquery.decode" | "urlquery.decode_object", 0) => query_text(r),
        ("urlquery.encode_object", 0) => Arg::Object(some_of(r, |r| {
            (
                a_text(r),
                if r.chance(50) {
                    a_text(r)
                } else if r.chance(50) {
                    Arg::Array(some_of(r, a_text))
                } else {
                    Arg::Set(some_of(r, a_text))
                },
            )
        })),
        ("uuid.parse", 0) => txt(r.word(&[
            "00000000-0000-0000-0000-000000000000",
            "urn:uuid:f47ac10b-58cc-0372-8567-0e02b2c3d479",
            "{f47ac10b-58cc-1372-8567-0e02b2c3d479}",
            "xf47ac10b-58cc-2372-8567-0e02b2c3d479y",
            "f47ac10b58cc43728567 0e02b2c3d479",
            "f47ac10b58cc437285670e02b2c3d479",
            "F47AC10B-58CC-4372-C567-0E02B2C3D479",
            "f47ac10b-58cc-1372-e567-0e02b2c3d479",
            "",
            "f47ac10b-58cc-5372-0567-0e02b2c3d47",
            "000003e8-48b9-21ee-b200-325096b39f47",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        ])),
        (
            "indexof" | "indexof_n" | "contains" | "startswith" | "endswith" | "split" | "replace" | "trim"
            | "trim_left" | "trim_right" | "trim_prefix" | "trim_suffix" | "strings.count"
            | "strings.split_n",
            0..=1,
        )
        | ("replace", 2)
            if r.chance(60) =>
        {
            txt(&glue(r, 4, &["a", "b", "ab", "é", "", "aa", ",", " ", "日", "A"]))
        }
        ("strings.split_n", 2) => small_int(r),
        ("strings.replace_n", 0) => Arg::Object(some_of(r, |r| {
            (txt(r.word(&["", "a", "ab", "b", "é", "aa"])), txt(r.word(&["", "1", "x", "b"])))
        })),
        ("strings.replace_n", 1) => a_subject(r),
        ("substring", 1..) | ("array.slice", 1..) => small_int(r),
        ("format_int", 1) => Arg::Number(r.word(&["2", "8", "10", "16", "10.0", "3"]).into()),
        ("numbers.range" | "numbers.range_step", _) => {
            let n = match r.below(10) {
                0 => r
                    .word(&["1.0", "1e1", "1.5", "18446744073709551616", "18446744073709551620", "-0"])
                    .to_string(),
                _ => (r.below(40) as i64 - 20).to_string(),
            };
            Arg::Number(n)
        }
        ("bits.lsh" | "bits.rsh", 1) => {
            if r.chance(97) {
                Arg::Number(
                    r.word(&[
                        "0",
                        "1",
                        "2",
                        "3",
                        "8",
                        "31",
                        "32",
                        "63",
                        "64",
                        "65",
                        "100",
                        "127",
                        "128",
                        "-1",
                        "1.0",
                        "1e1",
                        "1.5",
                        "18446744073709551616",
                    ])
                    .into(),
                )
            } else {
                a_number(r)
            }
        }
        ("graph.reachable" | "graph.reachable_paths", 0) => Arg::Object(some_of(r, |r| {
            let to = some_of(r, |r| txt(r.word(&["a", "b", "c", "d"])));
            (
                txt(r.word(&["a", "b", "c", "d"])),
                if r.chance(50) {
                    Arg::Array(to)
                } else if r.chance(80) {
                    Arg::Set(to)
                } else {
                    any(r, 1)
                },
            )
        })),
        ("graph.reachable" | "graph.reachable_paths", 1) => {
            let from = some_of(r, |r| txt(r.word(&["a", "b", "c", "e"])));
            if r.chance(50) { Arg::Array(from) } else { Arg::Set(from) }
        }
        ("to_number" | "cast_number" | "format_int", 0) if r.chance(40) => {
            let Arg::Number(n) = a_number(r) else { return None };
            if name == "format_int" { Arg::Number(n) } else { txt(&n) }
        }
        _ => return None,
    })
}
