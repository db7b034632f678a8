//! Extensions of certificates. Source: Go's `crypto/x509`, parser.go, `processExtensions`.

use super::super::der::{
    BOOLEAN, Der, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, constructed, context, signed,
};
use super::long_object;
use super::names::{domain_is_valid, mailbox_domain};
use crate::builtins::uri;

/// An extension as it is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::builtins::crypto) struct Extension<'a> {
    pub(in crate::builtins::crypto) id: &'a [u8],
    pub(in crate::builtins::crypto) critical: bool,
    pub(in crate::builtins::crypto) value: &'a [u8],
}

/// Names that a constraint permits or excludes.
#[derive(Debug, Default)]
pub(in crate::builtins::crypto) struct Subtrees<'a> {
    pub(in crate::builtins::crypto) dns: Vec<&'a [u8]>,
    /// Address and mask.
    pub(in crate::builtins::crypto) ips: Vec<(&'a [u8], &'a [u8])>,
    pub(in crate::builtins::crypto) emails: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) uris: Vec<&'a [u8]>,
}

/// What the extensions that Go knows say.
#[derive(Debug, Default)]
pub(in crate::builtins::crypto) struct Known<'a> {
    pub(in crate::builtins::crypto) key_usage: i64,
    pub(in crate::builtins::crypto) has_basic: bool,
    pub(in crate::builtins::crypto) is_authority: bool,
    /// -1 if there is no bound.
    pub(in crate::builtins::crypto) most_path: i64,
    pub(in crate::builtins::crypto) has_names: bool,
    pub(in crate::builtins::crypto) dns: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) emails: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) ips: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) uris: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) permitted: Subtrees<'a>,
    pub(in crate::builtins::crypto) excluded: Subtrees<'a>,
    pub(in crate::builtins::crypto) names_critical: bool,
    pub(in crate::builtins::crypto) revocation: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) authority_key: Option<&'a [u8]>,
    pub(in crate::builtins::crypto) subject_key: Option<&'a [u8]>,
    pub(in crate::builtins::crypto) require_policy: Option<i64>,
    pub(in crate::builtins::crypto) inhibit_mapping: Option<i64>,
    pub(in crate::builtins::crypto) inhibit_any: Option<i64>,
    pub(in crate::builtins::crypto) usages: Vec<i64>,
    pub(in crate::builtins::crypto) unknown_usages: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) policies: Option<Vec<&'a [u8]>>,
    pub(in crate::builtins::crypto) mappings: Vec<(&'a [u8], &'a [u8])>,
    pub(in crate::builtins::crypto) status: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) issuers: Vec<&'a [u8]>,
    pub(in crate::builtins::crypto) unhandled: Vec<&'a [u8]>,
}

