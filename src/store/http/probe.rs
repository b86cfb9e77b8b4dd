//! Which distance a server really goes by, from what its collection's documents say and what it answers to queries.
//! Pure: vectors and numbers in, a verdict out. `api` sends the queries.
//!
//! Documents lie (measured on 0.4.24 to 1.5.9): `modify(metadata=…)` replaces a collection's metadata with the distance in
//! it, 0.5 and 0.6 write l2 into every configuration, and 1.x reports l2 for each store that an older version wrote. The
//! engine goes on as the collection was created. So it is asked; but one answer decides only where it agrees with the
//! documents, and against them it takes two.

use crate::model::{Collection, Distance, Value};

/// Queries of one probe, at most.
const QUERIES: usize = 3;
/// Components of the longest vector that is asked for: a server says how many its vectors have, and may say anything. One that
/// really has more refuses the query, and the collection is not probed.
const LONGEST: usize = 1 << 20;

/// What came of one query for the nearest record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// There is no record.
    Empty,
    /// The nearest record's vector, and how far the server says it is.
    Nearest {
        /// The vector of the record.
        found: Vec<f32>,
        /// The distance, in whatever measure the engine has.
        told: f64,
    },
    /// The server could not answer, in words that can be shown.
    Failed(String),
}

/// What is known of a collection's distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) distance: Distance,
    /// What a person should know.
    pub(super) note: Option<String>,
    /// Why the collection must not be moved.
    pub(super) refusal: Option<String>,
}

/// A probe under way.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// Of the documents, by this version's order of truth.
    expected: Distance,
    /// Of schema or configuration, where there is one.
    declared: Distance,
    /// What documents say that somebody must have written: an l2 in a configuration is a default, too.
    stated: Vec<(&'static str, Distance)>,
    dimension: usize,
    asked: Vec<f32>,
    /// What answers fit that do not fit what is expected, each narrowed by those before it.
    against: Vec<Distance>,
    /// How many such answers agree.
    agreed: usize,
    troubles: Vec<String>,
    queries: usize,
}

impl Probe {
    /// For a collection whose `distance` is what its documents declare, with vectors of so many components.
    pub(super) fn new(collection: &Collection, dimension: usize) -> Self {
        let metadata = match collection.metadata.get("hnsw:space") {
            Some(Value::Str(word)) => Distance::parse(word),
            _ => None,
        };
        let configured = Some(collection.distance).filter(|distance| Some(*distance) != metadata);
        let configured = configured.filter(|distance| *distance != Distance::L2);
        let stated = [("configuration", configured), ("metadata", metadata)];
        let stated = stated.into_iter().filter_map(|(place, distance)| Some((place, distance?))).collect();
        let dimension = dimension.min(LONGEST);
        Self {
            expected: expected(collection),
            declared: collection.distance,
            stated,
            dimension,
            asked: irregular(dimension, 0),
            against: Vec::new(),
            agreed: 0,
            troubles: Vec::new(),
            queries: 0,
        }
    }

    /// The vector to ask for next.
    pub(super) fn vector(&self) -> &[f32] {
        &self.asked
    }

    /// Takes the answer; a verdict ends the probe.
    pub(super) fn take(&mut self, answer: Answer) -> Option<Verdict> {
        self.queries += 1;
        let mut next = irregular(self.dimension, self.queries);
        match answer {
            Answer::Empty => return Some(self.unprobed(None)),
            Answer::Failed(why) => self.troubles.push(why),
            Answer::Nearest { found, told } => {
                match fitting(&self.asked, &found, told).as_slice() {
                    [one] if *one == self.expected => return Some(self.unprobed(None)),
                    [] => self.troubles.push(format!("no distance gives {told} between the vectors of its answer")),
                    several if several.contains(&self.expected) => {
                        self.troubles.push(format!("{} give the same number for its answer", words(several)));
                    }
                    others => {
                        self.contradict(others);
                        if let ([one], 2..) = (self.against.as_slice(), self.agreed) {
                            return Some(self.contradicted(*one));
                        }
                    }
                }
                if let Some(along) = along(&found).filter(|_| self.queries == 1) {
                    next = along;
                }
            }
        }
        self.asked = next;
        // A second vector for an answer that told nothing; a third only to confirm what contradicts the documents.
        let enough = if self.against.is_empty() { QUERIES - 1 } else { QUERIES };
        (self.queries >= enough).then(|| {
            if self.agreed > 1 {
                return self.undecided();
            }
            let why = self.troubles.first().cloned().unwrap_or_else(|| "its answers contradict each other".to_owned());
            self.unprobed(Some(why))
        })
    }

