//! What a VM does for the bundles that it owns: fetches them, checks what came, publishes it, and frees what that replaced.

use std::{cell::Cell, rc::Rc, time::Duration};

use log::Level;

use super::{
    BUSY_TICK, Effect, Manager,
    download::{Answer, Candidate, Checked, Download, Fault, FetchId, Finished},
    record::{BundleRecord, FaultRecord, millis},
    registry::{Claim, NotWritten, Publication},
    shared::{SharedData, TaskKind},
};
use crate::telemetry::DownloadOutcome;

// === impl Manager ===

impl Manager {
    pub(super) fn give_up_overdue(&mut self, now: Duration, shared: &dyn SharedData) {
        for index in 0..self.tracked.len() {
            let overdue = self.download(index).is_some_and(|download| download.is_overdue(now));
            if overdue {
                self.failed(index, Fault::Overdue, now, shared);
            }
        }
    }

    /// The bundle whose download may start now, if there is room for one.
    pub(super) fn next_due(&self, now: Duration) -> Option<usize> {
        let downloads = || (0..self.tracked.len()).filter_map(|index| Some((index, self.download(index)?)));
        let under_way = || downloads().filter(|(_, download)| download.is_under_way());
        let due = downloads().filter(|(_, download)| download.is_due(now));
        if self.is_superseded() {
            return None;
        }
        // Who has waited longest goes first, so that a small window starves nobody.
        let (next, download) = due.min_by_key(|(_, download)| download.due_at())?;
        let bytes: u64 = under_way().map(|(_, download)| download.weight()).sum();
        let fits = bytes == 0 || bytes.saturating_add(download.weight()) <= self.max_download_bytes;
        (fits && under_way().count() < self.max_concurrent_downloads).then_some(next)
    }

    /// Whether a body of so many bytes may be taken over from the host.
    pub fn has_room(&self, bytes: u64) -> bool {
        let held: u64 =
            self.tracked.iter().filter_map(|tracked| Some(tracked.download.as_ref()?.held())).sum();
        held == 0 || held.saturating_add(bytes) <= self.max_download_bytes
    }

    /// Starts one download that is due, if there is room for it.
    pub(super) fn start_next(&mut self, now: Duration) {
        let next = self.next_due(now).and_then(|index| self.tracked.get_mut(index)?.download.as_mut());
        self.may_start = next.is_some();
        if let Some(download) = next {
            self.attempts += 1;
            let (id, call) = download.start(self.attempts, now);
            self.reporter.push(Effect::Fetch { id, call });
        }
    }

    pub(super) fn fetched(&mut self, id: FetchId, answer: Answer, now: Duration, shared: &dyn SharedData) {
        self.reporter.turn("response");
        let finished = self.tracked.get_mut(id.bundle).and_then(|tracked| tracked.download.as_mut());
        match finished.and_then(|download| download.finish(id, answer)) {
            None => return,
            Some(Finished::Archive) => {}
            Some(Finished::NotModified) => self.unchanged(id.bundle, None, now, shared),
            Some(Finished::Failed(fault)) => self.failed(id.bundle, fault, now, shared),
        }
        // The place in the window that became free is given away at once.
        self.start_next(now);
    }

    /// Checks what came, and publishes it when it is whole.
    pub(super) fn check(&mut self, index: usize, now: Duration, shared: &dyn SharedData) {
        let me = self.membership.owner();
        let task = self.task(TaskKind::Load(None), now);
        let Some(tracked) = self.tracked.get_mut(index) else { return };
        let Some(download) = &mut tracked.download else { return };
        let epoch = download.epoch;
        let size_limit_bytes = download.size_limit_bytes();
        let published = tracked.record.as_ref().map_or("", |(record, _)| record.digest.as_str());
        shared.begin(&task);
        let checked = download.check(published, &self.cache);
        shared.end(&task);
        let candidate = match checked {
            Checked::Reading => return,
            Checked::Hashed { digest } => return self.mark(index, &digest, now, shared),
            Checked::Equal { etag } => return self.unchanged(index, etag, now, shared),
            Checked::Faulty(fault) => return self.failed(index, fault, now, shared),
            Checked::Whole(candidate) => candidate,
        };
        let Candidate { archive, etag, bundle } = candidate;
        let Some(owner) = me else {
            tracked.give_up(&mut self.deferred);
            return;
        };
        let content = Publication {
            archive,
            digest: &bundle.digest,
            revision: &bundle.manifest.shown_revision(),
            etag: etag.as_deref(),
            size_limit_bytes,
        };
        let claim = Claim { key: &tracked.key, owner, epoch };
        match claim.publish(content, now, shared) {
            // It is tried again with the next piece of work.
            Err(NotWritten::Contended) => {}
            Err(NotWritten::Fenced) => self.fenced(index),
            Ok(record) => {
                // Whoever tries it here need not read it again.
                tracked.published = Some(Rc::clone(bundle));
                let from = tracked.record.as_ref().map_or("claimed", |(record, _)| record.state());
                let cause = format!("revision `{}`", record.revision);
                self.reporter.registry(&tracked.name, from, record.state(), &record, &cause);
                self.reporter.count(&tracked.name, DownloadOutcome::Activated);
                download.succeeded(&record, now);
                tracked.forget_number(record);
                self.want_policies_of(index);
                self.untold = true;
                self.reconcile_pause = BUSY_TICK;
            }
        }
    }

