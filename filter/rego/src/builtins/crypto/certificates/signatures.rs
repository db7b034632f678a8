//! Algorithms of certificates' signatures. Source: Go's `crypto/x509`, x509.go, `signatureAlgorithmDetails`,
//! `getSignatureAlgorithmFromAI`.

use crate::builtins::crypto::der::{Der, SEQUENCE, constructed};
use crate::builtins::crypto::hashes::Hash;
use crate::builtins::crypto::keys::{Algorithm, identifier};
use crate::builtins::crypto::rsa::Padding;

const PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const MASK: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
const ED25519: &[u8] = b"\x2b\x65\x70";
const NULL: &[u8] = b"\x05\x00";

/// Identifiers with Go's numbers.
const KNOWN: &[(&[u8], i64)] = &[
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", 2),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", 3),
    (b"\x2b\x0e\x03\x02\x1d", 3),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", 4),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", 5),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", 6),
    (b"\x2a\x86\x48\xce\x38\x04\x03", 7),
    (b"\x60\x86\x48\x01\x65\x03\x04\x03\x02", 8),
    (b"\x2a\x86\x48\xce\x3d\x04\x01", 9),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", 10),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", 11),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x04", 12),
    (ED25519, 16),
];

/// Go's number of an algorithm; 0 if it is unknown.
pub(in crate::builtins::crypto) fn number((algorithm, parameters): Algorithm<'_>) -> i64 {
    match algorithm {
        ED25519 if parameters.is_some() => 0,
        PSS => parameters.and_then(of_pss).unwrap_or(0),
        _ => KNOWN.iter().find(|(known, _)| *known == algorithm).map_or(0, |(_, number)| *number),
    }
}

/// PSS with one hash for all, and salt of its length.
fn of_pss(parameters: &[u8]) -> Option<i64> {
    let mut der = Der(parameters).read(SEQUENCE)?;
    let (hash, hash_parameters) = identifier(&mut der.read(constructed(0))?.read(SEQUENCE)?)?;
    let (mask, mask_parameters) = identifier(&mut der.read(constructed(1))?.read(SEQUENCE)?)?;
    let (mask_hash, mask_hash_parameters) = identifier(&mut Der(mask_parameters?).read(SEQUENCE)?)?;
    let mut number = |tag| -> Option<i64> { der.read(tag)?.small() };
    let salt = number(constructed(2))?;
    let trailer = if der.is_empty() { 1 } else { der.read(constructed(3))?.small()? };
    let is_null = |parameters: Option<&[u8]>| parameters.is_none_or(|parameters| parameters == NULL);
    let good = is_null(hash_parameters) && is_null(mask_hash_parameters) && mask == MASK && mask_hash == hash;
    if !good || trailer != 1 {
        return None;
    }
    match (hash, salt) {
        (b"\x60\x86\x48\x01\x65\x03\x04\x02\x01", 32) => Some(13),
        (b"\x60\x86\x48\x01\x65\x03\x04\x02\x02", 48) => Some(14),
        (b"\x60\x86\x48\x01\x65\x03\x04\x02\x03", 64) => Some(15),
        _ => None,
    }
}

/// What a signature is checked by.
pub(in crate::builtins::crypto) enum Checked {
    Rsa(Padding, Hash),
    Ecdsa(Hash),
    Ed25519,
}

/// Of a number what Go still trusts in certificates: not MD5, not SHA-1, not DSA.
pub(in crate::builtins::crypto) fn checked(number: i64) -> Option<Checked> {
    Some(match number {
        4 => Checked::Rsa(Padding::Fixed, Hash::Sha256),
        5 => Checked::Rsa(Padding::Fixed, Hash::Sha384),
        6 => Checked::Rsa(Padding::Fixed, Hash::Sha512),
        10 => Checked::Ecdsa(Hash::Sha256),
        11 => Checked::Ecdsa(Hash::Sha384),
        12 => Checked::Ecdsa(Hash::Sha512),
        13 => Checked::Rsa(Padding::PssOfHash, Hash::Sha256),
        14 => Checked::Rsa(Padding::PssOfHash, Hash::Sha384),
        15 => Checked::Rsa(Padding::PssOfHash, Hash::Sha512),
        16 => Checked::Ed25519,
        _ => return None,
    })
}
