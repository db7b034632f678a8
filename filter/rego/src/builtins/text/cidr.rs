//! Networks and addresses.
//!
//! Addresses are four or sixteen bytes, and an IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is one of four when it
//! is compared. Source: `v1/topdown/cidr.go`, `internal/cidr/merge`; Go's packages `net` and `net/netip`.

use super::args;
use crate::builtins::{Budget, Builtin, Call, Fault, Limit, Type};
use crate::value::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SOURCE: &str = "v1/topdown/cidr.go";
/// The most addresses that a network is spelled out to.
const MOST_ADDRESSES: u128 = 65_536;

pub(super) const BUILTINS: &[Builtin] = &[
    Builtin::new("net.cidr_overlap", &[Type::String, Type::String], Type::Boolean, contains, SOURCE)
        .deprecated(),
    Builtin::new("net.cidr_contains", &[Type::String, Type::String], Type::Boolean, contains, SOURCE),
    Builtin::new("net.cidr_intersects", &[Type::String, Type::String], Type::Boolean, intersects, SOURCE),
    Builtin::new("net.cidr_is_valid", &[Type::String], Type::Boolean, is_valid, SOURCE),
    Builtin::new(
        "net.cidr_contains_matches",
        &[
            Type::Union(&[
                Type::String,
                Type::array_of(&Type::Union(&[Type::String, Type::ANY_ARRAY])),
                Type::object_of(&Type::String, &Type::Union(&[Type::String, Type::ANY_ARRAY])),
                Type::Set(&Type::Union(&[Type::String, Type::ANY_ARRAY])),
            ]),
            Type::Union(&[
                Type::String,
                Type::array_of(&Type::Union(&[Type::String, Type::ANY_ARRAY])),
                Type::object_of(&Type::String, &Type::Union(&[Type::String, Type::ANY_ARRAY])),
                Type::Set(&Type::Union(&[Type::String, Type::ANY_ARRAY])),
            ]),
        ],
        Type::Set(&Type::Array(&[Type::Any, Type::Any], None)),
        contains_matches,
        SOURCE,
    ),
    Builtin::new("net.cidr_expand", &[Type::String], Type::Set(&Type::String), expand, SOURCE),
    Builtin::new(
        "net.cidr_merge",
        &[Type::Union(&[Type::array_of(&Type::Union(&[Type::String])), Type::Set(&Type::String)])],
        Type::Set(&Type::String),
        merge,
        SOURCE,
    ),
];

const BAD: Fault = Fault::undefined("an operand is no network of an address and a length of the prefix");

/// An address of 32 or 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    bits: u128,
    wide: bool,
}

/// The first 96 bits of an IPv4 address in IPv6 clothes.
const MAPPED: u128 = 0xFFFF << 32;

impl Address {
    /// As Go parses: no zones, no leading zeros.
    fn parse(text: &[u8]) -> Option<Address> {
        Some(match std::str::from_utf8(text).ok()?.parse().ok()? {
            IpAddr::V4(v4) => Address { bits: u32::from(v4).into(), wide: false },
            IpAddr::V6(v6) => Address { bits: u128::from(v6), wide: true },
        })
    }

    /// Four bytes, if it is an IPv4 address in any clothes.
    fn narrow(self) -> Address {
        if self.wide && self.bits >> 32 == MAPPED >> 32 {
            Address { bits: self.bits & 0xFFFF_FFFF, wide: false }
        } else {
            self
        }
    }

    /// Sixteen bytes.
    fn widened(self) -> u128 {
        if self.wide { self.bits } else { MAPPED | self.bits }
    }

    fn text(self) -> String {
        match self.narrow() {
            Address { bits, wide: false } => Ipv4Addr::from(bits as u32).to_string(),
            Address { bits, wide: true } => Ipv6Addr::from(bits).to_string(),
        }
    }
}

/// A network: an address with its host bits cleared, and how many bits are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: Address,
    prefix: u32,
}

impl Network {
    fn parse(text: &[u8]) -> Option<Network> {
        let slash = memchr::memchr(b'/', text)?;
        let address = Address::parse(text.get(..slash)?)?;
        let digits = text.get(slash + 1..)?;
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let prefix = digits.iter().try_fold(0u32, |sum, digit| {
            let sum = sum * 10 + u32::from(digit - b'0');
            (sum <= 128).then_some(sum)
        })?;
        let network = Network { address, prefix };
        (prefix <= network.width()).then(|| Network {
            address: Address { bits: address.bits & !network.hosts(), wide: address.wide },
            prefix,
        })
    }

    fn width(self) -> u32 {
        if self.address.wide { 128 } else { 32 }
    }

    /// The bits that are not fixed.
    fn hosts(self) -> u128 {
        u128::MAX.checked_shr(128 - (self.width() - self.prefix.min(self.width()))).unwrap_or(0)
    }

