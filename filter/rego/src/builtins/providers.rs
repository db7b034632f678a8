//! Requests signed for AWS, version 4. Source: `v1/topdown/providers.go`, `internal/providers/aws/signing_v4.go`.

use super::crypto::hashes::Hash;
use super::encoding::hex_of;
use super::json::writable;
use super::operands::{all, bytes, integer, object};
use super::time::civil::Civil;
use super::uri::uri;
use super::{Builtin, Call, Fault, Type};
use crate::value::{Object, Value};
use std::collections::BTreeMap;

const OBJECT: Type = Type::object_of(&Type::String, &Type::Any);

/// The table of this file.
pub(super) const BUILTINS: &[Builtin] = &[Builtin::new(
    "providers.aws.sign_req",
    &[OBJECT, OBJECT, Type::Number],
    Type::ANY_OBJECT,
    sign_request,
    "v1/topdown/providers.go",
)];

/// The members of a request, as `http.send` takes it.
const MEMBERS: &[&str] = &[
    "body",
    "cache",
    "cache_ignored_headers",
    "caching_mode",
    "enable_redirect",
    "force_cache",
    "force_cache_duration_seconds",
    "force_json_decode",
    "force_yaml_decode",
    "headers",
    "max_retry_attempts",
    "method",
    "raise_error",
    "raw_body",
    "timeout",
    "tls_ca_cert",
    "tls_ca_cert_env_variable",
    "tls_ca_cert_file",
    "tls_client_cert",
    "tls_client_cert_env_variable",
    "tls_client_cert_file",
    "tls_client_key",
    "tls_client_key_env_variable",
    "tls_client_key_file",
    "tls_insecure_skip_verify",
    "tls_server_name",
    "tls_use_system_certs",
    "url",
];

/// What may change on the way is not signed.
const UNSIGNED: &[&[u8]] = &[b"authorization", b"user-agent", b"x-amzn-trace-id"];

/// Who signs, and for what.
struct Signer<'a> {
    key: &'a [u8],
    secret: &'a [u8],
    region: &'a [u8],
    service: &'a [u8],
    session: &'a [u8],
    signs_payload: bool,
}

fn member<'a>(object: &'a Object, name: &'static str) -> Result<&'a [u8], Fault> {
    let value = object.get_str(name.as_bytes()).ok_or(Fault::undefined("a parameter is missing"))?;
    bytes(value)
}

impl<'a> Signer<'a> {
    fn of(settings: &'a Object) -> Result<Signer<'a>, Fault> {
        let signs_payload = match settings.get_str(b"disable_payload_signing") {
            None => true,
            Some(value) => {
                !value.as_bool().ok_or(Fault::undefined("`disable_payload_signing` must be a boolean"))?
            }
        };
        Ok(Signer {
            key: member(settings, "aws_access_key")?,
            secret: member(settings, "aws_secret_access_key")?,
            region: member(settings, "aws_region")?,
            service: member(settings, "aws_service")?,
            session: settings.get_str(b"aws_session_token").and_then(Value::as_bytes).unwrap_or_default(),
            signs_payload,
        })
    }
}

/// The text of a string; anything else is the empty one.
fn text_of(value: &Value) -> &[u8] {
    value.as_bytes().unwrap_or_default()
}

fn sign_request(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [request, settings, time] = all(args)?;
    let (request, signer) = (object(request)?, Signer::of(object(settings)?)?);
    let at = integer(time)?;
    let is_known = |key: &Value| MEMBERS.iter().any(|known| key.as_bytes() == Some(known.as_bytes()));
    call.step(16 * request.len())?;
    if !request.keys().all(is_known) {
        return Err(Fault::undefined("an unknown parameter of a request"));
    }
    let (method, url) = (member(request, "method")?, member(request, "url")?);
    call.step(url.len() / 4 + 8)?;
    call.bytes(url.len().saturating_mul(8))?;
    let url = uri(url).ok_or(Fault::undefined("not a URI"))?;
    let headers = match request.get_str(b"headers") {
        None => &Object::new(),
        Some(headers) => object(headers)?,
    };
    let body = body(call, request)?;
    // By name as it was; of names that are no strings the last counts.
    let mut shown: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, value) in headers.iter() {
        let (name, value) = (text_of(name), text_of(value));
        call.step(8 + (name.len() + value.len()) / 16)?;
        call.bytes(6 * name.len() + 4 * value.len() + 128)?;
        shown.insert(name.to_vec(), value.to_vec());
    }
    let (authorization, added) = authorization(call, &signer, method, &url, &shown, &body, at)?;
    shown.insert(b"Authorization".to_vec(), authorization);
    shown.extend(added);
    call.room(2 * shown.len() + request.len())?;
    let shown = shown.into_iter().map(|(name, value)| (Value::from(name), Value::from(value)));
    let headers = Value::object(shown.collect())?;
    let others = request.iter().map(|(key, value)| (key.clone(), value.clone()));
    Ok(Value::object(others.chain([(Value::from("headers"), headers)]).collect())?)
}

