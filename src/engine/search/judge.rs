//! Holds an answer against what is known of the query. Pure.

use std::collections::HashSet;

use super::nearest::{Exact, TEN};
use crate::model::Distance;
use crate::store::Neighbour;

/// Distances beyond this may be infinite to a server.
const HUGE: f32 = 1e37;

/// What came of one query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judged {
    /// More records have the same distance than were kept.
    Tied,
    /// No record near it is verified.
    Unverified,
    /// Records that are not judged took the answer's places: it has to be asked for more.
    More,
    /// It was held against the exact nearest.
    Found(Found),
}

/// What is wrong with an answer whatever its records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A record is in it twice.
    Twice,
    /// It has more records than were asked for.
    Long,
    /// It has so many records, and so many were asked for and are there.
    Short(usize, usize),
}

impl Fault {
    pub(super) fn words(self) -> String {
        match self {
            Self::Twice => "has a record twice".to_owned(),
            Self::Long => "has more records than were asked for".to_owned(),
            Self::Short(found, due) => format!("has {found} records, and {due} were asked for and are there"),
        }
    }
}

/// Looks at an answer to `asked` neighbours from a collection that holds this many records or more.
pub(super) fn fault(answer: &[Neighbour], asked: usize, held: u64) -> Option<Fault> {
    let due = usize::try_from(held).unwrap_or(usize::MAX).min(asked);
    let ids: HashSet<&str> = answer.iter().map(|neighbour| neighbour.id.as_str()).collect();
    if ids.len() < answer.len() {
        Some(Fault::Twice)
    } else if answer.len() > asked {
        Some(Fault::Long)
    } else {
        (answer.len() < due).then_some(Fault::Short(answer.len(), due))
    }
}

/// A judged answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// How many of the nearest were found.
    pub(super) hits: usize,
    /// Of how many.
    pub(super) of: usize,
    /// Whether the record itself, or one with an equal vector, was found; None where that cannot be expected.
    pub(super) itself: Option<bool>,
    /// How many distances are not what they should be.
    pub(super) wrong: usize,
}

/// Judges an answer to `asked` neighbours. Ids that `is_verified` does not know are set aside.
pub(super) fn judge(
    exact: &Exact<'_>,
    answer: &[Neighbour],
    asked: usize,
    is_verified: impl Fn(&str) -> bool,
) -> Judged {
    let of = exact.known.len().min(TEN);
    let Some((_, last)) = of.checked_sub(1).and_then(|at| exact.known.get(at)) else { return Judged::Unverified };
    let reach = last + exact.tolerance.at(*last);
    if reach >= exact.horizon {
        return Judged::Tied;
    }
    let mut seen = HashSet::new();
    let fresh = answer.iter().filter(|neighbour| seen.insert(neighbour.id.as_str()));
    let judged: Vec<&Neighbour> = fresh.filter(|neighbour| is_verified(&neighbour.id)).take(TEN).collect();
    if judged.len() < of && answer.len() >= asked {
        return Judged::More;
    }
    let (mut hits, mut wrong, mut itself) = (0, 0, false);
    let zero = exact.tolerance.at(0.0);
    for Neighbour { id, distance: told } in judged {
        let known = exact.known.iter().find(|(known, _)| **known == **id).map(|(_, distance)| *distance);
        let is_wrong = match (known, told) {
            (Some(known), Some(told)) => (told - f64::from(known)).abs() > f64::from(exact.tolerance.at(known)),
            // a distance that is not finite, between vectors that are no such distance apart
            (Some(known), None) => known.abs() < HUGE,
            // it is farther than all that is known
            (None, Some(told)) => *told < f64::from(exact.horizon - exact.tolerance.at(exact.horizon)),
            (None, None) => false,
        };
        wrong += usize::from(is_wrong);
        hits += usize::from(known.is_some_and(|known| known <= reach));
        itself |= id == exact.id || known.is_some_and(|known| known <= zero);
    }
    Judged::Found(Found { hits: hits.min(of), of, itself: expected(exact, of).then_some(itself), wrong })
}

