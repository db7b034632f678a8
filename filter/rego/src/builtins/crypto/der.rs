//! DER, read as Go's `cryptobyte` does (golang.org/x/crypto/cryptobyte/asn1.go).

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// A tag of a context.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// A constructed one.
pub(super) const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// What is left to be read. Every function takes one element, or nothing and answers `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// With tag and length.
    pub(super) whole: &'a [u8],
    pub(super) content: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the next element has the tag.
    pub(super) fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Any element of a short tag.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, length) = if length & 0x80 == 0 {
            (2, usize::from(*length))
        } else {
            let count = usize::from(length & 0x7f);
            let digits = rest.get(..count).filter(|digits| (1..=4).contains(&digits.len()))?;
            let length = digits.iter().fold(0u64, |length, digit| length << 8 | u64::from(*digit));
            // No other length could be written shorter.
            if length < 128 || digits.first() == Some(&0) {
                return None;
            }
            (2 + count, usize::try_from(length).ok()?)
        };
        let (whole, rest) = self.0.split_at_checked(header.checked_add(length)?)?;
        self.0 = rest;
        Some(Element { tag: *tag, whole, content: whole.get(header..)? })
    }

    /// The element of a tag.
    pub(super) fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut rest = *self;
        let element = rest.any().filter(|element| element.tag == tag)?;
        *self = rest;
        Some(element)
    }

    /// What is in the element of a tag.
    pub(super) fn read(&mut self, tag: u8) -> Option<Der<'a>> {
        self.element(tag).map(|element| Der(element.content))
    }

    /// The same, which need not be there.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<Der<'a>>> {
        if self.next_is(tag) { self.read(tag).map(Some) } else { Some(None) }
    }

    /// What is in an optional element within a constructed one, as Go's `encoding/asn1` reads it: the length of the outer
    /// one is not looked at, and one that holds something else is not there.
    pub(super) fn explicit(&mut self, outer: u8, inner: u8) -> Option<Option<Der<'a>>> {
        if !self.next_is(outer) {
            return Some(None);
        }
        let digits = match self.0.get(1)? {
            0 => return None,
            length if length & 0x80 == 0 => 0,
            length => usize::from(length & 0x7f),
        };
        let length = self
            .0
            .get(2..)?
            .get(..digits)?
            .iter()
            .fold(0u64, |length, digit| length << 8 | u64::from(*digit));
        if digits > 4 || (digits > 0 && length >> (8 * digits - 8) == 0) || (digits > 0 && length < 128) {
            return None;
        }
        let mut rest = Der(self.0.get(2 + digits..)?);
        if !rest.next_is(inner) {
            return (!rest.is_empty()).then_some(None);
        }
        let found = rest.read(inner)?;
        *self = rest;
        Some(Some(found))
    }

    /// The bytes of an integer, the shortest that mean it.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.read(INTEGER)?.0;
        match bytes {
            [] => None,
            [0, second, ..] if second & 0x80 == 0 => None,
            [0xff, second, ..] if second & 0x80 != 0 => None,
            bytes => Some(bytes),
        }
    }

    /// An integer of up to 64 bits.
    pub(super) fn small(&mut self) -> Option<i64> {
        signed(self.integer()?)
    }

    /// A positive integer without its sign.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        let bytes = self.integer()?;
        match bytes {
            [0] => None,
            [0, rest @ ..] => Some(rest),
            [first, ..] if first & 0x80 == 0 => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.read(BOOLEAN)?.0 {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// The bytes of an object identifier, each arc of up to 31 bits.
    pub(super) fn object(&mut self) -> Option<&'a [u8]> {
        let bytes = self.read(OBJECT)?.0;
        arcs(bytes)?;
        Some(bytes)
    }

    /// Bits, and how many of the last byte are none.
    pub(super) fn bits(&mut self) -> Option<(&'a [u8], u8)> {
        self.read(BIT_STRING)?.as_bits()
    }

    /// The same, of what is in the element.
    pub(super) fn as_bits(self) -> Option<(&'a [u8], u8)> {
        let (unused, bytes) = self.0.split_first()?;
        let last = bytes.last().copied();
        let good = match last {
            _ if *unused > 7 => false,
            None => *unused == 0,
            Some(last) => last & ((1 << unused) - 1) == 0,
        };
        good.then_some((bytes, *unused))
    }
}

/// A number of up to 64 bits, with its sign.
pub(super) fn signed(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
}

/// Bits moved to the end of their bytes.
pub(super) fn right_aligned(bytes: &[u8], unused: u8) -> Vec<u8> {
    let mut carry = 0u16;
    let shift = |byte: &u8| {
        let wide = carry << 8 | u16::from(*byte);
        carry = u16::from(*byte);
        (wide >> unused) as u8
    };
    bytes.iter().map(shift).collect()
}

/// The arcs of an object identifier.
pub(super) fn arcs(bytes: &[u8]) -> Option<Vec<u32>> {
    let (mut out, mut arc, mut open) = (Vec::new(), 0u32, false);
    for byte in bytes {
        // The first digit is not zero, and the arc has 31 bits.
        if (!open && *byte == 0x80) || arc >= 1 << 24 {
            return None;
        }
        arc = arc << 7 | u32::from(byte & 0x7f);
        open = byte & 0x80 != 0;
        if open {
            continue;
        }
        if out.is_empty() {
            let first = (arc / 40).min(2);
            out.extend([first, arc - 40 * first]);
        } else {
            out.push(arc);
        }
        arc = 0;
    }
    (!open && !out.is_empty()).then_some(out)
}
