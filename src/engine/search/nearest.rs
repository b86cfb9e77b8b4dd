//! The exact nearest records of a few queries, kept while verification streams all records. Pure; memory is bounded.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::Distance;

/// Records that are kept of each query: more than ten, so that ties can be told.
const KEPT: usize = 32;
/// How many nearest records count.
pub(super) const TEN: usize = 10;
/// Bytes of an id that is kept: a query near a record with a longer one is not judged.
const LONGEST_ID: usize = 256;
/// Norms between which single precision still tells directions: a product of two of them is far from its ends.
const SHORT: f32 = 1e-15;
const LONG: f32 = 1e15;
/// Records with other norms that are set aside; with more of them no query is judged.
const ASIDE: usize = 1000;
/// Independent sums, so that the compiler can use vector registers.
const LANES: usize = 16;

/// Some queries of one collection, and the records nearest to each.
#[derive(Debug)]
pub(crate) struct Nearest {
    distance: Distance,
    queries: Vec<Query>,
    /// The largest norm of a record: numbers of inner products are as uncertain as the vectors are long.
    longest: f32,
    /// Whether every record was seen once: each further look is one more.
    is_streamed: bool,
    /// Records whose distance to anything is not to be relied on.
    aside: HashSet<String>,
    /// Whether there were too many of them.
    is_blind: bool,
}

#[derive(Debug)]
struct Query {
    id: String,
    vector: Vec<f32>,
    norm: f32,
    /// In the order of their distance.
    kept: Vec<Candidate>,
    /// All records that are not kept are at least as far.
    horizon: f32,
}

/// A record and how far it is.
#[derive(Clone, Debug)]
struct Candidate {
    distance: f32,
    id: Arc<str>,
}

/// What is known of a query's answer.
#[derive(Clone, Debug)]
pub(super) struct Exact<'a> {
    pub(super) id: &'a str,
    pub(super) vector: &'a [f32],
    /// Verified records, nearest first.
    pub(super) known: Vec<(Arc<str>, f32)>,
    /// No other verified record is nearer than this.
    pub(super) horizon: f32,
    /// How far apart two distances may be that are the same.
    pub(super) tolerance: Tolerance,
    pub(super) distance: Distance,
}

/// Single precision sums rounding errors up: the tolerance grows with the dimension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    relative: f32,
    absolute: f32,
    /// By how much the query may be moved on its way: a server that computes in doubles takes the decimals of our single
    /// precision as they are (measured on 0.4.24 with few records: a distance of 2.6e-15 to itself). Of squared distances only.
    shift: f32,
}

impl Tolerance {
    pub(super) fn at(self, distance: f32) -> f32 {
        self.absolute + self.relative * distance.abs() + self.shift * (2.0 * distance.abs().sqrt() + self.shift)
    }
}

impl Nearest {
    /// For these records as queries; vectors that are zero or not finite are none.
    pub(super) fn new(distance: Distance, records: impl IntoIterator<Item = (String, Vec<f32>)>) -> Self {
        let queries = records.into_iter().filter_map(|(id, vector)| {
            let norm = norm(&vector);
            let is_query = (SHORT..=LONG).contains(&norm);
            is_query.then(|| Query { id, vector, norm, kept: Vec::with_capacity(KEPT + 1), horizon: f32::INFINITY })
        });
        let (aside, is_blind) = (HashSet::new(), false);
        Self { distance, queries: queries.collect(), longest: 0.0, is_streamed: false, aside, is_blind }
    }

