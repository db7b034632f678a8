//! Tokens that are made: not by ECDSA, whose nonces must not show in how long anything takes.

use super::super::crypto::hashes::Hash;
use super::super::crypto::keys::{ED25519_STEPS, PublicKey, sign_ed25519};
use super::super::encoding::to_base64url;
use super::super::json::writable;
use super::super::operands::{all, bytes, text};
use super::super::{Call, Fault};
use super::is_algorithm;
use super::keys::{JsonKey, Material, Signing, read_set};
use super::verify::{Family, Wanted, wanted};
use crate::value::{Value, is_valid_json};
use std::borrow::Cow;

pub(super) fn encode_sign(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let mut written = |value: &Value| {
        writable(call, value)?;
        let mut out = Vec::new();
        value.write_json(&mut out, call.budget)?;
        Ok::<_, Fault>(out)
    };
    let [header, payload, key] = all(args)?;
    let (header, payload, key) = (written(header)?, written(payload)?, written(key)?);
    sign(call, &header, &payload, &key)
}

pub(super) fn encode_sign_raw(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let [header, payload, key] = all(args)?;
    sign(call, bytes(header)?, bytes(payload)?, bytes(key)?)
}

fn sign(call: &mut Call<'_>, header: &[u8], payload: &[u8], key: &[u8]) -> Result<Value, Fault> {
    call.step((header.len() + payload.len()) / 4 + key.len() / 2)?;
    let keys = read_set(key, call.budget)?;
    let Some(key) = keys.into_iter().next() else { return Err(Fault::undefined("no key")) };
    let members = lenient::members(header).ok_or(Fault::undefined("a header must be JSON"))?;
    let alg = members.get("alg").ok_or(Fault::undefined("a header must name an algorithm"))?;
    if !is_algorithm(&alg) {
        return Err(Fault::undefined("an unknown algorithm"));
    }
    let is_token = members.get("typ").is_none_or(|kind| kind == b"JWT");
    if is_token && !is_valid_json(payload) {
        return Err(Fault::undefined("a payload must be JSON"));
    }
    let length = header.len() + payload.len();
    call.step(Hash::steps(length.saturating_mul(2)))?;
    call.bytes(length.saturating_mul(4) + 4_096)?;
    let mut token = to_base64url(header);
    token.push(b'.');
    token.extend(to_base64url(payload));
    let signature = signature(call, &token, wanted(&alg), &key)?;
    token.push(b'.');
    token.extend(to_base64url(&signature));
    text(token)
}

fn signature(call: &mut Call<'_>, message: &[u8], wanted: Wanted, key: &JsonKey) -> Result<Vec<u8>, Fault> {
    let halt = |why| Err(Fault::Halt(Cow::Borrowed(why)));
    match (wanted, &key.exported) {
        (Wanted::Code(hash), Some(Material::Secret(secret))) => {
            call.step(Hash::steps(secret.len()))?;
            Ok(hash.code(secret, &[message]))
        }
        // OPA takes the bytes of the key, the public ones too, for a secret.
        (
            Wanted::Code(_),
            Some(Material::Public(PublicKey::Ed25519(_)) | Material::Private(PublicKey::Ed25519(_))),
        ) => halt("a code of a key of Ed25519 is not available"),
        (
            Wanted::Header(family @ (Family::Rsa(hash) | Family::Pss(hash))),
            Some(Material::Private(PublicKey::Rsa(public))),
        ) => {
            if public.is_too_long() {
                return halt("an RSA key of more than 8192 bits");
            }
            call.step(public.signing_steps())?;
            let Some(Signing::Rsa(parts)) = &key.signing else { return Err(NO_KEY) };
            let digest = hash.of(&[message]);
            let signature = if let Family::Pss(_) = family {
                // Chance of the query; no two messages have the same.
                let seed = call.seed.map(u64::to_be_bytes).concat();
                call.step(Hash::steps(public.n.len()))?;
                public.sign_pss(parts, hash, &digest, &hash.of(&[&seed, &digest]))
            } else {
                public.sign(parts, hash, &digest)
            };
            match signature {
                Some(signature) => Ok(signature),
                // Go says why, and may take more than is known here.
                None => halt("an RSA key whose parts do not fit, or that is short"),
            }
        }
        (Wanted::Header(Family::Ed25519), Some(Material::Private(PublicKey::Ed25519(_)))) => {
            call.step(ED25519_STEPS + Hash::steps(2 * message.len()))?;
            let Some(Signing::Ed25519(seed)) = &key.signing else { return Err(NO_KEY) };
            Ok(sign_ed25519(seed, message).to_vec())
        }
        // Curves are computed with in as long as the numbers take: of many signatures that would tell the key.
        (Wanted::Header(Family::Ecdsa(_)), Some(Material::Private(PublicKey::Ec { .. }))) => {
            halt("signing by ECDSA is not available")
        }
        _ => Err(NO_KEY),
    }
}

const NO_KEY: Fault = Fault::undefined("a key of another algorithm");

/// JSON as github.com/valyala/fastjson v1.6.10 reads it: OPA takes the algorithm from a header that need not be JSON.
mod lenient {
    /// The members of an object in their order; their texts are as they are written.
    pub(super) struct Members<'a>(Vec<(&'a [u8], &'a [u8])>);

    /// The deepest that it reads.
    const DEEPEST: usize = 300;

