//! Chains from a certificate to a root. Source: Go's `crypto/x509`, verify.go.
//!
//! What chains may be refused for by constraints of names and by policies is not decided here: a chain that has any ends
//! the evaluation.

use super::signatures::{Checked, checked};
use super::{Certificate, Moment};
use crate::builtins::crypto::der::{Der, SEQUENCE};
use crate::builtins::crypto::hashes::Hash;
use crate::builtins::crypto::keys::{ED25519_STEPS, PublicKey, verify_ed25519};
use crate::builtins::{Call, Fault};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// The most signatures that are checked on the way.
const MOST_CHECKS: usize = 100;
/// Signing certificates, of the usages of a key.
const SIGNS: i64 = 1 << 5;
const NAMES: &[u8] = b"\x55\x1d\x1e";
/// Mappings of policies, constraints of them, and the bound of any.
const POLICIES: [&[u8]; 3] = [b"\x55\x1d\x21", b"\x55\x1d\x24", b"\x55\x1d\x36"];
const ALTERNATIVE_NAMES: &[u8] = b"\x55\x1d\x11";

/// What is wanted of a chain.
#[derive(Debug, Default)]
pub(in crate::builtins::crypto) struct Wanted {
    /// Empty if any name will do.
    pub(in crate::builtins::crypto) name: Vec<u8>,
    pub(in crate::builtins::crypto) now_ns: i64,
    /// By Go's numbers.
    pub(in crate::builtins::crypto) usages: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Leaf,
    Intermediate,
    Root,
}

/// The first chain from the last certificate to the first that is good; its places, from the leaf on.
pub(in crate::builtins::crypto) fn verify(
    call: &mut Call<'_>,
    all: &[Certificate<'_>],
    wanted: &Wanted,
) -> Result<Option<Vec<usize>>, Fault> {
    let [root, .., leaf] = all else { return Ok(None) };
    let last = all.len() - 1;
    let is_named = wanted.name.is_empty() || has_name(leaf, &wanted.name);
    if !is_valid(leaf, Kind::Leaf, &[], all, wanted.now_ns) || !is_named {
        return Ok(None);
    }
    let mut search = Search { call, all, wanted, checks: 0, chains: Vec::new() };
    if root.raw == leaf.raw {
        search.chains.push(vec![last]);
    } else {
        search.from(vec![last])?;
    }
    for chain in std::mem::take(&mut search.chains) {
        if search.is_good(&chain)? {
            return Ok(Some(chain));
        }
    }
    Ok(None)
}

struct Search<'s, 'c> {
    call: &'s mut Call<'c>,
    all: &'s [Certificate<'s>],
    wanted: &'s Wanted,
    checks: usize,
    chains: Vec<Vec<usize>>,
}

