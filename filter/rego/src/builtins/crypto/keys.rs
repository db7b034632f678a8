//! Public keys as they are written in certificates. Source: Go's `crypto/x509`, `parsePublicKey`.

use super::curves::{Curve, EcKey};
use super::der::{Der, SEQUENCE, right_aligned, signed};
use super::rsa::RsaKey;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

pub(super) const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
pub(super) const DSA: &[u8] = b"\x2a\x86\x48\xce\x38\x04\x01";
pub(super) const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
pub(super) const X25519: &[u8] = b"\x2b\x65\x6e";
pub(super) const ED25519: &[u8] = b"\x2b\x65\x70";
const P224: &[u8] = b"\x2b\x81\x04\x00\x21";
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const NULL: &[u8] = b"\x05\x00";

/// A key that a signature is verified with.
#[derive(Debug)]
pub(in crate::builtins) enum PublicKey {
    Rsa(RsaKey),
    Ec { key: EcKey, x: Vec<u8>, y: Vec<u8> },
    Ed25519([u8; 32]),
    Dsa { y: Vec<u8>, p: Vec<u8>, q: Vec<u8>, g: Vec<u8> },
    X25519,
}

/// Whether the signature is that of the message, as Go's `ed25519.Verify` has it.
pub(in crate::builtins) fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(key), Signature::from_slice(signature)) else {
        return false;
    };
    ed25519_dalek::Verifier::verify(&key, message, &signature).is_ok()
}

/// The public half of a private key of Ed25519.
pub(in crate::builtins) fn public_of_ed25519(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The public half of a private key of X25519: the same curve in other coordinates.
pub(super) fn public_of_x25519(d: &[u8; 32]) -> [u8; 32] {
    let mut expanded = [0; 64];
    expanded.iter_mut().zip(d).for_each(|(to, from)| *to = *from);
    let key = ed25519_dalek::hazmat::ExpandedSecretKey::from_bytes(&expanded);
    VerifyingKey::from(&key).to_montgomery().to_bytes()
}

/// The signature of a message by a private key of Ed25519.
pub(in crate::builtins) fn sign_ed25519(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    ed25519_dalek::Signer::sign(&SigningKey::from_bytes(seed), message).to_bytes()
}

/// The steps of verifying one signature of Ed25519.
pub(in crate::builtins) const ED25519_STEPS: usize = 6_000;

/// An algorithm, and its parameters as an element.
pub(super) type Algorithm<'a> = (&'a [u8], Option<&'a [u8]>);

/// The algorithm of a key and its bits; whatever may follow is not looked at.
pub(super) fn info(mut der: Der<'_>) -> Option<(Algorithm<'_>, Vec<u8>)> {
    let mut algorithm = der.read(SEQUENCE)?;
    let (bytes, unused) = der.bits()?;
    Some((identifier(&mut algorithm)?, right_aligned(bytes, unused)))
}

/// An algorithm.
pub(super) fn identifier<'a>(der: &mut Der<'a>) -> Option<Algorithm<'a>> {
    let object = der.object()?;
    if der.is_empty() {
        return Some((object, None));
    }
    Some((object, Some(der.any()?.whole)))
}

/// The key of a PEM block `PUBLIC KEY`.
pub(in crate::builtins) fn from_pkix(der: &[u8]) -> Option<PublicKey> {
    let mut der = Der(der);
    let body = der.read(SEQUENCE)?;
    if !der.is_empty() {
        return None;
    }
    let ((algorithm, parameters), bits) = info(body)?;
    public_key(algorithm, parameters, &bits)
}

/// The curve of an identifier.
pub(super) fn curve_of(object: &[u8]) -> Option<Curve> {
    Some(match object {
        P224 => Curve::P224,
        P256 => Curve::P256,
        P384 => Curve::P384,
        P521 => Curve::P521,
        _ => return None,
    })
}

/// The key of an algorithm that Go knows.
pub(super) fn public_key(algorithm: &[u8], parameters: Option<&[u8]>, bits: &[u8]) -> Option<PublicKey> {
    match algorithm {
        RSA => {
            if parameters != Some(NULL) {
                return None;
            }
            let mut der = Der(bits).read(SEQUENCE)?;
            let n = der.positive()?;
            let e = signed(der.integer()?).filter(|e| *e > 0)?;
            Some(PublicKey::Rsa(RsaKey::new(n, e as u64)))
        }
        EC => {
            let curve = Der(parameters?).object()?;
            let half = bits.len().checked_sub(1)? / 2;
            let (x, y) = bits.strip_prefix(&[4])?.split_at_checked(half)?;
            let curve = curve_of(curve)?;
            if x.len() != curve.bytes() || y.len() != x.len() {
                return None;
            }
            Some(PublicKey::Ec { key: EcKey::new(curve, x, y)?, x: x.to_vec(), y: y.to_vec() })
        }
        ED25519 if parameters.is_none() => Some(PublicKey::Ed25519(bits.try_into().ok()?)),
        X25519 if parameters.is_none() => (bits.len() == 32).then_some(PublicKey::X25519),
        DSA => {
            let y = Der(bits).positive()?.to_vec();
            let mut parameters = Der(parameters?).read(SEQUENCE)?;
            let mut number = || Some(parameters.positive()?.to_vec());
            Some(PublicKey::Dsa { y, p: number()?, q: number()?, g: number()? })
        }
        _ => None,
    }
}

impl PublicKey {
    /// The bytes that it takes in a cache.
    pub(in crate::builtins) fn size(&self) -> usize {
        match self {
            PublicKey::Rsa(key) => 4 * key.n.len(),
            PublicKey::Ec { key, .. } => key.size(),
            _ => 256,
        }
    }
}
