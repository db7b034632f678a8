//! What is written down of a run when someone wants to read it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{core::Core, exchange::StreamId, schedule::TurnId, vms::VmSlot};
use crate::{
    abi::VmIndex,
    steps::{Step, TurnName, Verb},
    world::CallId,
};

/// Longest value that is written down, in characters.
const VALUE_CHARACTERS: usize = 200;
/// Values that are no text are shown up to this size all the same.
const BINARY_BYTES: usize = 32;

/// The steps of a run, and what they are the consequence of.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) steps: Vec<Step>,
    /// Steps that posted notices, by thread and queue.
    posted: BTreeMap<(VmSlot, u32), VecDeque<usize>>,
    sent: BTreeMap<CallId, usize>,
    /// Steps at which requests came.
    requested: BTreeMap<StreamId, usize>,
    /// What the next callback is the consequence of.
    cause: Option<usize>,
}

/// What a step did, in words.
#[derive(Debug, Default)]
pub(super) struct Note {
    pub(super) object: String,
    pub(super) argument: String,
    pub(super) observed: String,
}

/// Bytes as people read them. What is an archive or a record and no text is reported by its size and a hash.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) if bytes.len() > BINARY_BYTES => {
            return format!("({} bytes, {:08x})", bytes.len(), xxh3_64(bytes) >> 32);
        }
        Err(_) => String::from_utf8_lossy(bytes),
    };
    match text.char_indices().nth(VALUE_CHARACTERS) {
        None => text.into_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], bytes.len()),
    }
}

// === impl Recorder ===

impl Recorder {
    pub(super) fn posted(&mut self, to: (VmSlot, u32), step: usize) {
        self.posted.entry(to).or_default().push_back(step);
    }

    pub(super) fn sent(&mut self, call: CallId, step: usize) {
        self.sent.insert(call, step);
    }

    /// The next callback is of a notice that was posted.
    pub(super) fn is_notice(&mut self, to: (VmSlot, u32)) {
        self.cause = self.posted.get_mut(&to).and_then(VecDeque::pop_front);
    }

    /// The next callback is of a call that was sent.
    pub(super) fn is_answer(&mut self, call: CallId) {
        self.cause = self.sent.remove(&call);
    }

    /// The cluster of the call whose outcome comes next.
    pub(super) fn cluster(&self) -> Option<String> {
        self.steps.get(self.cause?.checked_sub(1)?).map(|step| step.object.clone())
    }

    pub(super) fn requested(&mut self, stream: StreamId, step: usize) {
        self.requested.insert(stream, step);
    }

    /// The next step is the answer to a request.
    pub(super) fn is_reply(&mut self, stream: StreamId) {
        self.cause = self.requested.remove(&stream);
    }

    /// The turn was held after its last step, before a hostcall that may never come: its VM may fail meanwhile.
    pub(super) fn held(&mut self, turn: &TurnName, before: (Verb, String)) {
        if let Some(step) = self.steps.iter_mut().rev().find(|step| step.turn == *turn) {
            step.held = true;
            step.held_before = Some(before);
        }
    }
}

// === impl Core ===

impl Core {
    /// Writes a step of the running turn down, if someone wants to know, and gives its number.
    pub(super) fn note(&mut self, vm: VmIndex, verb: Verb, note: impl FnOnce(&Core) -> Note) -> usize {
        if self.recorder.is_none() {
            return 0;
        }
        let thread = self.vms[vm].role.slot();
        self.note_on(thread, verb, note)
    }

    /// The same where no VM is concerned.
    pub(super) fn note_on(&mut self, thread: VmSlot, verb: Verb, note: impl FnOnce(&Core) -> Note) -> usize {
        if self.recorder.is_none() {
            return 0;
        }
        let at = self.now();
        let turn = self.exploration.as_ref().and_then(|exploration| exploration.running);
        let turn = match turn {
            Some(turn) => self.turn_name(turn),
            None => TurnName {
                thread: thread.to_string(),
                event: "start".to_owned(),
                ordinal: 1,
                subject: String::new(),
            },
        };
        let Note { object, argument, observed } = note(self);
        let Some(recorder) = &mut self.recorder else {
            return 0;
        };
        let number = recorder.steps.len() + 1;
        let causes = recorder.cause.take().into_iter().collect();
        recorder.steps.push(Step {
            number,
            at,
            turn,
            verb,
            object,
            argument,
            observed,
            held: false,
            held_before: None,
            causes,
        });
        number
    }

    /// What people call a turn.
    pub(crate) fn turn_name(&self, turn: TurnId) -> TurnName {
        TurnName {
            thread: turn.thread.to_string(),
            event: turn.kind.as_str().to_owned(),
            ordinal: usize::try_from(turn.ordinal).unwrap_or(usize::MAX),
            subject: self.subject(turn),
        }
    }
}