impl<'s> Search<'s, '_> {
    /// Looks for parents of the last of each chain, depth first. False once too much was checked.
    fn from(&mut self, chain: Vec<usize>) -> Result<(), Fault> {
        // What is still to be tried, the next at the end.
        let mut open: Vec<(Vec<usize>, Kind, usize)> = Vec::new();
        self.parents(&chain, &mut open)?;
        while let Some((chain, kind, parent)) = open.pop() {
            self.checks += 1;
            if self.checks > MOST_CHECKS {
                return Ok(());
            }
            if !self.is_parent(&chain, kind, parent)? {
                continue;
            }
            let mut longer = chain;
            longer.push(parent);
            if kind == Kind::Root {
                self.chains.push(longer);
            } else {
                self.parents(&longer, &mut open)?;
            }
        }
        Ok(())
    }

    /// Those whose subject is the issuer: the root, then the others, each by how well the names of keys fit.
    fn parents(&mut self, chain: &[usize], open: &mut Vec<(Vec<usize>, Kind, usize)>) -> Result<(), Fault> {
        let Some(child) = chain.last().and_then(|at| self.all.get(*at)) else { return Ok(()) };
        self.call.step(self.all.len() * 4 + 4)?;
        let between = 1..self.all.len().saturating_sub(1);
        let mut found = Vec::new();
        for (kind, places) in [(Kind::Root, 0..1), (Kind::Intermediate, between)] {
            let mut of_kind: Vec<(u8, usize)> = Vec::new();
            for place in places {
                let Some(parent) = self.all.get(place) else { continue };
                let first = if kind == Kind::Root { 0 } else { 1 };
                let is_new = self
                    .all
                    .get(first..place)
                    .is_none_or(|before| before.iter().all(|b| b.raw != parent.raw));
                if parent.raw_subject != child.raw_issuer || !is_new {
                    continue;
                }
                let have = parent.known.subject_key.unwrap_or_default();
                let want = child.known.authority_key.unwrap_or_default();
                let rank = if have == want { 0 } else { 1 + u8::from(!have.is_empty() && !want.is_empty()) };
                of_kind.push((rank, place));
            }
            of_kind.sort_by_key(|(rank, _)| *rank);
            found.extend(of_kind.into_iter().map(|(_, place)| (chain.to_vec(), kind, place)));
        }
        open.extend(found.into_iter().rev());
        Ok(())
    }

    fn is_parent(&mut self, chain: &[usize], kind: Kind, parent: usize) -> Result<bool, Fault> {
        let (Some(child), Some(parent)) =
            (chain.last().and_then(|at| self.all.get(*at)), self.all.get(parent))
        else {
            return Ok(false);
        };
        if parent.key.is_none() || self.is_in(parent, chain) {
            return Ok(false);
        }
        let known = &parent.known;
        let may_sign = if known.has_basic { known.is_authority } else { parent.version != 3 };
        if !may_sign || known.key_usage != 0 && known.key_usage & SIGNS == 0 {
            return Ok(false);
        }
        let signed = signed_by(self.call, child, parent)?;
        Ok(signed && is_valid(parent, kind, chain, self.all, self.wanted.now_ns))
    }

    /// Whether one of the same subject, key and alternative names is in the chain.
    fn is_in(&self, candidate: &Certificate<'_>, chain: &[usize]) -> bool {
        fn names<'a>(of: &Certificate<'a>) -> Option<&'a [u8]> {
            of.extensions.iter().find(|extension| extension.id == ALTERNATIVE_NAMES).map(|names| names.value)
        }
        for other in chain.iter().filter_map(|at| self.all.get(*at)) {
            if candidate.raw_subject != other.raw_subject || candidate.raw_key != other.raw_key {
                continue;
            }
            match (names(candidate), names(other)) {
                (None, None) => return true,
                (None, _) | (_, None) => return false,
                (Some(a), Some(b)) if a == b => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether the chain may be used as wanted.
    fn is_good(&mut self, chain: &[usize]) -> Result<bool, Fault> {
        let of_chain: Vec<&Certificate<'_>> = chain.iter().filter_map(|at| self.all.get(*at)).collect();
        let has = |kinds: &[&[u8]]| {
            of_chain.iter().flat_map(|one| &one.extensions).any(|extension| kinds.contains(&extension.id))
        };
        if chain.len() > 1 && has(&POLICIES) {
            return Err(Fault::Halt(Cow::Borrowed("policies of certificates are not checked here")));
        }
        if !may_be_used(&of_chain, &self.wanted.usages) {
            return Ok(false);
        }
        if has(&[NAMES]) {
            return Err(Fault::Halt(Cow::Borrowed(
                "constraints of certificates' names are not checked here",
            )));
        }
        Ok(true)
    }
}

/// Whether it holds at the time, and may stand where it does.
fn is_valid(
    certificate: &Certificate<'_>,
    kind: Kind,
    chain: &[usize],
    all: &[Certificate<'_>],
    now_ns: i64,
) -> bool {
    let known = &certificate.known;
    let child = chain.last().and_then(|at| all.get(*at));
    let ns = |moment: Moment| i128::from(moment.unix) * 1_000_000_000;
    let now = i128::from(now_ns);
    let is_authority = known.has_basic && known.is_authority;
    let is_short = !known.has_basic || known.most_path < 0 || chain.len() as i64 - 1 <= known.most_path;
    known.unhandled.is_empty()
        && child.is_none_or(|child| child.raw_issuer == certificate.raw_subject)
        && (ns(certificate.not_before)..=ns(certificate.not_after)).contains(&now)
        && (kind != Kind::Intermediate || is_authority)
        && is_short
}

/// Whether one of the usages is left when each certificate has struck those that it does not have.
fn may_be_used(chain: &[&Certificate<'_>], usages: &[i64]) -> bool {
    const ANY: i64 = 0;
    const SERVER: i64 = 1;
    if usages.contains(&ANY) {
        return true;
    }
    let mut left: Vec<i64> = if usages.is_empty() { vec![SERVER] } else { usages.to_vec() };
    for certificate in chain.iter().rev() {
        let known = &certificate.known;
        if known.usages.is_empty() && known.unknown_usages.is_empty() || known.usages.contains(&ANY) {
            continue;
        }
        left.retain(|usage| known.usages.contains(usage));
        if left.is_empty() {
            return false;
        }
    }
    true
}

/// Whether the parent's key signed the certificate.
fn signed_by(call: &mut Call<'_>, child: &Certificate<'_>, parent: &Certificate<'_>) -> Result<bool, Fault> {
    call.step(Hash::steps(child.signed.len()))?;
    match (checked(super::signatures::number(child.algorithm)), &parent.key) {
        (Some(Checked::Rsa(padding, hash)), Some(PublicKey::Rsa(key))) => {
            if key.is_too_long() {
                return Err(Fault::Halt(Cow::Borrowed("an RSA key of more than 8192 bits")));
            }
            call.step(key.steps())?;
            Ok(key.verify(padding, hash, &hash.of(&[child.signed]), &child.signature))
        }
        (Some(Checked::Ecdsa(hash)), Some(PublicKey::Ec { key, .. })) => {
            call.step(key.steps())?;
            let Some((r, s)) = pair(&child.signature) else { return Ok(false) };
            Ok(key.verify(&hash.of(&[child.signed]), r, s))
        }
        (Some(Checked::Ed25519), Some(PublicKey::Ed25519(key))) => {
            call.step(ED25519_STEPS)?;
            Ok(verify_ed25519(key, child.signed, &child.signature))
        }
        _ => Ok(false),
    }
}

/// The two numbers of a signature of ECDSA in DER.
fn pair(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Der(der);
    let mut inner = outer.read(SEQUENCE)?;
    let pair = (inner.positive()?, inner.positive()?);
    (outer.is_empty() && inner.is_empty()).then_some(pair)
}

/// Whether the certificate is for the host.
fn has_name(certificate: &Certificate<'_>, host: &[u8]) -> bool {
    let bare =
        host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).filter(|host| !host.is_empty());
    let address = std::str::from_utf8(bare.unwrap_or(host)).ok().and_then(|text| text.parse::<IpAddr>().ok());
    if let Some(address) = address {
        let v6 = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        return certificate.known.ips.iter().any(|ip| {
            let v4 = <[u8; 4]>::try_from(*ip).map(|ip| v6(IpAddr::from(ip)));
            v4.or(<[u8; 16]>::try_from(*ip).map(Ipv6Addr::from)).is_ok_and(|ip| ip == v6(address))
        });
    }
    let host = host.to_ascii_lowercase();
    let bare = host.strip_suffix(b".").unwrap_or(&host);
    let good = is_host(bare, false);
    certificate.known.dns.iter().any(|pattern| {
        if !good || !is_host(pattern, true) {
            let empty = |name: &[u8]| matches!(name, b"" | b".");
            return !empty(pattern) && !empty(&host) && pattern.eq_ignore_ascii_case(&host);
        }
        let (mut parts, mut labels) = (pattern.split(|b| *b == b'.'), bare.split(|b| *b == b'.'));
        let mut is_first = true;
        loop {
            match (parts.next(), labels.next()) {
                (None, None) => return true,
                (Some(part), Some(label)) if is_first && part == b"*" || part.eq_ignore_ascii_case(label) => {
                }
                _ => return false,
            }
            is_first = false;
        }
    })
}

fn is_host(name: &[u8], is_pattern: bool) -> bool {
    let is_label = |(at, label): (usize, &[u8])| {
        let is_letter = |(at, byte): (usize, &u8)| {
            byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-' && at != 0
        };
        !label.is_empty()
            && (is_pattern && at == 0 && label == b"*" || label.iter().enumerate().all(is_letter))
    };
    name != b"*" && name.split(|byte| *byte == b'.').enumerate().all(is_label)
}