    /// Takes a verified record; `again`: it may have been taken before, and this is what it is now.
    pub(crate) fn offer(&mut self, id: &str, vector: &[f32], again: bool) {
        if again || self.is_streamed {
            self.forget(id);
        }
        let length = if self.distance == Distance::L2 { 0.0 } else { norm(vector) };
        let is_odd = match self.distance {
            Distance::L2 => false,
            Distance::Ip => length.is_nan() || length > LONG,
            Distance::Cosine => !(SHORT..=LONG).contains(&length),
        };
        if is_odd {
            self.set_aside(id);
            return;
        }
        self.longest = self.longest.max(length);
        let mut shared: Option<Arc<str>> = None;
        for query in self.queries.iter_mut().filter(|query| query.vector.len() == vector.len()) {
            let distance = query.distance_to(self.distance, vector, length);
            if id.len() > LONGEST_ID || (query.kept.len() >= KEPT && distance >= query.kept[KEPT - 1].distance) {
                query.horizon = query.horizon.min(distance);
                continue;
            }
            let id = Arc::clone(shared.get_or_insert_with(|| Arc::from(id)));
            query.take(Candidate { distance, id });
        }
    }

    fn set_aside(&mut self, id: &str) {
        if self.aside.len() < ASIDE && id.len() <= LONGEST_ID {
            self.aside.insert(id.to_owned());
        } else {
            self.is_blind = true;
        }
    }

    /// Whether answers with this record can be judged.
    pub(super) fn is_comparable(&self, id: &str) -> bool {
        !self.aside.contains(id)
    }

    /// How many records answers cannot be judged by.
    pub(super) fn incomparable(&self) -> usize {
        self.aside.len()
    }

    /// Every record was seen once.
    pub(crate) const fn streamed(&mut self) {
        self.is_streamed = true;
    }

    /// Forgets a record that is not verified any more.
    fn forget(&mut self, id: &str) {
        self.aside.remove(id);
        for query in &mut self.queries {
            query.kept.retain(|candidate| &*candidate.id != id);
        }
    }

    /// What is known of each query's answer, of the records for which `is_verified` holds at the end; nothing where too many
    /// records are set aside.
    pub(super) fn exact<E>(&self, is_verified: impl Fn(&str) -> Result<bool, E>) -> Result<Vec<Exact<'_>>, E> {
        if self.is_blind {
            return Ok(Vec::new());
        }
        let of = |query| self.exact_of(query, &is_verified);
        self.queries.iter().map(of).collect()
    }

    fn exact_of<'a, E>(&self, query: &'a Query, is_verified: impl Fn(&str) -> Result<bool, E>) -> Result<Exact<'a>, E> {
        let mut known = Vec::with_capacity(query.kept.len());
        for Candidate { distance, id } in &query.kept {
            if is_verified(id)? {
                known.push((Arc::clone(id), *distance));
            }
        }
        let tolerance = self.tolerance(query);
        let Query { id, vector, horizon, .. } = query;
        Ok(Exact { id, vector, known, horizon: *horizon, tolerance, distance: self.distance })
    }

    fn tolerance(&self, query: &Query) -> Tolerance {
        // a millionth below ten components, ten times as much below a hundred, and so on
        let relative = [10, 100, 1000, 10_000].iter().filter(|n| query.vector.len() >= **n).fold(1e-6, |t, _| t * 10.0);
        let (absolute, shift) = match self.distance {
            Distance::L2 => (f32::MIN_POSITIVE, f32::EPSILON * query.norm),
            Distance::Cosine => (relative, 0.0),
            Distance::Ip => (relative * (1.0 + query.norm * self.longest), 0.0),
        };
        Tolerance { relative, absolute, shift }
    }
}

impl Query {
    fn distance_to(&self, measure: Distance, vector: &[f32], length: f32) -> f32 {
        let distance = match measure {
            Distance::L2 => sum(&self.vector, vector, |a, b| (a - b) * (a - b)),
            Distance::Ip => 1.0 - dot(&self.vector, vector),
            Distance::Cosine => 1.0 - dot(&self.vector, vector) / (self.norm * length),
        };
        if distance.is_nan() { f32::MAX } else { distance }
    }

    fn take(&mut self, candidate: Candidate) {
        let at = self.kept.partition_point(|kept| kept.distance <= candidate.distance);
        self.kept.insert(at, candidate);
        if self.kept.len() > KEPT
            && let Some(last) = self.kept.pop()
        {
            self.horizon = self.horizon.min(last.distance);
        }
    }
}

