//! Where a gRPC call of a filter goes: the name of a cluster, or an `envoy.config.core.v3.GrpcService` in byte form.
//!
//! Envoy first reads the bytes as the message and only if that fails as a name, so a name such as `h2`, which happens
//! to be a message of unknown fields, is a service without a target. Source: `source/extensions/common/wasm/context.cc`.

/// Field of `GrpcService` with an `EnvoyGrpc`.
const ENVOY_GRPC: u64 = 1;
/// Field of `EnvoyGrpc` with the cluster's name.
const CLUSTER_NAME: u64 = 1;
/// Length and other things that are numbers have at most ten bytes.
const MAX_VARINT_BYTES: usize = 10;

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The bytes are the name of a cluster.
    Name(String),
    /// The bytes are a service on this cluster.
    Cluster(String),
    /// The bytes are a service without a cluster.
    None,
}

/// Reads the first argument of `proxy_grpc_call` and `proxy_grpc_stream`.
pub(super) fn target(bytes: &[u8]) -> Target {
    let Some(service) = fields(bytes) else {
        return Target::Name(String::from_utf8_lossy(bytes).into_owned());
    };
    let Some(envoy_grpc) = last(&service, ENVOY_GRPC) else { return Target::None };
    let Some(envoy_grpc) = fields(envoy_grpc) else {
        return Target::Name(String::from_utf8_lossy(bytes).into_owned());
    };
    let name = last(&envoy_grpc, CLUSTER_NAME).unwrap_or_default();
    Target::Cluster(String::from_utf8_lossy(name).into_owned())
}

/// Fields with bytes, by number, of a message in protobuf's wire format; `None` for bytes that are no message.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        if tag >> 3 == 0 {
            return None;
        }
        match tag & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                fields.push((tag >> 3, value));
                bytes = rest;
            }
            5 => bytes = bytes.get(4..)?,
            // Groups are no part of proto3; Envoy would skip a balanced one.
            _ => return None,
        }
    }
    Some(fields)
}

fn last<'a>(fields: &[(u64, &'a [u8])], number: u64) -> Option<&'a [u8]> {
    fields.iter().rev().find(|(field, _)| *field == number).map(|(_, value)| *value)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for position in 0..MAX_VARINT_BYTES {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_and_a_service_a_cluster() {
        assert_eq!(target(b"hub"), Target::Name("hub".to_owned()));
        assert_eq!(target(b"\x0a\x05\x0a\x03hub"), Target::Cluster("hub".to_owned()));
    }

    #[test]
    fn a_name_that_reads_as_a_message_has_no_target() {
        assert_eq!(target(b"h2"), Target::None);
        assert_eq!(target(b""), Target::None);
    }

    #[test]
    fn bytes_that_end_early_are_a_name() {
        for bytes in [b"\x0a\x05\x0a\x09hub".as_slice(), b"\x0a", b"\xff\xff", b"\x09abc"] {
            assert!(matches!(target(bytes), Target::Name(_)), "{bytes:?}");
        }
    }
}
