//! Bounds of tokens, and what is kept of them.

use crate::builtins::{Budget, Call, Fault, Kept, Limit, PatternCache, call};
use crate::value::Value;
use crate::value::terms::term;

const NOW_NS: i64 = 1_700_000_000_000_000_000;

/// A policy's calls.
struct Caller {
    kept: Kept,
    now_ns: i64,
    steps: u64,
    taken: u64,
}

impl Caller {
    fn new() -> Caller {
        Caller { kept: Kept::default(), now_ns: NOW_NS, steps: 50_000_000, taken: 0 }
    }

    fn call(&mut self, name: &str, args: &[Value]) -> Result<Value, Fault> {
        let mut budget = Budget::new(self.steps, 100_000_000);
        let mut context = Call {
            budget: &mut budget,
            now_ns: self.now_ns,
            seed: [0, 0],
            runtime: &Value::Null,
            patterns: &mut PatternCache::new(),
            keys: &mut self.kept.keys,
            printed: None,
        };
        let answer = call(name, args, &mut context);
        self.taken = self.steps - budget.steps_left();
        answer
    }
}

/// The first call of a table with this answer: its arguments.
fn case(name: &str, answer: &str) -> Vec<Value> {
    let text = include_str!("../../../tests/data/calls/tokens_signatures.jsonl");
    let line = text.lines().map(serde_json::from_str::<(String, Vec<String>, Option<String>)>);
    let found =
        line.map(Result::unwrap).find(|(have, _, given)| have == name && given.as_deref() == Some(answer));
    found.unwrap().1.iter().map(|arg| term(arg)).collect()
}

fn halts(answer: Result<Value, Fault>, with: &str) {
    assert!(matches!(&answer, Err(Fault::Halt(why)) if why == with), "{answer:?}");
}