    /// Takes an answer that fits these distances, and not the expected one.
    fn contradict(&mut self, fits: &[Distance]) {
        let both: Vec<Distance> = self.against.iter().copied().filter(|one| fits.contains(one)).collect();
        (self.against, self.agreed) = if both.is_empty() { (fits.to_vec(), 1) } else { (both, self.agreed + 1) };
    }

    /// Not as its documents say, and several others are left: of zero vectors, cosine and inner product tell the same.
    fn undecided(&self) -> Verdict {
        let refusal = format!(
            "queries show that its server does not compare by {}, as its documents say, and its vectors do not tell {} \
             apart: add a record whose vector is not zero, or leave the collection out",
            self.expected,
            words(&self.against)
        );
        Verdict { distance: self.expected, note: None, refusal: Some(refusal) }
    }

    fn unprobed(&self, why: Option<String>) -> Verdict {
        let expected = self.expected;
        let note = why
            .map(|why| format!("its distance was not probed ({why}); its documents say {expected}, and that is taken"));
        Verdict { distance: expected, note, refusal: None }
    }

    fn contradicted(&self, distance: Distance) -> Verdict {
        let Self { expected, declared, stated, .. } = self;
        if stated.is_empty() || *declared == distance || stated.iter().any(|(_, said)| *said == distance) {
            let note =
                format!("its server compares by {distance}, as queries show, where its documents say {expected}");
            return Verdict { distance, note: Some(note), refusal: None };
        }
        let said: Vec<String> = stated.iter().map(|(place, said)| format!("its {place} {said}")).collect();
        let refusal = format!(
            "queries show that its server compares by {distance}, but {} says otherwise ({}): take hnsw:space out of its \
             metadata (modify), or leave the collection out",
            if said.len() == 1 { "its only document" } else { "each document" },
            said.join(", ")
        );
        Verdict { distance, note: None, refusal: Some(refusal) }
    }
}

/// What the documents say, by this version's order of truth: where 1.x reports l2 that is a default, and the metadata of
/// the version that wrote the store is in effect; any other word is a configuration that somebody wrote, and wins.
pub(super) fn expected(collection: &Collection) -> Distance {
    let wished = match collection.metadata.get("hnsw:space") {
        Some(Value::Str(word)) => Distance::parse(word),
        _ => None,
    };
    if collection.distance == Distance::L2 { wished.unwrap_or(Distance::L2) } else { collection.distance }
}

/// A vector that is no unit vector, and no multiple of another one by chance: each distance gives another number.
fn irregular(dimension: usize, seed: usize) -> Vec<f32> {
    let component = |n: usize| {
        // Bits of a multiplicative hash: anything that looks like no embedding does.
        let mixed = (n + 1 + seed * 65_537).wrapping_mul(0x9E37_79B9) >> 7;
        let size = 0.75 + f32::from(mixed.to_le_bytes()[0]) / 128.0;
        if mixed & 0x100 == 0 { size } else { -size }
    };
    (0..dimension).map(component).collect()
}

/// A vector along this one, so long that no two distances agree there; None for a zero vector and one out of reach.
fn along(found: &[f32]) -> Option<Vec<f32>> {
    let norm = found.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
    // cosine gives 0, l2 4 and ip 2 - (norm + 1)^2, which is 0 at 0.414 only
    let longer = if (norm - 0.414).abs() < 0.05 { 3.0 } else { 2.0 };
    let factor = (norm + longer) / norm;
    #[allow(clippy::cast_possible_truncation)]
    let scaled: Vec<f32> = found.iter().map(|c| (f64::from(*c) * factor) as f32).collect();
    (norm.is_normal() && scaled.iter().all(|c| c.is_finite())).then_some(scaled)
}

/// The distances that give `told` between two vectors, as exactly as an engine computes in f32.
fn fitting(asked: &[f32], found: &[f32], told: f64) -> Vec<Distance> {
    if asked.len() != found.len() {
        return Vec::new();
    }
    let pairs = || asked.iter().zip(found).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let sum = |of: &dyn Fn(f64, f64) -> f64| pairs().map(|(a, b)| of(a, b)).sum::<f64>();
    let (dot, size, l2) = (sum(&|a, b| a * b), sum(&|a, b| (a * b).abs()), sum(&|a, b| (a - b).powi(2)));
    let norms = sum(&|a, _| a * a).sqrt() * sum(&|_, b| b * b).sqrt();
    let terms = sum(&|a, b| a * a + b * b);
    // A sum of terms in f32 is off by some units in the last place of their size, not of the sum's.
    let exact = 2e-5;
    let candidates = [
        (Distance::L2, l2, exact * l2.max(terms * 1e-3)),
        (Distance::Cosine, 1.0 - if norms > 0.0 { dot / norms } else { 0.0 }, exact),
        (Distance::Ip, 1.0 - dot, exact * (1.0 + size)),
    ];
    let near = |(_, expected, within): &(_, f64, f64)| (expected - told).abs() <= *within;
    candidates.into_iter().filter(near).map(|(distance, ..)| distance).collect()
}

