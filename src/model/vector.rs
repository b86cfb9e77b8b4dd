//! What is asked of every component of a vector, written so that a processor takes many components at once: no branch in
//! a loop, and no sum that waits for the one before. Pure.

/// The place of the first component that is NaN or infinite.
#[must_use]
pub fn first_not_finite(vector: &[f32]) -> Option<usize> {
    let odd = vector.iter().filter(|x| !x.is_finite()).count();
    if odd == 0 { None } else { vector.iter().position(|x| !x.is_finite()) }
}

/// The square of the length, summed in doubles.
#[must_use]
pub fn square(vector: &[f32]) -> f64 {
    let (fours, rest) = vector.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for four in fours {
        for (sum, x) in sums.iter_mut().zip(four) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()
}

/// The largest distance of two components at one place, in ULP, if it is at most `most`. None says nothing: 0.0 and -0.0
/// are no distance apart, and are not seen here, nor are NaN and infinity.
#[must_use]
pub fn furthest(pairs: impl Iterator<Item = (f32, f32)>, most: u32) -> Option<u32> {
    // finite numbers of one sign are as many ULP apart as their bits
    let (far, odd) = pairs.fold((0, 0_usize), |(far, odd), (a, b)| {
        (a.to_bits().abs_diff(b.to_bits()).max(far), odd + usize::from(!a.is_finite()) + usize::from(!b.is_finite()))
    });
    (odd == 0 && far <= most).then_some(far)
}

/// Whether two vectors that should be one differ by more than a damaged byte explains: in more than one component, and, where
/// a length stands apart (`scaled`), in their direction, too. Of less than two components nobody can tell.
#[must_use]
pub fn is_another(one: &[f32], other: &[f32], scaled: bool) -> bool {
    if one.len() != other.len() || one.len() < 2 {
        return true;
    }
    let pairs = || one.iter().zip(other).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let near = if scaled { square(other).sqrt() * 1e-5 } else { 0.0 };
    // NaN is near nothing
    let is_near = |a: f64, b: f64| (a - b).abs() <= near;
    let apart = pairs().filter(|(a, b)| !is_near(*a, *b)).count();
    let product: f64 = pairs().map(|(a, b)| a * b).sum();
    let is_parallel = product * product >= square(one) * square(other) * (1.0 - 1e-9);
    apart > 1 && !(scaled && is_parallel)
}

#[cfg(test)]
mod tests {
    use super::super::ulp;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn one_damaged_component_or_length_makes_no_other_vector() {
        let whole = [3.0, 4.0, 0.5];
        for (stored, scaled, expected) in [
            ([3.0, 4.0, 0.5], false, false),
            ([3.0, -4.0, 0.5], false, false),
            ([3.0, f32::NAN, 0.5], false, false),
            ([3.0, 4.0, 7e30], true, false),
            ([6.0, 8.0, 1.0], false, true),
            ([6.0, 8.0, 1.0], true, false),
            ([0.5, 4.0, 3.0], false, true),
            ([0.5, 4.0, 3.0], true, true),
            ([f32::NAN, f32::NAN, 0.5], true, true),
        ] {
            assert_eq!(is_another(&stored, &whole, scaled), expected, "{stored:?} {scaled}");
        }
        assert!(is_another(&[1.0], &[2.0], false) && is_another(&[1.0, 2.0], &whole, true));
    }

    proptest! {
        #[test]
        fn a_vector_is_finite_if_every_component_is(vector in vec(any::<f32>(), 0..20)) {
            prop_assert_eq!(first_not_finite(&vector), vector.iter().position(|x| !x.is_finite()));
        }

        #[test]
        fn four_sums_are_as_good_as_one(vector in vec(-1e3..1e3_f32, 0..20)) {
            let one: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
            prop_assert!((square(&vector) - one).abs() <= one * 1e-12);
        }

        #[test]
        fn what_is_near_is_as_near_as_the_slow_way_says(
            pairs in vec((any::<f32>(), 0..4_u32, any::<bool>()), 0..9), other in any::<f32>(), most in 0..4_u32,
        ) {
            let mut pairs: Vec<(f32, f32)> = pairs
                .into_iter()
                .map(|(x, far, up)| {
                    (x, f32::from_bits(if up { x.to_bits().wrapping_add(far) } else { x.to_bits().wrapping_sub(far) }))
                })
                .collect();
            pairs.push((other, other));
            if let Some(far) = furthest(pairs.iter().copied(), most) {
                prop_assert_eq!(Some(far), pairs.iter().map(|(a, b)| ulp::f32(*a, *b)).max());
            }
        }
    }

    #[test]
    fn equal_vectors_are_told_at_once_and_odd_ones_are_not() {
        assert_eq!(furthest([(1.0, 1.0), (-2.0, -2.0)].into_iter(), 0), Some(0));
        assert_eq!(furthest([(1.0, 1.0_f32.next_up())].into_iter(), 0), None);
        assert_eq!(furthest([(1.0, 1.0_f32.next_up())].into_iter(), 4), Some(1));
        for odd in [(0.0, -0.0), (f32::NAN, f32::NAN), (f32::MAX, f32::INFINITY)] {
            assert_eq!(furthest([odd].into_iter(), 4), None);
        }
    }
}
