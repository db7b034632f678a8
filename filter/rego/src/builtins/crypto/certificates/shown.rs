//! Certificates as Go's `encoding/json` writes `x509.Certificate`: the names of members are Go's.

use super::extensions::{Extension, Subtrees};
use super::{Certificate, Moment, Name};
use crate::builtins::crypto::der::arcs;
use crate::builtins::crypto::keys::PublicKey;
use crate::builtins::encoding::to_base64;
use crate::builtins::time::civil::Civil;
use crate::builtins::uri::{escaped_path, uri};
use crate::builtins::{Call, Fault};
use crate::value::{Number, Value, lossy};
use num_bigint::BigUint;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An object of members, in any order.
pub(in crate::builtins::crypto) fn object(members: Vec<(&str, Value)>) -> Result<Value, Fault> {
    Ok(Value::object(members.into_iter().map(|(name, value)| (Value::from(name), value)).collect())?)
}

/// A list; `null` without items, as of a slice that nothing was added to.
pub(in crate::builtins::crypto) fn list(items: Vec<Value>) -> Result<Value, Fault> {
    if items.is_empty() { Ok(Value::Null) } else { Ok(Value::array(items)?) }
}

/// Bytes in base64.
fn raw(bytes: &[u8]) -> Value {
    Value::from(to_base64(bytes))
}

/// Text; what is no UTF-8 in it becomes U+FFFD.
fn text(bytes: &[u8]) -> Value {
    Value::from(lossy(bytes).as_bytes())
}

pub(in crate::builtins::crypto) fn texts(all: &[&[u8]]) -> Result<Value, Fault> {
    list(all.iter().map(|bytes| text(bytes)).collect())
}

/// A number that is written in bytes.
pub(in crate::builtins::crypto) fn big(bytes: &[u8]) -> Value {
    Value::from(Number::from_integer(&BigUint::from_bytes_be(bytes).into()))
}

/// An object identifier as its arcs.
pub(in crate::builtins::crypto) fn id(object: &[u8]) -> Result<Value, Fault> {
    let arcs = arcs(object).unwrap_or_default();
    Ok(Value::array(arcs.into_iter().map(|arc| Value::from(i64::from(arc))).collect())?)
}

/// The same with dots; an arc may have any size.
fn dotted(object: &[u8]) -> Value {
    let mut out = String::new();
    let mut arc = BigUint::default();
    for byte in object {
        arc = (arc << 7u8) | BigUint::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if out.is_empty() {
            let first = u8::try_from(&arc).map_or(2, |arc| (arc / 40).min(2));
            out.push_str(&format!("{first}."));
            arc -= 40 * first;
        } else {
            out.push('.');
        }
        out.push_str(&arc.to_string());
        arc = BigUint::default();
    }
    Value::from(out)
}

fn ids(all: &[&[u8]]) -> Result<Value, Fault> {
    list(all.iter().map(|object| id(object)).collect::<Result<_, _>>()?)
}

/// The time as RFC 3339 has it; none if its clocks were ahead by more than that can say.
fn time(moment: Moment) -> Result<Value, Fault> {
    let at = Civil::at(moment.unix, moment.offset);
    let minutes = moment.offset.abs() / 60;
    if minutes >= 24 * 60 {
        return Err(Fault::undefined("a time that JSON does not have"));
    }
    let zone = match moment.offset {
        0 => "Z".to_owned(),
        offset => format!("{}{:02}:{:02}", if offset < 0 { '-' } else { '+' }, minutes / 60, minutes % 60),
    };
    let Civil { year, month, day, hour, minute, second } = at;
    Ok(Value::from(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")))
}

/// A name with its attributes by kind, and all of them in their order.
pub(in crate::builtins::crypto) fn name(name: &Name<'_>) -> Result<Value, Fault> {
    let all = || name.iter().flatten();
    let of = |kind: u8| all().filter(move |(id, _)| *id == [0x55, 4, kind]).map(|(_, value)| text(value));
    let every = |kind: u8| list(of(kind).collect());
    let last = |kind: u8| of(kind).next_back().unwrap_or(Value::from(""));
    let names = all().map(|(kind, value)| object(vec![("Type", id(kind)?), ("Value", text(value))]));
    object(vec![
        ("CommonName", last(3)),
        ("SerialNumber", last(5)),
        ("Country", every(6)?),
        ("Locality", every(7)?),
        ("Province", every(8)?),
        ("StreetAddress", every(9)?),
        ("Organization", every(10)?),
        ("OrganizationalUnit", every(11)?),
        ("PostalCode", every(17)?),
        ("Names", list(names.collect::<Result<_, _>>()?)?),
        ("ExtraNames", Value::Null),
    ])
}

/// A key with the members that Go's JSON has of it.
pub(in crate::builtins::crypto) fn key(key: Option<&PublicKey>) -> Result<Value, Fault> {
    match key {
        None => Ok(Value::Null),
        Some(PublicKey::Rsa(key)) => object(vec![("N", big(&key.n)), ("E", big(&key.e.to_be_bytes()))]),
        Some(PublicKey::Ec { x, y, .. }) => {
            object(vec![("Curve", object(Vec::new())?), ("X", big(x)), ("Y", big(y))])
        }
        Some(PublicKey::Ed25519(bytes)) => Ok(raw(bytes)),
        Some(PublicKey::Dsa { y, p, q, g }) => {
            object(vec![("Y", big(y)), ("P", big(p)), ("Q", big(q)), ("G", big(g))])
        }
        Some(PublicKey::X25519) => object(Vec::new()),
    }
}

pub(in crate::builtins::crypto) fn extensions(all: &[Extension<'_>]) -> Result<Value, Fault> {
    let one = |extension: &Extension<'_>| {
        object(vec![
            ("Id", id(extension.id)?),
            ("Critical", Value::Bool(extension.critical)),
            ("Value", raw(extension.value)),
        ])
    };
    list(all.iter().map(one).collect::<Result<_, _>>()?)
}

/// Addresses as Go's `net.IP` writes them: those of IPv4 within IPv6 as such.
fn address(bytes: &[u8]) -> Value {
    let v4 = <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).ok();
    let v6 = <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from).ok();
    Value::from(match (v4.or(v6.and_then(|address| address.to_ipv4_mapped())), v6) {
        (Some(address), _) => address.to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => String::new(),
    })
}

