//! What stands in shared data: one record per bundle beside its payload, one record per member.
//!
//! INVARIANT (monotone): a record is only ever written by compare-and-swap on what was read. Times are milliseconds on
//! the host's monotonic clock, which all VMs of a process share.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::shared::{Read, Seen, SharedData};
use crate::config::BundleSource;

/// The notation of everything below; a version that writes otherwise takes another number, and sees none of this.
const SCHEMA: &str = "portcullis/1";
/// A payload ends with the generation that it is.
const TRAILER_BYTES: usize = 8;
/// Payloads of a bundle take turns in so many keys, because shared data cannot be deleted: the active one and the next.
const PAYLOAD_KEYS: u64 = 2;

/// The truth about one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct BundleRecord {
    /// Drawn when the record was made: generations count within one.
    pub(super) lineage: u32,
    /// Counts the changes of owner, from 1: the fencing token of whoever writes.
    pub(super) epoch: u64,
    /// Who loads it.
    pub(super) owner: Option<Owner>,
    /// Counts what was published, from 1; 0 before.
    pub(super) generation: u64,
    /// SHA-256 of the archive, in hex.
    pub(super) digest: String,
    pub(super) revision: String,
    /// Of the archive that is published, never of one that was refused: a refused one must be offered again.
    pub(super) etag: Option<String>,
    pub(super) published_ms: u64,
    /// When the server last said that this is the newest.
    pub(super) checked_ms: u64,
    /// What has gone wrong since.
    pub(super) fault: Option<FaultRecord>,
}

/// Why a bundle is not newer than it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FaultRecord {
    pub(super) message: String,
    pub(super) since_ms: u64,
}

/// A member that loads a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub(super) member: usize,
    pub(super) vm: VmName,
}

/// One plugin context in one VM, by a number that it has drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct VmName(pub(super) u32);

/// One VM that takes part: it is alive as long as it renews this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberRecord {
    pub(super) vm: VmName,
    /// Which configuration it has: several may share a `vm_id`.
    pub(super) plugin: u32,
    /// When it counts as dead; 0 once it has left.
    pub(super) until_ms: u64,
    /// What it serves: generations by the key of the bundle's record.
    pub(super) serving: BTreeMap<String, u64>,
    /// Policies that can decide, and all.
    pub(super) ready: (usize, usize),
}

// === impl VmName ===

impl std::fmt::Display for VmName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

// === impl MemberRecord ===

impl MemberRecord {
    pub(super) fn key(member: usize) -> String {
        format!("{SCHEMA}/member/{member}")
    }

    pub(super) fn is_alive(&self, now: Duration) -> bool {
        self.until_ms > millis(now)
    }
}

/// The queue on which a member is told to look.
pub(super) fn hint_queue(member: usize) -> String {
    format!("{SCHEMA}/hint/{member}")
}

/// The key of a bundle's record: bundles that are fetched alike are one, whichever configuration names them.
pub(super) fn bundle_key(name: &str, source: &BundleSource) -> String {
    let BundleSource { cluster, scheme, authority, path, headers, size_limit_bytes, .. } = source;
    let identity = (name, cluster, scheme.as_str(), authority, path, headers, size_limit_bytes);
    let digest = format!("{:x}", Sha256::digest(serde_json::to_vec(&identity).unwrap_or_default()));
    format!("{SCHEMA}/bundle/{name}/{}", digest.get(..12).unwrap_or_default())
}

/// The key of the payload of a generation.
pub(super) fn payload_key(bundle_key: &str, generation: u64) -> String {
    format!("{bundle_key}/payload/{}", generation % PAYLOAD_KEYS)
}

/// An archive with the generation that it is of.
pub(super) fn seal_payload(archive: &[u8], generation: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(archive.len().saturating_add(TRAILER_BYTES));
    payload.extend_from_slice(archive);
    payload.extend_from_slice(&generation.to_le_bytes());
    payload
}

/// The archive and its generation; none where there is no payload.
pub(super) fn open_payload(mut payload: Vec<u8>) -> Option<(Vec<u8>, u64)> {
    let length = payload.len().checked_sub(TRAILER_BYTES)?;
    let generation = u64::from_le_bytes(payload.get(length..)?.try_into().ok()?);
    payload.truncate(length);
    Some((payload, generation))
}

/// Reads a record. None where there is none that can be read; what stands there may be replaced all the same.
pub(super) fn read<R: DeserializeOwned>(shared: &dyn SharedData, key: &str) -> Option<(Option<R>, Seen)> {
    let Read { value, seen } = shared.get(key)?;
    Some((serde_json::from_slice(&value).ok(), seen))
}

/// The same, but reads nothing of a record that still has the number that is known of it.
pub(super) fn read_unless<R: DeserializeOwned>(
    shared: &dyn SharedData,
    key: &str,
    known: Option<Seen>,
) -> Option<(Option<R>, Seen)> {
    let Read { value, seen } = shared.get(key)?;
    if known == Some(seen) {
        return Some((None, seen));
    }
    Some((serde_json::from_slice(&value).ok(), seen))
}

/// Writes a record if it still is what was seen.
pub(super) fn write<R: Serialize>(shared: &dyn SharedData, key: &str, record: &R, seen: Seen) -> bool {
    serde_json::to_vec(record).is_ok_and(|value| shared.compare_and_set(key, &value, seen))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