/// Whether the record must find itself, or one with an equal vector.
fn expected(exact: &Exact<'_>, of: usize) -> bool {
    let equal = exact.known.iter().filter(|(_, distance)| *distance <= exact.tolerance.at(0.0)).count();
    let among = exact.known.iter().take(of).any(|(id, _)| **id == *exact.id);
    exact.distance != Distance::Ip && equal <= TEN && among
}

#[cfg(test)]
mod tests {
    use super::super::nearest::Nearest;
    use super::*;

    /// Records at 0, 1, 2, … and a query at 0.5, with squared distances.
    fn line(records: u8) -> Nearest {
        let mut nearest = Nearest::new(Distance::L2, [("0".to_owned(), vec![0.25])]);
        for n in 0..records {
            nearest.offer(&n.to_string(), &[f32::from(n) + 0.25], false);
        }
        nearest
    }

    fn answer(ids: &[u8]) -> Vec<Neighbour> {
        let one = |n: &u8| Neighbour { id: n.to_string(), distance: Some(f64::from(*n) * f64::from(*n)) };
        ids.iter().map(one).collect()
    }

    fn judged(nearest: &Nearest, answer: &[Neighbour], asked: usize, aside: &[&str]) -> Judged {
        let verified = |id: &str| !aside.contains(&id);
        let exact = nearest.exact(|id| Ok::<_, ()>(verified(id))).unwrap();
        judge(&exact[0], answer, asked, verified)
    }

    fn found(hits: usize, of: usize, itself: bool) -> Judged {
        Judged::Found(Found { hits, of, itself: Some(itself), wrong: 0 })
    }

    #[test]
    fn a_perfect_answer_and_a_poor_one() {
        let nearest = line(20);
        assert_eq!(judged(&nearest, &answer(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 10, &[]), found(10, 10, true));
        assert_eq!(judged(&nearest, &answer(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 15]), 10, &[]), found(9, 10, false));
        assert_eq!(judged(&nearest, &[], 10, &[]), found(0, 10, false));
        assert_eq!(judged(&nearest, &answer(&[1; 10]), 10, &[]), Judged::More, "one record ten times is one");
        assert_eq!(judged(&nearest, &answer(&[1; 10]), 11, &[]), found(1, 10, false));
    }

    #[test]
    fn a_small_collection_counts_what_there_is() {
        assert_eq!(judged(&line(3), &answer(&[0, 1, 2]), 10, &[]), found(3, 3, true));
        assert_eq!(judged(&line(0), &[], 10, &[]), Judged::Unverified);
    }

