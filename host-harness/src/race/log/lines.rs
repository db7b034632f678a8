//! Lines of a stream. However long a line is, a bounded part of it is held.

use std::io::{BufRead, Read, Result};

/// Most bytes of a line that are read. Envoy's own lines are short; what a guest logs is at most what it had in memory.
const LONGEST: u64 = 64 << 10;

/// The lines of a stream, one at a time in the same buffer.
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    ended: bool,
    cut: bool,
}

/// One line, without what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
    /// Whether a line break ended it; the last line of a log that is written now may have none.
    pub(super) ended: bool,
    /// Whether there was more of it than is held.
    pub(super) cut: bool,
}

// === impl Lines ===

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, ended: false, cut: false }
    }

    /// The next line; nothing at the end.
    ///
    /// Errors: the stream cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.line.clear();
        if self.from.by_ref().take(LONGEST).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.cut = false;
        self.ended = self.line.ends_with(b"\n");
        if !self.ended && u64::try_from(self.line.len()).is_ok_and(|length| length == LONGEST) {
            (self.cut, self.ended) = self.skip()?;
        }
        if self.line.ends_with(b"\n") {
            self.line.pop();
        }
        if self.line.ends_with(b"\r") {
            self.line.pop();
        }
        Ok(Some(Line { number: self.number, bytes: &self.line, ended: self.ended, cut: self.cut }))
    }

    /// Passes over the rest of a line: whether there was one, and whether a line break ended it.
    fn skip(&mut self) -> Result<(bool, bool)> {
        let mut some = false;
        loop {
            let buffer = self.from.fill_buf()?;
            if buffer.is_empty() {
                return Ok((some, false));
            }
            let end = buffer.iter().position(|&byte| byte == b'\n');
            some |= end != Some(0);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.from.consume(used);
            if end.is_some() {
                return Ok((some, true));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<(u64, usize, bool, bool)> {
        let mut lines = Lines::new(text);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.bytes.len(), line.ended, line.cut));
        }
        all
    }

    #[test]
    fn a_line_ends_with_a_line_break_of_either_kind_or_with_the_stream() {
        assert_eq!(all(b"ab\r\n\nc"), [(1, 2, true, false), (2, 0, true, false), (3, 1, false, false)]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn of_a_line_without_end_its_beginning_is_held() {
        let long = usize::try_from(LONGEST).unwrap();
        let text = [vec![b'x'; long + 1], b"\nnext\n".to_vec()].concat();
        assert_eq!(all(&text), [(1, long, true, true), (2, 4, true, false)]);
        let text = [vec![b'x'; long], b"\nnext".to_vec()].concat();
        assert_eq!(all(&text), [(1, long, true, false), (2, 4, false, false)]);
        assert_eq!(all(&vec![b'x'; 3 * long]), [(1, long, false, true)]);
    }
}
