//! The moves that change a bundle's record. Each reads, checks what it read, and writes only over that.

use std::time::Duration;

use super::{
    record::{
        self, Access, BundleRecord, MAX_PAYLOADS, Owner, PayloadRecord, Verdict, millis, payload_key,
        seal_payload,
    },
    shared::SharedData,
};
use crate::hooks::{Protection, guards};

/// Others write a record when they take it over, so a second try is rare and an eighth a host at fault.
const MAX_TRIES: usize = 8;

/// A member's claim on a bundle's record: it loads the bundle as long as owner and epoch are these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) key: &'a str,
    pub(super) owner: Owner,
    pub(super) epoch: u64,
}

/// Why a record was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotWritten {
    /// It belongs to another member, or to a later epoch, now: the work is void.
    Fenced,
    /// It changed under every try: the work can be tried again.
    Contended,
}

/// Content to publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publication<'a> {
    pub(super) archive: &'a [u8],
    pub(super) digest: &'a str,
    pub(super) revision: &'a str,
    pub(super) etag: Option<&'a str>,
    pub(super) size_limit_bytes: u64,
}

/// Takes a bundle over, unless somebody else has done so since it was read. `take` says whether it may be taken, and may
/// change what the record says of the content.
pub(super) fn claim(
    key: &str,
    (owner, access): (Owner, Access),
    lineage: u32,
    take: impl FnOnce(&mut BundleRecord) -> bool,
    shared: &dyn SharedData,
) -> Option<BundleRecord> {
    let (found, seen) = record::read::<BundleRecord>(shared, key)?;
    let mut record = found.unwrap_or_else(|| BundleRecord { lineage, ..BundleRecord::default() });
    if !take(&mut record) {
        return None;
    }
    record.epoch += 1;
    record.owner = Some(owner);
    record.access = access;
    record::write(shared, key, &record, seen).then_some(record)
}

impl Claim<'_> {
    /// Changes the record, if it still is this member's.
    pub(super) fn amend(
        self,
        change: impl Fn(&mut BundleRecord),
        shared: &dyn SharedData,
    ) -> Result<BundleRecord, NotWritten> {
        for _ in 0..MAX_TRIES {
            let Some((found, seen)) = record::read::<BundleRecord>(shared, self.key) else {
                continue;
            };
            let mut record = self.own(found)?;
            change(&mut record);
            if record::write(shared, self.key, &record, seen) {
                return Ok(record);
            }
        }
        Err(NotWritten::Contended)
    }

    /// Publishes the next generation, on trial: its payload first, then the record that names it.
    ///
    /// The payload's key is read before the record: a member that was overtaken after it had read the record finds
    /// that its successor has written there, and can damage nothing.
    pub(super) fn publish(
        self,
        content: Publication<'_>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Result<BundleRecord, NotWritten> {
        let mut slot = 0;
        for _ in 0..MAX_TRIES {
            let payload_key = payload_key(self.key, slot);
            let Some(payload_seen) = shared.get(&payload_key).map(|read| read.seen) else {
                continue;
            };
            let Some((found, seen)) = record::read::<BundleRecord>(shared, self.key) else {
                continue;
            };
            let mut record = self.own(found)?;
            let free = free_slot(&mut record);
            if free != slot {
                slot = free;
                continue;
            }
            let generation = record.generation + 1;
            let payload = seal_payload(content.archive, generation);
            if !shared.compare_and_set(&payload_key, &payload, payload_seen) {
                continue;
            }
            let size_limit_bytes = content.size_limit_bytes;
            record.payloads.push(PayloadRecord { generation, slot, size_limit_bytes });
            let record = BundleRecord {
                generation,
                digest: content.digest.to_owned(),
                revision: content.revision.to_owned(),
                etag: content.etag.map(str::to_owned),
                published_ms: millis(now),
                checked_ms: millis(now),
                fault: None,
                reading: None,
                verdict: Verdict::OnTrial,
                ..record
            };
            if record::write(shared, self.key, &record, seen) {
                return Ok(record);
            }
        }
        Err(NotWritten::Contended)
    }

    /// Frees the oldest payload that `is_needed` does not keep; the newest always is. True while there may be more.
    ///
    /// Whoever was about to read it finds nothing, and looks at the records again.
    pub(super) fn free_unneeded(self, is_needed: impl Fn(u64) -> bool, shared: &dyn SharedData) -> bool {
        let Some((Some(mut record), seen)) = record::read::<BundleRecord>(shared, self.key) else {
            return false;
        };
        let newest = record.generation;
        let keeps = |generation: u64| generation >= newest || is_needed(generation);
        let place = record.payloads.iter().position(|payload| !keeps(payload.generation));
        let Some(PayloadRecord { generation, slot, .. }) = place.map(|place| record.payloads.remove(place))
        else {
            return false;
        };
        if self.own(Some(record.clone())).is_err() || !record::write(shared, self.key, &record, seen) {
            return false;
        }
        // Nobody puts another payload into the slot but the owner, so what is there still is the one that is not needed.
        let key = payload_key(self.key, slot);
        let Some(read) = shared.get(&key) else { return true };
        if record::open_payload(read.value).is_some_and(|(_, found)| found == generation) {
            shared.compare_and_set(&key, b"", read.seen);
        }
        true
    }

    fn own(&self, found: Option<BundleRecord>) -> Result<BundleRecord, NotWritten> {
        // INVARIANT (monotone): the epoch is the fence, so a late writer loses whatever it has read before.
        found
            .filter(|record| {
                !guards(Protection::Epoch) || (record.owner == Some(self.owner) && record.epoch == self.epoch)
            })
            .ok_or(NotWritten::Fenced)
    }
}

/// A slot without a payload. When all are taken, the oldest payload gives way (INVARIANT bounded).
fn free_slot(record: &mut BundleRecord) -> usize {
    if record.payloads.len() >= MAX_PAYLOADS {
        return record.payloads.remove(0).slot;
    }
    let is_free = |slot: &usize| record.payloads.iter().all(|payload| payload.slot != *slot);
    (0..MAX_PAYLOADS).find(is_free).unwrap_or_default()
}
