//! Signatures of ECDSA on the curves of NIST. Source: Go's `crypto/ecdsa`, `crypto/internal/fips140/ecdsa`; formulas of
//! points: hyperelliptic.org/EFD, Jacobian coordinates with a = -3.

use super::modular::{Digits, Field, bit, bit_length, is_less, read, small, sum};
use std::cell::OnceCell;
use std::sync::OnceLock;

/// A scalar is cut into so many rows of equal length; of each column's bits a table knows the sum of points.
const ROWS: usize = 6;
const COMBINATIONS: usize = 1 << ROWS;

/// A curve of NIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builtins) enum Curve {
    P224,
    P256,
    P384,
    P521,
}

impl Curve {
    /// The bytes of a coordinate.
    pub(in crate::builtins) fn bytes(self) -> usize {
        match self {
            Curve::P224 => 28,
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

/// A key that verifies: its point, and once it is used the sums of it.
#[derive(Debug)]
pub(in crate::builtins) enum EcKey {
    P224(Box<Key<7>>),
    P256(Box<Key<8>>),
    P384(Box<Key<12>>),
    P521(Box<Key<17>>),
}

impl EcKey {
    /// The key of a point; none if it is not on the curve. Coordinates may have leading zeros.
    pub(in crate::builtins) fn new(curve: Curve, x: &[u8], y: &[u8]) -> Option<EcKey> {
        Some(match curve {
            Curve::P224 => EcKey::P224(Box::new(p224().key_of(x, y)?)),
            Curve::P256 => EcKey::P256(Box::new(p256().key_of(x, y)?)),
            Curve::P384 => EcKey::P384(Box::new(p384().key_of(x, y)?)),
            Curve::P521 => EcKey::P521(Box::new(p521().key_of(x, y)?)),
        })
    }

    /// Its curve.
    pub(in crate::builtins) fn curve(&self) -> Curve {
        match self {
            EcKey::P224(_) => Curve::P224,
            EcKey::P256(_) => Curve::P256,
            EcKey::P384(_) => Curve::P384,
            EcKey::P521(_) => Curve::P521,
        }
    }

    /// The bytes that it takes.
    pub(in crate::builtins) fn size(&self) -> usize {
        COMBINATIONS * 2 * self.curve().bytes().next_multiple_of(4)
    }

    /// The public point of a private key that is written in bytes; none if it is zero, or not below the order. Which
    /// points are added and looked up does not depend on the key.
    pub(in crate::builtins) fn public_of(curve: Curve, d: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut x, mut y) = match curve {
            Curve::P224 => p224().public_of(d)?,
            Curve::P256 => p256().public_of(d)?,
            Curve::P384 => p384().public_of(d)?,
            Curve::P521 => p521().public_of(d)?,
        };
        let more = x.len().checked_sub(curve.bytes())?;
        Some((x.split_off(more), y.split_off(more)))
    }

    /// The steps of making the sums, of the generator too, and of verifying one signature.
    pub(in crate::builtins) fn steps(&self) -> usize {
        EcKey::steps_of(self.curve())
    }

    /// The same, of a curve.
    pub(in crate::builtins) fn steps_of(curve: Curve) -> usize {
        match curve {
            Curve::P224 | Curve::P256 => 32_000,
            Curve::P384 => 100_000,
            Curve::P521 => 230_000,
        }
    }

    /// Whether `r` and `s` are the signature of the digest.
    pub(in crate::builtins) fn verify(&self, digest: &[u8], r: &[u8], s: &[u8]) -> bool {
        match self {
            EcKey::P224(key) => p224().verify(key, digest, r, s),
            EcKey::P256(key) => p256().verify(key, digest, r, s),
            EcKey::P384(key) => p384().verify(key, digest, r, s),
            EcKey::P521(key) => p521().verify(key, digest, r, s),
        }
    }
}

/// A point in affine coordinates; never the one at infinity.
#[derive(Clone, Copy, Debug)]
struct Affine<const N: usize> {
    x: Digits<N>,
    y: Digits<N>,
}

/// A point as `(x / z^2, y / z^3)`; at infinity if `z` is zero.
#[derive(Clone, Copy, Debug)]
struct Point<const N: usize> {
    x: Digits<N>,
    y: Digits<N>,
    z: Digits<N>,
}

/// For each combination of rows the sum of what one bit in each stands for; nothing for the empty one.
#[derive(Debug)]
struct Combs<const N: usize>(Vec<Affine<N>>);

/// A point of a curve.
#[derive(Debug)]
pub(in crate::builtins) struct Key<const N: usize> {
    point: Affine<N>,
    combs: OnceCell<Combs<N>>,
}

struct Group<const N: usize> {
    field: Field<N>,
    order: Field<N>,
    b: Digits<N>,
    generator: Affine<N>,
    combs: OnceLock<Combs<N>>,
}

fn number<const N: usize>(hex: &str) -> Digits<N> {
    let mut digits = [0; N];
    for (digit, eight) in digits.iter_mut().zip(hex.as_bytes().rchunks(8)) {
        let value = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default();
        *digit = eight.iter().fold(0, |digit, byte| digit << 4 | value(byte));
    }
    digits
}

/// All bits or none.
fn mask(is_set: bool) -> u32 {
    std::hint::black_box(u32::from(is_set)).wrapping_neg()
}

/// Takes the other digits where the mask has all bits.
fn keep<const N: usize>(digits: &mut Digits<N>, other: &Digits<N>, mask: u32) {
    for (digit, other) in digits.iter_mut().zip(other) {
        *digit ^= (*digit ^ other) & mask;
    }
}

impl<const N: usize> Group<N> {
    fn new(p: &str, n: &str, b: &str, x: &str, y: &str) -> Group<N> {
        let field = Field::new(number(p));
        let b = field.scaled(&number(b));
        let generator = Affine { x: field.scaled(&number(x)), y: field.scaled(&number(y)) };
        Group { field, order: Field::new(number(n)), b, generator, combs: OnceLock::new() }
    }

    fn bits(&self) -> usize {
        bit_length(&self.order.n)
    }

    /// The length of a row.
    fn columns(&self) -> usize {
        self.bits().div_ceil(ROWS)
    }

    fn key_of(&self, x: &[u8], y: &[u8]) -> Option<Key<N>> {
        let f = &self.field;
        let coordinate = |bytes| {
            let mut digits = [0; N];
            (read(bytes, &mut digits) && is_less(&digits, &f.n)).then(|| f.scaled(&digits))
        };
        let (x, y) = (coordinate(x)?, coordinate(y)?);
        // y^2 = x^3 - 3x + b
        let cube = f.multiply(&f.square(&x), &x);
        let right = f.add(&f.subtract(&cube, &f.add(&f.double(&x), &x)), &self.b);
        (f.square(&y) == right).then(|| Key { point: Affine { x, y }, combs: OnceCell::new() })
    }

    fn combs_of(&self, point: Affine<N>) -> Combs<N> {
        let f = &self.field;
        let mut row = Point { x: point.x, y: point.y, z: f.one };
        let mut rows = Vec::with_capacity(ROWS);
        for _ in 0..ROWS {
            rows.push(row);
            for _ in 0..self.columns() {
                row = self.double(&row);
            }
        }
        let mut sums = Vec::with_capacity(COMBINATIONS);
        sums.push(Point { x: f.one, y: f.one, z: [0; N] });
        for row in self.affine(&rows) {
            let with: Vec<_> = sums.iter().map(|sum| self.add(sum, &row)).collect();
            sums.extend(with);
        }
        Combs(self.affine(sums.get(1..).unwrap_or_default()))
    }

    /// Points, none at infinity, with one inversion for all.
    fn affine(&self, points: &[Point<N>]) -> Vec<Affine<N>> {
        let f = &self.field;
        let mut product = f.one;
        let mut before = Vec::with_capacity(points.len());
        for point in points {
            before.push(product);
            product = f.multiply(&product, &point.z);
        }
        let mut inverse = f.invert(&product);
        let mut out: Vec<Affine<N>> = Vec::with_capacity(points.len());
        for (point, before) in points.iter().zip(&before).rev() {
            let z = f.multiply(&inverse, before);
            inverse = f.multiply(&inverse, &point.z);
            let zz = f.square(&z);
            out.push(Affine { x: f.multiply(&point.x, &zz), y: f.multiply(&point.y, &f.multiply(&zz, &z)) });
        }
        out.reverse();
        out
    }

    /// `dbl-2001-b`
    fn double(&self, p: &Point<N>) -> Point<N> {
        let f = &self.field;
        let delta = f.square(&p.z);
        let gamma = f.square(&p.y);
        let beta = f.multiply(&p.x, &gamma);
        let part = f.multiply(&f.subtract(&p.x, &delta), &f.add(&p.x, &delta));
        let alpha = f.add(&f.double(&part), &part);
        let beta4 = f.double(&f.double(&beta));
        let x = f.subtract(&f.square(&alpha), &f.double(&beta4));
        let z = f.subtract(&f.subtract(&f.square(&f.add(&p.y, &p.z)), &gamma), &delta);
        let gamma8 = f.double(&f.double(&f.double(&f.square(&gamma))));
        let y = f.subtract(&f.multiply(&alpha, &f.subtract(&beta4, &x)), &gamma8);
        Point { x, y, z }
    }

    /// `madd-2007-bl`
    fn add(&self, p: &Point<N>, q: &Affine<N>) -> Point<N> {
        let f = &self.field;
        if p.z == [0; N] {
            return Point { x: q.x, y: q.y, z: f.one };
        }
        let zz = f.square(&p.z);
        let h = f.subtract(&f.multiply(&q.x, &zz), &p.x);
        let s = f.subtract(&f.multiply(&q.y, &f.multiply(&p.z, &zz)), &p.y);
        if h == [0; N] {
            // The same point, or its opposite.
            return if s == [0; N] { self.double(p) } else { Point { z: [0; N], ..*p } };
        }
        let hh = f.square(&h);
        let i = f.double(&f.double(&hh));
        let j = f.multiply(&h, &i);
        let r = f.double(&s);
        let v = f.multiply(&p.x, &i);
        let x = f.subtract(&f.subtract(&f.square(&r), &j), &f.double(&v));
        let y = f.subtract(&f.multiply(&r, &f.subtract(&v, &x)), &f.double(&f.multiply(&p.y, &j)));
        let z = f.subtract(&f.subtract(&f.square(&f.add(&p.z, &h)), &zz), &hh);
        Point { x, y, z }
    }

    /// The coordinates of the generator taken a secret number of times.
    fn public_of(&self, d: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut scalar = [0; N];
        if !read(d, &mut scalar) || !is_less(&scalar, &self.order.n) || scalar == [0; N] {
            return None;
        }
        let combs = self.combs.get_or_init(|| self.combs_of(self.generator));
        let columns = self.columns();
        // It begins with the generator, so that it is never at infinity on the way; what that comes to is taken away.
        let mut point = Point { x: self.generator.x, y: self.generator.y, z: self.field.one };
        let mut begun = point;
        for column in (0..columns).rev() {
            point = self.double(&point);
            begun = self.double(&begun);
            let rows = (0..ROWS)
                .fold(0u32, |rows, row| rows | u32::from(bit(&scalar, column + row * columns)) << row);
            // Every sum is looked at, and one is added also where none is wanted.
            let mut sum = Affine { x: [0; N], y: [0; N] };
            for (at, other) in (1u32..).zip(&combs.0) {
                let wanted = mask(at == rows || (rows == 0 && at == 1));
                keep(&mut sum.x, &other.x, wanted);
                keep(&mut sum.y, &other.y, wanted);
            }
            let with = self.add(&point, &sum);
            let wanted = mask(rows != 0);
            keep(&mut point.x, &with.x, wanted);
            keep(&mut point.y, &with.y, wanted);
            keep(&mut point.z, &with.z, wanted);
        }
        let begun = self.affine(&[begun]).pop()?;
        let point = self.add(&point, &Affine { x: begun.x, y: self.field.subtract(&[0; N], &begun.y) });
        let point = self.affine(&[point]).pop()?;
        let plain = |scaled: &Digits<N>| {
            let plain = self.field.multiply(scaled, &small(1));
            plain.iter().rev().flat_map(|digit| digit.to_be_bytes()).collect::<Vec<u8>>()
        };
        Some((plain(&point.x), plain(&point.y)))
    }

    fn verify(&self, key: &Key<N>, digest: &[u8], r: &[u8], s: &[u8]) -> bool {
        let scalar = |bytes| {
            let mut digits = [0; N];
            let good = read(bytes, &mut digits) && is_less(&digits, &self.order.n);
            (good && digits != [0; N]).then_some(digits)
        };
        let (Some(r), Some(s)) = (scalar(r), scalar(s)) else { return false };
        let inverse = self.order.invert(&self.order.scaled(&s));
        // A scaled factor and a plain one give the plain product.
        let of_generator = self.order.multiply(&inverse, &self.message(digest));
        let of_key = self.order.multiply(&inverse, &r);
        let of_generator_point = self.combs.get_or_init(|| self.combs_of(self.generator));
        let of_key_point = key.combs.get_or_init(|| self.combs_of(key.point));
        let mut point = Point { x: self.field.one, y: self.field.one, z: [0; N] };
        let columns = self.columns();
        for column in (0..columns).rev() {
            point = self.double(&point);
            for (scalar, combs) in [(&of_generator, of_generator_point), (&of_key, of_key_point)] {
                let rows = (0..ROWS)
                    .fold(0, |rows, row| rows | usize::from(bit(scalar, column + row * columns)) << row);
                if let Some(sum) = rows.checked_sub(1).and_then(|at| combs.0.get(at)) {
                    point = self.add(&point, sum);
                }
            }
        }
        if point.z == [0; N] {
            return false;
        }
        // The coordinate is `r`, or `r` and the order once more.
        let f = &self.field;
        let zz = f.square(&point.z);
        let is = |x: &Digits<N>| is_less(x, &f.n) && f.multiply(&f.scaled(x), &zz) == point.x;
        is(&r) || sum(&r, &self.order.n).is_some_and(|more| is(&more))
    }

    /// A digest as a number below the order: its highest bits, as many as the order has.
    fn message(&self, digest: &[u8]) -> Digits<N> {
        let bits = self.bits();
        let digest = digest.get(..bits.div_ceil(8)).unwrap_or(digest);
        let mut digits = [0; N];
        read(digest, &mut digits);
        let excess = (8 * digest.len()).saturating_sub(bits) as u32;
        if excess > 0 {
            let mut carry = 0;
            for digit in digits.iter_mut().rev() {
                let low = *digit << (32 - excess);
                *digit = *digit >> excess | carry;
                carry = low;
            }
        }
        // Less than twice the order.
        self.order.add(&digits, &small(0))
    }
}

fn p224() -> &'static Group<7> {
    static GROUP: OnceLock<Group<7>> = OnceLock::new();
    GROUP.get_or_init(|| {
        Group::new(
            "ffffffffffffffffffffffffffffffff000000000000000000000001",
            "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
            "b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4",
            "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
            "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
        )
    })
}

fn p256() -> &'static Group<8> {
    static GROUP: OnceLock<Group<8>> = OnceLock::new();
    GROUP.get_or_init(|| {
        Group::new(
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        )
    })
}

fn p384() -> &'static Group<12> {
    static GROUP: OnceLock<Group<12>> = OnceLock::new();
    GROUP.get_or_init(|| {
        Group::new(
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        )
    })
}

fn p521() -> &'static Group<17> {
    static GROUP: OnceLock<Group<17>> = OnceLock::new();
    GROUP.get_or_init(|| {
        Group::new(
            "1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
            "051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            "0c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
            "11839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
        )
    })
}
