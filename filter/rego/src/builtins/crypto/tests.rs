//! Signatures against those of other implementations.

use super::curves::{Curve, EcKey};
use super::hashes::Hash;

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
