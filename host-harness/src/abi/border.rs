//! How a hostcall crosses the border: what the guest passed is read, the host is asked, and the reply, which is a
//! value, is delivered into the guest's memory.
//!
//! A reply is a value and not a write so that it can be kept: a callback that was held in the middle is run again
//! from its start, and is given the same replies up to the place where it was held (see [`super::journal`]). The other
//! way round, a hostcall is a value as well, so that it can be made again without the guest (see [`super::recall`]).
//! No borrow of guest memory lives across a call into the guest, because its allocator may grow and so move it.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use bytes::Bytes;
use smallvec::SmallVec;
use wasmtime::Caller;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Answer, Go, Host, HostSlot, Point, Status, VmIndex,
    memory::{length, read, write},
    vm::{Phase, VmState},
};

/// The guest, seen from inside a hostcall.
pub(super) type Guest<'a> = Caller<'a, VmState>;

/// What every hostcall costs of a callback's fuel: about the instructions that run in the time that it takes.
const CALL_FUEL: u64 = 1000;
/// What each byte that crosses costs beside that. A guest that has the host copy or keep bytes for ever comes to an end
/// by this, and not by the host's memory.
const BYTE_FUEL: u64 = 4;

/// What a hostcall works with: the guest's bytes on one side, the host on the other.
pub(super) struct Border<'a> {
    source: Source<'a>,
    pub(super) host: &'a mut dyn Host,
    pub(super) vm: VmIndex,
    /// Count of bytes that were read.
    bytes_read: Cell<u64>,
}

/// Where the bytes come from that the guest passes.
enum Source<'a> {
    /// Its memory.
    Memory(&'a [u8]),
    /// The same; what is read is kept, so that the hostcall can be made again.
    Kept(&'a [u8], RefCell<Vec<Read>>),
    /// What was read when the guest made this hostcall, and how much of that has been read again.
    Recalled(&'a Made, Cell<usize>),
}

/// A slice of a guest's memory that a hostcall has read.
#[derive(Debug)]
struct Read {
    pointer: u32,
    size: u32,
    bytes: Answer<Box<[u8]>>,
}

/// A hostcall that a guest has made, with all that it passed.
pub(super) struct Made {
    function: &'static str,
    action: Action,
    reads: Vec<Read>,
    memory_bytes: usize,
    /// Fuel that it cost.
    pub(super) fuel: u64,
}

/// What a hostcall does at the border.
type Action = Arc<dyn Fn(&mut Border<'_>) -> Result<HostAnswer, Held> + Send + Sync>;

/// What the host answers: a reply, or the number that the guest sees.
pub(super) type HostAnswer = Result<Reply, u32>;

/// A hostcall that a guest has made, and its answer with a digest of it; none where the guest was held.
pub(super) type Exchanged = (Made, Option<(u128, HostAnswer)>);

/// What a guest is given for a hostcall that succeeded.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    outputs: SmallVec<[Output; 2]>,
}

/// Bytes and where they go.
#[derive(Debug, Clone)]
enum Output {
    /// To a place that the guest named.
    Placed { at: u32, bytes: Bytes },
    /// To memory that the guest's own allocator provides; the guest named where its address and size go.
    Given { bytes: Bytes, pointer_at: u32, size_at: u32 },
}

/// Why a hostcall was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The guest sees this number.
    Code(u32),
    /// Another turn goes first: the callback is left here and run again later.
    Held,
}

/// The error that a callback ends with when it is held; it is no fault of the guest.
#[derive(Debug, thiserror::Error)]
#[error("the callback was held at a hostcall that other VMs can see")]
pub(super) struct Held;

// === impl Border ===

impl<'a> Border<'a> {
    /// A slice of guest memory.
    ///
    /// Errors: [`Status::InvalidMemoryAccess`] when it is not wholly inside.
    pub(super) fn read(&self, pointer: u32, size: u32) -> Answer<&'a [u8]> {
        let bytes = match &self.source {
            Source::Memory(memory) => read(memory, pointer, size),
            Source::Kept(memory, reads) => {
                let bytes = read(memory, pointer, size);
                reads.borrow_mut().push(Read { pointer, size, bytes: bytes.map(Box::from) });
                bytes
            }
            Source::Recalled(made, next) => {
                let read = made.reads.get(next.get());
                next.set(next.get() + 1);
                let read = read.filter(|read| (read.pointer, read.size) == (pointer, size));
                // What is read depends on nothing but the guest, so that this cannot happen.
                let read = read.expect("a hostcall reads what it has read before");
                read.bytes.as_deref().map_err(|status| *status)
            }
        }?;
        self.bytes_read.set(self.bytes_read.get().saturating_add(u64::from(size)));
        Ok(bytes)
    }

    /// Bytes of memory that the guest has.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.source {
            Source::Memory(memory) | Source::Kept(memory, _) => memory.len(),
            Source::Recalled(made, _) => made.memory_bytes,
        }
    }

    /// Lets the host decide whether the hostcall goes on now.
    ///
    /// Errors: [`Refused::Held`].
    pub(super) fn pass(&mut self, point: Point<'_>) -> Result<(), Refused> {
        match self.host.schedule_point(self.vm, point) {
            Go::On => Ok(()),
            Go::Hold => Err(Refused::Held),
        }
    }
}

