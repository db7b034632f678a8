//! Private keys as they are written, and as documents. Source: `v1/topdown/crypto.go`; Go's `crypto/x509`, pkcs1.go, pkcs8.go,
//! sec1.go; `crypto/tls`, `X509KeyPair`; github.com/lestrrat-go/jwx/v3.

use super::super::encoding::{from_base64, to_base64, to_base64url};
use super::super::operands::{all, bytes};
use super::super::{Builtin, Call, Fault, Type};
use super::SOURCE;
use super::certificates;
use super::certificates::shown::{big, certificate, key as public_members, object};
use super::curves::{Curve, EcKey};
use super::der::{BIT_STRING, Der, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, arcs, constructed};
use super::keys::{
    EC, ED25519, ED25519_STEPS, PublicKey, RSA, X25519, curve_of, identifier, public_of_ed25519,
    public_of_x25519,
};
use super::pem;
use super::rsa::{PrivateParts, RsaKey};
use crate::value::Value;

const OBJECT_TYPE: Type = Type::object_of(&Type::String, &Type::Any);

/// The table of this file.
pub(in crate::builtins) const BUILTINS: &[Builtin] = &[
    Builtin::new(
        "crypto.parse_private_keys",
        &[Type::String],
        Type::array_of(&OBJECT_TYPE),
        parse_private_keys,
        SOURCE,
    ),
    Builtin::new(
        "crypto.x509.parse_keypair",
        &[Type::String, Type::String],
        OBJECT_TYPE,
        parse_keypair,
        SOURCE,
    ),
    Builtin::new(
        "crypto.x509.parse_rsa_private_key",
        &[Type::String],
        OBJECT_TYPE,
        parse_rsa_private_key,
        SOURCE,
    ),
];

const NO_KEY: Fault = Fault::undefined("not a private key");
const BEGIN: &[u8] = b"-----BEGIN";

/// A private key with its public half.
enum PrivateKey {
    Rsa(RsaKey, PrivateParts),
    Ec { public: PublicKey, curve: Curve, d: Vec<u8> },
    Ed25519 { seed: [u8; 32], public: [u8; 32] },
    X25519([u8; 32]),
}

fn halt(why: &'static str) -> Fault {
    Fault::Halt(why.into())
}

/// An integer greater than zero.
fn positive(der: &mut Der<'_>) -> Result<Vec<u8>, Fault> {
    der.positive().map(<[u8]>::to_vec).ok_or(NO_KEY)
}

/// `RSA PRIVATE KEY`
fn pkcs1(call: &mut Call<'_>, der: &[u8]) -> Result<PrivateKey, Fault> {
    let mut der = Der(der);
    let mut body = der.read(SEQUENCE).ok_or(NO_KEY)?;
    if !der.is_empty() || body.small().is_none_or(|version| version > 1) {
        return Err(NO_KEY);
    }
    let n = positive(&mut body)?;
    let e = body.small().ok_or(NO_KEY)?;
    let (d, p, q) = (positive(&mut body)?, positive(&mut body)?, positive(&mut body)?);
    let mut rest = [None, None, None];
    for part in &mut rest {
        if body.next_is(INTEGER) {
            *part = Some(positive(&mut body)?);
        }
    }
    if body.next_is(SEQUENCE) && body.read(SEQUENCE).is_none_or(|more| !more.is_empty()) {
        return Err(halt("an RSA key of more than two primes"));
    }
    let e = u64::try_from(e).ok().filter(|e| (3..1 << 31).contains(e) && e & 1 == 1).ok_or(NO_KEY)?;
    if n.last().is_none_or(|last| last & 1 == 0) || p == q {
        return Err(NO_KEY);
    }
    if rest.iter().any(Option::is_none) {
        // Go computes them, in constant time.
        return Err(halt("an RSA key without the values for its primes"));
    }
    if 8 * n.len() > super::rsa::MOST_BITS || p.len() + q.len() > n.len() + 2 || d.len() > n.len() {
        return Err(if 8 * n.len() > super::rsa::MOST_BITS {
            halt("an RSA key of more than 8192 bits")
        } else {
            NO_KEY
        });
    }
    let digits = n.len().div_ceil(4);
    call.step(digits.saturating_mul(digits) + 1_000)?;
    let key = RsaKey::new(&n, e);
    let parts = PrivateParts { d, p, q, rest };
    if parts.fit(&key) { Ok(PrivateKey::Rsa(key, parts)) } else { Err(NO_KEY) }
}

