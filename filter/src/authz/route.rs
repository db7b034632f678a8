//! Which policy decides a request: the one that its route names, and none in its place.
//!
//! A decision may change what routes are chosen by, and Envoy chooses the route again when a filter has changed a request's
//! headers. So the filter stands twice in the chain. The first time it decides, and marks the request with the policy that
//! permitted it; the second time it asks whether the route is still one of that policy. The mark becomes the seal only then.

use crate::{
    config::is_policy_name,
    hooks::{Check, checks},
};

/// What the host says about a property: its bytes, that there is none, or that it has no form in bytes.
pub type Property = Result<Option<Vec<u8>>, NoBytes>;

/// Envoy has no bytes for a value, such as `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBytes;

/// A name that no policy can have.
const NO_NAME: &str = "";
const POLICY_KEY: &[u8] = b"policy";
const CONTEXT_EXTENSIONS_KEY: &[u8] = b"context_extensions";
/// How many keys there are.
const KEYS: usize = 2;
/// How a mark begins.
const MARK: &str = "permitted";

/// The policy that a route names, or else its virtual host: what is not a name stands for a policy that does not exist, so
/// that no other one decides in its place. What they say to policies is passed over here.
///
/// Shape: `metadata` are the properties `xds.route_metadata.filter_metadata.portcullis` and
/// `xds.virtual_host_metadata.filter_metadata.portcullis`, asked for in this order until one names something. Envoy gives a
/// map as the pairs of proxy-wasm. Source: proxy-wasm-cpp-host, `pairs_util.cc`.
pub fn named_policy(metadata: impl IntoIterator<Item = Property>) -> Option<String> {
    let found = metadata.into_iter().filter_map(Property::transpose).find_map(|found| {
        match found.ok().and_then(|pairs| names(&pairs)) {
            Some(Names::Nothing) => None,
            Some(Names::Policy(name)) => Some(Some(name)),
            None => Some(None),
        }
    });
    let name = found?;
    if name.is_none() && !checks(Check::Metadata) {
        return None;
    }
    Some(name.unwrap_or_else(|| NO_NAME.to_owned()))
}

/// What a namespace says about the policy.
enum Names {
    /// It has something to say to policies alone.
    Nothing,
    Policy(String),
}

/// None where there is anything else, or no name: a slip of the pen, after which the default must not decide.
fn names(pairs: &[u8]) -> Option<Names> {
    let (count, mut sizes) = pairs.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    // Each key once, of those that there are.
    if !(1..=KEYS).contains(&count) {
        return None;
    }
    let mut texts = sizes.get(count.checked_mul(8)?..)?;
    let mut names = Names::Nothing;
    for _ in 0..count {
        let (key, value) = (next(&mut sizes, &mut texts)?, next(&mut sizes, &mut texts)?);
        match key {
            CONTEXT_EXTENSIONS_KEY => {}
            POLICY_KEY => {
                let name = std::str::from_utf8(value).ok().filter(|name| is_policy_name(name))?;
                names = Names::Policy(name.to_owned());
            }
            _ => return None,
        }
    }
    texts.is_empty().then_some(names)
}

/// The next key or value: as many bytes as the next size says, and one that ends it.
fn next<'a>(sizes: &mut &'a [u8], texts: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (size, rest) = sizes.split_first_chunk()?;
    *sizes = rest;
    let (text, rest) = texts.split_at_checked(usize::try_from(u32::from_le_bytes(*size)).ok()?)?;
    let (_, rest) = rest.split_first()?;
    *texts = rest;
    Some(text)
}

/// What a request carries from the first place of the filter to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    /// Id of the plugin that permitted it, a word.
    pub(crate) plugin: &'a str,
    /// The policy that did.
    pub(crate) policy: &'a str,
}

// === impl Mark ===

impl<'a> Mark<'a> {
    pub(crate) fn read(state: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(state).ok()?.strip_prefix(MARK)?.strip_prefix(' ')?;
        let (plugin, policy) = rest.split_once(' ')?;
        Some(Self { plugin, policy })
    }

