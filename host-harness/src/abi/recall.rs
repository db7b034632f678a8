//! What a VM was seen to do, so that it is not run again to do the same.
//!
//! A guest is a function of its memory and of what its hostcalls answered (see [`super::journal`]). So what it does next
//! is known as soon as it has done it once: its hostcalls are made for it, with the bytes that it passed then, and the
//! guest itself runs only from where it is answered something new. Holding a callback costs nothing at all.
//!
//! What is kept is a graph. Its places are what the VM is between two callbacks, by the bits of its memory; from each,
//! callbacks lead on through hostcalls, which branch by what they were answered. Searches run the same few callbacks in
//! very many orders, so the graph stays small; [`Recall::bytes`] says how small.

use std::collections::{HashMap, VecDeque};

use super::{
    Callback, Trap,
    border::{Exchanged, HostAnswer, Made},
    journal::Entry,
    snapshot::Checkpoint,
};

/// Most bytes of checkpoints of one VM; the oldest go first.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// So many callbacks from the last checkpoint there is another one.
const CHECKPOINT_EVERY: u32 = 3;

/// About how much a place takes beside itself: under its digest, and its callbacks.
const PLACE_BYTES: usize = 128;

/// Number of a place between two callbacks; 0 is where the VM was frozen.
pub(super) type PlaceId = usize;
/// Number of something that a guest did.
pub(super) type StepId = usize;

/// Where every run begins.
pub(super) const ROOT: PlaceId = 0;

/// Everything that a VM was seen to do.
pub(super) struct Recall {
    places: Vec<Place>,
    /// Places by what the VM is there: where it comes to the same in another way, what it does next is known.
    alike: HashMap<u128, PlaceId>,
    steps: Vec<Step>,
    /// Places with a checkpoint, the oldest first.
    kept: VecDeque<PlaceId>,
    checkpoint_bytes: usize,
    step_bytes: usize,
}

/// What a VM is between two callbacks.
struct Place {
    /// What the VM is, in few bits.
    digest: Option<u128>,
    /// The return of the callback that led here first; none for the root.
    reached: Option<StepId>,
    callbacks: Vec<(Entered, StepId)>,
    memory_bytes: usize,
    checkpoint: Option<Checkpoint>,
    /// How many callbacks before there was a checkpoint.
    since: u32,
}

struct Step {
    after: After,
    does: Does,
}

/// How a guest is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// Its start functions are called, once.
    Start,
    Callback(Callback),
}

/// What a step comes after.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// The begin of a callback.
    Begin { place: PlaceId, entered: Entered },
    /// An answer of a hostcall, by its number.
    Answer { step: StepId, number: usize },
}

/// What a guest does next.
pub(super) enum Does {
    /// It makes a hostcall.
    Calls { made: Made, answers: Vec<Known> },
    /// It returns from its callback.
    Returns { value: Option<u32>, place: PlaceId },
    /// It fails.
    Traps(Trap),
}

/// An answer that a hostcall was given; what comes then is not known while the guest is on its way.
pub(super) struct Known {
    digest: u128,
    answer: HostAnswer,
    next: Option<StepId>,
}

/// A callback with everything that it was answered.
pub(super) struct Answered {
    /// Where it began.
    pub(super) place: PlaceId,
    pub(super) entered: Entered,
    pub(super) entries: Vec<Entry>,
}

// === impl Recall ===

impl Recall {
    pub(super) fn new(memory_bytes: usize, digest: Option<u128>) -> Recall {
        let (callbacks, checkpoint) = (Vec::new(), None);
        let root = Place { digest, reached: None, callbacks, memory_bytes, checkpoint, since: 0 };
        Recall {
            places: vec![root],
            alike: digest.map(|digest| (digest, ROOT)).into_iter().collect(),
            steps: Vec::new(),
            kept: VecDeque::new(),
            checkpoint_bytes: 0,
            step_bytes: 0,
        }
    }

    /// About how much memory this takes.
    pub(super) fn bytes(&self) -> usize {
        self.checkpoint_bytes
            + self.step_bytes
            + self.places.len() * (size_of::<Place>() + PLACE_BYTES)
            + self.steps.len() * size_of::<Step>()
    }

    /// What the VM is at a place, in few bits.
    pub(super) fn digest(&self, place: PlaceId) -> Option<u128> {
        self.places[place].digest
    }

    /// Bytes of memory that the guest has at a place.
    pub(super) fn memory_bytes(&self, place: PlaceId) -> usize {
        self.places[place].memory_bytes
    }

    /// What a callback does first, if that is known.
    pub(super) fn first(&self, place: PlaceId, entered: Entered) -> Option<StepId> {
        let known = self.places[place].callbacks.iter().find(|(known, _)| *known == entered);
        known.map(|(_, step)| *step)
    }