// === impl Reply ===

impl Reply {
    /// A 32-bit number.
    pub(super) fn word(at: u32, value: u32) -> Reply {
        Reply::default().and_word(at, value)
    }

    /// A 64-bit number.
    pub(super) fn long(at: u32, value: u64) -> Reply {
        Reply::default().and_placed(at, &value.to_le_bytes())
    }

    /// Bytes in memory that the guest's own allocator provides. No bytes are pointer 0 and size 0.
    pub(super) fn given(bytes: impl Into<Bytes>, pointer_at: u32, size_at: u32) -> Reply {
        Reply::default().and_given(bytes, pointer_at, size_at)
    }

    pub(super) fn and_word(self, at: u32, value: u32) -> Reply {
        self.and_placed(at, &value.to_le_bytes())
    }

    pub(super) fn and_placed(mut self, at: u32, bytes: &[u8]) -> Reply {
        self.outputs.push(Output::Placed { at, bytes: Bytes::copy_from_slice(bytes) });
        self
    }

    pub(super) fn and_given(mut self, bytes: impl Into<Bytes>, pointer_at: u32, size_at: u32) -> Reply {
        self.outputs.push(Output::Given { bytes: bytes.into(), pointer_at, size_at });
        self
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Reply {
        Reply::default()
    }
}

// === impl Made ===

impl Made {
    /// Makes the hostcall again; gives its answer with a digest, and keeps that in the journal of the callback.
    ///
    /// Errors: [`Held`].
    pub(super) fn again(
        &self,
        slot: &HostSlot,
        vm: VmIndex,
        observed: bool,
    ) -> Result<(u128, HostAnswer), Held> {
        let mut slot = slot.lock();
        let host = slot.as_deref_mut().expect("a host is lent to a VM that is called");
        let source = Source::Recalled(self, Cell::new(0));
        let mut border = Border { source, host, vm, bytes_read: Cell::new(0) };
        let answer = (self.action)(&mut border)?;
        let digest = digest(self.function, &answer);
        if observed {
            border.host.answered(vm, self.function, digest);
        }
        Ok((digest, answer))
    }

    pub(super) fn function(&self) -> &'static str {
        self.function
    }

    /// About how much memory this takes.
    pub(super) fn bytes(&self) -> usize {
        let reads =
            self.reads.iter().map(|read| size_of::<Read>() + read.bytes.as_ref().map_or(0, |b| b.len()));
        size_of::<Made>() + 64 + reads.sum::<usize>()
    }
}

// === impl Output ===

