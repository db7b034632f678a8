//! How bytes cross the border between a guest and its host.
//!
//! Every access is checked against the memory's size at that moment; a bad pointer is a status for the guest and
//! never a fault of the host. No borrow of guest memory lives across a call into the guest, because its allocator may
//! grow (and so move) the memory.

use wasmtime::Caller;

use super::{
    Answer, Host, Status, VmIndex,
    vm::{Phase, VmState},
};

/// The guest, seen from inside a hostcall.
pub(super) type Guest<'a> = Caller<'a, VmState>;

/// What a hostcall works with: the guest's bytes on one side, the host on the other.
pub(super) struct Border<'a> {
    pub(super) memory: &'a mut [u8],
    pub(super) host: &'a mut dyn Host,
    pub(super) vm: VmIndex,
}

/// Runs the part of a hostcall that does not call back into the guest.
///
/// Errors: a trap, when the hostcall is not allowed in the guest's phase or no host is lent.
pub(super) fn at_border<T>(
    guest: &mut Guest<'_>,
    function: &str,
    action: impl FnOnce(&mut Border<'_>) -> T,
) -> wasmtime::Result<T> {
    let phase = guest.data().phase;
    if !phase.allows(function) {
        wasmtime::bail!("restricted_callback: `{function}` cannot be called while {}", phase.describe());
    }
    let memory = guest.data().memory;
    let (memory, state): (&mut [u8], &mut VmState) = match memory {
        Some(memory) => memory.data_and_store_mut(guest),
        None => (&mut [], guest.data_mut()),
    };
    let vm = state.index;
    let mut slot = state.host.lock();
    let Some(host) = slot.as_deref_mut() else {
        wasmtime::bail!("`{function}` was called while no host was lent to the VM");
    };
    Ok(action(&mut Border { memory, host, vm }))
}

/// Like [`at_border`] for a hostcall that gives no bytes: the status goes back to the guest.
pub(super) fn hostcall(
    guest: &mut Guest<'_>,
    function: &str,
    action: impl FnOnce(&mut Border<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    at_border(guest, function, action).map(code)
}

/// The number of an answer without a value.
pub(super) fn code(answer: Answer) -> u32 {
    answer.err().unwrap_or(Status::Ok).code()
}

/// Gives bytes to the guest, in memory that its own allocator provides, and writes where they are.
///
/// No bytes are pointer 0 and size 0, without an allocation.
/// Errors: a trap of the allocator. A null pointer from it, or a bad place to write to, is the inner status.
pub(super) fn give(
    guest: &mut Guest<'_>,
    bytes: &[u8],
    pointer_at: u32,
    size_at: u32,
) -> wasmtime::Result<Answer> {
    let pointer = if bytes.is_empty() { 0 } else { allocate(guest, bytes.len())? };
    if pointer == 0 && !bytes.is_empty() {
        return Ok(Err(Status::InvalidMemoryAccess));
    }
    let Some(memory) = guest.data().memory else {
        return Ok(Err(Status::InvalidMemoryAccess));
    };
    let memory = memory.data_mut(guest);
    Ok(place(memory, bytes, pointer, pointer_at, size_at))
}

/// A slice of guest memory.
///
/// Errors: [`Status::InvalidMemoryAccess`] when it is not wholly inside.
pub(super) fn read(memory: &[u8], pointer: u32, size: u32) -> Answer<&[u8]> {
    let start = pointer as usize;
    start.checked_add(size as usize).and_then(|end| memory.get(start..end)).ok_or(Status::InvalidMemoryAccess)
}

/// Writes bytes into guest memory.
///
/// Errors: [`Status::InvalidMemoryAccess`] when they do not wholly fit.
pub(super) fn write(memory: &mut [u8], pointer: u32, bytes: &[u8]) -> Answer {
    writable(memory, pointer, bytes.len())?.copy_from_slice(bytes);
    Ok(())
}

/// A slice of guest memory to write to.
///
/// Errors: [`Status::InvalidMemoryAccess`] when it is not wholly inside.
pub(super) fn writable(memory: &mut [u8], pointer: u32, size: usize) -> Answer<&mut [u8]> {
    let start = pointer as usize;
    start.checked_add(size).and_then(|end| memory.get_mut(start..end)).ok_or(Status::InvalidMemoryAccess)
}

/// Writes a 32-bit number.
pub(super) fn write_u32(memory: &mut [u8], pointer: u32, value: u32) -> Answer {
    write(memory, pointer, &value.to_le_bytes())
}

/// Writes a 64-bit number.
pub(super) fn write_u64(memory: &mut [u8], pointer: u32, value: u64) -> Answer {
    write(memory, pointer, &value.to_le_bytes())
}

/// A length as the guest counts; no value of the host is larger than a guest's memory.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
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

fn allocate(guest: &mut Guest<'_>, size: usize) -> wasmtime::Result<u32> {
    let Some(allocate) = guest.data().allocate.clone() else {
        return Ok(0);
    };
    let phase = std::mem::replace(&mut guest.data_mut().phase, Phase::Allocating);
    let pointer = allocate.call(&mut *guest, length(size));
    guest.data_mut().phase = phase;
    pointer
}

fn place(memory: &mut [u8], bytes: &[u8], pointer: u32, pointer_at: u32, size_at: u32) -> Answer {
    if !bytes.is_empty() {
        write(memory, pointer, bytes)?;
    }
    write_u32(memory, pointer_at, pointer)?;
    write_u32(memory, size_at, length(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_are_refused_when_any_byte_is_outside() {
        let mut memory = [0u8; 8];
        assert_eq!(read(&memory, 0, 8).unwrap().len(), 8);
        assert_eq!(read(&memory, 8, 0).unwrap().len(), 0);
        for (pointer, size) in [(0, 9), (8, 1), (9, 0), (u32::MAX, u32::MAX), (4, u32::MAX)] {
            assert_eq!(read(&memory, pointer, size), Err(Status::InvalidMemoryAccess), "{pointer}+{size}");
        }
        assert_eq!(write_u32(&mut memory, 5, 1), Err(Status::InvalidMemoryAccess));
        assert_eq!(write_u64(&mut memory, 0, u64::MAX), Ok(()));
        assert_eq!(write_u32(&mut memory, u32::MAX, 1), Err(Status::InvalidMemoryAccess));
    }
}