/// `PRIVATE KEY`; what is behind it is not looked at.
fn pkcs8(call: &mut Call<'_>, der: &[u8]) -> Result<PrivateKey, Fault> {
    let mut body = Der(der).read(SEQUENCE).ok_or(NO_KEY)?;
    body.integer().ok_or(NO_KEY)?;
    let (algorithm, parameters) =
        body.read(SEQUENCE).and_then(|mut algorithm| identifier(&mut algorithm)).ok_or(NO_KEY)?;
    let key = body.read(OCTET_STRING).ok_or(NO_KEY)?.0;
    let seed = || Der(key).read(OCTET_STRING).filter(|_| parameters.is_none()).ok_or(NO_KEY);
    match algorithm {
        RSA => pkcs1(call, key),
        EC => sec1(call, key, parameters.and_then(|parameters| Der(parameters).object())),
        ED25519 => {
            let seed: [u8; 32] = seed()?.0.try_into().map_err(|_| NO_KEY)?;
            call.step(ED25519_STEPS)?;
            Ok(PrivateKey::Ed25519 { seed, public: public_of_ed25519(&seed) })
        }
        X25519 => Ok(PrivateKey::X25519(seed()?.0.try_into().map_err(|_| NO_KEY)?)),
        _ => Err(NO_KEY),
    }
}

/// `EC PRIVATE KEY`; the public half in it is not looked at.
fn sec1(call: &mut Call<'_>, der: &[u8], named: Option<&[u8]>) -> Result<PrivateKey, Fault> {
    let mut body = Der(der).read(SEQUENCE).ok_or(NO_KEY)?;
    if body.small() != Some(1) {
        return Err(NO_KEY);
    }
    let d = body.read(OCTET_STRING).ok_or(NO_KEY)?.0;
    let inner = body.explicit(constructed(0), OBJECT).ok_or(NO_KEY)?.map(|object| object.0);
    let public = body.explicit(constructed(1), BIT_STRING).ok_or(NO_KEY)?;
    let is_object = inner.is_none_or(|object| arcs(object).is_some());
    if !is_object || public.is_some_and(|public| public.as_bits().is_none()) {
        return Err(NO_KEY);
    }
    let curve = named.or(inner).and_then(curve_of).ok_or(NO_KEY)?;
    let zeros = d.len().saturating_sub(curve.bytes());
    let (zeros, d) = d.split_at_checked(zeros).ok_or(NO_KEY)?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(NO_KEY);
    }
    call.step(EcKey::steps_of(curve))?;
    let (x, y) = EcKey::public_of(curve, d).ok_or(NO_KEY)?;
    let key = EcKey::new(curve, &x, &y).ok_or(NO_KEY)?;
    let d = [vec![0; curve.bytes() - d.len()], d.to_vec()].concat();
    Ok(PrivateKey::Ec { public: PublicKey::Ec { key, x, y }, curve, d })
}

/// The keys of all blocks that hold one.
fn keys_of(call: &mut Call<'_>, text: &[u8], most: usize) -> Result<Vec<PrivateKey>, Fault> {
    call.step(text.len())?;
    call.bytes(text.len().saturating_mul(8))?;
    let decoded = from_base64(text, false);
    let mut rest = decoded.as_deref().unwrap_or(text);
    let mut keys = Vec::new();
    while let Some((block, behind)) = pem::decode(rest) {
        call.step(rest.len() / 16 + 1)?;
        let key = match block.kind {
            b"RSA PRIVATE KEY" => Some(pkcs1(call, &block.bytes)?),
            b"PRIVATE KEY" => Some(pkcs8(call, &block.bytes)?),
            b"EC PRIVATE KEY" => Some(sec1(call, &block.bytes, None)?),
            _ => None,
        };
        // All are read, so that one that is wrong is found.
        keys.extend(key.filter(|_| keys.len() < most));
        rest = behind;
    }
    Ok(keys)
}

