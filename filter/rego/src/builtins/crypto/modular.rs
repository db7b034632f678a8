//! Arithmetic modulo an odd number by Montgomery's method. Signatures that are verified are public, and nothing of them
//! is done in constant time; a secret exponent takes the same products whatever its bits.
//!
//! Digits are of 32 bits and the least comes first, as a module has no product of 128 bits. One routine serves RSA and
//! the curves; libraries of the curves take 270 KB of a module, and three to ten times as long there.

/// `a * b / R` modulo `n`, where `R` is one more than the largest number of so many digits. All have one length.
#[inline(always)]
fn multiply_into(a: &[u32], b: &[u32], n: &[u32], inverse: u32, out: &mut [u32]) {
    out.fill(0);
    let mut top = 0;
    let (Some((b_first, b_rest)), Some((n_first, n_rest))) = (b.split_first(), n.split_first()) else {
        return;
    };
    for a in a {
        let a = u64::from(*a);
        let Some((mut slot, rest)) = out.split_first_mut() else { return };
        let sum = u64::from(*slot) + a * u64::from(*b_first);
        let m = u64::from((sum as u32).wrapping_mul(inverse));
        let mut high = sum >> 32;
        let mut carry = (u64::from(sum as u32) + m * u64::from(*n_first)) >> 32;
        for ((next, b), n) in rest.iter_mut().zip(b_rest).zip(n_rest) {
            let sum = u64::from(*next) + a * u64::from(*b) + high;
            high = sum >> 32;
            let low = u64::from(sum as u32) + m * u64::from(*n) + carry;
            carry = low >> 32;
            *slot = low as u32;
            slot = next;
        }
        let last = top + high + carry;
        *slot = last as u32;
        top = last >> 32;
    }
    if top != 0 || !is_less(out, n) {
        subtract_into(out, n);
    }
}

/// Whether `a` is less than `b`, of as many digits.
pub(super) fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// `a -= b`; whether it wrapped.
#[inline(always)]
fn subtract_into(a: &mut [u32], b: &[u32]) -> bool {
    let mut borrow = 0u32;
    for (a, b) in a.iter_mut().zip(b) {
        let less = u64::from(*a).wrapping_sub(u64::from(*b)).wrapping_sub(u64::from(borrow));
        *a = less as u32;
        borrow = (less >> 63) as u32;
    }
    borrow != 0
}

/// `a += b`; whether it wrapped.
#[inline(always)]
fn add_into(a: &mut [u32], b: &[u32]) -> bool {
    let mut carry = 0;
    for (a, b) in a.iter_mut().zip(b) {
        let sum = u64::from(*a) + u64::from(*b) + carry;
        *a = sum as u32;
        carry = sum >> 32;
    }
    carry != 0
}

/// `a = 2 * a` modulo `n`.
fn double_into(a: &mut [u32], n: &[u32]) {
    let mut carry = 0;
    for digit in a.iter_mut() {
        let shifted = u64::from(*digit) << 1 | carry;
        *digit = shifted as u32;
        carry = shifted >> 32;
    }
    if carry != 0 || !is_less(a, n) {
        subtract_into(a, n);
    }
}

/// `-1 / n` modulo 2^32, for an odd digit.
fn negative_inverse(n: u32) -> u32 {
    // Each round doubles the number of bits that are right; `n` is its own inverse in the first three.
    let inverse = (0..4).fold(n, |x, _| x.wrapping_mul(2u32.wrapping_sub(n.wrapping_mul(x))));
    inverse.wrapping_neg()
}

/// `R * R` modulo `n`.
fn square_of_radix(n: &[u32], inverse: u32, out: &mut [u32]) {
    // From the highest power of two below `n` up to R * 2^digits by doubling, then to R * 2^(32 * digits) by squaring
    // five times.
    let bits = bit_length(n);
    out.fill(0);
    if let Some(digit) = out.get_mut((bits - 1) / 32) {
        *digit = 1 << ((bits - 1) % 32);
    }
    for _ in bits - 1..33 * n.len() {
        double_into(out, n);
    }
    for _ in 0..5 {
        let root = out.to_vec();
        multiply_into(&root, &root, n, inverse, out);
    }
}

