//! Keys as they are written: PEM, or JSON of one key or a set. Source: `v1/topdown/tokens.go`,
//! `getKeysFromCertOrJWK`; github.com/lestrrat-go/jwx v3.2.0, `jwk`.

use super::super::crypto::certificates;
use super::super::crypto::curves::{Curve, EcKey};
use super::super::crypto::keys::{PublicKey, from_pkix, public_of_ed25519};
use super::super::crypto::pem;
use super::super::crypto::rsa::{PrivateParts, RsaKey};
use super::super::encoding::{from_base64, from_base64_unpadded};
use super::super::{Budget, Fault};
use crate::value::{JsonError, Value, after_space};

/// A key of a set.
#[derive(Debug)]
pub(super) struct Key {
    /// Empty if the key names no algorithm.
    pub(super) alg: Vec<u8>,
    /// Empty if it has no name.
    pub(super) kid: Vec<u8>,
    pub(super) material: Material,
}

/// What a key can do.
#[derive(Debug)]
pub(super) enum Material {
    Public(PublicKey),
    /// The public half of a private key.
    Private(PublicKey),
    Secret(Vec<u8>),
    /// Nothing with signatures.
    Other,
}

/// The most keys of one set, as the library has it.
const MOST_KEYS: usize = 1_000;
/// Deeper JSON is not looked into for `keys` (github.com/valyala/fastjson, `MaxDepth`).
const MOST_DEPTH_OF_SET: u32 = 300;

const NO_KEY: Fault = Fault::undefined("not a key");

/// The keys that a token is verified with.
pub(super) fn read(text: &[u8], budget: &mut Budget) -> Result<Vec<Key>, Fault> {
    budget.step(text.len() as u64 / 2)?;
    if let Some((block, rest)) = pem::decode(text) {
        if !rest.is_empty() {
            return Err(Fault::undefined("text behind a PEM block"));
        }
        let material = match block.kind {
            b"CERTIFICATE" => match certificates::parse(&block.bytes) {
                Some(certificate) => certificate.key.map_or(Material::Other, Material::Public),
                None => return Err(Fault::undefined("not a certificate")),
            },
            b"PUBLIC KEY" => Material::Public(from_pkix(&block.bytes).ok_or(NO_KEY)?),
            _ => return Err(Fault::undefined("a PEM block of another kind")),
        };
        budget.bytes(material.size() as u64)?;
        return Ok(vec![Key { alg: Vec::new(), kid: Vec::new(), material }]);
    }
    let mut keys = Vec::new();
    for key in read_set(text, budget)? {
        let Some(material) = key.exported else { return Err(NO_KEY) };
        let known = key.alg.is_empty() || super::is_algorithm(&key.alg);
        if known {
            budget.bytes(material.size() as u64)?;
            keys.push(Key { alg: key.alg, kid: key.kid, material });
        }
    }
    Ok(keys)
}

impl Key {
    /// The bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.alg.len() + self.kid.len() + self.material.size() + 64
    }
}

impl Material {
    fn size(&self) -> usize {
        match self {
            Material::Public(key) | Material::Private(key) => key.size(),
            Material::Secret(secret) => secret.len(),
            Material::Other => 0,
        }
    }
}

/// A key of JSON.
#[derive(Debug)]
pub(super) struct JsonKey {
    alg: Vec<u8>,
    kid: Vec<u8>,
    /// None if it is valid but cannot be used.
    pub(super) exported: Option<Material>,
    pub(super) signing: Option<Signing>,
}

/// What signs, of a private key.
#[derive(Debug)]
pub(super) enum Signing {
    Rsa(PrivateParts),
    Ed25519([u8; 32]),
}

/// The parts of a private key that sign, where there are any for it here.
fn signing(kty: &[u8], fields: &Fields) -> Option<Signing> {
    let part = |name| fields.get(name).map(<[u8]>::to_vec);
    match kty {
        b"RSA" => {
            let rest = [part("dp"), part("dq"), part("qi")];
            Some(Signing::Rsa(PrivateParts { d: part("d")?, p: part("p")?, q: part("q")?, rest }))
        }
        b"OKP" => Some(Signing::Ed25519(fields.get("d")?.try_into().ok()?)),
        _ => None,
    }
}