fn secret() -> Value {
    term(r#"{"secret": "secret"}"#)
}

fn signed(caller: &mut Caller, header: &str, payload: &str) -> String {
    let key = Value::from(r#"{"kty": "oct", "k": "c2VjcmV0"}"#);
    let token = caller.call("io.jwt.encode_sign_raw", &[Value::from(header), Value::from(payload), key]);
    String::from_utf8(token.unwrap().as_bytes().unwrap().to_vec()).unwrap()
}

#[test]
fn tokens_within_one_another_have_a_bound() {
    let mut caller = Caller::new();
    let mut token = signed(&mut caller, r#"{"alg": "HS256"}"#, "{}");
    for depth in 0..5 {
        let decoded = caller.call("io.jwt.decode", &[Value::from(token.as_str())]);
        let verified = caller.call("io.jwt.decode_verify", &[Value::from(token.as_str()), secret()]);
        if depth <= 3 {
            assert_eq!(decoded.unwrap().as_array().unwrap().items()[1], term("{}"));
            assert_eq!(verified.unwrap().to_rego(), r#"[true, {"alg": "HS256"}, {}]"#);
        } else {
            halts(decoded, "more than 3 tokens within one another");
            halts(verified, "more than 3 tokens within one another");
        }
        token = signed(&mut caller, r#"{"alg": "HS256", "cty": "JWT", "typ": "x"}"#, &token);
    }
}

#[test]
fn no_more_than_32_keys_are_tried_for_one_token() {
    let args = case("io.jwt.verify_es256", "true");
    let other = r#"{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}"#;
    let set =
        |count: usize, with: &str| Value::from(format!(r#"{{"keys":[{}]}}"#, vec![with; count].join(",")));
    let mut caller = Caller::new();
    for name in ["io.jwt.verify_es256", "io.jwt.decode_verify"] {
        let keys = |caller: &mut Caller, keys: Value| match name {
            "io.jwt.decode_verify" => {
                let keys = Value::object(vec![(Value::from("cert"), keys)]).unwrap();
                let answer = caller.call(name, &[args[0].clone(), keys])?;
                Ok(answer.as_array().unwrap().items()[0].clone())
            }
            _ => caller.call(name, &[args[0].clone(), keys]),
        };
        assert_eq!(keys(&mut caller, set(32, other)), Ok(Value::Bool(false)));
        halts(keys(&mut caller, set(33, other)), "more than 32 keys for one token");
        // Keys of another algorithm are not tried.
        let passed = other.replace("\"kty\"", "\"alg\":\"RS256\",\"kty\"");
        assert_eq!(keys(&mut caller, set(100, &passed)), Ok(Value::Bool(false)));
    }
}

#[test]
fn an_rsa_key_has_no_more_than_8192_bits() {
    let args = case("io.jwt.verify_rs256", "true");
    let key = |bytes: usize| {
        let n = "_".repeat(bytes / 3 * 4);
        Value::from(format!(r#"{{"kty":"RSA","e":"AQAB","n":"{n}"}}"#))
    };
    for name in ["io.jwt.verify_rs256", "io.jwt.verify_ps512"] {
        let mut caller = Caller::new();
        assert_eq!(caller.call(name, &[args[0].clone(), key(1_023)]), Ok(Value::Bool(false)));
        halts(caller.call(name, &[args[0].clone(), key(1_026)]), "an RSA key of more than 8192 bits");
    }
}

#[test]
fn keys_have_a_bound_of_text_and_of_steps() {
    let args = case("io.jwt.verify_rs256", "true");
    let mut caller = Caller::new();
    let long = Value::from(" ".repeat((512 << 10) + 1));
    halts(caller.call("io.jwt.verify_rs256", &[args[0].clone(), long]), "keys of more than 512 KiB");
    let long = Value::from(" ".repeat(512 << 10));
    assert!(matches!(caller.call("io.jwt.verify_rs256", &[args[0].clone(), long]), Err(Fault::Undefined(_))));
    // A set that takes more than its own bound is an error in every call, however much the query may spend.
    let key = r#"{"kty":"oct","k":"AA"}"#;
    let many = Value::from(format!(r#"{{"keys":[{}]}}"#, vec![key; 900].join(",")));
    for _ in 0..2 {
        let answer = caller.call("io.jwt.verify_rs256", &[args[0].clone(), many.clone()]);
        assert_eq!(answer, Err(Fault::Limit(Limit::Steps)));
    }
}

#[test]
fn a_signature_is_verified_once_and_paid_for_every_time() {
    for name in ["io.jwt.verify_es384", "io.jwt.verify_rs256", "io.jwt.verify_ps512", "io.jwt.verify_eddsa"] {
        for answer in ["true", "false"] {
            let args = case(name, answer);
            let mut caller = Caller::new();
            assert_eq!(caller.call(name, &args).unwrap().to_rego(), answer);
            let (verified, taken) = (caller.kept.keys.verified, caller.taken);
            assert_eq!(verified, 1);
            for _ in 0..3 {
                assert_eq!(caller.call(name, &args).unwrap().to_rego(), answer);
                assert_eq!((caller.kept.keys.verified, caller.taken), (1, taken));
            }
            // What cannot be paid for is not done, kept or not.
            for steps in [0, 1, taken / 2, taken - 1] {
                caller.steps = steps;
                assert_eq!(caller.call(name, &args), Err(Fault::Limit(Limit::Steps)));
            }
            let mut fresh = Caller::new();
            fresh.steps = taken - 1;
            assert_eq!(fresh.call(name, &args), Err(Fault::Limit(Limit::Steps)));
            fresh.steps = taken;
            assert_eq!(fresh.call(name, &args).unwrap().to_rego(), answer);
        }
    }
}

#[test]
fn keys_that_are_read_and_signatures_are_paid_for() {
    let args = case("io.jwt.verify_rs256", "true");
    let mut caller = Caller::new();
    caller.call("io.jwt.verify_rs256", &args).unwrap();
    assert!(caller.taken > 2_000, "{}", caller.taken);
    // Keys of another kind are read, and nothing is verified.
    let key = Value::from(r#"{"kty":"oct","k":"AA"}"#);
    caller.call("io.jwt.verify_rs256", &[args[0].clone(), key]).unwrap();
    assert!(caller.taken > 2_000, "{}", caller.taken);
}

#[test]
fn what_was_verified_holds_for_this_key_this_algorithm_and_this_function() {
    let args = case("io.jwt.verify_rs256", "true");
    let mut caller = Caller::new();
    let cert = |key: &Value| Value::object(vec![(Value::from("cert"), key.clone())]).unwrap();
    for _ in 0..2 {
        assert_eq!(caller.call("io.jwt.verify_rs256", &args), Ok(Value::Bool(true)));
        assert_eq!(caller.call("io.jwt.verify_rs384", &args), Ok(Value::Bool(false)));
        assert_eq!(caller.call("io.jwt.verify_ps256", &args), Ok(Value::Bool(false)));
        assert_eq!(caller.call("io.jwt.verify_es256", &args), Ok(Value::Bool(false)));
        let verified = caller.call("io.jwt.decode_verify", &[args[0].clone(), cert(&args[1])]).unwrap();
        assert_eq!(verified.as_array().unwrap().items()[0], Value::Bool(true));
        let other = Value::from(format!(r#"{{"kty":"RSA","e":"AQAB","n":"{}"}}"#, "_".repeat(172)));
        assert_eq!(caller.call("io.jwt.verify_rs256", &[args[0].clone(), other]), Ok(Value::Bool(false)));
    }
}

#[test]
fn the_time_of_a_claim_is_looked_at_in_every_call() {
    let mut caller = Caller::new();
    let token = signed(&mut caller, r#"{"alg": "HS256"}"#, r#"{"exp": 1700000001, "nbf": 1700000000}"#);
    let args = [Value::from(token), secret()];
    for (now_ns, good) in [(0, true), (1, true), (1_000_000_000, false), (0, true), (-1_000_000_000, false)] {
        caller.now_ns = NOW_NS + now_ns;
        let answer = caller.call("io.jwt.decode_verify", &args).unwrap();
        assert_eq!(answer.as_array().unwrap().items()[0], Value::Bool(good), "{now_ns}");
    }
    caller.now_ns = -1;
    assert!(matches!(caller.call("io.jwt.decode_verify", &args), Err(Fault::Undefined(_))));
}

#[test]
fn no_more_is_kept_than_is_allowed() {
    let args = case("io.jwt.verify_es256", "true");
    let mut caller = Caller::new();
    let text = String::from_utf8(args[1].as_bytes().unwrap().to_vec()).unwrap();
    for count in 0..1_000 {
        // Text in front of a block is not looked at.
        let keys = Value::from(format!("{count}\n{text}"));
        assert_eq!(
            caller.call("io.jwt.verify_es256", &[Value::from(format!("e30.e30.{count:04}")), keys]),
            Ok(Value::Bool(false))
        );
        let (sets, verdicts) = caller.kept.keys.len();
        assert!(sets <= 128 && verdicts <= 512, "{sets} {verdicts}");
    }
    // Long texts, within the bound of one half.
    for count in 0..20 {
        let keys = Value::from(format!("{}\n{count}\n{text}", "x".repeat(100 << 10)));
        assert_eq!(caller.call("io.jwt.verify_es256", &[args[0].clone(), keys]), Ok(Value::Bool(true)));
        assert!(caller.kept.keys.bytes() <= 2 * (512 << 10), "{}", caller.kept.keys.bytes());
    }
    // A long token's verdict is not kept.
    let long = Value::from(format!("e30.{}.", "A".repeat(20_000)));
    let before = caller.kept.keys.verified;
    for _ in 0..2 {
        caller.call("io.jwt.verify_es256", &[long.clone(), args[1].clone()]).unwrap();
    }
    assert_eq!(caller.kept.keys.verified, before + 2);
}

#[test]
fn what_is_not_signed_here_is_refused_by_name() {
    let mut caller = Caller::new();
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
    let ec = r#"{"kty":"EC","crv":"P-256","d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}"#;
    let rsa = r#"{"kty":"RSA","n":"_w","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}"#;
    let long = rsa.replace("_w", &"_".repeat(1_368));
    for (alg, key, with) in [
        ("ES256", ec, "signing by ECDSA is not available"),
        ("HS256", ed, "a code of a key of Ed25519 is not available"),
        ("RS256", rsa, "an RSA key whose parts do not fit, or that is short"),
        ("PS256", rsa, "an RSA key whose parts do not fit, or that is short"),
        ("RS256", &long, "an RSA key of more than 8192 bits"),
    ] {
        let header = Value::from(format!(r#"{{"alg": "{alg}"}}"#));
        halts(caller.call("io.jwt.encode_sign_raw", &[header, Value::from("{}"), Value::from(key)]), with);
    }
}

/// Where OPA panics there is no answer here.
#[test]
fn members_of_a_wrong_type_are_undefined() {
    let mut caller = Caller::new();
    let token = signed(&mut caller, r#"{"alg": "HS256", "cty": 5}"#, "{}");
    assert!(matches!(caller.call("io.jwt.decode", &[Value::from(token)]), Err(Fault::Undefined(_))));
    let token = signed(&mut caller, r#"{"alg": "HS256"}"#, r#"{"iss": 5}"#);
    let wanted = term(r#"{"secret": "secret", "iss": "a"}"#);
    assert!(matches!(
        caller.call("io.jwt.decode_verify", &[Value::from(token.as_str()), wanted]),
        Err(Fault::Undefined(_))
    ));
    let wanted = term(r#"{"secret": "secret", 5: "a"}"#);
    assert!(matches!(
        caller.call("io.jwt.decode_verify", &[Value::from(token), wanted]),
        Err(Fault::Undefined(_))
    ));
}

/// OPA's salt is chance, and here it is the query's: the signature is another one, and as good.
#[test]
fn a_token_that_is_signed_by_pss_is_verified() {
    let text = include_str!("../../../tests/data/calls/crypto_private.jsonl");
    let rows =
        text.lines().map(|line| serde_json::from_str::<(String, Vec<String>, Option<String>)>(line).unwrap());
    let keys = rows.filter(|(name, ..)| name == "crypto.x509.parse_rsa_private_key").filter_map(|row| row.2);
    let mut signed = 0;
    for key in keys.filter(|key| key.contains("\"RSA\"")).map(|key| term(&key)).step_by(3) {
        for (alg, short) in [("PS256", 1_024), ("PS384", 1_024), ("PS512", 2_048)] {
            let mut caller = Caller::new();
            let header = term(&format!(r#"{{"alg": "{alg}"}}"#));
            let made = caller.call("io.jwt.encode_sign", &[header, term("{}"), key.clone()]);
            let bits = 6 * key.get_str(b"n").unwrap().as_bytes().unwrap().len();
            let Ok(token) = made else {
                assert!(bits < short, "{alg} {bits}: {made:?}");
                continue;
            };
            signed += 1;
            let part = |name: &str| (Value::from(name), key.get_str(name.as_bytes()).unwrap().clone());
            let public = Value::object(vec![part("kty"), part("n"), part("e")]).unwrap().to_json();
            if std::env::var_os("SHOW").is_some() {
                println!("SIGNED {alg} {} {public}", token.to_json());
            }
            let verify = format!("io.jwt.verify_{}", alg.to_lowercase());
            let args = [token.clone(), Value::from(public.as_str())];
            assert_eq!(caller.call(&verify, &args), Ok(Value::Bool(true)), "{alg} {bits}");
            // Salt as long as the hash.
            let cert = Value::object(vec![(Value::from("cert"), args[1].clone())]).unwrap();
            let verified = caller.call("io.jwt.decode_verify", &[token, cert]).unwrap();
            assert_eq!(verified.as_array().unwrap().items()[0], Value::Bool(true), "{alg} {bits}");
        }
    }
    assert!(signed > 10, "{signed}");
}
