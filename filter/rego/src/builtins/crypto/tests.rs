//! Signatures against those of other implementations, and what is refused.

use super::curves::{Curve, EcKey};
use super::hashes::{Hash, same_code};
use super::rsa::{Padding, RsaKey};
use crate::builtins::{Budget, Call, Fault, KeyCache, Limit, PatternCache, call};
use crate::value::Value;
use crate::value::terms::term;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// RFC 6979, A.2.5: the message `sample`.
#[test]
fn a_known_signature_of_p256_is_verified_and_no_other() {
    let x = hex("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6");
    let y = hex("7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299");
    let key = EcKey::new(Curve::P256, &x, &y).unwrap();
    let digest = Hash::Sha256.of(&[b"sample"]);
    let r = hex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716");
    let s = hex("F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
    assert!(key.verify(&digest, &r, &s));
    assert!(!key.verify(&digest, &s, &r));
    assert!(!key.verify(&Hash::Sha256.of(&[b"sampla"]), &r, &s));
    let mut off = y.clone();
    off[31] ^= 1;
    assert!(EcKey::new(Curve::P256, &x, &off).is_none());
}

/// As Go has it: the zeros with which a signature begins belong to it.
#[test]
fn a_signature_of_rsa_is_as_long_as_the_modulus() {
    let n = hex(
        "adabf85853009d8c4c1dac8cc8d9eddc0211897481e4c1eeafb10a1a8115819595cd016a71ecd2ff4b42c6a706f14a3d\
             0e027f47b827073fbda6739fa1684f3b61d5d843c0b1038759bfdab9f6037472c095f16d5141a58b285b3b73020cbd9b\
             48469f45cb419d1bf4b32facb212145dcc9dc22b5704f312319f08d3b396f70d",
    );
    let signature = hex(
        "005a161b70e16b3a37691644eb9430b042815ff65650c6dbfafe5feaa872ea9705c0119580934fb2e93ed12514fb272d\
             30bf2b38bb90e0faed0aa48b87e5c3188d0aa99ec0fe04a6db008baca1a8bbeca83aac92214b2cd41c4a065f43e4a3c7\
             091dae5c351c0e3aded391239680db2a83f5b6c3003b7865a5563acdce46f62e",
    );
    let key = RsaKey::new(&n, 65_537);
    let verify = |signature: &[u8]| {
        key.verify(Padding::Fixed, Hash::Sha256, &Hash::Sha256.of(&[b"message 1"]), signature)
    };
    assert!(signature[0] == 0 && verify(&signature));
    assert!(!verify(&signature[1..]) && !verify(&[&[0], &signature[..]].concat()));
}

#[test]
fn codes_are_the_same_only_as_a_whole() {
    assert!(same_code(b"", b"") && same_code(b"abc", b"abc"));
    for (a, b) in [("abc", "abd"), ("abc", "xbc"), ("abc", "ab"), ("", "a")] {
        assert!(!same_code(a.as_bytes(), b.as_bytes()), "{a} {b}");
    }
}

fn answer(name: &str, args: &[Value], steps: u64) -> (Result<Value, Fault>, u64) {
    let mut budget = Budget::new(steps, 100_000_000);
    let mut context = Call {
        budget: &mut budget,
        now_ns: 1_700_000_000_000_000_000,
        seed: [0, 0],
        runtime: &Value::Null,
        patterns: &mut PatternCache::new(),
        keys: &mut KeyCache::new(),
        printed: None,
    };
    let answer = call(name, args, &mut context);
    (answer, steps - budget.steps_left())
}

/// What OPA answers and is not decided here ends the evaluation, by name.
#[test]
fn what_is_not_decided_of_certificates_is_refused_by_name() {
    let text = include_str!("../../../tests/data/refused.jsonl");
    for line in text.lines() {
        let (name, args, why): (String, Vec<String>, String) = serde_json::from_str(line).unwrap();
        let args: Vec<Value> = args.iter().map(|arg| term(arg)).collect();
        let (answer, _) = answer(&name, &args, 10_000_000);
        assert!(matches!(&answer, Err(Fault::Halt(found)) if *found == why), "{name} {why}: {answer:?}");
    }
}

/// The signatures of a chain are paid for before they are checked.
#[test]
fn a_chain_is_paid_for() {
    let text = include_str!("../../../tests/data/calls/crypto_chains.jsonl");
    let line = text.lines().find(|line| line.contains(r#""[true, "#)).unwrap();
    let (name, args, _): (String, Vec<String>, String) = serde_json::from_str(line).unwrap();
    let args: Vec<Value> = args.iter().map(|arg| term(arg)).collect();
    let (good, taken) = answer(&name, &args, 10_000_000);
    assert!(good.is_ok() && taken > 40_000, "{taken}");
    for steps in [0, 10, taken / 2, taken - 1] {
        assert_eq!(answer(&name, &args, steps).0, Err(Fault::Limit(Limit::Steps)));
    }
}

/// Keys and requests are paid for before they are computed with.
#[test]
fn private_keys_are_paid_for() {
    let text = include_str!("../../../tests/data/calls/crypto_private.jsonl");
    let rows = || {
        text.lines().map(|line| serde_json::from_str::<(String, Vec<String>, Option<String>)>(line).unwrap())
    };
    let least = [
        ("crypto.parse_private_keys", "\"Primes\"", 2_000),
        ("crypto.parse_private_keys", "\"Curve\"", 30_000),
        ("crypto.x509.parse_rsa_private_key", "\"Ed25519\"", 10_000),
        ("crypto.x509.parse_keypair", "\"Primes\"", 5_000),
        ("crypto.x509.parse_certificate_request", "\"RawSubject\"", 900),
    ];
    for (name, with, least) in least {
        let found = rows().find(|(have, _, given)| {
            have == name && given.as_ref().is_some_and(|given| given.contains(with))
        });
        let args: Vec<Value> = found.unwrap().1.iter().map(|arg| term(arg)).collect();
        let (good, taken) = answer(name, &args, 10_000_000);
        assert!(good.is_ok() && taken > least, "{name} {with}: {taken}");
        for steps in [0, 10, taken / 2, taken - 1] {
            assert_eq!(answer(name, &args, steps).0, Err(Fault::Limit(Limit::Steps)), "{name} {with}");
        }
    }
}

/// A key of the table: its public half is the generator taken so many times, wherever that begins.
#[test]
fn the_public_half_of_a_private_key_is_on_the_curve() {
    for (curve, order_less_one) in
        [(Curve::P224, 28), (Curve::P256, 32), (Curve::P384, 48), (Curve::P521, 66)]
    {
        assert_eq!(EcKey::public_of(curve, &[]), None);
        assert_eq!(EcKey::public_of(curve, &[0; 66]), None);
        assert_eq!(EcKey::public_of(curve, &vec![0xff; order_less_one]), None);
        let (x, y) = EcKey::public_of(curve, &[1]).unwrap();
        assert!(EcKey::new(curve, &x, &y).is_some());
        // One more than 128 is 129, by addition in the field of exponents: the points differ, and are points.
        for d in 1..130u8 {
            let (x, y) = EcKey::public_of(curve, &[d]).unwrap();
            assert!(x.len() == curve.bytes() && EcKey::new(curve, &x, &y).is_some(), "{d}");
        }
    }
}