    /// What [`Mark::read`] reads.
    pub(crate) fn text(&self) -> String {
        [MARK, self.plugin, self.policy].join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut bytes = u32::try_from(entries.len()).unwrap().to_le_bytes().to_vec();
        for (key, value) in entries {
            bytes.extend(size(key.as_bytes()).into_iter().chain(size(value)));
        }
        for (key, value) in entries {
            bytes.extend(key.bytes().chain([0]).chain(value.iter().copied()).chain([0]));
        }
        bytes
    }

    fn named(metadata: &[Property]) -> Option<String> {
        named_policy(metadata.iter().cloned())
    }

    #[test]
    fn a_name_is_a_name_and_everything_else_is_none() {
        let metadata = |value: &[u8]| Ok(Some(pairs(&[("policy", value)])));
        assert_eq!(named(&[metadata(b"a/b-c_1")]).as_deref(), Some("a/b-c_1"));
        assert_eq!(named(&[Ok(None), metadata(b"shop")]).as_deref(), Some("shop"), "the virtual host's");
        assert_eq!(named(&[metadata(b"shop"), metadata(b"other")]).as_deref(), Some("shop"));
        assert_eq!(named(&[Ok(None), Ok(None)]), None, "neither says anything");
        let number = 7.5_f64.to_le_bytes();
        for value in [&b""[..], b"\x01", &number, b"a b", b"\xff", &pairs(&[]), &pairs(&[("a", b"b")])] {
            assert_eq!(named(&[metadata(value), metadata(b"shop")]).as_deref(), Some(""), "{value:?}");
        }
        assert_eq!(named(&[Err(NoBytes), metadata(b"shop")]).as_deref(), Some(""), "null");
        for entries in [
            &[("polcy", &b"shop"[..])][..],
            &[("policy", b"shop"), ("x", b"y")],
            &[("", b"shop")],
            &[],
            &[("context_extensions", b""), ("policy", b"")],
            &[("context_extensions", b""), ("policy", b"shop"), ("x", b"y")],
        ] {
            assert_eq!(named(&[Ok(Some(pairs(entries)))]).as_deref(), Some(""), "{entries:?}");
        }
    }

    #[test]
    fn what_is_said_to_policies_names_none() {
        let extensions = ("context_extensions", &b"\x01\0\0\0anything"[..]);
        let shop = Ok(Some(pairs(&[("policy", b"shop")])));
        for entries in [&[extensions, ("policy", b"a")][..], &[("policy", b"a"), extensions]] {
            assert_eq!(named(&[Ok(Some(pairs(entries))), shop.clone()]).as_deref(), Some("a"), "{entries:?}");
        }
        let only = Ok(Some(pairs(&[extensions])));
        assert_eq!(named(&[only.clone(), shop]).as_deref(), Some("shop"), "the virtual host's");
        assert_eq!(named(&[only.clone(), only]), None, "neither names one");
    }

    #[test]
    fn bytes_that_are_no_pairs_are_no_name() {
        let good = pairs(&[("policy", b"shop")]);
        for end in 0..good.len() {
            let name = named(&[Ok(Some(good.iter().copied().take(end).collect()))]);
            assert_eq!(name.as_deref(), Some(""), "the first {end} bytes");
        }
        for at in 0..12 {
            let mut bad = good.clone();
            bad[at] = 0xff;
            assert_eq!(named(&[Ok(Some(bad))]).as_deref(), Some(""), "byte {at}");
        }
    }

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is_one() {
        let mark = Mark { plugin: "07", policy: "a/b" };
        assert_eq!(Mark::read(mark.text().as_bytes()), Some(mark));
        for other in [&b"granted"[..], b"", b"permitted", b"permitted 7", b"\xff"] {
            assert_eq!(Mark::read(other), None);
        }
    }
}