    /// Of an object its members, of anything else none. No answer if it does not parse.
    pub(super) fn members(text: &[u8]) -> Option<Members<'_>> {
        let mut reader = Reader { rest: text };
        reader.space();
        let mut members = Vec::new();
        if reader.rest.first() == Some(&b'{') {
            reader.object(&mut members)?;
        } else {
            reader.value(0)?;
        }
        reader.space();
        reader.rest.is_empty().then_some(Members(members))
    }

    impl Members<'_> {
        /// The text of the first member of the name.
        pub(super) fn get(&self, name: &str) -> Option<Vec<u8>> {
            // A name as it is written comes before one with escapes.
            let plain = self.0.iter().find(|(have, _)| *have == name.as_bytes());
            let (_, value) =
                plain.or_else(|| self.0.iter().find(|(have, _)| unescaped(have) == name.as_bytes()))?;
            value.strip_prefix(b"\"")?.strip_suffix(b"\"").map(unescaped)
        }
    }

    struct Reader<'a> {
        rest: &'a [u8],
    }

    impl<'a> Reader<'a> {
        fn space(&mut self) {
            let count = self.rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
            self.rest = self.rest.get(count..).unwrap_or_default();
        }

        fn eat(&mut self, byte: u8) -> Option<()> {
            self.rest = self.rest.strip_prefix(&[byte])?;
            Some(())
        }

        /// A string up to the first quote that is not escaped; what is in it is not looked at.
        fn string(&mut self) -> Option<&'a [u8]> {
            self.eat(b'"')?;
            let start = self.rest;
            let mut escaped = false;
            for (at, byte) in start.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => {
                        self.rest = start.get(at + 1..)?;
                        return start.get(..at);
                    }
                    _ => {}
                }
            }
            None
        }

        fn object(&mut self, members: &mut Vec<(&'a [u8], &'a [u8])>) -> Option<()> {
            self.eat(b'{')?;
            self.space();
            if self.eat(b'}').is_some() {
                return Some(());
            }
            loop {
                self.space();
                let name = self.string()?;
                self.space();
                self.eat(b':')?;
                self.space();
                let start = self.rest;
                self.value(1)?;
                members.push((name, start.get(..start.len() - self.rest.len())?));
                self.space();
                if self.eat(b',').is_none() {
                    return self.eat(b'}');
                }
            }
        }

        /// Skips a value that lies so deep.
        fn value(&mut self, depth: usize) -> Option<()> {
            // What is open: whether it is an object.
            let mut open: Vec<bool> = Vec::new();
            loop {
                if depth + open.len() + 1 > DEEPEST {
                    return None;
                }
                match self.rest.first()? {
                    byte @ (b'{' | b'[') => {
                        let is_object = *byte == b'{';
                        self.eat(*byte)?;
                        self.space();
                        if self.eat(if is_object { b'}' } else { b']' }).is_none() {
                            open.push(is_object);
                            if is_object {
                                self.name()?;
                            }
                            continue;
                        }
                    }
                    b'"' => drop(self.string()?),
                    _ => self.scalar()?,
                }
                // Behind a value.
                loop {
                    let Some(is_object) = open.last().copied() else { return Some(()) };
                    self.space();
                    if self.eat(b',').is_some() {
                        self.space();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    self.eat(if is_object { b'}' } else { b']' })?;
                    open.pop();
                }
            }
        }

        fn name(&mut self) -> Option<()> {
            self.string()?;
            self.space();
            self.eat(b':')?;
            self.space();
            Some(())
        }

        fn scalar(&mut self) -> Option<()> {
            for word in [b"true".as_slice(), b"false", b"null"] {
                if let Some(rest) = self.rest.strip_prefix(word) {
                    self.rest = rest;
                    return Some(());
                }
            }
            let digits = |b: &&u8| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
            let mut count = self.rest.iter().take_while(digits).count();
            let sign = matches!(self.rest.first(), Some(b'+' | b'-')) as usize;
            if count <= sign {
                let word = self.rest.get(sign..sign + 3)?;
                if !word.eq_ignore_ascii_case(b"inf") && !word.eq_ignore_ascii_case(b"nan") {
                    return None;
                }
                count = sign + 3;
            }
            self.rest = self.rest.get(count..)?;
            Some(())
        }
    }

    /// Escapes undone; what is none stays.
    fn unescaped(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        loop {
            rest = match rest {
                [] => return out,
                [b'\\', b'u', more @ ..] => {
                    let unit = |digits: &[u8]| {
                        let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
                        u32::from_str_radix(digits, 16).ok()
                    };
                    match unit(more) {
                        None => {
                            out.extend(b"\\u");
                            more
                        }
                        Some(first) => {
                            let more = more.get(4..).unwrap_or_default();
                            let (code, more) = match more.strip_prefix(b"\\u").and_then(unit) {
                                Some(second)
                                    if (0xd800..0xdc00).contains(&first)
                                        && (0xdc00..0xe000).contains(&second) =>
                                {
                                    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                                    (code, more.get(6..).unwrap_or_default())
                                }
                                _ => (first, more),
                            };
                            let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                            out.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
                            more
                        }
                    }
                }
                [b'\\', byte, more @ ..] => {
                    match byte {
                        b'"' | b'\\' | b'/' => out.push(*byte),
                        b'b' => out.push(8),
                        b'f' => out.push(12),
                        b'n' => out.push(b'\n'),
                        b'r' => out.push(b'\r'),
                        b't' => out.push(b'\t'),
                        byte => out.extend([b'\\', *byte]),
                    }
                    more
                }
                [byte, more @ ..] => {
                    out.push(*byte);
                    more
                }
            };
        }
    }
}