/// The extensions of a sequence, no two of one kind.
pub(super) fn read(mut der: Der<'_>) -> Option<Vec<Extension<'_>>> {
    let mut all: Vec<Extension<'_>> = Vec::new();
    while !der.is_empty() {
        let extension = one(der.read(SEQUENCE)?)?;
        if all.iter().any(|other| other.id == extension.id) {
            return None;
        }
        all.push(extension);
    }
    Some(all)
}

/// An extension.
pub(in crate::builtins::crypto) fn one(mut der: Der<'_>) -> Option<Extension<'_>> {
    let id = der.object()?;
    let critical = if der.next_is(BOOLEAN) { der.boolean()? } else { false };
    Some(Extension { id, critical, value: der.read(OCTET_STRING)?.0 })
}

const ACCESS: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x01\x01";
const STATUS: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01";
const ISSUERS: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x02";

impl<'a> Known<'a> {
    pub(in crate::builtins::crypto) fn of(extensions: &[Extension<'a>]) -> Option<Known<'a>> {
        let mut known = Known::default();
        for extension in extensions {
            let handled = known.take(extension)?;
            if extension.critical && !handled {
                known.unhandled.push(extension.id);
            }
        }
        Some(known)
    }

    /// None if it is malformed; whether it was understood.
    fn take(&mut self, extension: &Extension<'a>) -> Option<bool> {
        let value = &mut Der(extension.value);
        let [0x55, 0x1d, kind] = extension.id else {
            return if extension.id == ACCESS { self.access(extension) } else { Some(false) };
        };
        match kind {
            14 => {
                self.subject_key = Some(value.read(OCTET_STRING)?.0);
                return (!extension.critical).then_some(true);
            }
            15 => {
                let (bytes, unused) = value.bits()?;
                let most = 8 * bytes.len() - usize::from(unused);
                let is_set = |at: &usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
                self.key_usage = (0..most.min(9)).filter(is_set).map(|at| 1 << at).sum();
            }
            17 => return self.subject_names(value.read(SEQUENCE)?),
            19 => {
                let mut der = value.read(SEQUENCE)?;
                self.is_authority = if der.next_is(BOOLEAN) { der.boolean()? } else { false };
                self.most_path = if der.next_is(INTEGER) { unsigned(der.integer()?)? } else { -1 };
                self.has_basic = true;
            }
            30 => return self.constraints(extension),
            31 => self.revocation_points(value.read(SEQUENCE)?)?,
            32 => {
                let (mut der, mut policies) = (value.read(SEQUENCE)?, Vec::new());
                while !der.is_empty() {
                    let policy = long_object(&mut der.read(SEQUENCE)?)?;
                    if policies.contains(&policy) {
                        return None;
                    }
                    policies.push(policy);
                }
                self.policies = Some(policies);
            }
            33 => {
                let mut der = value.read(SEQUENCE)?;
                while !der.is_empty() {
                    let mut pair = der.read(SEQUENCE)?;
                    self.mappings.push((pair.read(OBJECT)?.0, pair.read(OBJECT)?.0));
                }
            }
            35 => {
                let mut der = value.read(SEQUENCE)?;
                if der.next_is(context(0)) {
                    self.authority_key = Some(der.read(context(0))?.0);
                }
                return (!extension.critical).then_some(true);
            }
            36 => {
                let mut der = value.read(SEQUENCE)?;
                if der.next_is(context(0)) {
                    self.require_policy = Some(tagged(&mut der, context(0))?);
                }
                if der.next_is(context(1)) {
                    self.inhibit_mapping = Some(tagged(&mut der, context(1))?);
                }
            }
            37 => {
                let mut der = value.read(SEQUENCE)?;
                while !der.is_empty() {
                    let usage = der.object()?;
                    match USAGES.iter().position(|known| *known == usage) {
                        Some(number) => self.usages.push(number as i64),
                        None => self.unknown_usages.push(usage),
                    }
                }
            }
            54 => self.inhibit_any = Some(value.small()?),
            _ => return Some(false),
        }
        Some(true)
    }

    fn subject_names(&mut self, mut der: Der<'a>) -> Option<bool> {
        self.has_names = true;
        while !der.is_empty() {
            let name = der.any()?;
            let (kind, name) = (name.tag ^ 0x80, name.content);
            if matches!(kind, 1 | 2 | 6) && !name.is_ascii() {
                return None;
            }
            match kind {
                1 => self.emails.push(name),
                2 => self.dns.push(name),
                6 => {
                    let host = uri::uri(name)?.host;
                    if !domain_is_valid(&host, false) {
                        return None;
                    }
                    self.uris.push(name);
                }
                7 if matches!(name.len(), 4 | 16) => self.ips.push(name),
                7 => return None,
                _ => {}
            }
        }
        let none =
            self.emails.is_empty() && self.dns.is_empty() && self.uris.is_empty() && self.ips.is_empty();
        Some(!none)
    }

    fn constraints(&mut self, extension: &Extension<'a>) -> Option<bool> {
        let mut outer = Der(extension.value);
        let mut der = outer.read(SEQUENCE)?;
        let permitted = der.optional(constructed(0))?;
        let excluded = der.optional(constructed(1))?;
        let (permitted, excluded) =
            (permitted.map_or(&[][..], |der| der.0), excluded.map_or(&[][..], |der| der.0));
        if !outer.is_empty() || !der.is_empty() || (permitted.is_empty() && excluded.is_empty()) {
            return None;
        }
        let mut handled = true;
        self.permitted = subtrees(Der(permitted), &mut handled)?;
        self.excluded = subtrees(Der(excluded), &mut handled)?;
        self.names_critical = extension.critical;
        Some(handled)
    }

    fn revocation_points(&mut self, mut der: Der<'a>) -> Option<()> {
        while !der.is_empty() {
            let mut point = der.read(SEQUENCE)?;
            let Some(mut name) = point.optional(constructed(0))? else { continue };
            let mut name = name.read(constructed(0))?;
            while name.next_is(context(6)) {
                self.revocation.push(name.read(context(6))?.0);
            }
        }
        Some(())
    }

    fn access(&mut self, extension: &Extension<'a>) -> Option<bool> {
        if extension.critical {
            return None;
        }
        let mut der = Der(extension.value).read(SEQUENCE)?;
        while !der.is_empty() {
            let mut access = der.read(SEQUENCE)?;
            let method = access.object()?;
            if !access.next_is(context(6)) {
                continue;
            }
            let place = access.read(context(6))?.0;
            match method {
                STATUS => self.status.push(place),
                ISSUERS => self.issuers.push(place),
                _ => {}
            }
        }
        Some(true)
    }
}

/// A number that is not negative, of 63 bits.
fn unsigned(bytes: &[u8]) -> Option<i64> {
    let bytes = match bytes {
        [0, rest @ ..] if rest.len() == 8 => rest,
        bytes => bytes,
    };
    signed(bytes).filter(|number| *number >= 0)
}

/// A number with a tag of its own.
fn tagged(der: &mut Der<'_>, tag: u8) -> Option<i64> {
    let bytes = der.read(tag)?.0;
    // By the rules of a plain one.
    let whole = [&[INTEGER, u8::try_from(bytes.len()).ok().filter(|length| *length < 128)?], bytes].concat();
    Der(&whole).small()
}

fn subtrees<'a>(mut der: Der<'a>, handled: &mut bool) -> Option<Subtrees<'a>> {
    let mut out = Subtrees::default();
    while !der.is_empty() {
        let name = der.read(SEQUENCE)?.any()?;
        let (kind, name) = (name.tag, name.content);
        if matches!(kind, 0x81 | 0x82 | 0x86) && !name.is_ascii() {
            return None;
        }
        match kind {
            0x81 if name.contains(&b'@') => {
                mailbox_domain(name)?;
                out.emails.push(name);
            }
            0x81 | 0x82 | 0x86 => {
                let is_address = || std::str::from_utf8(name).is_ok_and(is_go_address);
                if !domain_is_valid(name, true) || kind == 0x86 && is_address() {
                    return None;
                }
                match kind {
                    0x81 => out.emails.push(name),
                    0x82 => out.dns.push(name),
                    _ => out.uris.push(name),
                }
            }
            0x87 => {
                let (address, mask) = match name.len() {
                    8 => name.split_at_checked(4)?,
                    32 => name.split_at_checked(16)?,
                    _ => return None,
                };
                let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
                let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
                let first_gap = mask.iter().position(|byte| *byte != 0xff).unwrap_or(mask.len());
                let rest_empty = mask.iter().skip(first_gap + 1).all(|byte| *byte == 0);
                if ones != set || !rest_empty {
                    return None;
                }
                out.ips.push((address, mask));
            }
            _ => *handled = false,
        }
    }
    Some(out)
}

/// What Go's `net.ParseIP` takes.
fn is_go_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Usages by Go's numbers.
const USAGES: &[&[u8]] = &[
    b"\x55\x1d\x25\x00",
    b"\x2b\x06\x01\x05\x05\x07\x03\x01",
    b"\x2b\x06\x01\x05\x05\x07\x03\x02",
    b"\x2b\x06\x01\x05\x05\x07\x03\x03",
    b"\x2b\x06\x01\x05\x05\x07\x03\x04",
    b"\x2b\x06\x01\x05\x05\x07\x03\x05",
    b"\x2b\x06\x01\x05\x05\x07\x03\x06",
    b"\x2b\x06\x01\x05\x05\x07\x03\x07",
    b"\x2b\x06\x01\x05\x05\x07\x03\x08",
    b"\x2b\x06\x01\x05\x05\x07\x03\x09",
    b"\x2b\x06\x01\x04\x01\x82\x37\x0a\x03\x03",
    b"\x60\x86\x48\x01\x86\xf8\x42\x04\x01",
    b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x16",
    b"\x2b\x06\x01\x04\x01\x82\x37\x3d\x01\x01",
];