fn ranges(all: &[(&[u8], &[u8])]) -> Result<Value, Fault> {
    let one = |(ip, mask): &(&[u8], &[u8])| object(vec![("IP", address(ip)), ("Mask", raw(mask))]);
    list(all.iter().map(one).collect::<Result<_, _>>()?)
}

/// The members of Go's `url.URL`, and the text that it prints.
fn address_of(bytes: &[u8]) -> Result<(Value, Value), Fault> {
    let uri = uri(bytes).ok_or(Fault::undefined("not a URI"))?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    if uri.has_user || !uri.host.iter().all(is_plain) || !uri.fragment.iter().all(is_plain) {
        return Err(Fault::Halt(Cow::Borrowed(
            "a user, an unusual host or fragment in the URI of a certificate",
        )));
    }
    let escaped = escaped_path(&uri.path);
    let is_escaped = uri.written_path == escaped || uri.path == b"*";
    let raw_path = if is_escaped { b"".as_slice() } else { &uri.written_path };
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(byte);
    let path = match raw_path {
        b"" if uri.path == b"*" => b"*".as_slice(),
        raw if !raw.is_empty() && raw.iter().all(is_valid) => raw,
        _ => &escaped,
    };
    let mut out = Vec::new();
    if !uri.scheme.is_empty() {
        out.extend_from_slice(&uri.scheme);
        out.push(b':');
    }
    if uri.opaque.is_empty() {
        let named = !uri.scheme.is_empty() || !uri.host.is_empty();
        if named && !(uri.omit_host && uri.host.is_empty()) && !(uri.host.is_empty() && uri.path.is_empty()) {
            out.extend(b"//");
            out.extend_from_slice(&uri.host);
        }
        out.extend_from_slice(path);
    } else {
        out.extend_from_slice(&uri.opaque);
    }
    if uri.empty_query || !uri.query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&uri.query);
    }
    if !uri.fragment.is_empty() {
        out.push(b'#');
        out.extend_from_slice(&uri.fragment);
    }
    let members = object(vec![
        ("Scheme", text(&uri.scheme)),
        ("Opaque", text(&uri.opaque)),
        ("User", Value::Null),
        ("Host", text(&uri.host)),
        ("Path", text(&uri.path)),
        ("RawPath", text(raw_path)),
        ("ForceQuery", Value::Bool(uri.empty_query)),
        ("RawQuery", text(&uri.query)),
        ("Fragment", text(&uri.fragment)),
        ("RawFragment", Value::from("")),
        ("OmitHost", Value::Bool(uri.omit_host)),
    ])?;
    Ok((members, Value::from(out)))
}

/// A number that need not be there, and whether it is there and zero.
fn optional(number: Option<i64>) -> (Value, Value) {
    (Value::from(number.unwrap_or(0)), Value::Bool(number == Some(0)))
}

/// URIs with their parts, and as text.
pub(in crate::builtins::crypto) fn uris(all: &[&[u8]]) -> Result<(Value, Value), Fault> {
    let (mut parts, mut texts) = (Vec::new(), Vec::new());
    for uri in all {
        let (members, text) = address_of(uri)?;
        parts.push(members);
        texts.push(text);
    }
    Ok((list(parts)?, list(texts)?))
}

pub(in crate::builtins::crypto) fn addresses(all: &[&[u8]]) -> Result<Value, Fault> {
    list(all.iter().map(|bytes| address(bytes)).collect())
}

