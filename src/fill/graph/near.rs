//! The vectors of a graph, and how far two of them are apart. Each component is kept in eleven bits of its vector's largest, less
//! what all vectors have in common: a graph needs no more to be as good, and the memory that is read is most of the time. Pure.

use std::cmp::Ordering;

use pulp::Arch;

/// What a graph goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fill) enum Measure {
    /// The square of the Euclidean distance. Of unit vectors it has the order of their inner products, too.
    L2,
    /// Less the inner product.
    Ip,
}

/// The largest number that stands for a component.
const LARGEST: f32 = 1023.0;
/// Products of two such numbers that a sum of 32 bits has room for.
const PRODUCTS: usize = 2048;

/// All vectors of a graph.
#[derive(Debug)]
pub(in crate::fill) struct Vectors {
    arch: Arch,
    measure: Measure,
    /// What all have in common: the mean of each component.
    mean: Vec<f32>,
    /// The rest of each component, in parts of `scales`, one vector behind the other.
    numbers: Vec<i16>,
    /// Of each vector what one part is, and what of a distance depends on it alone.
    scales: Vec<(f32, f32)>,
}

impl Vectors {
    /// None yet; `mean`: of each component, over all that will come.
    pub(in crate::fill) fn new(measure: Measure, mean: Vec<f32>, count: usize) -> Self {
        let (numbers, scales) = (Vec::with_capacity(count.saturating_mul(mean.len())), Vec::with_capacity(count));
        Self { arch: Arch::new(), measure, mean, numbers, scales }
    }

    /// Adds one.
    pub(in crate::fill) fn push(&mut self, vector: impl Iterator<Item = f32>) {
        let rest: Vec<f32> = vector.zip(&self.mean).map(|(component, mean)| component - mean).collect();
        let largest = rest.iter().fold(0.0_f32, |largest, component| largest.max(component.abs()));
        let parts = if largest > 0.0 { LARGEST / largest } else { 0.0 };
        let scale = largest / LARGEST;
        #[expect(clippy::cast_possible_truncation, reason = "at most LARGEST, and what is none is 0")]
        let numbers = rest.iter().map(|component| (component * parts).round() as i16);
        let before = self.numbers.len();
        self.numbers.extend(numbers);
        let numbers = self.numbers.get(before..).unwrap_or_default();
        let alone = match self.measure {
            // of what is kept, not of what it stands for: else those that were rounded down would be nearer to all others
            Measure::L2 => scale * scale * product(numbers, numbers),
            Measure::Ip => -rest.iter().zip(&self.mean).map(|(component, mean)| component * mean).sum::<f32>(),
        };
        self.scales.push((scale, alone));
    }

    /// How many.
    pub(super) const fn len(&self) -> usize {
        self.scales.len()
    }

    fn one(&self, node: u32) -> (&[i16], f32, f32) {
        let (node, dimension) = (node as usize, self.mean.len());
        let (scale, alone) = self.scales.get(node).copied().unwrap_or_default();
        (self.numbers.get(node * dimension..(node + 1) * dimension).unwrap_or_default(), scale, alone)
    }

    /// How far a node is from another one, but for a constant.
    pub(super) fn from(&self, node: u32, other: u32) -> Near {
        let ((one, scale, alone), (two, scale_of_two, alone_of_two)) = (self.one(node), self.one(other));
        let product = self.arch.dispatch(
            #[inline(always)]
            || product(one, two),
        );
        let both = if self.measure == Measure::L2 { 2.0 } else { 1.0 };
        let apart = alone + alone_of_two - both * scale * scale_of_two * product;
        // what cannot be told is far
        Near { apart: if apart.is_nan() { f32::INFINITY } else { apart }, node }
    }
}

/// The inner product of two vectors' numbers. The compiler makes it of the widest instructions that `Arch` has found.
#[expect(clippy::inline_always, reason = "pulp compiles what is inlined for the instructions of the processor")]
#[expect(clippy::cast_precision_loss, reason = "24 of 31 bits")]
#[inline(always)]
fn product(one: &[i16], other: &[i16]) -> f32 {
    let sum = |(one, other): (&[i16], &[i16])| {
        one.iter().zip(other).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32
    };
    one.chunks(PRODUCTS).zip(other.chunks(PRODUCTS)).map(sum).sum()
}

/// A node, and how far it is from what is looked for. In that order; of those that are as far, the newest is the nearest: if all
/// took the oldest, nobody would be linked to the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    pub(super) apart: f32,
    pub(super) node: u32,
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.apart.total_cmp(&other.apart).then(other.node.cmp(&self.node))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors(measure: Measure, all: &[Vec<f32>]) -> Vectors {
        let mean = super::super::tests::mean(&all.concat(), all[0].len());
        let mut vectors = Vectors::new(measure, mean, all.len());
        for one in all {
            vectors.push(one.iter().copied());
        }
        vectors
    }

    proptest! {
        /// What is common to all, however large, costs no precision.
        #[test]
        fn it_is_the_naive_distance_but_for_a_constant(
            all in proptest::collection::vec(proptest::collection::vec(-9.0_f32..9.0, 70), 3..9),
            common in -1000.0_f32..1000.0,
        ) {
            let all: Vec<Vec<f32>> = all.into_iter().map(|one| one.into_iter().map(|x| x + common).collect()).collect();
            let naive = |measure, one: &[f32], other: &[f32]| {
                let pairs = one.iter().zip(other).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                match measure {
                    Measure::L2 => pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
                    Measure::Ip => -pairs.map(|(a, b)| a * b).sum::<f64>(),
                }
            };
            for measure in [Measure::L2, Measure::Ip] {
                let kept = vectors(measure, &all);
                let found = |n: u32| f64::from(kept.from(n, 0).apart) - f64::from(kept.from(1, 0).apart);
                for n in 2..u32::try_from(all.len()).unwrap() {
                    let wanted = naive(measure, &all[n as usize], &all[0]) - naive(measure, &all[1], &all[0]);
                    // half a part in each of 70 components, of two distances; of sums of 70 products of numbers up to 1000 a single
                    // float has less
                    let most = if measure == Measure::L2 { 12.0 } else { 2.0 + f64::from(common.abs()) * 0.1 };
                    prop_assert!((found(n) - wanted).abs() < most, "{measure:?}: {} and {wanted}", found(n));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_told_is_far_and_a_long_vector_has_no_overflow() {
        let huge = vectors(Measure::L2, &[vec![f32::MAX, 0.0], vec![f32::MIN, 0.0]]);
        assert!(huge.from(0, 1).apart > f32::MAX);
        let long: Vec<f32> = (0..9000_u16).map(|n| if n % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let long = vectors(Measure::L2, &[long.clone(), long.iter().map(|x| -x).collect()]);
        assert!((long.from(0, 1).apart - 36_000.0).abs() < 1.0, "{:?}", long.from(0, 1));
        assert!(Near { apart: 1.0, node: 3 } < Near { apart: 1.0, node: 2 });
        assert!(Near { apart: -1.0, node: 3 } < Near { apart: 0.0, node: 2 });
    }
}
