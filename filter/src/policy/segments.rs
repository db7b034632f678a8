//! A list that grows without moving what it holds: what a vector does at once when it is full, this does in pieces.

use std::collections::VecDeque;

/// Size of one segment; moving one costs some ten microseconds.
const SEGMENT_BYTES: usize = 64 << 10;
const SEGMENTS_PER_STEP: usize = 4;

/// Elements in the order in which they came.
#[derive(Debug)]
pub(crate) struct Segments<T> {
    full: VecDeque<Vec<T>>,
    last: Vec<T>,
    len: usize,
}

/// The same elements on their way into one vector.
#[derive(Debug)]
pub(crate) struct Joining<T> {
    joined: Vec<T>,
    rest: VecDeque<Vec<T>>,
}

// === impl Segments ===

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { full: VecDeque::new(), last: Vec::new(), len: 0 }
    }
}

impl<T> Segments<T> {
    const CAPACITY: usize = SEGMENT_BYTES / size_of::<T>();

    pub(crate) fn push(&mut self, element: T) {
        self.len += 1;
        self.last.push(element);
        if self.last.len() == Self::CAPACITY {
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(Self::CAPACITY));
            self.full.push_back(full);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All in one vector if that takes no moving.
    pub(crate) fn join(mut self) -> Result<Vec<T>, Joining<T>> {
        if self.full.is_empty() {
            return Ok(self.last);
        }
        self.full.push_back(self.last);
        Err(Joining { joined: Vec::with_capacity(self.len), rest: self.full })
    }

    /// Everything, segment by segment.
    pub(crate) fn into_vecs(self) -> impl Iterator<Item = Vec<T>> + use<T> {
        self.full.into_iter().chain([self.last])
    }
}

impl Segments<u8> {
    pub(crate) fn extend(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while let Some((fits, rest)) = bytes.split_at_checked(Self::CAPACITY - self.last.len()) {
            self.last.extend_from_slice(fits);
            let full = std::mem::replace(&mut self.last, Vec::with_capacity(Self::CAPACITY));
            self.full.push_back(full);
            bytes = rest;
        }
        self.last.extend_from_slice(bytes);
    }
}

// === impl Joining ===

impl<T> Joining<T> {
    /// Moves a few segments; the vector once nothing is left to move.
    pub(crate) fn step(&mut self) -> Option<Vec<T>> {
        for _ in 0..SEGMENTS_PER_STEP {
            match self.rest.pop_front() {
                Some(mut segment) => self.joined.append(&mut segment),
                None => return Some(std::mem::take(&mut self.joined)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined<T>(segments: Segments<T>) -> (Vec<T>, usize) {
        let mut steps = 0;
        let mut joining = match segments.join() {
            Ok(vec) => return (vec, steps),
            Err(joining) => joining,
        };
        loop {
            steps += 1;
            if let Some(vec) = joining.step() {
                return (vec, steps);
            }
        }
    }

    #[test]
    fn what_went_in_comes_out_in_its_order_and_in_several_steps() {
        for count in [0, 1, SEGMENT_BYTES / 8 - 1, SEGMENT_BYTES / 8, 100_000_usize] {
            let mut segments = Segments::default();
            (0..count).for_each(|number| segments.push(number));
            let (vec, steps) = joined(segments);
            assert!(vec.into_iter().eq(0..count), "{count}");
            assert_eq!(steps > 1, count == 100_000, "{count} took {steps} steps");
        }
    }

    #[test]
    fn bytes_are_cut_at_segments_wherever_they_come_in() {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for chunk in [1000, SEGMENT_BYTES, 3 * SEGMENT_BYTES + 1] {
            let mut segments = Segments::default();
            bytes.chunks(chunk).for_each(|chunk| segments.extend(chunk));
            assert!(segments.full.iter().all(|segment| segment.len() == SEGMENT_BYTES));
            let (vec, steps) = joined(segments);
            assert!(vec == bytes && steps > 10, "chunks of {chunk} took {steps} steps");
        }
    }
}
