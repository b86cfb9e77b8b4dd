//! How far two vectors are apart, by the widest instructions that the processor has; and vectors in the order of that. Pure.

#![expect(clippy::inline_always, reason = "pulp compiles what is inlined for the instructions of the processor")]

use std::cmp::Ordering;

use pulp::{Arch, Simd, WithSimd};

/// What a graph goes by. Cosine is the inner product of unit vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fill) enum Measure {
    /// The square of the Euclidean distance.
    L2,
    /// One less the inner product.
    Ip,
}

/// All vectors of a graph, one behind the other.
#[derive(Debug)]
pub(in crate::fill) struct Vectors {
    /// Their components.
    pub(in crate::fill) all: Vec<f32>,
    /// Components of one, at least 1.
    pub(in crate::fill) dimension: usize,
    /// What they are compared by.
    pub(in crate::fill) measure: Measure,
    /// The processor's instructions.
    pub(in crate::fill) arch: Arch,
}

impl Vectors {
    /// How many.
    pub(super) const fn len(&self) -> usize {
        self.all.len() / self.dimension
    }

    fn one(&self, node: u32) -> &[f32] {
        let start = node as usize * self.dimension;
        self.all.get(start..start + self.dimension).unwrap_or_default()
    }

    /// How far a node is from another one.
    pub(super) fn from(&self, node: u32, other: u32) -> Near {
        let apart = self.arch.dispatch(Apart { measure: self.measure, one: self.one(node), other: self.one(other) });
        // what cannot be told is far
        Near { apart: if apart.is_nan() { f32::INFINITY } else { apart }, node }
    }
}

/// A node, and how far it is from what is looked for. In that order; of those that are as far, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    pub(super) apart: f32,
    pub(super) node: u32,
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.apart.total_cmp(&other.apart).then(self.node.cmp(&other.node))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Near {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Near {}

struct Apart<'a> {
    measure: Measure,
    one: &'a [f32],
    other: &'a [f32],
}

/// Sums that do not wait for each other.
const SUMS: usize = 4;

impl WithSimd for Apart<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Self { measure, one, other } = self;
        match measure {
            Measure::L2 => {
                let square = |sum, a, b| {
                    let between = simd.sub_f32s(a, b);
                    simd.mul_add_e_f32s(between, between, sum)
                };
                folded(simd, one, other, square, |a, b| (a - b) * (a - b))
            }
            Measure::Ip => {
                let product = |sum, a, b| simd.mul_add_e_f32s(a, b, sum);
                1.0 - folded(simd, one, other, product, |a, b| a * b)
            }
        }
    }
}

/// The sum over all components: of many at once by `many`, of the last few by `single`.
#[inline(always)]
fn folded<S: Simd>(
    simd: S,
    one: &[f32],
    other: &[f32],
    many: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
    single: impl Fn(f32, f32) -> f32,
) -> f32 {
    let ((one, one_end), (other, other_end)) = (S::as_simd_f32s(one), S::as_simd_f32s(other));
    let ((fours, one), (other_fours, other)) = (one.as_chunks::<SUMS>(), other.as_chunks::<SUMS>());
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for (one, other) in fours.iter().zip(other_fours) {
        for ((sum, a), b) in sums.iter_mut().zip(one).zip(other) {
            *sum = many(*sum, *a, *b);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(one).zip(other) {
        *sum = many(*sum, *a, *b);
    }
    let [first, second, third, fourth] = sums;
    let all = simd.add_f32s(simd.add_f32s(first, second), simd.add_f32s(third, fourth));
    simd.reduce_sum_f32s(all) + one_end.iter().zip(other_end).map(|(a, b)| single(*a, *b)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apart(measure: Measure, one: &[f32], other: &[f32]) -> f32 {
        let vectors = Vectors { all: [one, other].concat(), dimension: one.len(), measure, arch: Arch::new() };
        vectors.from(0, 1).apart
    }

    proptest! {
        #[test]
        fn it_is_the_naive_sum(pairs in proptest::collection::vec((-9.0_f32..9.0, -9.0_f32..9.0), 1..200)) {
            let (one, other): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let (mut l2, mut ip) = (0.0, 0.0);
            for (a, b) in pairs {
                let (a, b) = (f64::from(a), f64::from(b));
                l2 += (a - b) * (a - b);
                ip += a * b;
            }
            let is_near = |found: f32, naive: f64| (f64::from(found) - naive).abs() < 0.1;
            prop_assert!(is_near(apart(Measure::L2, &one, &other), l2));
            prop_assert!(is_near(apart(Measure::Ip, &one, &other), 1.0 - ip));
        }
    }

    #[test]
    fn what_cannot_be_told_is_far() {
        let is_far = |apart: f32| apart.is_infinite() && apart > 0.0;
        assert!(is_far(apart(Measure::L2, &[f32::MAX, 0.0], &[f32::MIN, 0.0])));
        assert!(is_far(apart(Measure::Ip, &[1e30, 1e30], &[1e30, -1e30])));
        assert!(Near { apart: 1.0, node: 2 } < Near { apart: 1.0, node: 3 });
        assert!(Near { apart: -1.0, node: 3 } < Near { apart: 0.0, node: 2 });
    }
}
