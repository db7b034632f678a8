//! Tokens, keys, and constraints for them: from the tables of calls, as a random signature is never good.

use std::sync::OnceLock;

use super::super::arguments::{Arg, any, txt};
use super::super::random::Random;

/// Tokens with the keys that they were tried with.
fn pool() -> &'static [(String, String)] {
    static POOL: OnceLock<Vec<(String, String)>> = OnceLock::new();
    POOL.get_or_init(|| {
        let tables = [
            include_str!("../../../data/calls/tokens_signatures.jsonl"),
            include_str!("../../../data/calls/tokens_keys.jsonl"),
        ];
        let mut pool = Vec::new();
        for line in tables.iter().flat_map(|table| table.lines()) {
            let (name, args, _): (String, Vec<String>, Option<String>) =
                serde_json::from_str(line).expect("a call");
            // Terms that are no JSON have bytes that are no UTF-8.
            let texts: Vec<String> = args.iter().filter_map(|arg| serde_json::from_str(arg).ok()).collect();
            if let ([token, key], true) = (texts.as_slice(), name.starts_with("io.jwt.verify_")) {
                pool.push((token.clone(), key.clone()));
            }
        }
        pool
    })
}

/// Certificates and what is nearly one.
fn certificates() -> &'static [String] {
    static POOL: OnceLock<Vec<String>> = OnceLock::new();
    POOL.get_or_init(|| {
        let tables = [
            include_str!("../../../data/calls/crypto_certificates.jsonl"),
            include_str!("../../../data/calls/crypto_chains.jsonl"),
        ];
        let texts = tables.iter().flat_map(|table| table.lines()).filter_map(|line| {
            let (_, args, _): (String, Vec<String>, Option<String>) =
                serde_json::from_str(line).expect("a call");
            serde_json::from_str(args.first()?).ok()
        });
        texts.collect()
    })
}

/// One letter changed, or one left out.
fn bent(r: &Random, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if !letters.is_empty() {
        let at = r.below(letters.len());
        if r.chance(80) {
            letters[at] = r
                .word(&["A", "b", "0", "-", "_", "=", ".", "\"", "{", "\n", ","])
                .chars()
                .next()
                .unwrap_or('A');
        } else {
            letters.remove(at);
        }
    }
    letters.into_iter().collect()
}

fn sometimes_bent(r: &Random, text: &str) -> Arg {
    if r.chance(15) { txt(&bent(r, text)) } else { txt(text) }
}

/// A token, mostly with a key that it was tried with.
fn pair(r: &Random) -> (Arg, Arg) {
    let (token, key) = r.pick(pool());
    let key = if r.chance(60) { key } else { &r.pick(pool()).1 };
    (sometimes_bent(r, token), sometimes_bent(r, key))
}

fn instant(r: &Random) -> Arg {
    let number = r.word(&["0", "1", "1700000000000000000", "1.7e18", "1e400", "-1", "1700000001000000000"]);
    Arg::Number(number.into())
}

/// What is wanted of a chain.
fn options(r: &Random) -> Arg {
    // Without a time OPA takes that of its machine.
    let mut pairs = vec![(txt("CurrentTime"), instant(r))];
    if r.chance(50) {
        let name = r.word(&["a.example", "x.w.example", "10.0.0.1", "b.example", "", "*.w.example"]);
        pairs.push((txt("DNSName"), txt(name)));
    }
    if r.chance(30) {
        let usage = r.word(&["KeyUsageAny", "KeyUsageClientAuth", "KeyUsageServerAuth", "x"]);
        pairs.push((txt("KeyUsages"), Arg::Array(vec![txt(usage)])));
    }
    Arg::Object(pairs)
}

/// Arguments that suit each other.
pub(crate) fn together(name: &str, r: &Random) -> Option<Vec<Arg>> {
    Some(match name {
        "io.jwt.decode" => vec![pair(r).0],
        "io.jwt.decode_verify" => {
            let (token, key) = pair(r);
            let mut pairs = vec![(txt("cert"), key)];
            if r.chance(30) {
                pairs = vec![(txt("secret"), txt(r.word(&["secret", "", "other"])))];
            }
            if r.chance(20) {
                pairs.push((txt("alg"), txt(r.word(&["RS256", "ES256", "HS256", "EdDSA", "none", ""]))));
            }
            if r.chance(20) {
                pairs.push((txt("iss"), txt(r.word(&["me", "you", ""]))));
            }
            if r.chance(20) {
                pairs.push((txt("time"), instant(r)));
            }
            if r.chance(5) {
                pairs.push((txt(r.word(&["aud", "foo", "cert"])), any(r, 1)));
            }
            vec![token, Arg::Object(pairs)]
        }
        "io.jwt.encode_sign_raw" => vec![
            sometimes_bent(
                r,
                r.word(&["{\"alg\":\"HS256\"}", "{\"typ\":\"JWT\",\"alg\":\"HS512\",\"a\":[1,{}]}"]),
            ),
            sometimes_bent(r, r.word(&["{}", "{\"a\":1}", "x"])),
            sometimes_bent(r, "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}"),
        ],
        "io.jwt.encode_sign" => vec![
            Arg::Object(vec![
                (txt("alg"), txt(r.word(&["HS256", "HS384", "HS512", "foo"]))),
                (txt("x"), any(r, 2)),
            ]),
            Arg::Object(vec![(txt("a"), any(r, 2))]),
            Arg::Object(vec![
                (txt("kty"), txt("oct")),
                (txt("k"), txt(r.word(&["c2VjcmV0", "", "A", "AA==", "+/8"]))),
            ]),
        ],
        _ if name.starts_with("io.jwt.verify_") => {
            let (token, key) = pair(r);
            vec![token, key]
        }
        _ if name.starts_with("crypto.x509.") => {
            let text = r.pick(certificates());
            let text = if r.chance(40) { bent(r, text) } else { text.clone() };
            match name.ends_with("_with_options") {
                true => vec![txt(&text), options(r)],
                false => vec![txt(&text)],
            }
        }
        _ => return None,
    })
}
