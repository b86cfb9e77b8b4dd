//! How far two floating-point numbers are apart, in units in the last place (ULP).
//! Pure: no I/O.

/// What a component of a cosine vector, or a metadata double, may move on one hop through Chroma's API, in ULP: at most
/// so many on every version, as tests/contract.rs measures. What moves further is not the same memory any more.
pub const TOLERATED: u32 = 4;

/// The number of representable values from `a` to `b`. -0.0 equals 0.0, and each NaN is [`u32::MAX`] away from
/// everything, other NaNs included. Infinity is one step beyond the largest finite number.
#[must_use]
pub fn f32(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return u32::MAX;
    }
    u32::try_from(place_of_f32(a).abs_diff(place_of_f32(b))).unwrap_or(u32::MAX)
}

/// The place of a number among all that an f32 can be, in ULP from zero; negative below it. 0.0 and -0.0 share theirs.
#[must_use]
pub fn place_of_f32(x: f32) -> i64 {
    let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
    if x.is_sign_negative() { -magnitude } else { magnitude }
}

/// As [`f32()`], for doubles; NaN is [`u64::MAX`] away from everything.
#[must_use]
pub fn f64(a: f64, b: f64) -> u64 {
    if a.is_nan() || b.is_nan() {
        return u64::MAX;
    }
    place_of_f64(a).abs_diff(place_of_f64(b))
}

/// As [`place_of_f32`], for doubles.
#[must_use]
pub fn place_of_f64(x: f64) -> i64 {
    // the sign bit is masked out, so that the rest fits
    let magnitude = i64::from_le_bytes((x.to_bits() & 0x7fff_ffff_ffff_ffff).to_le_bytes());
    if x.is_sign_negative() { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_zeros_and_nan() {
        assert_eq!(f32(1.0, 1.0 + f32::EPSILON), 1);
        assert_eq!(f32(-0.0, 0.0), 0);
        assert_eq!(f32(f32::from_bits(1), -f32::from_bits(1)), 2);
        assert_eq!(f32(f32::MAX, f32::INFINITY), 1);
        assert_eq!([f32(f32::NAN, f32::NAN), f32(f32::NAN, 0.0), f32(0.0, f32::NAN)], [u32::MAX; 3]);
        assert_eq!(f64(1.0, 1.0 - f64::EPSILON / 2.0), 1);
        assert_eq!(f64(-0.0, 0.0), 0);
        assert_eq!([f64(f64::NAN, f64::NAN), f64(f64::NAN, 0.0), f64(0.0, f64::NAN)], [u64::MAX; 3]);
        assert_eq!(f64(f64::NEG_INFINITY, f64::INFINITY), 2 * 0x7ff0_0000_0000_0000);
    }

    proptest! {
        #[test]
        fn the_next_number_is_one_step_away(x in any::<f32>(), y in any::<f64>()) {
            prop_assume!(x.is_finite() && y.is_finite());
            prop_assert_eq!(f32(x, x.next_up()), 1);
            prop_assert_eq!(f64(y.next_down(), y), 1);
            prop_assert_eq!(f32(x, -x), f32(-x, x));
        }
    }
}