fn body(call: &mut Call<'_>, request: &Object) -> Result<Vec<u8>, Fault> {
    if let Some(raw) = request.get_str(b"raw_body") {
        let raw = text_of(raw);
        call.bytes(raw.len())?;
        return Ok(raw.to_vec());
    }
    let mut out = Vec::new();
    if let Some(body) = request.get_str(b"body") {
        writable(call, body)?;
        body.write_json(&mut out, call.budget)?;
    }
    Ok(out)
}

/// Headers by name.
type Headers = BTreeMap<Vec<u8>, Vec<u8>>;

/// The value of the header `Authorization`, and the headers that are added.
fn authorization(
    call: &mut Call<'_>,
    signer: &Signer<'_>,
    method: &[u8],
    url: &super::uri::Uri,
    headers: &Headers,
    body: &[u8],
    at: i64,
) -> Result<(Vec<u8>, Headers), Fault> {
    let hash = Hash::Sha256;
    call.step(Hash::steps(body.len()))?;
    let payload = if signer.signs_payload { hex_of(&hash.of(&[body])) } else { b"UNSIGNED-PAYLOAD".to_vec() };
    let Civil { year, month, day, hour, minute, second } = Civil::at(at.div_euclid(1_000_000_000), 0);
    let date = format!("{year:04}{month:02}{day:02}");
    let time = format!("{date}T{hour:02}{minute:02}{second:02}Z");
    let mut added = Headers::new();
    added.insert(b"host".to_vec(), url.host.clone());
    added.insert(b"x-amz-date".to_vec(), time.clone().into_bytes());
    if matches!(signer.service, b"s3" | b"glacier") {
        added.insert(b"x-amz-content-sha256".to_vec(), payload.clone());
    }
    if !signer.session.is_empty() {
        added.insert(b"x-amz-security-token".to_vec(), signer.session.to_vec());
    }
    let mut signed = added.clone();
    for (name, value) in headers {
        let name = super::call("lower", &[Value::from(name.as_slice())], call)?;
        let name = text_of(&name);
        if !UNSIGNED.contains(&name) {
            signed.insert(name.to_vec(), value.clone());
        }
    }
    let length: usize = signed.iter().map(|(name, value)| 2 * name.len() + value.len() + 8).sum();
    call.step(Hash::steps(length + method.len()))?;
    call.bytes(length.saturating_mul(3) + method.len() + 1_024)?;
    let names = signed.keys().map(Vec::as_slice).collect::<Vec<_>>().join(b";".as_slice());
    let mut canonical = [method, b"\n", &url.path_text(), b"\n", &url.query, b"\n"].concat();
    for (name, value) in &signed {
        canonical.extend([name.as_slice(), b":", value, b"\n"].concat());
    }
    canonical.extend([b"\n".as_slice(), &names, b"\n", &payload].concat());
    let place = [b"/", signer.region, b"/", signer.service, b"/aws4_request"].concat();
    let message = [
        b"AWS4-HMAC-SHA256\n",
        time.as_bytes(),
        b"\n",
        date.as_bytes(),
        &place,
        b"\n",
        &hex_of(&hash.of(&[&canonical])),
    ]
    .concat();
    call.step(6 * Hash::steps(place.len() + signer.secret.len()))?;
    call.bytes(4 * (place.len() + signer.secret.len()) + 1_024)?;
    let mut key = [b"AWS4", signer.secret].concat();
    for part in [date.as_bytes(), signer.region, signer.service, b"aws4_request", &message] {
        key = hash.code(&key, &[part]);
    }
    let parts = [
        b"AWS4-HMAC-SHA256 Credential=",
        signer.key,
        b"/",
        date.as_bytes(),
        &place,
        b",SignedHeaders=",
        &names,
        b",Signature=",
        &hex_of(&key),
    ];
    call.bytes(signer.key.len())?;
    Ok((parts.concat(), added))
}

#[cfg(test)]
mod tests {
    use crate::builtins::{Budget, Call, Fault, Kept, Limit, call};
    use crate::value::Value;
    use crate::value::terms::term;

    fn signed(body: usize, steps: u64, bytes: u64) -> (Result<Value, Fault>, u64) {
        let request =
            format!(r#"{{"method": "get", "url": "http://h/p", "raw_body": "{}"}}"#, "x".repeat(body));
        let settings = r#"{"aws_service": "s3", "aws_access_key": "a", "aws_secret_access_key": "b", "aws_region": "c"}"#;
        let args = [term(&request), term(settings), Value::from(0)];
        let (mut budget, mut kept) = (Budget::new(steps, bytes), Kept::default());
        let answer = call("providers.aws.sign_req", &args, &mut Call::beside(&mut budget, &mut kept));
        (answer, steps - budget.steps_left())
    }

    #[test]
    fn what_is_hashed_is_paid_for() {
        let (small, least) = signed(0, 1_000_000, 1_000_000);
        let (large, most) = signed(100_000, 1_000_000, 1_000_000);
        assert!(small.is_ok() && large.is_ok() && most > least + 5_000, "{least} {most}");
        for steps in [0, 10, most / 2, most - 1] {
            assert_eq!(signed(100_000, steps, 1_000_000).0, Err(Fault::Limit(Limit::Steps)));
        }
        assert_eq!(signed(100_000, 1_000_000, 50_000).0, Err(Fault::Limit(Limit::Bytes)));
    }
}