    pub(super) fn does(&self, step: StepId) -> &Does {
        &self.steps[step].does
    }

    /// What comes after an answer, if that is known; and else what to add it after.
    pub(super) fn next(&mut self, step: StepId, digest: u128, answer: HostAnswer) -> Result<StepId, After> {
        let Does::Calls { answers, .. } = &mut self.steps[step].does else {
            unreachable!("only a hostcall is answered");
        };
        let known = answers.iter().position(|known| known.digest == digest);
        let number = known.unwrap_or(answers.len());
        if known.is_none() {
            self.step_bytes += size_of::<Known>();
            answers.push(Known { digest, answer, next: None });
        }
        answers[number].next.ok_or(After::Answer { step, number })
    }

    /// Adds what the guest did; gives the last of it.
    pub(super) fn add_exchanged(&mut self, mut after: After, exchanged: Vec<Exchanged>) -> (After, StepId) {
        let mut last = 0;
        for (made, answered) in exchanged {
            self.step_bytes += made.bytes();
            last = self.add(after, Does::Calls { made, answers: Vec::new() });
            if let Some((digest, answer)) = answered
                && let Err(unknown) = self.next(last, digest, answer)
            {
                after = unknown;
            }
        }
        (after, last)
    }

    /// Adds the return of a callback, and gives the place that it leads to.
    pub(super) fn add_return(
        &mut self,
        after: After,
        value: Option<u32>,
        memory_bytes: usize,
        digest: Option<u128>,
    ) -> PlaceId {
        let alike = digest.and_then(|digest| self.alike.get(&digest).copied());
        let place = alike.unwrap_or(self.places.len());
        let reached = self.add(after, Does::Returns { value, place });
        if alike.is_none() {
            let since = self.places[self.answered(reached).place].since + 1;
            let (callbacks, checkpoint) = (Vec::new(), None);
            let reached = Some(reached);
            self.places.push(Place { digest, reached, callbacks, memory_bytes, checkpoint, since });
            self.alike.extend(digest.map(|digest| (digest, place)));
        }
        place
    }

    pub(super) fn add(&mut self, after: After, does: Does) -> StepId {
        let number = self.steps.len();
        match after {
            After::Begin { place, entered } => self.places[place].callbacks.push((entered, number)),
            After::Answer { step, number: answer } => {
                if let Does::Calls { answers, .. } = &mut self.steps[step].does {
                    answers[answer].next = Some(number);
                }
            }
        }
        self.steps.push(Step { after, does });
        number
    }

    /// The callback that a step is in, with its answers up to there.
    pub(super) fn answered(&self, step: StepId) -> Answered {
        self.answered_after(self.steps[step].after)
    }

    /// The same, up to what a step would come after.
    pub(super) fn answered_after(&self, mut after: After) -> Answered {
        let mut entries = Vec::new();
        loop {
            match after {
                After::Begin { place, entered } => {
                    entries.reverse();
                    return Answered { place, entered, entries };
                }
                After::Answer { step, number } => {
                    let Step { after: before, does: Does::Calls { made, answers } } = &self.steps[step]
                    else {
                        unreachable!("only a hostcall is answered");
                    };
                    entries.push(Entry::new(made.function(), answers[number].answer.clone(), made.fuel));
                    after = *before;
                }
            }
        }
    }

    /// The callback that led to a place; none for the root.
    pub(super) fn way_to(&self, place: PlaceId) -> Option<Answered> {
        self.places[place].reached.map(|step| self.answered(step))
    }

    pub(super) fn checkpoint(&self, place: PlaceId) -> Option<&Checkpoint> {
        self.places[place].checkpoint.as_ref()
    }

    /// Whether a checkpoint is worth its memory here.
    pub(super) fn wants_checkpoint(&self, place: PlaceId) -> bool {
        let place = &self.places[place];
        place.checkpoint.is_none() && place.since >= CHECKPOINT_EVERY
    }

    pub(super) fn keep_checkpoint(&mut self, place: PlaceId, checkpoint: Checkpoint) {
        self.checkpoint_bytes += checkpoint.bytes();
        self.places[place].checkpoint = Some(checkpoint);
        self.places[place].since = 0;
        self.kept.push_back(place);
        while self.checkpoint_bytes > CHECKPOINT_BYTES
            && let Some(oldest) = self.kept.pop_front()
        {
            let dropped = self.places[oldest].checkpoint.take();
            self.checkpoint_bytes -= dropped.map_or(0, |dropped| dropped.bytes());
            // It may be worth one again.
            self.places[oldest].since = CHECKPOINT_EVERY;
        }
    }
}