/// The keys of a set, or the only one.
pub(super) fn read_set(text: &[u8], budget: &mut Budget) -> Result<Vec<JsonKey>, Fault> {
    let (value, rest) = match Value::from_json_prefix(text, budget) {
        Ok(found) => found,
        Err(JsonError::Syntax { .. }) => return Err(NO_KEY),
        Err(JsonError::Limit(limit)) => return Err(limit.into()),
    };
    // Behind a single key there may be anything.
    let is_set = after_space(rest).is_empty() && value.depth() <= MOST_DEPTH_OF_SET;
    if !is_set || value.get_str(b"keys").is_none() {
        return Ok(vec![read_key(text, budget)?]);
    }
    let mut keys = Vec::new();
    for (name, value) in members(text) {
        let name = decoded(name, budget)?;
        if name.as_bytes() != Some(b"keys") {
            if !fits(&decoded(value, budget)?) {
                return Err(NO_KEY);
            }
            continue;
        }
        if !value.starts_with(b"[") {
            return Err(NO_KEY);
        }
        // Of two members of this name both count, and each has its own bound.
        let items = items(value);
        if items.len() > MOST_KEYS {
            return Err(NO_KEY);
        }
        for item in items {
            keys.push(read_key(item, budget)?);
        }
    }
    Ok(keys)
}

/// The members of an object of valid JSON as they are written, in their order: equal names are not one.
fn members(text: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut rest = after_space(text).strip_prefix(b"{").unwrap_or_default();
    let mut out = Vec::new();
    loop {
        rest = after_space(rest);
        if !rest.starts_with(b"\"") {
            return out;
        }
        let (name, behind) = one(rest);
        let behind = after_space(behind);
        let (value, behind) = one(after_space(behind.strip_prefix(b":").unwrap_or(behind)));
        out.push((name, value));
        let behind = after_space(behind);
        rest = behind.strip_prefix(b",").unwrap_or_default();
    }
}

/// The items of an array of valid JSON.
fn items(text: &[u8]) -> Vec<&[u8]> {
    let mut rest = after_space(text).strip_prefix(b"[").unwrap_or_default();
    let mut out = Vec::new();
    loop {
        rest = after_space(rest);
        if rest.is_empty() || rest.starts_with(b"]") {
            return out;
        }
        let (item, behind) = one(rest);
        out.push(item);
        rest = after_space(behind).strip_prefix(b",").unwrap_or_default();
    }
}

/// A value of valid JSON, and what is behind it.
fn one(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => continue,
            }
        } else {
            match byte {
                b'"' => in_text = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth > 0 => depth -= 1,
                b',' | b']' | b'}' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => {
                    return text.split_at_checked(at).unwrap_or((text, b""));
                }
                _ => continue,
            }
        }
        if depth == 0 && !in_text && !escaped && matches!(byte, b'"' | b']' | b'}') {
            return text.split_at_checked(at + 1).unwrap_or((text, b""));
        }
    }
    (text, b"")
}

fn decoded(text: &[u8], budget: &mut Budget) -> Result<Value, Fault> {
    Value::from_json(text, budget).map_err(|error| match error {
        JsonError::Syntax { .. } => NO_KEY,
        JsonError::Limit(limit) => limit.into(),
    })
}

/// Whether Go decodes it as any value: each number as a float64.
fn fits(value: &Value) -> bool {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Number(number) if number.to_f64().is_none_or(|number| !number.is_finite()) => {
                return false;
            }
            Value::Array(array) => open.extend(array.iter()),
            Value::Object(object) => open.extend(object.values()),
            _ => {}
        }
    }
    true
}

/// What is known of the members of a key.
#[derive(Default)]
struct Fields {
    alg: Vec<u8>,
    kid: Vec<u8>,
    curve: Option<Vec<u8>>,
    /// Members in base64, by name.
    bytes: Vec<(&'static str, Vec<u8>)>,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        // The last of equal names.
        self.bytes.iter().rev().find(|(have, _)| *have == name).map(|(_, bytes)| bytes.as_slice())
    }
}