fn parse_private_keys(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [text] = all(args)?;
    let text = bytes(text)?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let keys = keys_of(call, text, usize::MAX)?;
    call.room(20 * keys.len())?;
    Ok(Value::array(keys.iter().map(PrivateKey::members).collect::<Result<_, _>>()?)?)
}

fn parse_rsa_private_key(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [text] = all(args)?;
    let text = bytes(text)?;
    if text.is_empty() {
        return Err(NO_KEY);
    }
    let decoded = if text.starts_with(BEGIN) { None } else { Some(from_base64(text, false).ok_or(NO_KEY)?) };
    match keys_of(call, decoded.as_deref().unwrap_or(text), 1)?.first() {
        None => Ok(Value::Null),
        Some(key) => {
            call.step(ED25519_STEPS)?;
            key.jwk()
        }
    }
}

/// A block of the text: of base64 of PEM, or of DER, too.
fn armored(text: &[u8]) -> Result<Result<Vec<u8>, Vec<u8>>, Fault> {
    if text.starts_with(BEGIN) {
        return Ok(Ok(text.to_vec()));
    }
    let decoded = from_base64(text, false).ok_or(NO_KEY)?;
    Ok(if decoded.starts_with(BEGIN) { Ok(decoded) } else { Err(decoded) })
}

fn parse_keypair(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [chain, key] = all(args)?;
    let (chain, key) = (bytes(chain)?, bytes(key)?);
    call.step(2 * (chain.len() + key.len()))?;
    call.bytes(8 * (chain.len() + key.len()))?;
    let (chain, key) = (armored(chain)?, armored(key)?);
    let mut all = Vec::new();
    match chain {
        Err(der) => all.push(der),
        Ok(text) => {
            let mut rest = text.as_slice();
            while let Some((block, behind)) = pem::decode(rest) {
                call.step(rest.len() / 16 + 1)?;
                if block.kind == b"CERTIFICATE" {
                    all.push(block.bytes);
                }
                rest = behind;
            }
        }
    }
    let key = match key {
        Err(der) => der,
        Ok(text) => {
            let mut rest = text.as_slice();
            loop {
                call.step(rest.len() / 16 + 1)?;
                let (block, behind) = pem::decode(rest).ok_or(NO_KEY)?;
                if block.kind == b"PRIVATE KEY" || block.kind.ends_with(b" PRIVATE KEY") {
                    break block.bytes;
                }
                rest = behind;
            }
        }
    };
    let leaf = all.first().and_then(|der| certificates::parse(der)).ok_or(NO_KEY)?;
    let key = any_key(call, &key)?;
    if !leaf.key.as_ref().is_some_and(|public| key.is_of(public)) {
        return Err(Fault::undefined("a key of another certificate"));
    }
    call.room(20 + all.len())?;
    let raw = all.iter().map(|der| Value::from(to_base64(der))).collect();
    object(vec![
        ("Certificate", Value::array(raw)?),
        ("PrivateKey", key.members()?),
        ("SupportedSignatureAlgorithms", Value::Null),
        ("OCSPStaple", Value::Null),
        ("SignedCertificateTimestamps", Value::Null),
        ("Leaf", certificate(call, &leaf, false)?),
    ])
}

/// A key in any of its forms.
fn any_key(call: &mut Call<'_>, der: &[u8]) -> Result<PrivateKey, Fault> {
    let mut last = NO_KEY;
    for form in [pkcs1, pkcs8, |call: &mut Call<'_>, der: &[u8]| sec1(call, der, None)] {
        match form(call, der) {
            Err(Fault::Undefined(why)) => last = Fault::Undefined(why),
            other => return other,
        }
    }
    Err(last)
}

