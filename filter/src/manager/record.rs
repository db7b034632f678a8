//! What stands in shared data: one record per bundle beside its payloads, one per policy, one per member.
//!
//! INVARIANT (monotone): a record is only ever written by compare-and-swap on what was read. Times are milliseconds on
//! the host's monotonic clock, which all VMs of a process share.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::shared::{Read, Seen, SharedData};
use crate::config::{BundleSource, Config};

/// The notation of everything below; a version that writes otherwise takes another number, and sees none of this.
pub(super) const SCHEMA: &str = "portcullis/2";
/// A payload ends with the generation that it is.
const TRAILER_BYTES: usize = 8;
/// Most payloads of one bundle that are kept, whatever is still served: bounds shared data.
pub(super) const MAX_PAYLOADS: usize = 8;

/// The truth about one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct BundleRecord {
    /// Drawn when the record was made: generations count within one.
    pub(super) lineage: u32,
    /// Counts the changes of owner, from 1: the fencing token of whoever writes.
    pub(super) epoch: u64,
    /// Who loads it.
    pub(super) owner: Option<Owner>,
    /// How the owner fetches it.
    pub(super) access: Access,
    /// Counts what was published, from 1; 0 before.
    pub(super) generation: u64,
    /// SHA-256 of the archive, in hex.
    pub(super) digest: String,
    /// As it is shown: shortened, if it is long.
    pub(super) revision: String,
    /// Of the archive that is published, never of one that was refused: a refused one must be offered again.
    pub(super) etag: Option<String>,
    pub(super) published_ms: u64,
    /// When the server last said that this is the newest.
    pub(super) checked_ms: u64,
    /// What has gone wrong since.
    pub(super) fault: Option<FaultRecord>,
    /// Generations whose payload is in shared data, oldest first.
    pub(super) payloads: Vec<PayloadRecord>,
    /// The digest of what the owner is about to read, for whoever comes after it.
    pub(super) reading: Option<String>,
    /// What became of the generation in the policies.
    pub(super) verdict: Verdict,
}

/// Where a payload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PayloadRecord {
    pub(super) generation: u64,
    pub(super) slot: usize,
    /// What it inflates to was no more than this.
    pub(super) size_limit_bytes: u64,
}

/// How a bundle is fetched: what may change although it stays the same bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) number: u32,
    /// When the configuration came that says so: the later one is right.
    pub(super) configured_ms: u64,
}

/// What became of a generation of a bundle in the policies that are made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Some policy has not been tried with it.
    #[default]
    OnTrial,
    /// Every policy that is made of it has passed with it.
    Passed,
    /// Some policy did not compile with it.
    Refused,
    /// It ended a VM, or kept one from going on.
    Quarantined,
}

/// Why a bundle is not newer than it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FaultRecord {
    pub(super) kind: FaultKind,
    pub(super) message: String,
    pub(super) since_ms: u64,
}

/// What is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FaultKind {
    /// Nothing came that could be read.
    Download,
    /// What came is no bundle.
    Content,
    /// What came has ended a VM while it was read.
    Quarantined,
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
    /// The VM itself: several plugin contexts end together.
    pub(super) instance: u32,
    /// What it loads and decides: several configurations may share a `vm_id`.
    pub(super) plugin: u32,
    /// When it counts as dead; 0 once it has left.
    pub(super) until_ms: u64,
    /// How it ended, where that is known.
    pub(super) ended: Option<End>,
    /// Whether it has had a request: one that has none is the better one to try what could end it.
    pub(super) has_served: bool,
    /// What it serves: generations by the key of the bundle's record, numbers of sets by the key of the policy's.
    pub(super) serving: BTreeMap<String, u64>,
    /// Policies that can decide, and all.
    pub(super) ready: (usize, usize),
    /// Who had this place before, and how they ended, the last ones: their marks may still stand somewhere.
    pub(super) before: Vec<(VmName, End)>,
}

/// How a VM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// Its plugin context was taken away.
    Left,
    /// While it decided a request.
    AtRequest,
    /// While it read or compiled bundles.
    AtLoad,
}

// === impl BundleRecord ===

impl BundleRecord {
    /// Where the payload of a generation is.
    pub(super) fn payload(&self, generation: u64) -> Option<&PayloadRecord> {
        self.payloads.iter().find(|payload| payload.generation == generation)
    }

    /// The state of the bundle for all VMs, in the words of transitions.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self { fault: Some(fault), .. } => fault.kind.state(),
            Self { generation: 1.., verdict, .. } => verdict.state(),
            Self { owner: Some(_), .. } => "claimed",
            _ => "absent",
        }
    }
}

// === impl FaultKind ===

impl FaultKind {
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Download => "failing",
            Self::Content => "refused",
            Self::Quarantined => "quarantined",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::OnTrial => "trial",
            Self::Passed => "current",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
        }
    }
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

    /// Those who had its place before, and itself, with how they ended, the last first.
    pub(super) fn ends(self) -> impl Iterator<Item = (VmName, End)> {
        self.ended.map(|end| (self.vm, end)).into_iter().chain(self.before)
    }
}

/// The queue on which a member is notified.
pub(super) fn hint_queue(member: usize) -> String {
    format!("{SCHEMA}/hint/{member}")
}

/// The key of a bundle's record: what is fetched, whoever fetches it and how.
pub(super) fn bundle_key(name: &str, source: &BundleSource) -> String {
    let BundleSource { scheme, authority, path, .. } = source;
    format!("{SCHEMA}/bundle/{name}/{}", digest_of(&(name, scheme.as_str(), authority, path)))
}

/// The number of how a bundle is fetched.
pub(super) fn access_number(source: &BundleSource) -> u32 {
    let BundleSource { cluster, headers, size_limit_bytes, timeout, min_delay, max_delay, .. } = source;
    let how = (cluster, headers, size_limit_bytes, timeout, min_delay, max_delay);
    let digest = Sha256::digest(serde_json::to_vec(&how).unwrap_or_default());
    digest.first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

/// The key of the record of a policy: the same for all who make it of the same bundles.
pub(super) fn policy_key(name: &str, config: &Config) -> String {
    let policy = config.policies.get(name);
    let bundles = policy.into_iter().flat_map(|policy| &policy.bundles);
    let keys: Vec<_> =
        bundles.filter_map(|bundle| Some(bundle_key(bundle, config.bundles.get(bundle)?))).collect();
    let identity = (name, policy.map(|policy| &policy.decision), keys);
    format!("{SCHEMA}/policy/{name}/{}", digest_of(&identity))
}

fn digest_of(identity: &impl Serialize) -> String {
    let digest = format!("{:x}", Sha256::digest(serde_json::to_vec(identity).unwrap_or_default()));
    digest.get(..12).unwrap_or_default().to_owned()
}

/// The key of a payload.
pub(super) fn payload_key(bundle_key: &str, slot: usize) -> String {
    format!("{bundle_key}/payload/{slot}")
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