/// The number of bits without leading zeros; at least one.
pub(super) fn bit_length(digits: &[u32]) -> usize {
    let Some(last) = digits.iter().rposition(|digit| *digit != 0) else { return 1 };
    let top = digits.get(last).map_or(0, |digit| digit.leading_zeros() as usize);
    32 * (last + 1) - top
}

/// Whether the bit is set.
#[inline]
pub(super) fn bit(digits: &[u32], at: usize) -> bool {
    digits.get(at / 32).is_some_and(|digit| digit >> (at % 32) & 1 == 1)
}

/// Digits of a number that is written in bytes, the highest first; none if it has more digits.
pub(super) fn read(bytes: &[u8], out: &mut [u32]) -> bool {
    out.fill(0);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    if bytes.len() > 4 * out.len() {
        return false;
    }
    for (out, four) in out.iter_mut().zip(bytes.rchunks(4)) {
        *out = four.iter().fold(0, |digit, byte| digit << 8 | u32::from(*byte));
    }
    true
}

/// A modulus of any length, for RSA.
#[derive(Debug)]
pub(super) struct Modulus {
    n: Vec<u32>,
    inverse: u32,
    square: Vec<u32>,
}

impl Modulus {
    /// The odd number that is written in bytes.
    pub(super) fn new(bytes: &[u8]) -> Option<Modulus> {
        let mut n = vec![0; bytes.len().div_ceil(4)];
        read(bytes, &mut n);
        let inverse = negative_inverse(n.first().copied().filter(|first| first & 1 == 1)?);
        let mut square = vec![0; n.len()];
        square_of_radix(&n, inverse, &mut square);
        Some(Modulus { n, inverse, square })
    }

    /// A power with an odd exponent, in as many bytes as the modulus has digits for; none if the base is not less than
    /// the modulus.
    pub(super) fn power(&self, base: &[u8], exponent: u32) -> Option<Vec<u8>> {
        let mut plain = vec![0; self.n.len()];
        if !read(base, &mut plain) || !is_less(&plain, &self.n) {
            return None;
        }
        let mut scaled = vec![0; self.n.len()];
        self.multiply(&plain, &self.square, &mut scaled);
        let (mut power, mut next) = (scaled.clone(), scaled.clone());
        for at in (0..32 - exponent.leading_zeros() as usize).rev().skip(1) {
            self.multiply(&power, &power, &mut next);
            std::mem::swap(&mut power, &mut next);
            if exponent >> at & 1 == 1 {
                // The last factor undoes the scale.
                self.multiply(&power, if at == 0 { &plain } else { &scaled }, &mut next);
                std::mem::swap(&mut power, &mut next);
            }
        }
        Some(power.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect())
    }

    /// A power with a secret exponent: the same steps for all exponents of one length.
    pub(super) fn secret_power(&self, base: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
        let mut plain = vec![0; self.n.len()];
        if !read(base, &mut plain) || !is_less(&plain, &self.n) {
            return None;
        }
        let mut one = vec![0; self.n.len()];
        *one.first_mut()? = 1;
        let mut next = vec![0; self.n.len()];
        let mut powers = Vec::with_capacity(16);
        self.multiply(&one, &self.square, &mut next);
        powers.push(next.clone());
        let mut scaled = next.clone();
        self.multiply(&plain, &self.square, &mut scaled);
        for _ in 1..16 {
            let last = powers.last()?;
            self.multiply(last, &scaled, &mut next);
            powers.push(next.clone());
        }
        let mut power = powers.first()?.clone();
        for byte in exponent {
            for four in [byte >> 4, byte & 15] {
                for _ in 0..4 {
                    self.multiply(&power, &power, &mut next);
                    std::mem::swap(&mut power, &mut next);
                }
                self.multiply(&power, powers.get(usize::from(four))?, &mut next);
                std::mem::swap(&mut power, &mut next);
            }
        }
        self.multiply(&power, &one, &mut next);
        Some(next.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect())
    }