fn words(distances: &[Distance]) -> String {
    distances.iter().map(|distance| distance.as_str()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Distance; 3] = [Distance::L2, Distance::Cosine, Distance::Ip];

    fn collection(declared: Distance, metadata: Option<&str>) -> Collection {
        let metadata = metadata.map(|word| ("hnsw:space".to_owned(), Value::Str(word.to_owned())));
        Collection {
            id: "c1".into(),
            name: "memories".into(),
            tenant: "t".into(),
            database: "d".into(),
            dimension: Some(3),
            distance: declared,
            metadata: metadata.into_iter().collect(),
            configuration: None,
            schema: None,
            unreadable: None,
        }
    }

    /// `make fuzz SEED=2812`, case 533 of `answers`: 8 GiB were asked of the system, and the run was aborted.
    #[test]
    fn a_number_of_components_that_a_server_makes_up_takes_no_memory() {
        assert_eq!(Probe::new(&collection(Distance::L2, None), i32::MAX as usize).vector().len(), LONGEST);
    }

    /// What an engine computes, in f32.
    fn engine(distance: Distance, a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let unit = |v: &[f32]| {
            let norm = dot(v, v).sqrt() + 1e-30;
            v.iter().map(|c| c / norm).collect::<Vec<_>>()
        };
        f64::from(match distance {
            Distance::L2 => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
            Distance::Cosine => 1.0 - dot(&unit(a), &unit(b)),
            Distance::Ip => 1.0 - dot(a, b),
        })
    }

    /// The nearest of these vectors, and how far a server that goes by `really` says it is.
    fn nearest(really: Distance, asked: &[f32], held: &[Vec<f32>]) -> (Vec<f32>, f64) {
        let far = |v: &&Vec<f32>| engine(really, asked, v);
        let found = held.iter().min_by(|a, b| far(a).total_cmp(&far(b))).unwrap().clone();
        let told = engine(really, asked, &found);
        (found, told)
    }

    /// Probes a server that goes by `really` and holds these vectors; also how many queries it took.
    fn probed(collection: &Collection, really: Distance, held: &[Vec<f32>]) -> (Verdict, usize) {
        let mut probe = Probe::new(collection, held[0].len());
        for queries in 1.. {
            let (found, told) = nearest(really, probe.vector(), held);
            if let Some(verdict) = probe.take(Answer::Nearest { found, told }) {
                return (verdict, queries);
            }
        }
        unreachable!()
    }

    #[test]
    fn the_table_of_documents_and_engines() {
        use Distance::{Cosine, Ip, L2};
        let held = [vec![3.0, 4.0, 0.0], vec![1.0, 2.0, 2.0]];
        // declared, metadata, really: taken, noted, refused, queries
        for (declared, metadata, really, taken, noted, refused, queries) in [
            (L2, None, L2, L2, false, false, 1),
            (Cosine, None, Cosine, Cosine, false, false, 1),
            (Cosine, Some("cosine"), Cosine, Cosine, false, false, 1),
            // an old store behind 1.x, whose configuration says l2 by default
            (L2, Some("cosine"), Cosine, Cosine, false, false, 1),
            // the metadata was replaced
            (L2, None, Cosine, Cosine, true, false, 2),
            (L2, None, Ip, Ip, true, false, 2),
            // a configuration wins over a stale word in the metadata
            (Cosine, Some("l2"), Cosine, Cosine, false, false, 1),
            (Cosine, Some("l2"), L2, L2, true, false, 2),
            (L2, Some("cosine"), L2, L2, true, false, 2),
            (L2, Some("l2"), Cosine, Cosine, false, true, 2),
            (Cosine, Some("l2"), Ip, Ip, false, true, 2),
            (Ip, None, Cosine, Cosine, false, true, 2),
            (L2, Some("nonsense"), Cosine, Cosine, true, false, 2),
        ] {
            let (verdict, asked) = probed(&collection(declared, metadata), really, &held);
            let case = format!("{declared} {metadata:?} {really}: {verdict:?}");
            assert_eq!(verdict.distance, taken, "{case}");
            assert_eq!((verdict.note.is_some(), verdict.refusal.is_some(), asked), (noted, refused, queries), "{case}");
        }
    }

    #[test]
    fn an_answer_that_tells_nothing_decides_nothing() {
        let cosine = collection(Distance::Cosine, None);
        // Of a zero vector, inner product and cosine are 1 whatever is asked.
        let (verdict, queries) = probed(&cosine, Distance::Ip, &[vec![0.0; 3]]);
        assert_eq!((verdict.distance, queries), (Distance::Cosine, 2));
        assert!(verdict.refusal.is_none() && verdict.note.unwrap().contains("cosine and ip give the same number"));

        // but they tell l2 from both: what is said of cosine or ip is contradicted, what is said of l2 is refused
        let zeros = |declared, really| probed(&collection(declared, None), really, &[vec![0.0; 3]]).0;
        assert_eq!(zeros(Distance::L2, Distance::L2), Verdict { distance: Distance::L2, note: None, refusal: None });
        let taken = zeros(Distance::Cosine, Distance::L2).refusal.unwrap();
        assert!(taken.contains("compares by l2"), "{taken}");
        for really in [Distance::Cosine, Distance::Ip] {
            let refusal = zeros(Distance::L2, really).refusal.unwrap();
            assert!(refusal.contains("does not compare by l2") && refusal.contains("cosine and ip"), "{refusal}");
        }

        let failing = |answers: Vec<Answer>| {
            let mut probe = Probe::new(&cosine, 3);
            answers.into_iter().find_map(|answer| probe.take(answer))
        };
        let failed = || Answer::Failed("status 500: boom".into());
        let note = failing(vec![failed(), failed()]).unwrap().note.unwrap();
        assert!(note.contains("not probed") && note.contains("boom") && note.contains("cosine"), "{note}");
        assert_eq!(failing(vec![failed()]), None);
        assert_eq!(failing(vec![Answer::Empty]).unwrap().note, None);
        let odd = || Answer::Nearest { found: vec![3.0, 4.0, 0.0], told: 77.0 };
        assert!(failing(vec![odd(), odd()]).unwrap().note.unwrap().contains("no distance gives 77"));
        let other_dimension = || Answer::Nearest { found: vec![3.0, 4.0], told: 1.0 };
        assert!(failing(vec![other_dimension(), other_dimension()]).unwrap().note.is_some());
    }

    /// One contradiction is confirmed before it counts, and one that is not confirmed counts for nothing.
    #[test]
    fn one_contradiction_alone_is_not_believed() {
        let mut probe = Probe::new(&collection(Distance::L2, None), 3);
        let found = vec![3.0, 4.0, 0.0];
        let told = engine(Distance::Cosine, probe.vector(), &found);
        assert_eq!(probe.take(Answer::Nearest { found, told }), None);
        assert_eq!(probe.take(Answer::Failed("status 500".into())), None);
        let verdict = probe.take(Answer::Failed("status 500".into())).unwrap();
        assert_eq!((verdict.distance, verdict.refusal), (Distance::L2, None));
        assert!(verdict.note.unwrap().contains("not probed"));
    }

    proptest! {
        #[test]
        fn every_engine_is_recognised(
            vectors in (1_usize..64).prop_flat_map(|n| proptest::collection::vec(
                proptest::collection::vec(-4.0_f32..4.0, n), 1..5)),
            really in proptest::sample::select(ALL.to_vec()),
            declared in proptest::sample::select(ALL.to_vec()),
            scale in proptest::sample::select(vec![1e-6_f32, 1.0, 1e4]),
        ) {
            let held: Vec<Vec<f32>> = vectors.iter().map(|v| v.iter().map(|c| c * scale).collect()).collect();
            prop_assume!(held.iter().all(|v| v.iter().any(|c| c.abs() > scale * 1e-2)));
            let (verdict, queries) = probed(&collection(declared, None), really, &held);
            // It may be left open, but never be another one than the engine's and the documents'.
            prop_assert!(verdict.distance == really || verdict.distance == declared, "{:?}", verdict);
            prop_assert!(verdict.refusal.is_none() || verdict.distance == really);
            prop_assert!(queries <= QUERIES, "{}", queries);
            if really == declared {
                // of a tiny vector across the one that is asked for, cosine and ip tell the same: it is asked along that one, too
                let asked = irregular(held[0].len(), 0);
                let (found, told) = nearest(really, &asked, &held);
                let is_told_apart = fitting(&asked, &found, told) == [really];
                prop_assert_eq!(queries, if is_told_apart { 1 } else { 2 });
            }
            if (0.5..2.0).contains(&scale) {
                prop_assert_eq!(verdict.distance, really);
            }
        }

        #[test]
        fn no_numbers_make_it_panic(found in proptest::collection::vec(any::<f32>(), 0..5), told in any::<f64>()) {
            let mut probe = Probe::new(&collection(Distance::L2, None), 3);
            for _ in 0..QUERIES {
                let _ = probe.take(Answer::Nearest { found: found.clone(), told });
            }
        }
    }
}
