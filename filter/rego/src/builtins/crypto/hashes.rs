//! Hashes and codes of messages. Source: `v1/topdown/crypto.go`.

use super::super::encoding::hex_of;
use super::super::operands::{all, bytes, text};
use super::super::{Builtin, Call, Fault, Type};
use super::SOURCE;
use crate::value::Value;
use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};

const ONE: &[Type] = &[Type::String];
const TWO: &[Type] = &[Type::String, Type::String];

/// The table of this file.
pub(in crate::builtins) const BUILTINS: &[Builtin] = &[
    Builtin::new("crypto.hmac.equal", TWO, Type::Boolean, equal, SOURCE),
    Builtin::new("crypto.hmac.md5", TWO, Type::String, |call, args| code(call, args, Hash::Md5), SOURCE),
    Builtin::new("crypto.hmac.sha1", TWO, Type::String, |call, args| code(call, args, Hash::Sha1), SOURCE),
    Builtin::new(
        "crypto.hmac.sha256",
        TWO,
        Type::String,
        |call, args| code(call, args, Hash::Sha256),
        SOURCE,
    ),
    Builtin::new(
        "crypto.hmac.sha512",
        TWO,
        Type::String,
        |call, args| code(call, args, Hash::Sha512),
        SOURCE,
    ),
    Builtin::new("crypto.md5", ONE, Type::String, |call, args| digest(call, args, Hash::Md5), SOURCE),
    Builtin::new("crypto.sha1", ONE, Type::String, |call, args| digest(call, args, Hash::Sha1), SOURCE),
    Builtin::new("crypto.sha256", ONE, Type::String, |call, args| digest(call, args, Hash::Sha256), SOURCE),
];

/// A function of hashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builtins) enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// What hashing takes beside its message: the padding, and for a code the two blocks of the key.
const FIXED_STEPS: usize = 40;

impl Hash {
    /// The digest of some parts, one after another.
    pub(in crate::builtins) fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        fn run<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().to_vec()
        }
        match self {
            Hash::Md5 => run::<Md5>(parts),
            Hash::Sha1 => run::<Sha1>(parts),
            Hash::Sha256 => run::<Sha256>(parts),
            Hash::Sha384 => run::<Sha384>(parts),
            Hash::Sha512 => run::<Sha512>(parts),
        }
    }

    /// The code of some parts, one after another, under a key of any length. RFC 2104.
    pub(in crate::builtins) fn code(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut block = if key.len() > self.block() { self.of(&[key]) } else { key.to_vec() };
        block.resize(self.block(), 0);
        let padded = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
        let inner = self.of(&[&[padded(0x36).as_slice()], parts].concat());
        self.of(&[&padded(0x5c), &inner])
    }

    /// The bytes that are hashed at once.
    fn block(self) -> usize {
        match self {
            Hash::Md5 | Hash::Sha1 | Hash::Sha256 => 64,
            Hash::Sha384 | Hash::Sha512 => 128,
        }
    }

    /// The length of a digest.
    pub(in crate::builtins) fn len(self) -> usize {
        match self {
            Hash::Md5 => 16,
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// The steps of hashing so many bytes.
    pub(in crate::builtins) fn steps(bytes: usize) -> usize {
        bytes / 8 + FIXED_STEPS
    }
}

/// Whether two codes are one, in a time that says nothing of where they differ; their lengths are no secret.
pub(in crate::builtins) fn same_code(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    a.len() == b.len() && differ == 0
}

fn digest(call: &mut Call<'_>, args: &[Value], hash: Hash) -> Result<Value, Fault> {
    let [message] = all(args)?;
    let message = bytes(message)?;
    call.step(Hash::steps(message.len()))?;
    call.bytes(2 * hash.len())?;
    text(hex_of(&hash.of(&[message])))
}

fn code(call: &mut Call<'_>, args: &[Value], hash: Hash) -> Result<Value, Fault> {
    let [message, key] = all(args)?;
    let (message, key) = (bytes(message)?, bytes(key)?);
    call.step(Hash::steps(message.len().saturating_add(key.len())))?;
    call.bytes(2 * hash.len())?;
    text(hex_of(&hash.code(key, &[message])))
}

fn equal(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [a, b] = all(args)?;
    let (a, b) = (bytes(a)?, bytes(b)?);
    call.step(a.len().min(b.len()) / 16)?;
    Ok(Value::Bool(same_code(a, b)))
}