/// The certificate; with `URIStrings` where OPA adds them.
pub(in crate::builtins::crypto) fn certificate(
    call: &mut Call<'_>,
    certificate: &Certificate<'_>,
    with_uris: bool,
) -> Result<Value, Fault> {
    let known = &certificate.known;
    // Some hundred members, and the bytes of the certificate about four times in base64.
    call.room(200 + certificate.raw.len() / 4)?;
    call.bytes(certificate.raw.len().saturating_mul(8))?;
    let (uris, uri_texts) = uris(&known.uris)?;
    let Subtrees { dns, ips, emails, uris: domains } = &known.permitted;
    let excluded = &known.excluded;
    let policies = known.policies.as_deref();
    let identifiers = policies.map(|all| {
        // Those whose arcs have 31 bits.
        let short = all.iter().filter(|policy| arcs(policy).is_some());
        Ok::<_, Fault>(Value::array(short.map(|policy| id(policy)).collect::<Result<_, _>>()?)?)
    });
    let mappings = known.mappings.iter().map(|(issuer, subject)| {
        object(vec![("IssuerDomainPolicy", dotted(issuer)), ("SubjectDomainPolicy", dotted(subject))])
    });
    let (inhibit_any, inhibit_any_zero) = optional(known.inhibit_any);
    let (inhibit_mapping, inhibit_mapping_zero) = optional(known.inhibit_mapping);
    let (require_policy, require_policy_zero) = optional(known.require_policy);
    let mut members = vec![
        ("Raw", raw(certificate.raw)),
        ("RawTBSCertificate", raw(certificate.signed)),
        ("RawSubjectPublicKeyInfo", raw(certificate.raw_key)),
        ("RawSubject", raw(certificate.raw_subject)),
        ("RawIssuer", raw(certificate.raw_issuer)),
        ("Signature", raw(&certificate.signature)),
        ("SignatureAlgorithm", Value::from(super::signatures::number(certificate.algorithm))),
        ("PublicKeyAlgorithm", Value::from(certificate.key_algorithm)),
        ("PublicKey", key(certificate.key.as_ref())?),
        ("Version", Value::from(certificate.version)),
        ("SerialNumber", big(certificate.serial)),
        ("Issuer", name(&certificate.issuer)?),
        ("Subject", name(&certificate.subject)?),
        ("NotBefore", time(certificate.not_before)?),
        ("NotAfter", time(certificate.not_after)?),
        ("KeyUsage", Value::from(known.key_usage)),
        ("Extensions", extensions(&certificate.extensions)?),
        ("ExtraExtensions", Value::Null),
        ("UnhandledCriticalExtensions", ids(&known.unhandled)?),
        ("ExtKeyUsage", list(known.usages.iter().map(|usage| Value::from(*usage)).collect())?),
        ("UnknownExtKeyUsage", ids(&known.unknown_usages)?),
        ("BasicConstraintsValid", Value::Bool(known.has_basic)),
        ("IsCA", Value::Bool(known.is_authority)),
        ("MaxPathLen", Value::from(known.most_path)),
        ("MaxPathLenZero", Value::Bool(known.has_basic && known.most_path == 0)),
        ("SubjectKeyId", known.subject_key.map_or(Value::Null, raw)),
        ("AuthorityKeyId", known.authority_key.map_or(Value::Null, raw)),
        ("OCSPServer", texts(&known.status)?),
        ("IssuingCertificateURL", texts(&known.issuers)?),
        ("DNSNames", texts(&known.dns)?),
        ("EmailAddresses", texts(&known.emails)?),
        ("IPAddresses", addresses(&known.ips)?),
        ("URIs", uris),
        ("PermittedDNSDomainsCritical", Value::Bool(known.names_critical)),
        ("PermittedDNSDomains", texts(dns)?),
        ("ExcludedDNSDomains", texts(&excluded.dns)?),
        ("PermittedIPRanges", ranges(ips)?),
        ("ExcludedIPRanges", ranges(&excluded.ips)?),
        ("PermittedEmailAddresses", texts(emails)?),
        ("ExcludedEmailAddresses", texts(&excluded.emails)?),
        ("PermittedURIDomains", texts(domains)?),
        ("ExcludedURIDomains", texts(&excluded.uris)?),
        ("CRLDistributionPoints", texts(&known.revocation)?),
        ("PolicyIdentifiers", identifiers.transpose()?.unwrap_or(Value::Null)),
        ("Policies", list(policies.unwrap_or_default().iter().map(|policy| dotted(policy)).collect())?),
        ("InhibitAnyPolicy", inhibit_any),
        ("InhibitAnyPolicyZero", inhibit_any_zero),
        ("InhibitPolicyMapping", inhibit_mapping),
        ("InhibitPolicyMappingZero", inhibit_mapping_zero),
        ("RequireExplicitPolicy", require_policy),
        ("RequireExplicitPolicyZero", require_policy_zero),
        ("PolicyMappings", list(mappings.collect::<Result<_, _>>()?)?),
    ];
    if with_uris {
        members.push(("URIStrings", uri_texts));
    }
    object(members)
}
