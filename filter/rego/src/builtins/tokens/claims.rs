//! `io.jwt.decode_verify`: a token's signature, and its claims against what is wanted of them.

use super::super::encoding::from_base64url;
use super::super::operands::{all, bytes, object as object_of};
use super::super::yaml;
use super::super::{Call, Fault};
use super::verify::{Header, of_secret, of_set, wanted};
use super::{MOST_NESTED, TOO_NESTED, Token, object};
use crate::value::{Number, Value, shortest};
use std::cmp::Ordering;

/// What is wanted of a token.
#[derive(Debug, Default)]
struct Constraints<'a> {
    keys: Option<&'a [u8]>,
    secret: &'a [u8],
    alg: &'a [u8],
    iss: &'a [u8],
    aud: &'a [u8],
    /// In nanoseconds.
    time: Option<f64>,
}

impl<'a> Constraints<'a> {
    fn of(constraints: &'a Value) -> Result<Constraints<'a>, Fault> {
        let mut out = Constraints::default();
        for (name, value) in object_of(constraints)?.iter() {
            // OPA panics for a name that is no string.
            match bytes(name)? {
                b"cert" => out.keys = Some(bytes(value)?),
                b"secret" => out.secret = bytes(value)?,
                b"alg" => out.alg = bytes(value)?,
                b"iss" => out.iss = bytes(value)?,
                b"aud" => out.aud = bytes(value)?,
                b"time" => out.time = Some(time(value)?),
                _ => return Err(Fault::undefined("an unknown constraint")),
            }
        }
        match (out.keys, out.secret) {
            (None, b"") => Err(Fault::undefined("no key")),
            (None, _) | (Some(_), b"") => Ok(out),
            _ => Err(Fault::undefined("two kinds of keys")),
        }
    }
}

fn time(value: &Value) -> Result<f64, Fault> {
    let time = value.as_number().and_then(Number::to_f64);
    time.filter(|time| *time >= 0.0 && time.is_finite()).ok_or(Fault::undefined("a time must be a number"))
}

/// The answer for a token that is not good.
fn unverified() -> Result<Value, Fault> {
    let empty = Value::object(Vec::new())?;
    Ok(Value::array(vec![Value::Bool(false), empty.clone(), empty])?)
}

pub(super) fn decode_verify(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [token, constraints] = all(args)?;
    call.walk(constraints)?;
    let constraints = Constraints::of(constraints)?;
    let now = match constraints.time {
        Some(time) => time,
        None => time(&Value::from(call.now_ns))?,
    };
    let set = match constraints.keys {
        Some(keys) => Some(call.keys.set(keys, call.budget)?),
        None => None,
    };
    let mut nested: Vec<u8>;
    let mut token_text = bytes(token)?;
    for _ in 0..=MOST_NESTED {
        let token = Token::of(call, token_text)?;
        let header_value = token.header(call)?;
        let header = Header::of(&header_value)?;
        let is_wanted = constraints.alg.is_empty() || constraints.alg == header.alg;
        if header.alg.is_empty() || header.is_critical || !is_wanted {
            return unverified();
        }
        let signature = from_base64url(call, token.signature)?;
        let good = match &set {
            Some(set) => of_set(call, set, token_text, &token, &header, &signature, wanted(&header.alg))?,
            None => of_secret(call, constraints.secret, &token, &header, &signature)?,
        };
        if !good {
            return unverified();
        }
        let payload = from_base64url(call, token.payload)?;
        if is_token(&header.cty) {
            nested = payload;
            token_text = &nested;
            continue;
        }
        let payload = object(call, &payload)?;
        if !holds(call, &payload, &constraints, now)? {
            return unverified();
        }
        return Ok(Value::array(vec![Value::Bool(true), header_value, payload])?);
    }
    Err(TOO_NESTED)
}

/// `JWT` in any case; no other letter folds to one of these.
fn is_token(kind: &[u8]) -> bool {
    kind.eq_ignore_ascii_case(b"JWT")
}

fn holds(
    call: &mut Call<'_>,
    payload: &Value,
    constraints: &Constraints<'_>,
    now: f64,
) -> Result<bool, Fault> {
    if !constraints.iss.is_empty() {
        match payload.get_str(b"iss") {
            Some(Value::String(issuer)) if issuer.as_bytes() == constraints.iss => {}
            Some(Value::String(_)) | None => return Ok(false),
            // OPA panics.
            Some(_) => return Err(Fault::undefined("`iss` must be a string")),
        }
    }
    let is_wanted = |audience: &Value| audience.as_bytes() == Some(constraints.aud);
    let in_audience = match payload.get_str(b"aud") {
        None => constraints.aud.is_empty(),
        Some(Value::Array(several)) => {
            call.step(several.len())?;
            several.iter().any(is_wanted)
        }
        Some(audience) => is_wanted(audience),
    };
    if !in_audience {
        return Ok(false);
    }
    // Seconds, as OPA writes them before it compares.
    let seconds = Value::from(Number::from_text(&yaml::general(&shortest(now / 1e9))));
    for (name, ends) in [("exp", true), ("nbf", false)] {
        let Some(claim) = payload.get_str(name.as_bytes()) else { continue };
        if !matches!(claim, Value::Number(_)) {
            return Err(Fault::undefined("`exp` and `nbf` must be numbers"));
        }
        call.compare(&seconds, claim)?;
        let is_before = seconds.cmp(claim) == Ordering::Less;
        if is_before != ends {
            return Ok(false);
        }
    }
    Ok(true)
}
