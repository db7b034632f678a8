//! The moves that change a bundle's record. Each reads, judges what it read, and writes only over that.

use std::time::Duration;

use super::{
    record::{self, BundleRecord, Owner, millis, payload_key, seal_payload},
    shared::SharedData,
};
use crate::hooks::{Protection, guards};

/// Others write a record when they take it over, so a second try is rare and an eighth a host at fault.
const MAX_TRIES: usize = 8;

/// One bundle's record, for the member that loads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold<'a> {
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
}

/// Takes a bundle over, unless somebody else has done so since it was read. `take` says whether it may be taken, and may
/// change what the record says of the content.
pub(super) fn claim(
    key: &str,
    owner: Owner,
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
    record::write(shared, key, &record, seen).then_some(record)
}

impl Hold<'_> {
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

    /// Publishes the next generation: its payload first, then the record that makes it the active one.
    ///
    /// The payload's key is read before the record: a member that was overtaken after it had read the record finds
    /// that its successor has written there, and can damage nothing.
    pub(super) fn publish(
        self,
        content: Publication<'_>,
        now: Duration,
        shared: &dyn SharedData,
    ) -> Result<BundleRecord, NotWritten> {
        let mut generation = 1;
        for _ in 0..MAX_TRIES {
            let payload_key = payload_key(self.key, generation);
            let Some(payload_seen) = shared.get(&payload_key).map(|read| read.seen) else {
                continue;
            };
            let Some((found, seen)) = record::read::<BundleRecord>(shared, self.key) else {
                continue;
            };
            let record = self.own(found)?;
            if record.generation + 1 != generation {
                generation = record.generation + 1;
                continue;
            }
            let payload = seal_payload(content.archive, generation);
            if !shared.compare_and_set(&payload_key, &payload, payload_seen) {
                continue;
            }
            let record = BundleRecord {
                generation,
                digest: content.digest.to_owned(),
                revision: content.revision.to_owned(),
                etag: content.etag.map(str::to_owned),
                published_ms: millis(now),
                checked_ms: millis(now),
                fault: None,
                ..record
            };
            if record::write(shared, self.key, &record, seen) {
                return Ok(record);
            }
        }
        Err(NotWritten::Contended)
    }

    /// Frees the payload that the active generation has replaced. True when there is nothing left to free.
    ///
    /// Whoever was about to read it finds nothing, reads the record again and takes the active one.
    pub(super) fn free_superseded(self, generation: u64, shared: &dyn SharedData) -> bool {
        let key = payload_key(self.key, generation + 1);
        let Some(read) = shared.get(&key) else {
            return false;
        };
        let superseded = match record::open_payload(read.value) {
            None => return true,
            Some((_, found)) => found < generation,
        };
        let Some((found, _)) = record::read::<BundleRecord>(shared, self.key) else {
            return false;
        };
        let active = self.own(found).is_ok_and(|record| record.generation == generation);
        !(superseded && active) || shared.compare_and_set(&key, b"", read.seen)
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