impl PrivateKey {
    /// Whether it belongs to the public key.
    fn is_of(&self, other: &PublicKey) -> bool {
        match (self, other) {
            (PrivateKey::Rsa(key, _), PublicKey::Rsa(other)) => key.n == other.n && key.e == other.e,
            (
                PrivateKey::Ec { public: PublicKey::Ec { x, y, .. }, curve, .. },
                PublicKey::Ec { key: other, x: other_x, y: other_y },
            ) => *curve == other.curve() && x == other_x && y == other_y,
            (PrivateKey::Ed25519 { public, .. }, PublicKey::Ed25519(other)) => public == other,
            _ => false,
        }
    }

    /// The members that Go's JSON has of it.
    fn members(&self) -> Result<Value, Fault> {
        match self {
            PrivateKey::Rsa(key, PrivateParts { d, p, q, rest }) => {
                let part = |part: &Option<Vec<u8>>| big(part.as_deref().unwrap_or_default());
                let [of_p, of_q, inverse] = rest;
                object(vec![
                    ("N", big(&key.n)),
                    ("E", big(&key.e.to_be_bytes())),
                    ("D", big(d)),
                    ("Primes", Value::array(vec![big(p), big(q)])?),
                    (
                        "Precomputed",
                        object(vec![
                            ("Dp", part(of_p)),
                            ("Dq", part(of_q)),
                            ("Qinv", part(inverse)),
                            ("CRTValues", Value::array(Vec::new())?),
                        ])?,
                    ),
                ])
            }
            PrivateKey::Ec { public: PublicKey::Ec { x, y, .. }, d, .. } => {
                object(vec![("Curve", object(Vec::new())?), ("X", big(x)), ("Y", big(y)), ("D", big(d))])
            }
            PrivateKey::Ec { public, .. } => public_members(Some(public)),
            PrivateKey::Ed25519 { seed, public } => {
                Ok(Value::from(to_base64(&[seed.as_slice(), public].concat())))
            }
            PrivateKey::X25519(_) => object(Vec::new()),
        }
    }

    /// The key as JWK.
    fn jwk(&self) -> Result<Value, Fault> {
        let text = |bytes: &[u8]| Value::from(to_base64url(bytes));
        match self {
            PrivateKey::Rsa(key, PrivateParts { d, p, q, rest }) => {
                let part = |part: &Option<Vec<u8>>| text(part.as_deref().unwrap_or_default());
                let [of_p, of_q, inverse] = rest;
                let e = key.e.to_be_bytes();
                let zeros = e.iter().take_while(|byte| **byte == 0).count();
                object(vec![
                    ("kty", Value::from("RSA")),
                    ("n", text(&key.n)),
                    ("e", text(e.get(zeros..).unwrap_or_default())),
                    ("d", text(d)),
                    ("p", text(p)),
                    ("q", text(q)),
                    ("dp", part(of_p)),
                    ("dq", part(of_q)),
                    ("qi", part(inverse)),
                ])
            }
            PrivateKey::Ec { public: PublicKey::Ec { x, y, .. }, curve, d } => {
                let curve = match curve {
                    Curve::P224 => return Err(Fault::undefined("a curve that is none of JWK's")),
                    Curve::P256 => "P-256",
                    Curve::P384 => "P-384",
                    Curve::P521 => "P-521",
                };
                object(vec![
                    ("kty", Value::from("EC")),
                    ("crv", Value::from(curve)),
                    ("x", text(x)),
                    ("y", text(y)),
                    ("d", text(d)),
                ])
            }
            PrivateKey::Ed25519 { seed, public } => object(vec![
                ("kty", Value::from("OKP")),
                ("crv", Value::from("Ed25519")),
                ("x", text(public)),
                ("d", text(seed)),
            ]),
            PrivateKey::X25519(d) => object(vec![
                ("kty", Value::from("OKP")),
                ("crv", Value::from("X25519")),
                ("x", text(&public_of_x25519(d))),
                ("d", text(d)),
            ]),
            PrivateKey::Ec { .. } => Err(NO_KEY),
        }
    }
}
