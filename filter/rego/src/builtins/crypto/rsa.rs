//! Signatures of RSA. Source: Go's `crypto/rsa`, `crypto/internal/fips140/rsa`.

use super::hashes::Hash;
use super::modular::Modulus;
use num_bigint::BigUint;

/// The most bits of a modulus: a longer one is refused, not left out.
pub(in crate::builtins) const MOST_BITS: usize = 8_192;
/// The fewest, as Go has it: no signature of a shorter one is good.
const LEAST_BITS: usize = 1_024;

/// A key that verifies.
#[derive(Debug)]
pub(in crate::builtins) struct RsaKey {
    /// The modulus, without leading zeros.
    pub(in crate::builtins) n: Vec<u8>,
    pub(in crate::builtins) e: u64,
    /// None if no signature is good: the modulus is short, long or even, or the exponent is none of Go's.
    modulus: Option<Modulus>,
}

/// What a private key has beside its public half, each the highest byte first.
#[derive(Debug)]
pub(in crate::builtins) struct PrivateParts {
    pub(in crate::builtins) d: Vec<u8>,
    pub(in crate::builtins) p: Vec<u8>,
    pub(in crate::builtins) q: Vec<u8>,
    /// `d` by each prime less one, and the inverse of `q` by `p`: they need not be there.
    pub(in crate::builtins) rest: [Option<Vec<u8>>; 3],
}

impl PrivateParts {
    /// Whether they are those of the key. Go refuses a key where they are not.
    pub(super) fn fit(&self, key: &RsaKey) -> bool {
        let number = |bytes: &Vec<u8>| BigUint::from_bytes_be(bytes);
        let (n, d, p, q) = (number(&key.n), number(&self.d), number(&self.p), number(&self.q));
        let one = BigUint::from(1u8);
        // Primes far from one another, and no small exponent.
        let half = n.bits() / 2;
        let apart = if p > q { &p - &q } else { &q - &p };
        if p <= one || q <= one || &p * &q != n || d >= n || apart.bits() + 100 <= half || d.bits() <= half {
            return false;
        }
        let (less_p, less_q) = (&p - &one, &q - &one);
        let product = &d * BigUint::from(key.e);
        let is =
            |part: &Option<Vec<u8>>, value: BigUint| part.as_ref().is_none_or(|part| number(part) == value);
        let [of_p, of_q, inverse] = &self.rest;
        &product % &less_p == one
            && &product % &less_q == one
            && is(of_p, &d % &less_p)
            && is(of_q, &d % &less_q)
            && inverse.as_ref().is_none_or(|inverse| number(inverse) < p && number(inverse) * &q % &p == one)
    }
}

/// How a signature is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builtins) enum Padding {
    /// PKCS #1 v1.5.
    Fixed,
    /// PSS with salt of any length.
    Pss,
    /// PSS with salt as long as the hash.
    PssOfHash,
}

impl RsaKey {
    /// The key of a modulus, the highest byte first, and an exponent.
    pub(in crate::builtins) fn new(n: &[u8], e: u64) -> RsaKey {
        let zeros = n.iter().take_while(|byte| **byte == 0).count();
        let n = n.get(zeros..).unwrap_or_default().to_vec();
        let mut key = RsaKey { n, e, modulus: None };
        let good = (3..1 << 31).contains(&e) && e & 1 == 1;
        if good && (LEAST_BITS..=MOST_BITS).contains(&key.bits()) {
            key.modulus = Modulus::new(&key.n);
        }
        key
    }

    /// The bits of the modulus.
    pub(in crate::builtins) fn bits(&self) -> usize {
        self.n.first().map_or(0, |first| 8 * self.n.len() - first.leading_zeros() as usize)
    }

    /// Whether it is beyond what is computed here.
    pub(in crate::builtins) fn is_too_long(&self) -> bool {
        self.bits() > MOST_BITS
    }

    /// The steps of making it and of verifying one signature.
    pub(in crate::builtins) fn steps(&self) -> usize {
        let digits = self.n.len().div_ceil(4);
        let products = if self.modulus.is_none() {
            0
        } else {
            8 + (64 - self.e.leading_zeros() + self.e.count_ones()) as usize
        };
        // Two rows of products each, and a digit's product is about ten instructions.
        products.saturating_mul(digits * digits) / 14 + digits * digits / 16 + 100
    }

    /// Whether the signature is that of the digest.
    pub(in crate::builtins) fn verify(
        &self,
        padding: Padding,
        hash: Hash,
        digest: &[u8],
        signature: &[u8],
    ) -> bool {
        self.check(padding, hash, digest, signature).is_some()
    }

    /// The steps of one signature.
    pub(in crate::builtins) fn signing_steps(&self) -> usize {
        let digits = self.n.len().div_ceil(4);
        self.steps().saturating_add((40 * digits + 32).saturating_mul(digits * digits) / 14)
    }