    /// Says what is about to be read, for whoever comes after this VM; what has ended one before is not read.
    fn mark(&mut self, index: usize, digest: &str, now: Duration, shared: &dyn SharedData) {
        self.quarantine.refresh(shared);
        let Some(tracked) = self.tracked.get(index) else { return };
        if let Some(conviction) = self.quarantine.of_bundle(&tracked.key, digest) {
            let fault = Fault::Quarantined(conviction.cause.clone());
            return self.failed(index, fault, now, shared);
        }
        match self.amend(index, shared, |record| record.reading = Some(digest.to_owned())) {
            Err(NotWritten::Fenced) => self.fenced(index),
            Err(NotWritten::Contended) => {}
            Ok((_, record)) => {
                if let Some(tracked) = self.tracked.get_mut(index) {
                    tracked.forget_number(record);
                    tracked.download.iter_mut().for_each(Download::marked);
                }
            }
        }
    }

    /// The server has nothing newer than what is published.
    pub(super) fn unchanged(
        &mut self,
        index: usize,
        etag: Option<String>,
        now: Duration,
        shared: &dyn SharedData,
    ) {
        let amended = self.amend(index, shared, |record| {
            record.checked_ms = millis(now);
            record.fault = None;
            record.reading = None;
            if etag.is_some() {
                record.etag.clone_from(&etag);
            }
        });
        let Some(tracked) = self.tracked.get_mut(index) else { return };
        let Some(download) = &mut tracked.download else { return };
        match amended {
            Err(NotWritten::Fenced) => return self.fenced(index),
            Err(NotWritten::Contended) => {
                download.failed(&Fault::Contended, now);
            }
            Ok((before, record)) => {
                download.succeeded(&record, now);
                if before.fault.is_some() {
                    let (from, to) = (before.state(), record.state());
                    self.reporter.registry(&tracked.name, from, to, &record, "nothing newer");
                }
                tracked.forget_number(record);
            }
        }
        self.reporter.count(&tracked.name, DownloadOutcome::NotModified);
    }

    /// Nothing came, or nothing that can be used. INVARIANT (last good): what is published stays.
    pub(super) fn failed(&mut self, index: usize, fault: Fault, now: Duration, shared: &dyn SharedData) {
        let message = fault.to_string();
        self.revision += 1;
        let amended = self.amend(index, shared, |record| {
            let since_ms = record.fault.as_ref().map_or(millis(now), |fault| fault.since_ms);
            record.fault = Some(FaultRecord { kind: fault.kind(), message: message.clone(), since_ms });
            record.reading = None;
        });
        let Some(tracked) = self.tracked.get_mut(index) else { return };
        let Some(download) = &mut tracked.download else { return };
        let (retry_in, repeated) = download.failed(&fault, now);
        self.reporter.count(&tracked.name, fault.outcome());
        match amended {
            Err(NotWritten::Fenced) => self.fenced(index),
            Err(NotWritten::Contended) => {}
            Ok((before, record)) => {
                let kept =
                    if record.generation > 0 { "the last good one stays active" } else { "none is active" };
                let cause = format!("{fault}; {kept}, retrying in {} ms", retry_in.as_millis());
                // Each transition is reported once; a fault that merely repeats is logged at debug level.
                if repeated {
                    let name = &tracked.name;
                    self.reporter.push(Effect::Log(Level::Debug, format!("bundle `{name}`: {cause}")));
                } else {
                    self.reporter.registry(&tracked.name, before.state(), record.state(), &record, &cause);
                }
                tracked.forget_number(record);
            }
        }
    }

    /// Changes a record that this VM owns: as it was, and as it is.
    pub(super) fn amend(
        &self,
        index: usize,
        shared: &dyn SharedData,
        change: impl Fn(&mut BundleRecord),
    ) -> Result<(BundleRecord, BundleRecord), NotWritten> {
        let owned = self.tracked.get(index).and_then(|tracked| {
            Some(Claim {
                key: &tracked.key,
                owner: self.membership.owner()?,
                epoch: tracked.download.as_ref()?.epoch,
            })
        });
        let before = Cell::new(None);
        let record = owned.ok_or(NotWritten::Fenced)?.amend(
            |record| {
                before.set(Some(record.clone()));
                change(record);
            },
            shared,
        )?;
        Ok((before.take().unwrap_or_default(), record))
    }

    /// Another member owns the bundle: what was done for it here is void.
    pub(super) fn fenced(&mut self, index: usize) {
        if let Some(tracked) = self.tracked.get_mut(index) {
            tracked.give_up(&mut self.deferred);
            tracked.record = None;
            self.reconcile_pause = BUSY_TICK;
        }
    }

    pub(super) fn download(&self, index: usize) -> Option<&Download> {
        self.tracked.get(index)?.download.as_ref()
    }
}