/// Members in base64 by type of key; of private ones all, of public ones those before `d`.
fn parts_of(kty: &[u8], is_private: bool) -> Option<&'static [&'static str]> {
    Some(match (kty, is_private) {
        (b"RSA", false) => &["n", "e"],
        (b"RSA", true) => &["n", "e", "d", "p", "q", "dp", "dq", "qi"],
        (b"EC", false) => &["x", "y"],
        (b"EC", true) => &["x", "y", "d"],
        (b"OKP", false) => &["x"],
        (b"OKP", true) => &["x", "d"],
        (b"oct", _) => &["k"],
        _ => return None,
    })
}

/// A name without regard to case, as Go's `encoding/json` looks for fields of a struct.
fn folds_to(name: &[u8], lower: &str) -> bool {
    String::from_utf8_lossy(name).replace('\u{212a}', "k").eq_ignore_ascii_case(lower)
}

fn read_key(text: &[u8], budget: &mut Budget) -> Result<JsonKey, Fault> {
    // First the type, of the last name that is `kty` in any case, and whether there is a `d`.
    let mut pairs = Vec::new();
    let (mut kty, mut is_private) = (Vec::new(), false);
    if !text.starts_with(b"{") && !after_space(text).starts_with(b"{") {
        return Err(NO_KEY);
    }
    for (name, value) in members(text) {
        let name = decoded(name, budget)?.as_bytes().unwrap_or_default().to_vec();
        let value = decoded(value, budget)?;
        if folds_to(&name, "kty") && value != Value::Null {
            kty = text_of(&value)?;
        }
        is_private |= folds_to(&name, "d");
        pairs.push((name, value));
    }
    let parts = parts_of(&kty, is_private).ok_or(NO_KEY)?;
    let mut fields = Fields::default();
    for (name, value) in &pairs {
        match name.as_slice() {
            b"kty" => {
                if text_of(value)? != kty {
                    return Err(NO_KEY);
                }
            }
            b"alg" => {
                fields.alg = text_of(value)?;
                if !KNOWN_ALGORITHMS.iter().any(|known| known.as_bytes() == fields.alg) {
                    return Err(NO_KEY);
                }
            }
            b"kid" => fields.kid = text_of(value)?,
            b"use" | b"x5t" | b"x5t#S256" | b"x5u" => {
                text_of(value)?;
            }
            b"key_ops" => match value {
                Value::Null => {}
                Value::Array(operations) => operations.iter().try_for_each(|one| text_of(one).map(drop))?,
                _ => return Err(NO_KEY),
            },
            b"x5c" => check_chain(value)?,
            b"crv" if matches!(kty.as_slice(), b"EC" | b"OKP") => {
                let curve = text_of(value)?;
                if !KNOWN_CURVES.iter().any(|known| known.as_bytes() == curve) {
                    return Err(NO_KEY);
                }
                fields.curve = Some(curve);
            }
            name => match parts.iter().find(|part| part.as_bytes() == name) {
                Some(part) => {
                    let bytes = any_base64(&text_of(value)?).ok_or(NO_KEY)?;
                    fields.bytes.push((part, bytes));
                }
                None if fits(value) => {}
                None => return Err(NO_KEY),
            },
        }
    }
    budget.step(2_000)?;
    let exported = material(&kty, is_private, &fields)?;
    let signing = signing(&kty, &fields);
    Ok(JsonKey { alg: fields.alg, kid: fields.kid, exported, signing })
}

/// A string; `null` is the empty one.
fn text_of(value: &Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Null => Ok(Vec::new()),
        _ => Err(NO_KEY),
    }
}

/// base64 of any alphabet: its letters and its end say which.
fn any_base64(text: &[u8]) -> Option<Vec<u8>> {
    let is_url = !text.iter().any(|byte| matches!(byte, b'+' | b'/'));
    if text.ends_with(b"=") { from_base64(text, is_url) } else { from_base64_unpadded(text, is_url) }
}

const MOST_CHAIN: usize = 10;
const MOST_CERTIFICATE: usize = 256 * 1024;