impl Output {
    fn len(&self) -> u64 {
        match self {
            Output::Placed { bytes, .. } => bytes.len() as u64,
            Output::Given { bytes, .. } => bytes.len() as u64,
        }
    }
}

// === impl Refused ===

impl From<Status> for Refused {
    fn from(status: Status) -> Refused {
        Refused::Code(status.code())
    }
}

/// Carries out a hostcall of `env` and gives the number that it returns.
///
/// Errors: a trap of the guest's allocator, a hostcall that its phase does not allow, or [`Held`].
pub(super) fn hostcall<R: Into<Reply>, E: Into<Refused>>(
    guest: &mut Guest<'_>,
    function: &'static str,
    action: impl Fn(&mut Border<'_>) -> Result<R, E> + Send + Sync + 'static,
) -> wasmtime::Result<u32> {
    match answer(guest, function, action)? {
        Ok(reply) => deliver(guest, reply, Status::InvalidMemoryAccess.code()),
        Err(code) => Ok(code),
    }
}

/// Asks the host, or the journal, without giving anything to the guest yet; an error is the number for the guest.
///
/// Errors: a hostcall that the guest's phase does not allow, or [`Held`].
pub(super) fn answer<R: Into<Reply>, E: Into<Refused>>(
    guest: &mut Guest<'_>,
    function: &'static str,
    action: impl Fn(&mut Border<'_>) -> Result<R, E> + Send + Sync + 'static,
) -> wasmtime::Result<HostAnswer> {
    let state = guest.data_mut();
    if !state.phase.allows(function) {
        let phase = state.phase.describe();
        wasmtime::bail!("restricted_callback: `{function}` cannot be called while {phase}");
    }
    if let Some((kept, fuel)) = state.journal.replay(function)? {
        burn(guest, fuel);
        return Ok(kept);
    }
    let action = move |border: &mut Border<'_>| match action(border).map_err(Into::into) {
        Ok(reply) => Ok(Ok(reply.into())),
        Err(Refused::Code(code)) => Ok(Err(code)),
        Err(Refused::Held) => Err(Held),
    };
    let keeps = guest.data().exchanged.is_some();
    let (answered, kept, fuel) = at_border(guest, function, keeps, &action)?;
    if let Some((reads, memory_bytes)) = kept {
        let made = Made { function, action: Arc::new(action), reads, memory_bytes, fuel };
        let answered = answered.as_ref().ok().map(|(digest, answer)| (*digest, answer.clone()));
        if let Some(exchanged) = &mut guest.data_mut().exchanged {
            exchanged.push((made, answered));
        }
    }
    let (_, answer) = answered?;
    guest.data_mut().journal.keep(function, &answer, fuel);
    Ok(answer)
}

/// What the guest can tell of an answer, in few bits.
fn digest(function: &str, answer: &Result<Reply, u32>) -> u128 {
    let mut bytes: SmallVec<[u8; 256]> = SmallVec::from_slice(function.as_bytes());
    match answer {
        Err(code) => bytes.extend_from_slice(&code.to_le_bytes()),
        Ok(reply) => {
            for output in &reply.outputs {
                let (Output::Placed { bytes: given, .. } | Output::Given { bytes: given, .. }) = output;
                bytes.extend_from_slice(&given.len().to_le_bytes());
                bytes.extend_from_slice(given);
            }
        }
    }
    xxh3_128(&bytes)
}

/// Puts a reply into the guest's memory and gives the number that the hostcall returns: 0, or `fault` for a place that
/// is not in the guest's memory.
///
/// Errors: a trap of the guest's allocator.
pub(super) fn deliver(guest: &mut Guest<'_>, reply: Reply, fault: u32) -> wasmtime::Result<u32> {
    for output in reply.outputs {
        burn(guest, output.len().saturating_mul(BYTE_FUEL));
        let placed = match output {
            Output::Placed { at, bytes } => place(guest, at, &bytes),
            Output::Given { bytes, pointer_at, size_at } => give(guest, &bytes, pointer_at, size_at)?,
        };
        if placed.is_err() {
            return Ok(fault);
        }
    }
    Ok(Status::Ok.code())
}

/// Asks the host. Gives the answer with its digest, what was read if that is kept, and the fuel that it cost.
#[expect(clippy::type_complexity, reason = "three values that are taken apart at once")]
fn at_border(
    guest: &mut Guest<'_>,
    function: &'static str,
    keeps: bool,
    action: &impl Fn(&mut Border<'_>) -> Result<HostAnswer, Held>,
) -> wasmtime::Result<(Result<(u128, HostAnswer), Held>, Option<(Vec<Read>, usize)>, u64)> {
    let memory = guest.data().memory;
    let (memory, state): (&[u8], &mut VmState) = match memory {
        Some(memory) => {
            let (memory, state) = memory.data_and_store_mut(&mut *guest);
            (memory, state)
        }
        None => (&[], guest.data_mut()),
    };
    let (vm, observed) = (state.index, state.observed);
    let mut slot = state.host.lock();
    let Some(host) = slot.as_deref_mut() else {
        wasmtime::bail!("`{function}` was called while no host was lent to the VM");
    };
    let source = if keeps { Source::Kept(memory, RefCell::default()) } else { Source::Memory(memory) };
    let mut border = Border { source, host, vm, bytes_read: Cell::new(0) };
    let answered = action(&mut border).map(|answer| {
        let digest = if keeps || observed { digest(function, &answer) } else { 0 };
        if observed {
            border.host.answered(vm, function, digest);
        }
        (digest, answer)
    });
    let bytes_read = border.bytes_read.get();
    let kept = match border.source {
        Source::Kept(memory, reads) => Some((reads.into_inner(), memory.len())),
        _ => None,
    };
    drop(slot);
    let fuel = CALL_FUEL.saturating_add(bytes_read.saturating_mul(BYTE_FUEL));
    burn(guest, fuel);
    Ok((answered, kept, fuel))
}

/// Takes fuel from the callback, which traps when it goes on with none.
fn burn(guest: &mut Guest<'_>, cost: u64) {
    // No fuel at all means that the engine does not meter.
    if let Ok(left) = guest.get_fuel() {
        let set = guest.set_fuel(left.saturating_sub(cost));
        debug_assert!(set.is_ok(), "an engine that has fuel takes fuel");
    }
}

fn place(guest: &mut Guest<'_>, at: u32, bytes: &[u8]) -> Answer {
    let memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    write(memory.data_mut(guest), at, bytes)
}

fn give(guest: &mut Guest<'_>, bytes: &[u8], pointer_at: u32, size_at: u32) -> wasmtime::Result<Answer> {
    let pointer = if bytes.is_empty() { 0 } else { allocate(guest, bytes.len())? };
    if pointer == 0 && !bytes.is_empty() {
        return Ok(Err(Status::InvalidMemoryAccess));
    }
    let Some(memory) = guest.data().memory else {
        return Ok(Err(Status::InvalidMemoryAccess));
    };
    let memory = memory.data_mut(guest);
    let given = if bytes.is_empty() { Ok(()) } else { write(memory, pointer, bytes) };
    Ok(given
        .and_then(|()| write(memory, pointer_at, &pointer.to_le_bytes()))
        .and_then(|()| write(memory, size_at, &length(bytes.len()).to_le_bytes())))
}

fn allocate(guest: &mut Guest<'_>, size: usize) -> wasmtime::Result<u32> {
    let Some(allocate) = guest.data().allocate.clone() else {
        return Ok(0);
    };
    let phase = std::mem::replace(&mut guest.data_mut().phase, Phase::Allocating);
    let pointer = allocate.call(&mut *guest, length(size));
    guest.data_mut().phase = phase;
    pointer
}

impl Phase {
    fn describe(self) -> &'static str {
        match self {
            Phase::Starting => "the module starts",
            Phase::Allocating => "the guest allocates memory for the host",
            Phase::Running => "a callback runs",
        }
    }
}