    #[test]
    fn what_is_not_verified_is_set_aside_and_asked_around() {
        let nearest = line(20);
        let aside = ["1", "2"];
        assert_eq!(judged(&nearest, &answer(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 10, &aside), Judged::More);
        let more = answer(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(judged(&nearest, &more, 100, &aside), found(10, 10, true));
    }

    #[test]
    fn ties_count_by_their_distance() {
        let mut nearest = line(9);
        for n in 0..5 {
            nearest.offer(&format!("tie {n}"), &[9.25], false);
        }
        let mut last = answer(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        last.push(Neighbour { id: "tie 4".into(), distance: Some(81.0) });
        assert_eq!(judged(&nearest, &last, 10, &[]), found(10, 10, true));
    }

    #[test]
    fn more_ties_than_were_kept_leave_it_open() {
        let mut nearest = line(1);
        for n in 0..50 {
            nearest.offer(&format!("tie {n}"), &[9.25], false);
        }
        assert_eq!(judged(&nearest, &answer(&[0]), 10, &[]), Judged::Tied);
    }

    /// All distances null were once a recall of 1.0 and no fault.
    #[test]
    fn a_distance_that_is_not_finite_is_wrong_between_finite_vectors() {
        let mut nulls = answer(&[0, 1, 2]);
        for one in &mut nulls {
            one.distance = None;
        }
        let Judged::Found(found) = judged(&line(3), &nulls, 10, &[]) else { panic!("not judged") };
        assert_eq!((found.hits, found.wrong), (3, 3));
        let mut far = line(2);
        far.offer("2", &[1e20], false);
        assert_eq!(judged(&far, &nulls, 10, &[]), Judged::Tied, "single precision has no number for that one");
    }

    /// One record ten times, and no record at all, were once no fault.
    #[test]
    fn an_answer_has_each_record_once_and_as_many_as_there_are() {
        let of = |ids: &[u8], asked, held| fault(&answer(ids), asked, held);
        assert_eq!(of(&[1; 10], 10, 50), Some(Fault::Twice));
        assert_eq!(of(&[1, 2, 1], 10, 3), Some(Fault::Twice));
        assert_eq!(of(&[], 10, 50), Some(Fault::Short(0, 10)));
        assert_eq!(of(&[0, 1], 10, 3), Some(Fault::Short(2, 3)));
        assert_eq!(of(&[0, 1, 2], 2, 3), Some(Fault::Long));
        assert_eq!((of(&[0, 1, 2], 10, 3), of(&[0, 1, 2], 10, 2), of(&[], 10, 0)), (None, None, None));
        assert_eq!(of(&[0, 1, 2], 3, u64::MAX), None);
    }

    #[test]
    fn another_distance_is_told() {
        let mut wrong = answer(&[0, 1, 2]);
        wrong[2].distance = Some(2.0);
        let Judged::Found(found) = judged(&line(3), &wrong, 10, &[]) else { panic!("not judged") };
        assert_eq!((found.hits, found.wrong), (3, 1));
        let far = vec![Neighbour { id: "39".into(), distance: Some(0.0) }];
        let Judged::Found(found) = judged(&line(40), &far, 10, &[]) else { panic!("not judged") };
        assert_eq!((found.hits, found.wrong), (0, 1), "it claims to be nearer than it can be");
    }

    #[test]
    fn a_record_with_an_equal_vector_stands_for_the_record_itself() {
        let mut nearest = line(2);
        nearest.offer("twin", &[0.25], false);
        let twin = Neighbour { id: "twin".into(), distance: Some(0.0) };
        assert_eq!(judged(&nearest, &[twin], 10, &[]), found(1, 3, true));
        assert_eq!(judged(&nearest, &answer(&[1]), 10, &[]), found(1, 3, false));
    }

    #[test]
    fn a_distance_at_its_bound_is_right_and_one_beyond_it_wrong() {
        let nearest = line(1);
        let mut exact = nearest.exact(|_| Ok::<_, ()>(true)).unwrap().remove(0);
        (exact.known, exact.horizon) = (vec![("near".into(), 4.0)], 100.0);
        let wrong = |exact: &Exact<'_>, id: &str, distance| {
            let Judged::Found(found) = judge(exact, &[Neighbour { id: id.into(), distance }], 10, |_| true) else {
                panic!("not judged")
            };
            found.wrong
        };
        let slack = f64::from(exact.tolerance.at(4.0));
        let near = |slack: f64| [4.0 - slack, 4.0 + slack].map(|told| wrong(&exact, "near", Some(told)));
        assert_eq!((near(slack), near(1.01 * slack)), ([0, 0], [1, 1]));
        let least = f64::from(exact.horizon - exact.tolerance.at(exact.horizon));
        let far = [least - 1e-6, least, 100.0, 1000.0].map(|told| wrong(&exact, "far", Some(told)));
        assert_eq!(far, [1, 0, 0, 0]);
        for (distance, is_wrong) in [(HUGE, 0), (HUGE / 2.0, 1), (-HUGE, 0)] {
            (exact.known, exact.horizon) = (vec![("near".into(), distance)], f32::INFINITY);
            assert_eq!(wrong(&exact, "near", None), is_wrong, "{distance:e}");
        }
    }

    #[test]
    fn a_record_need_not_find_itself_where_others_are_as_near() {
        let itself = |distance, equal: usize| {
            let mut nearest = Nearest::new(distance, [("q".to_owned(), vec![1.0, 0.0])]);
            nearest.offer("q", &[1.0, 0.0], false);
            (0..equal).for_each(|n| nearest.offer(&n.to_string(), &[1.0, 0.0], false));
            match judged(&nearest, &[], 10, &[]) {
                Judged::Found(found) => found.itself,
                _ => None,
            }
        };
        assert_eq!(itself(Distance::L2, 0), Some(false));
        assert_eq!(itself(Distance::L2, 9), Some(false));
        assert_eq!(itself(Distance::L2, 10), None);
        assert_eq!(itself(Distance::Ip, 0), None);
    }
}
