//! What is computed here against Project Wycheproof: signatures by which other implementations were deceived.

use super::curves::{Curve, EcKey};
use super::hashes::Hash;
use super::rsa::{Padding, RsaKey};
use ::wycheproof::{HashFunction, TestResult, ecdsa, rsa_pkcs1_verify, rsa_pss_verify};

fn hash(of: HashFunction) -> Option<Hash> {
    match of {
        HashFunction::Sha2_256 => Some(Hash::Sha256),
        HashFunction::Sha2_384 => Some(Hash::Sha384),
        HashFunction::Sha2_512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// An answer that may be either is that of a signature which is good by the letter, and unwise.
fn agrees(result: TestResult, verified: bool) -> bool {
    match result {
        TestResult::Valid => verified,
        TestResult::Invalid => !verified,
        TestResult::Acceptable => true,
    }
}

#[test]
fn ecdsa_is_verified_as_it_should_be() {
    let mut count = 0;
    for (name, curve) in [
        (ecdsa::TestName::EcdsaSecp224r1Sha256P1363, Curve::P224),
        (ecdsa::TestName::EcdsaSecp224r1Sha512P1363, Curve::P224),
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Curve::P256),
        (ecdsa::TestName::EcdsaSecp256r1Sha512P1363, Curve::P256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Curve::P384),
        (ecdsa::TestName::EcdsaSecp384r1Sha512P1363, Curve::P384),
        (ecdsa::TestName::EcdsaSecp521r1Sha512P1363, Curve::P521),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            let (x, y) = group.key.key[1..].split_at((group.key.key.len() - 1) / 2);
            let key = EcKey::new(curve, x, y).expect("a point of the curve");
            for test in group.tests {
                // As tokens have it: two numbers of the length of a coordinate.
                let (r, s) = test.sig.split_at(test.sig.len() / 2);
                let verified =
                    test.sig.len() == 2 * curve.bytes() && key.verify(&hash.of(&[&test.msg[..]]), r, s);
                assert!(agrees(test.result, verified), "{name:?} {}: {}", test.tc_id, test.comment);
                count += 1;
            }
        }
    }
    assert!(count > 1000, "{count}");
}

#[test]
fn rsa_is_verified_as_it_should_be() {
    let mut count = 0;
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash(group.hash) else { continue };
            let exponent = group.key.e.iter().fold(0, |e, byte| e << 8 | u64::from(*byte));
            let key = RsaKey::new(&group.key.n, exponent);
            for test in group.tests {
                let verified = key.verify(Padding::Fixed, hash, &hash.of(&[&test.msg[..]]), &test.sig);
                assert!(agrees(test.result, verified), "{name:?} {}: {}", test.tc_id, test.comment);
                count += 1;
            }
        }
    }
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let Some(hash) = hash(group.hash).filter(|_| group.mgf_hash == Some(group.hash)) else {
                continue;
            };
            let exponent = group.key.e.iter().fold(0, |e, byte| e << 8 | u64::from(*byte));
            let key = RsaKey::new(&group.key.n, exponent);
            for test in group.tests {
                let digest = hash.of(&[&test.msg[..]]);
                let any = key.verify(Padding::Pss, hash, &digest, &test.sig);
                let exact = key.verify(Padding::PssOfHash, hash, &digest, &test.sig);
                assert!(any || !exact, "{name:?} {}", test.tc_id);
                let verified = if group.salt_size == digest.len() { exact } else { any };
                // Salt of another length than the group's is good where any is.
                let is_good = agrees(test.result, verified) || any && group.salt_size != digest.len();
                assert!(is_good, "{name:?} {}: {}", test.tc_id, test.comment);
                count += 1;
            }
        }
    }
    assert!(count > 1000, "{count}");
}
