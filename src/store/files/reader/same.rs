//! Whether an index's vector is what the engine has made of the log's. Pure.

use crate::model::vector;
use crate::store::files::index::Index;

/// Tells whether a vector of this index is what the engine has made of the log's.
pub(super) fn sameness(index: &Index, cosine: bool) -> impl Fn(&[f32], &[f32]) -> bool {
    // cosine made them, whatever distance is served now: that is doubted as a whole, in `audit`
    let is_doubted = index.evidence.doubt(cosine).is_some_and(|doubt| doubt.cosine && doubt.is_clear());
    move |v, newer| is_same(v, newer, cosine) || is_doubted && is_same(&scaled(v, newer), newer, true)
}

/// Whether an index's vector is what the engine has made of the log's: bit by bit, but in a cosine index near it, and in
/// one whose squares leave the range of f32 whatever came of it.
fn is_same(indexed: &[f32], logged: &[f32], cosine: bool) -> bool {
    if indexed.len() != logged.len() {
        return false;
    }
    let mut pairs = indexed.iter().zip(logged);
    let norm = vector::square(logged).sqrt();
    if !cosine {
        return pairs.all(|(a, b)| a.to_bits() == b.to_bits() || (*a == 0.0 && *b == 0.0));
    }
    !(1e-15..1e15).contains(&norm) || pairs.all(|(a, b)| f64::from(a - b).abs() <= norm * 1e-5)
}

/// A unit vector with the length of another one.
fn scaled(unit: &[f32], other: &[f32]) -> Vec<f32> {
    let norm = vector::square(other).sqrt();
    #[allow(clippy::cast_possible_truncation)] // it is compared with what has f32 components
    unit.iter().map(|component| (f64::from(*component) * norm) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_s_vector_is_the_log_s_if_the_engine_made_it_of_it() {
        let logged = [3.0, 4.0, 0.0];
        assert!(is_same(&[3.0, 4.0, -0.0], &logged, false));
        assert!(!is_same(&[3.0, 4.0_f32.next_up(), 0.0], &logged, false));
        assert!(is_same(&[3.0, 4.0_f32.next_up(), 0.0], &logged, true));
        assert!(!is_same(&[3.0, 4.001, 0.0], &logged, true) && !is_same(&[3.0, 4.0], &logged, true));
        assert!(is_same(&[0.0, 0.0], &[1e-30, 1e-30], true), "cosine makes zeros of it");
        assert!(is_same(&[f32::NAN], &[f32::NAN], false));
    }
}