fn norm(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| a * b)
}

/// The sum of `term` over both vectors' components.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| term(*a, *b)).sum();
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(exact: &Exact<'_>) -> Vec<String> {
        exact.known.iter().map(|(id, _)| id.to_string()).collect()
    }

    fn all(nearest: &Nearest) -> Vec<Exact<'_>> {
        nearest.exact(|_| Ok::<_, ()>(true)).unwrap()
    }

    #[test]
    fn no_query_is_made_of_what_has_no_direction() {
        let records = [("zero", vec![0.0, 0.0]), ("not", vec![f32::NAN, 1.0]), ("yes", vec![1.0, 0.0])];
        let nearest = Nearest::new(Distance::Cosine, records.map(|(id, vector)| (id.to_owned(), vector)));
        assert_eq!(nearest.queries.len(), 1);
    }

    #[test]
    fn a_later_look_replaces_an_earlier_one() {
        let mut nearest = Nearest::new(Distance::L2, [("q".to_owned(), vec![0.5])]);
        nearest.offer("a", &[0.6], false);
        nearest.offer("b", &[0.9], false);
        nearest.offer("a", &[5.0], true);
        assert_eq!(ids(&all(&nearest)[0]), ["b", "a"]);
        nearest.forget("b");
        assert_eq!(ids(&all(&nearest)[0]), ["a"]);
    }

    #[test]
    fn what_was_not_kept_lowers_the_horizon() {
        let mut nearest = Nearest::new(Distance::L2, [("q".to_owned(), vec![1.0])]);
        for n in 0..40_u8 {
            nearest.offer(&n.to_string(), &[1.0], false);
        }
        assert!(all(&nearest)[0].horizon.abs() < f32::EPSILON);
        let mut nearest = Nearest::new(Distance::L2, [("q".to_owned(), vec![1.0])]);
        nearest.offer(&"x".repeat(LONGEST_ID + 1), &[3.0], false);
        assert!((all(&nearest)[0].horizon - 4.0).abs() < f32::EPSILON, "an id too long to keep");
    }

    #[test]
    fn the_tolerance_grows_with_the_dimension_and_the_norms() {
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
        // of a query whose norm is 3, beside a record whose norm is 4
        let assert_is = |distance, dimension: usize, expected: [f32; 3]| {
            let vector = |norm: f32| [vec![norm], vec![0.0; dimension - 1]].concat();
            let mut nearest = Nearest::new(distance, [("q".to_owned(), vector(3.0))]);
            nearest.offer("a", &vector(4.0), false);
            let Tolerance { relative, absolute, shift } = all(&nearest)[0].tolerance;
            let is = [relative, absolute, shift];
            assert!(is.iter().zip(expected).all(|(a, b)| near(*a, b)), "{distance} {dimension}: {is:?}");
        };
        for (dimension, relative) in [(9, 1e-6), (10, 1e-5), (99, 1e-5), (100, 1e-4), (1000, 1e-3), (10_000, 1e-2)] {
            assert_is(Distance::Cosine, dimension, [relative, relative, 0.0]);
            assert_is(Distance::Ip, dimension, [relative, 13.0 * relative, 0.0]);
            assert_is(Distance::L2, dimension, [relative, f32::MIN_POSITIVE, 3.0 * f32::EPSILON]);
        }
        let tolerance = Tolerance { relative: 0.5, absolute: 1.0, shift: 2.0 };
        assert!([9.0, -9.0].into_iter().all(|distance| near(tolerance.at(distance), 21.5)));
    }

    #[test]
    fn a_vector_without_a_direction_is_set_aside() {
        let offered = |distance, vector: [f32; 2]| {
            let mut nearest = Nearest::new(distance, [("q".to_owned(), vec![1.0, 0.0])]);
            nearest.offer("odd", &vector, false);
            nearest
        };
        assert!(!offered(Distance::Cosine, [0.0, 0.0]).is_comparable("odd"));
        assert!(!offered(Distance::Cosine, [1e-20, 0.0]).is_comparable("odd"));
        assert!(!offered(Distance::Ip, [1e20, 1.0]).is_comparable("odd"));
        assert!(offered(Distance::Ip, [0.0, 0.0]).is_comparable("odd"));
        let mut many = offered(Distance::Cosine, [0.0, 0.0]);
        assert_eq!(all(&many).len(), 1);
        for n in 0..ASIDE {
            many.offer(&n.to_string(), &[0.0, 0.0], false);
        }
        assert_eq!(all(&many).len(), 0);
    }

    fn measured(distance: Distance, a: &[f32], b: &[f32]) -> f64 {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let squared = |v: &[f32]| v.iter().map(|c| f64::from(*c) * f64::from(*c)).sum::<f64>();
        match distance {
            Distance::L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum(),
            Distance::Ip => 1.0 - dot,
            Distance::Cosine => 1.0 - dot / (squared(a) * squared(b)).sqrt(),
        }
    }

    /// 0.4.24 keeps few records beside its graph and computes in doubles, with the query as its decimals say.
    #[test]
    fn a_query_that_is_read_as_doubles_stays_within_the_tolerance() {
        for scale in [1e-3_f32, 1.0, 1e6] {
            let stored: Vec<f32> = (1..=24_u8).map(|n| scale * (0.1 + 0.7 * f32::from(n))).collect();
            let decimals: Vec<f64> = stored.iter().map(|c| c.to_string().parse().unwrap()).collect();
            let mut nearest = Nearest::new(Distance::L2, [("q".to_owned(), stored.clone())]);
            for step in [0.0, 1e-6, 1e-3, 1.0] {
                let vector: Vec<f32> = stored.iter().map(|c| c + c * step).collect();
                nearest.offer(&step.to_string(), &vector, false);
                let told: f64 = decimals.iter().zip(&vector).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum();
                let exact = &all(&nearest)[0];
                let known = exact.known.iter().find(|(id, _)| **id == *step.to_string()).unwrap().1;
                let off = (told - f64::from(known)).abs();
                assert!(off <= f64::from(exact.tolerance.at(known)), "{scale} {step}: {told} and {known}");
                assert!(step > 0.0 || off > 0.0, "{scale}: the decimals are other numbers");
                // and no more than that: a vector that was doubled is another one
                assert!(f64::from(exact.tolerance.at(0.0)) < 1e-10 * f64::from(exact.vector[0]).powi(2) * 1e4);
            }
        }
    }

    proptest! {
        /// The kept distances are those of the naive way in double precision, in any order of arrival.
        #[test]
        fn as_the_naive_way(
            records in prop::collection::vec(prop::collection::vec(-4.0_f32..4.0, 37), 1..80),
            query in prop::collection::vec(0.1_f32..4.0, 37),
            measure in 0..3_usize,
        ) {
            let distance = [Distance::L2, Distance::Cosine, Distance::Ip][measure];
            let mut nearest = Nearest::new(distance, [("q".to_owned(), query.clone())]);
            for (n, record) in records.iter().enumerate() {
                nearest.offer(&n.to_string(), record, false);
            }
            let mut naive: Vec<f64> = records.iter().map(|record| measured(distance, &query, record)).collect();
            naive.sort_by(f64::total_cmp);
            let exact = &all(&nearest)[0];
            prop_assert_eq!(exact.known.len(), records.len().min(KEPT));
            for ((_, kept), naive) in exact.known.iter().zip(&naive) {
                let tolerance = f64::from(exact.tolerance.at(*kept));
                prop_assert!((f64::from(*kept) - naive).abs() <= tolerance, "{} and {}", kept, naive);
            }
            if let Some(next) = naive.get(KEPT) {
                prop_assert!((f64::from(exact.horizon) - next).abs() <= f64::from(exact.tolerance.at(exact.horizon)));
            }
        }
    }
}