    #[inline(never)]
    fn multiply(&self, a: &[u32], b: &[u32], out: &mut [u32]) {
        multiply_into(a, b, &self.n, self.inverse, out);
    }
}

/// A number of a fixed count of digits, less than its modulus.
pub(super) type Digits<const N: usize> = [u32; N];

/// A prime of a fixed count of digits, for curves. Elements are scaled by `R`.
#[derive(Debug)]
pub(super) struct Field<const N: usize> {
    pub(super) n: Digits<N>,
    inverse: u32,
    square: Digits<N>,
    pub(super) one: Digits<N>,
}

impl<const N: usize> Field<N> {
    /// The odd prime.
    pub(super) fn new(n: Digits<N>) -> Field<N> {
        let inverse = negative_inverse(n.first().copied().unwrap_or(1));
        let mut square = [0; N];
        square_of_radix(&n, inverse, &mut square);
        let mut field = Field { n, inverse, square, one: [0; N] };
        field.one = field.scaled(&small(1));
        field
    }

    /// A number below the modulus as an element.
    pub(super) fn scaled(&self, plain: &Digits<N>) -> Digits<N> {
        self.multiply(plain, &self.square)
    }

    #[inline(never)]
    pub(super) fn multiply(&self, a: &Digits<N>, b: &Digits<N>) -> Digits<N> {
        let mut out = [0; N];
        multiply_into(a, b, &self.n, self.inverse, &mut out);
        out
    }

    pub(super) fn square(&self, a: &Digits<N>) -> Digits<N> {
        self.multiply(a, a)
    }

    #[inline(never)]
    pub(super) fn add(&self, a: &Digits<N>, b: &Digits<N>) -> Digits<N> {
        let mut sum = *a;
        if add_into(&mut sum, b) || !is_less(&sum, &self.n) {
            subtract_into(&mut sum, &self.n);
        }
        sum
    }

    #[inline(never)]
    pub(super) fn subtract(&self, a: &Digits<N>, b: &Digits<N>) -> Digits<N> {
        let mut less = *a;
        if subtract_into(&mut less, b) {
            add_into(&mut less, &self.n);
        }
        less
    }

    pub(super) fn double(&self, a: &Digits<N>) -> Digits<N> {
        self.add(a, a)
    }

    /// `1 / a`, by Fermat's theorem; of nothing for zero.
    pub(super) fn invert(&self, a: &Digits<N>) -> Digits<N> {
        let mut exponent = self.n;
        subtract_into(&mut exponent, &small::<N>(2));
        // Four bits of the exponent at a time.
        let mut powers = [self.one; 16];
        let mut last = self.one;
        for power in powers.iter_mut().skip(1) {
            last = self.multiply(&last, a);
            *power = last;
        }
        let mut result = self.one;
        for digit in exponent.iter().rev() {
            for at in (0..8).rev() {
                for _ in 0..4 {
                    result = self.square(&result);
                }
                if let Some(power) = powers.get((digit >> (4 * at) & 15) as usize) {
                    result = self.multiply(&result, power);
                }
            }
        }
        result
    }
}

/// A small number.
pub(super) fn small<const N: usize>(value: u32) -> Digits<N> {
    let mut digits = [0; N];
    if let Some(first) = digits.first_mut() {
        *first = value;
    }
    digits
}

/// `a + b`, if it has no more digits.
pub(super) fn sum<const N: usize>(a: &Digits<N>, b: &Digits<N>) -> Option<Digits<N>> {
    let mut sum = *a;
    (!add_into(&mut sum, b)).then_some(sum)
}