    fn last(self) -> Address {
        Address { bits: self.address.bits | self.hosts(), wide: self.address.wide }
    }

    /// Whether an address is in it. Source: `go:net`, `IPNet.Contains`.
    fn contains(self, address: Address) -> bool {
        let (own, other) = (self.address.narrow(), address.narrow());
        if own.wide != other.wide {
            return false;
        }
        // A narrowed network keeps the last 32 bits of its mask.
        let hosts = if own.wide { self.hosts() } else { self.hosts() & 0xFFFF_FFFF };
        own.bits & !hosts == other.bits & !hosts
    }
}

fn network(args: &[Value], at: usize) -> Result<Network, Fault> {
    Network::parse(args::bytes(args, at)?).ok_or(BAD)
}

/// Whether a network contains an address, or the first and the last address of a network.
fn holds(network: Network, other: &[u8]) -> Result<bool, Fault> {
    if let Some(address) = Address::parse(other) {
        return Ok(network.contains(address));
    }
    let other = Network::parse(other).ok_or(BAD)?;
    Ok(network.contains(other.address) && network.contains(other.last()))
}

fn contains(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    call.step(2)?;
    Ok(holds(network(args, 0)?, args::bytes(args, 1)?)?.into())
}

fn intersects(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    call.step(2)?;
    let (a, b) = (network(args, 0)?, network(args, 1)?);
    Ok((a.contains(b.address) || b.contains(a.address)).into())
}

/// Anything but a string is no network.
fn is_valid(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    call.step(1)?;
    Ok(args::bytes(args, 0).is_ok_and(|text| Network::parse(text).is_some()).into())
}

/// The networks or addresses of an operand, each with the key that stands for it in the answer.
fn keyed(value: Option<&Value>) -> Result<Vec<(&[u8], Value)>, Fault> {
    const BAD: Fault = Fault::undefined("an element must be a string, or an array that begins with one");
    // An array must not be empty; what its first element is, is looked at only when it is compared.
    fn text(value: &Value) -> Result<&Value, Fault> {
        match value {
            Value::String(_) => Ok(value),
            Value::Array(array) => array.items().first().ok_or(BAD),
            _ => Err(BAD),
        }
    }
    fn bytes(value: &Value) -> Result<&[u8], Fault> {
        text(value)?.as_bytes().ok_or(BAD)
    }
    match value {
        Some(Value::String(own)) => Ok(vec![(own.as_bytes(), Value::String(own.clone()))]),
        Some(Value::Array(array)) => {
            array.iter().enumerate().map(|(at, item)| Ok((bytes(item)?, Value::from(at as i64)))).collect()
        }
        Some(Value::Set(set)) => set.iter().map(|item| Ok((bytes(item)?, item.clone()))).collect(),
        Some(Value::Object(object)) => {
            object.iter().map(|(key, item)| Ok((bytes(item)?, key.clone()))).collect()
        }
        _ => Ok(Vec::new()),
    }
}

fn contains_matches(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    // What is wrong on the second side is looked at only if there is something on the first, and the other way round.
    let size = |value: Option<&Value>| match value {
        Some(Value::Array(array)) => array.len(),
        Some(Value::Set(set)) => set.len(),
        Some(Value::Object(object)) => object.len(),
        Some(Value::String(_)) => 1,
        _ => 0,
    };
    let (first, second) = (size(args.first()), size(args.get(1)));
    call.step(1 + first.saturating_mul(second.max(1)))?;
    if first == 0 {
        return Ok(Value::set(Vec::new())?);
    }
    if second == 0 {
        check_elements(args.first())?;
        return Ok(Value::set(Vec::new())?);
    }
    let others = keyed(args.get(1))?;
    let mut found = Vec::new();
    for (own, key) in keyed(args.first())? {
        let network = Network::parse(own).ok_or(BAD)?;
        for (other, index) in &others {
            if holds(network, other)? {
                call.bytes(64)?;
                found.push(Value::array(vec![key.clone(), index.clone()])?);
            }
        }
    }
    Ok(Value::set(found)?)
}

/// Each element must be a string or an array that is not empty, though nothing is compared with it.
fn check_elements(value: Option<&Value>) -> Result<(), Fault> {
    let fine = |item: &Value| match item {
        Value::String(_) => true,
        Value::Array(array) => !array.is_empty(),
        _ => false,
    };
    let all = match value {
        Some(Value::Array(array)) => array.iter().all(fine),
        Some(Value::Set(set)) => set.iter().all(fine),
        Some(Value::Object(object)) => object.values().all(fine),
        _ => true,
    };
    if all { Ok(()) } else { Err(Fault::undefined("an element must be a string or a non-empty array")) }
}

