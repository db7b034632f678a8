//! Slices of a guest's memory. A bad pointer is a status for the guest and never a fault of the host.

use super::{Answer, Status};

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
    let start = pointer as usize;
    let end = start.checked_add(bytes.len()).ok_or(Status::InvalidMemoryAccess)?;
    memory.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)?.copy_from_slice(bytes);
    Ok(())
}

/// A length as the guest counts; no value of the host is larger than a guest's memory.
pub(super) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
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
        assert_eq!(write(&mut memory, 5, &[0; 4]), Err(Status::InvalidMemoryAccess));
        assert_eq!(write(&mut memory, 0, &[1; 8]), Ok(()));
        assert_eq!(write(&mut memory, u32::MAX, &[0; 4]), Err(Status::InvalidMemoryAccess));
    }
}
