//! How far two equally good indexes may be apart by chance: each is built anew, and of few queries one decides. Pure.

/// Standard errors beyond which it is no chance any more: less than one run in 700.
const SIGMAS: f64 = 3.0;
/// Of fewer judged queries each one weighs too much.
const FEW: usize = 10;

/// By how much a target may be below its source's own server, and how many records its share is of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Chance {
    /// Mean recalls.
    pub(super) recall: f64,
    /// Shares of records that find themselves.
    pub(super) itself: f64,
    /// Records of the target that should find themselves.
    pub(super) due: u32,
}

/// What one server found: the recall of each query, and how many of how many records found themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) recalls: &'a [f64],
    pub(super) itself: (u32, u32),
}

impl Chance {
    /// Of a target, beside its source's own server: as uncertain as both. One alone that is good by chance looks certain, too.
    pub(super) fn between(target: Look<'_>, source: Option<Look<'_>>) -> Self {
        let due = target.itself.1;
        let Some(source) = source else { return Self { due, ..Self::default() } };
        let recall = apart(variance(target.recalls) + variance(source.recalls), target.recalls.len());
        let [found, of] = [target.itself.0 + source.itself.0, target.itself.1 + source.itself.1].map(f64::from);
        let share = (found + 1.0) / (of + 2.0);
        Self { recall, itself: apart(2.0 * share * (1.0 - share), due as usize), due }
    }
}

/// Of recalls. As if there were one more, of the most uncertain kind: few that agree prove no certainty.
fn variance(recalls: &[f64]) -> f64 {
    let count = number(recalls.len().max(1));
    let mean = recalls.iter().sum::<f64>() / count;
    (recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() + mean * (1.0 - mean)) / count
}

/// How far two means over so many may be apart, by the sum of both variances.
fn apart(variance: f64, count: usize) -> f64 {
    if count > 0 { SIGMAS * (variance / number(count)).max(0.0).sqrt() } else { 0.0 }
}

/// What so few queries take from an expected recall.
pub(super) fn of_few(expected: f64, queries: u64) -> f64 {
    let queries = usize::try_from(queries).unwrap_or(usize::MAX);
    if queries >= FEW { 0.0 } else { apart(expected * (1.0 - expected), queries.max(1)) }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_queries_and_the_better_the_index_the_less_is_chance() {
        let of = |recalls: &[f64], itself| {
            let look = Look { recalls, itself };
            let Chance { recall, itself, due } = Chance::between(look, Some(look));
            assert_eq!(Chance::between(look, None), Chance { due, ..Chance::default() });
            (recall, itself)
        };
        let recall = |recall: f64, count: usize| of(&vec![recall; count], (0, 0)).0;
        assert!(recall(1.0, 50) < 1e-9 && recall(0.5, 50) < 0.05 && recall(0.5, 2) > 0.5);
        let spread: Vec<f64> = (0..50).map(|n| f64::from(n % 2)).collect();
        assert!(of(&spread, (0, 0)).0 > 0.25);
        let itself = |found, due| of(&[], (found, due)).1;
        assert!(itself(50, 50) < 0.1 && itself(25, 50) > 0.25 && itself(3, 3) > 0.5 && itself(0, 0) < 1e-9);
        assert!(of_few(0.9, 10) < 1e-9 && of_few(0.9, 9) > 0.2 && of_few(0.9, 0) > 0.8 && of_few(1.0, 1) < 1e-9);
    }
}