/// A chain of certificates: each must be one, and no more is done with them.
fn check_chain(value: &Value) -> Result<(), Fault> {
    let Value::Array(chain) = value else { return Err(NO_KEY) };
    if chain.len() > MOST_CHAIN {
        return Err(NO_KEY);
    }
    for certificate in chain.iter() {
        let text: Vec<u8> = text_of(certificate)?
            .into_iter()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))
            .collect();
        let der = from_base64(&text, false).filter(|der| der.len() <= MOST_CERTIFICATE).ok_or(NO_KEY)?;
        certificates::parse(&der).ok_or(NO_KEY)?;
    }
    Ok(())
}

/// The key, if its members make a valid one; none inside if it is valid, and cannot be used.
fn material(kty: &[u8], is_private: bool, fields: &Fields) -> Result<Option<Material>, Fault> {
    let part = |name| fields.get(name).ok_or(NO_KEY);
    let as_key = |key| if is_private { Material::Private(key) } else { Material::Public(key) };
    if is_private && kty != b"oct" && part("d")?.is_empty() {
        return Err(NO_KEY);
    }
    match kty {
        b"RSA" => {
            let (n, e) = (without_zeros(part("n")?), without_zeros(part("e")?));
            let e = e.iter().try_fold(0u64, |e, byte| (e >> 56 == 0).then_some(e << 8 | u64::from(*byte)));
            let e = e.filter(|e| e & 1 == 1 && e >> 63 == 0).ok_or(NO_KEY)?;
            if n.is_empty() {
                return Err(NO_KEY);
            }
            let usable = !is_private || (fields.get("p").is_some() && fields.get("q").is_some());
            Ok(usable.then(|| as_key(PublicKey::Rsa(RsaKey::new(n, e)))))
        }
        b"EC" => {
            let curve = match fields.curve.as_deref() {
                Some(b"P-256") => Curve::P256,
                Some(b"P-384") => Curve::P384,
                Some(b"P-521") => Curve::P521,
                _ => return Err(NO_KEY),
            };
            let coordinate = |name| part(name)?.get(..).filter(|x| x.len() == curve.bytes()).ok_or(NO_KEY);
            let (x, y) = (coordinate("x")?, coordinate("y")?);
            if is_private {
                coordinate("d")?;
            }
            let key = EcKey::new(curve, x, y).ok_or(NO_KEY)?;
            Ok(Some(as_key(PublicKey::Ec { key, x: x.to_vec(), y: y.to_vec() })))
        }
        b"OKP" => {
            let (curve, x) = (fields.curve.as_deref().ok_or(NO_KEY)?, part("x")?);
            let is_right = matches!(curve, b"Ed25519" | b"X25519");
            let d = fields.get("d");
            if x.is_empty() || is_right && (x.len() != 32 || d.is_some_and(|d| d.len() != 32)) {
                return Err(NO_KEY);
            }
            Ok(match (curve, <[u8; 32]>::try_from(x)) {
                (b"X25519", Ok(_)) => Some(Material::Other),
                (b"Ed25519", Ok(x)) => {
                    let fits = d.is_none_or(|d| d.try_into().is_ok_and(|d| public_of_ed25519(&d) == x));
                    fits.then(|| as_key(PublicKey::Ed25519(x)))
                }
                _ => None,
            })
        }
        b"oct" => match part("k")? {
            [] => Err(NO_KEY),
            secret => Ok(Some(Material::Secret(secret.to_vec()))),
        },
        _ => Err(NO_KEY),
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// What jwx knows (`jwa`).
const KNOWN_ALGORITHMS: &[&str] = &[
    "A128CBC-HS256",
    "A128GCM",
    "A128GCMKW",
    "A128KW",
    "A192CBC-HS384",
    "A192GCM",
    "A192GCMKW",
    "A192KW",
    "A256CBC-HS512",
    "A256GCM",
    "A256GCMKW",
    "A256KW",
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A192KW",
    "ECDH-ES+A256KW",
    "ES256",
    "ES256K",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
    "PBES2-HS256+A128KW",
    "PBES2-HS384+A192KW",
    "PBES2-HS512+A256KW",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
    "RSA-OAEP",
    "RSA-OAEP-256",
    "RSA-OAEP-384",
    "RSA-OAEP-512",
    "RSA1_5",
    "dir",
    "none",
];
const KNOWN_CURVES: &[&str] = &["Ed25519", "Ed448", "P-256", "P-384", "P-521", "X25519", "X448"];