/// All addresses of a network. A network of the last address of its kind never ends in OPA; here it does.
fn expand(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    let network = network(args, 0)?;
    let hosts = network.hosts();
    if hosts >= MOST_ADDRESSES {
        return Err(Fault::Limit(Limit::Bytes));
    }
    call.step(1 + hosts as usize)?;
    call.bytes(40 * (1 + hosts as usize))?;
    let all = (0..=hosts).map(|host| {
        Value::from(Address { bits: network.address.bits | host, wide: network.address.wide }.text())
    });
    Ok(Value::set(all.collect())?)
}

/// A block of addresses in sixteen bytes, and the network as it was written while nothing was merged into it.
struct Block {
    first: u128,
    last: u128,
    network: Option<String>,
    /// A network of IPv6 over IPv4 addresses, of which OPA makes 28 bytes: nothing can be merged with it.
    odd: bool,
}

/// A network or a bare IPv4 address, which gets the mask of its class.
fn block(text: &[u8]) -> Option<Block> {
    let Some(address) = Address::parse(text) else {
        let network = Network::parse(text)?;
        // A mask of IPv6 over an IPv4 address in its clothes is told by its last 32 bits.
        let mapped = network.address.wide && !network.address.narrow().wide;
        let prefix = if mapped { network.prefix - 96 } else { network.prefix };
        let text = format!("{}/{prefix}", network.address.text());
        let mut block = block_of(network, text);
        if mapped {
            let hosts = network.hosts() & 0xFFFF_FFFF;
            block = Block { first: MAPPED, last: MAPPED | hosts, odd: true, ..block };
        }
        return Some(block);
    };
    let address = address.narrow();
    if address.wide {
        return None;
    }
    let prefix = match address.bits >> 24 {
        0..0x80 => 8,
        0x80..0xC0 => 16,
        _ => 24,
    };
    let text = format!("{}/{prefix}", address.text());
    let network = Network { address, prefix };
    let masked = Address { bits: address.bits & !network.hosts(), wide: false };
    Some(block_of(Network { address: masked, prefix }, text))
}

fn block_of(network: Network, text: String) -> Block {
    Block {
        first: network.address.widened(),
        last: network.last().widened(),
        network: Some(text),
        odd: false,
    }
}

fn is_mapped(address: u128) -> bool {
    address >> 32 == MAPPED >> 32
}

fn merge(call: &mut Call<'_>, args: &[Value]) -> Result<Value, Fault> {
    const ELEMENT: Fault = Fault::undefined("an element is no network and no IPv4 address");
    let items =
        args::members(args.first()).ok_or(Fault::undefined("the operand must be an array or a set"))?;
    // Sorting and merging.
    call.step(1 + 8 * items.len())?;
    call.bytes(80 * items.len())?;
    let mut blocks = Vec::with_capacity(items.len());
    for item in items {
        blocks.push(block(item.as_bytes().ok_or(ELEMENT)?).ok_or(ELEMENT)?);
    }
    blocks.sort_unstable_by_key(|block| (block.last, block.first));
    let mut merged: Vec<Block> = Vec::new();
    let mut above: Option<Block> = None;
    for block in blocks.into_iter().rev() {
        above = Some(match above.take() {
            Some(higher) if before(higher.first) <= block.last => {
                if higher.odd || (block.odd && block.first < higher.first) {
                    return Err(Fault::undefined("the networks are some that OPA does not merge"));
                }
                Block { first: block.first.min(higher.first), last: higher.last, network: None, odd: false }
            }
            Some(higher) => {
                merged.push(higher);
                block
            }
            None => block,
        });
    }
    merged.extend(above);
    let mut out = Vec::new();
    for block in merged {
        match block.network {
            Some(text) => out.push(Value::from(text)),
            None => split(block.first, block.last, call.budget, &mut out)?,
        }
    }
    Ok(Value::set(out)?)
}

/// The address before; the first of its kind has none.
fn before(address: u128) -> u128 {
    if address == MAPPED || address == 0 { address } else { address - 1 }
}

/// The fewest networks that are just these addresses.
fn split(mut first: u128, last: u128, budget: &mut Budget, out: &mut Vec<Value>) -> Result<(), Fault> {
    let width = if is_mapped(first) { 32 } else { 128 };
    loop {
        budget.step(1)?;
        budget.bytes(64)?;
        let left = last - first;
        // As many bits as the address is aligned to, and as are left.
        let most = match left.checked_add(1) {
            Some(count) => count.ilog2(),
            None => 128,
        };
        let free = first.trailing_zeros().min(most).min(width);
        let prefix = width - free;
        out.push(Value::from(format!("{}/{prefix}", Address { bits: first, wide: true }.text())));
        let size = 1u128.checked_shl(free).unwrap_or(0);
        match first.checked_add(size) {
            Some(next) if size > 0 && next <= last => first = next,
            _ => return Ok(()),
        }
    }
}