    /// The signature of a digest by PKCS #1 v1.5; none by a key that verifies nothing, or whose parts do not fit.
    pub(in crate::builtins) fn sign(
        &self,
        parts: &PrivateParts,
        hash: Hash,
        digest: &[u8],
    ) -> Option<Vec<u8>> {
        let message = self.padded(self.n.len(), hash, digest)?;
        self.sign_message(parts, &message).filter(|made| self.verify(Padding::Fixed, hash, digest, made))
    }

    /// The same by PSS, with salt as long as the hash.
    pub(in crate::builtins) fn sign_pss(
        &self,
        parts: &PrivateParts,
        hash: Hash,
        digest: &[u8],
        salt: &[u8],
    ) -> Option<Vec<u8>> {
        let message = self.padded_by_pss(hash, digest, salt)?;
        self.sign_message(parts, &message).filter(|made| self.verify(Padding::PssOfHash, hash, digest, made))
    }

    fn sign_message(&self, parts: &PrivateParts, message: &[u8]) -> Option<Vec<u8>> {
        let modulus = self.modulus.as_ref().filter(|_| parts.fit(self))?;
        let signature = modulus.secret_power(message, &parts.d)?;
        Some(signature.get(signature.len().checked_sub(self.n.len())?..)?.to_vec())
    }

    /// RFC 8017, section 9.1.1.
    fn padded_by_pss(&self, hash: Hash, digest: &[u8], salt: &[u8]) -> Option<Vec<u8>> {
        let bits = self.bits().checked_sub(1)?;
        let length = bits.div_ceil(8);
        let tag = hash.of(&[&[0; 8], digest, salt]);
        let zeros = length.checked_sub(tag.len() + salt.len() + 2)?;
        let block = [vec![0; zeros].as_slice(), &[1], salt].concat();
        let mask = (0u32..).flat_map(|count| hash.of(&[&tag, &count.to_be_bytes()]));
        let mut message: Vec<u8> = block.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        *message.first_mut()? &= 0xffu8.checked_shr((8 * length - bits) as u32)?;
        message.extend(tag);
        message.push(0xbc);
        Some(message)
    }

    /// A digest as PKCS #1 v1.5 pads it.
    fn padded(&self, length: usize, hash: Hash, digest: &[u8]) -> Option<Vec<u8>> {
        let prefix = prefix_of(hash)?;
        let fill = length.checked_sub(prefix.len() + digest.len() + 3).filter(|fill| *fill >= 8)?;
        Some([&[0, 1], vec![0xff; fill].as_slice(), &[0], prefix, digest].concat())
    }

    fn check(&self, padding: Padding, hash: Hash, digest: &[u8], signature: &[u8]) -> Option<()> {
        let modulus = self.modulus.as_ref().filter(|_| signature.len() == self.n.len())?;
        let message = modulus.power(signature, u32::try_from(self.e).ok()?)?;
        // As long as the modulus: what its digits have beyond it is zero.
        let message = message.get(message.len().checked_sub(self.n.len())?..)?;
        match padding {
            Padding::Fixed => (message == self.padded(message.len(), hash, digest)?).then_some(()),
            Padding::Pss => self.check_pss(message, hash, digest, None),
            Padding::PssOfHash => self.check_pss(message, hash, digest, Some(digest.len())),
        }
    }

    /// RFC 8017, section 9.1.2.
    fn check_pss(&self, message: &[u8], hash: Hash, digest: &[u8], salt: Option<usize>) -> Option<()> {
        let bits = self.bits() - 1;
        let message = match message.strip_prefix(&[0]) {
            Some(rest) if rest.len() == bits.div_ceil(8) => rest,
            _ if message.len() == bits.div_ceil(8) => message,
            _ => return None,
        };
        let message = message.strip_suffix(&[0xbc])?;
        let (masked, tag) = message.split_at_checked(message.len().checked_sub(digest.len())?)?;
        let unused = 0xffu8.checked_shr((8 * (message.len() + 1) - bits) as u32)?;
        if masked.first()? & !unused != 0 {
            return None;
        }
        let mask = (0u32..).flat_map(|count| hash.of(&[tag, &count.to_be_bytes()]));
        let mut block: Vec<u8> = masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
        *block.first_mut()? &= unused;
        let one = match salt {
            None => block.iter().position(|byte| *byte == 1)?,
            Some(length) => block.len().checked_sub(length + 1)?,
        };
        let (zeros, rest) = block.split_at_checked(one)?;
        let salt = rest.strip_prefix(&[1])?;
        let good = zeros.iter().all(|byte| *byte == 0) && hash.of(&[&[0; 8], digest, salt]) == tag;
        good.then_some(())
    }
}

/// What stands before a digest: the algorithm's identifier, in DER.
fn prefix_of(hash: Hash) -> Option<&'static [u8]> {
    Some(match hash {
        Hash::Sha256 => b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
        Hash::Sha384 => b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30",
        Hash::Sha512 => b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40",
        Hash::Md5 | Hash::Sha1 => return None,
    })
}
