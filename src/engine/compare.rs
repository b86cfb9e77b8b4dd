//! Whether two records are the same memory: the one equality of preflight, verification and repair.
//! Pure. Never normalises a vector: a lost magnitude must show.

use crate::model::{Distance, Metadata, Record, Value, ulp, vector};

/// The outcome of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same memory; the largest distance seen, in ULP.
    Equal(u32),
    /// Not the same: every field that differs.
    Different(Vec<FieldDifference>),
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    /// As `embedding` or `metadata.tags`.
    pub field: String,
    /// Both sides, shortened.
    pub detail: String,
}

/// Compares two records of collections with this distance.
///
/// Documents, uris, strings, ints and bools are exact; l2 and ip vectors bit-equal (but -0.0 is 0.0); cosine vectors and
/// doubles within [`ulp::TOLERATED`].
#[must_use]
pub fn compare(source: &Record, target: &Record, distance: Distance) -> Comparison {
    let Record { id: _, embedding, document, uri, metadata } = source;
    let mut seen = Seen::default();
    seen.vector(embedding, &target.embedding, distance);
    seen.text("document", document.as_deref(), target.document.as_deref());
    seen.text("uri", uri.as_deref(), target.uri.as_deref());
    seen.metadata("metadata", metadata, &target.metadata);
    seen.finish()
}

/// Compares the metadata of two collections.
#[must_use]
pub fn compare_metadata(source: &Metadata, target: &Metadata) -> Comparison {
    let mut seen = Seen::default();
    seen.metadata("metadata", source, target);
    seen.finish()
}

/// Keys that the target's metadata has and the source's has not.
#[must_use]
pub fn surplus_keys(source: &Metadata, target: &Metadata) -> Vec<String> {
    target.keys().filter(|key| !source.contains_key(*key)).cloned().collect()
}

#[derive(Default)]
struct Seen {
    ulps: u32,
    differences: Vec<FieldDifference>,
}

impl Seen {
    fn finish(self) -> Comparison {
        if self.differences.is_empty() { Comparison::Equal(self.ulps) } else { Comparison::Different(self.differences) }
    }

    fn differ(&mut self, field: impl Into<String>, detail: String) {
        self.differences.push(FieldDifference { field: field.into(), detail });
    }

    fn vector(&mut self, source: &[f32], target: &[f32], distance: Distance) {
        if source.len() != target.len() {
            self.differ(
                "embedding",
                format!("dimension {} in the source, {} in the target", source.len(), target.len()),
            );
            return;
        }
        let tolerated = if distance == Distance::Cosine { ulp::TOLERATED } else { 0 };
        let pairs = source.iter().copied().zip(target.iter().copied());
        if let Some(furthest) = vector::furthest(pairs, tolerated) {
            self.ulps = self.ulps.max(furthest);
            return;
        }
        let mut largest = 0;
        let mut wrong = 0_usize;
        let mut first = None;
        for (n, (a, b)) in source.iter().zip(target).enumerate() {
            let ulps = ulp::f32(*a, *b);
            if ulps > tolerated {
                wrong += 1;
                first = first.or(Some((n, *a, *b, ulps)));
            } else {
                largest = largest.max(ulps);
            }
        }
        self.ulps = self.ulps.max(largest);
        if let Some((n, a, b, ulps)) = first {
            let of = source.len();
            self.differ("embedding", format!("{wrong} of {of} components; component {n}: {a:e} != {b:e} ({ulps} ULP)"));
        }
    }

    fn text(&mut self, field: &str, source: Option<&str>, target: Option<&str>) {
        if source != target {
            self.differ(field, format!("{} != {}", shown(source), shown(target)));
        }
    }

    fn metadata(&mut self, prefix: &str, source: &Metadata, target: &Metadata) {
        for (key, value) in source {
            let field = || format!("{prefix}.{key}");
            match target.get(key) {
                None => self.differ(field(), format!("{} != absent", shown_value(value))),
                Some(other) => {
                    if let Some(ulps) = value_distance(value, other) {
                        self.ulps = self.ulps.max(ulps);
                    } else {
                        self.differ(field(), shown_difference(value, other));
                    }
                }
            }
        }
        for key in surplus_keys(source, target) {
            let detail = format!("absent != {}", target.get(&key).map(shown_value).unwrap_or_default());
            self.differ(format!("{prefix}.{key}"), detail);
        }
    }
}

/// How far apart two values are, in ULP; None when they are not the same value.
fn value_distance(source: &Value, target: &Value) -> Option<u32> {
    match (source, target) {
        (Value::Float(a), Value::Float(b)) => {
            u32::try_from(ulp::f64(*a, *b)).ok().filter(|ulps| *ulps <= ulp::TOLERATED)
        }
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_fold(0, |largest, (a, b)| Some(value_distance(a, b)?.max(largest)))
        }
        (Value::Str(_) | Value::Int(_) | Value::Bool(_) | Value::Float(_) | Value::List(_), other) => {
            (source == other).then_some(0)
        }
    }
}

fn shown(text: Option<&str>) -> String {
    text.map_or_else(|| "absent".to_owned(), shortened)
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::Str(text) => shortened(text),
        Value::Int(n) => format!("int {n}"),
        Value::Float(x) => format!("float {x:?}"),
        Value::Bool(b) => format!("bool {b}"),
        Value::List(items) => format!("list of {}", items.len()),
    }
}

/// Two values that are not the same; of lists of one length the first elements that differ.
fn shown_difference(source: &Value, target: &Value) -> String {
    if let (Value::List(a), Value::List(b)) = (source, target)
        && a.len() == b.len()
    {
        let differ = |(_, (a, b)): &(usize, (&Value, &Value))| value_distance(a, b).is_none();
        let mut all = a.iter().zip(b).enumerate().filter(differ);
        if let Some((n, (first, other))) = all.next() {
            let (wrong, of) = (all.count() + 1, a.len());
            return format!("{wrong} of {of} elements; element {n}: {}", shown_difference(first, other));
        }
    }
    format!("{} != {}", shown_value(source), shown_value(target))
}

/// Quoted, with its length where it is cut: a report names a difference, it is no copy of the data.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head:?}… ({} bytes)", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(embedding: &[f32], metadata: &[(&str, Value)]) -> Record {
        Record {
            id: "a".into(),
            embedding: embedding.to_vec(),
            document: Some("text".into()),
            uri: None,
            metadata: metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        }
    }

    fn fields(comparison: Comparison) -> Vec<String> {
        match comparison {
            Comparison::Equal(_) => Vec::new(),
            Comparison::Different(all) => all.into_iter().map(|d| d.field).collect(),
        }
    }

    /// It said `list of 3 != list of 3`.
    #[test]
    fn an_element_that_differs_is_named() {
        let list = |numbers: &[i64]| Value::List(numbers.iter().copied().map(Value::Int).collect());
        let told = |a: &[i64], b: &[i64]| match compare(
            &record(&[1.0], &[("arr", list(a))]),
            &record(&[1.0], &[("arr", list(b))]),
            Distance::L2,
        ) {
            Comparison::Different(all) => all.into_iter().map(|one| one.field + ": " + &one.detail).collect(),
            Comparison::Equal(_) => String::new(),
        };
        assert_eq!(told(&[1, 2, 3], &[1, 5, 3]), "metadata.arr: 1 of 3 elements; element 1: int 2 != int 5");
        assert_eq!(told(&[1, 2, 3], &[4, 2, 6]), "metadata.arr: 2 of 3 elements; element 0: int 1 != int 4");
        assert_eq!(told(&[1, 2], &[1, 2, 3]), "metadata.arr: list of 2 != list of 3");
    }

    #[test]
    fn one_ulp_is_equal_for_cosine_and_different_for_l2() {
        let (a, b) = (record(&[0.1, 3.0], &[]), record(&[f32::from_bits(0.1_f32.to_bits() + 1), 3.0], &[]));
        assert_eq!(compare(&a, &b, Distance::Cosine), Comparison::Equal(1));
        assert_eq!(fields(compare(&a, &b, Distance::L2)), ["embedding"]);
        assert_eq!(fields(compare(&a, &b, Distance::Ip)), ["embedding"]);
    }

    #[test]
    fn a_lost_magnitude_is_a_difference() {
        let (a, b) = (record(&[0.0, 4.0, 2.0], &[]), record(&[0.0, 0.5, 0.25], &[]));
        let Comparison::Different(all) = compare(&a, &b, Distance::Cosine) else { panic!("equal") };
        assert_eq!((all.len(), all[0].field.as_str()), (1, "embedding"));
        let detail = "2 of 3 components; component 1: 4e0 != 5e-1 (25165824 ULP)";
        assert_eq!(all[0].detail, detail);
    }

    #[test]
    fn minus_zero_is_zero() {
        let (a, b) = (record(&[-0.0], &[("k", Value::Float(-0.0))]), record(&[0.0], &[("k", Value::Float(0.0))]));
        assert_eq!(compare(&a, &b, Distance::L2), Comparison::Equal(0));
    }

    #[test]
    fn types_are_part_of_a_value() {
        let pairs = [
            (Value::Int(1), Value::Float(1.0)),
            (Value::Int(1), Value::Bool(true)),
            (Value::Str("1".into()), Value::Int(1)),
            (Value::Str("a".into()), Value::List(vec![Value::Str("a".into())])),
        ];
        for (a, b) in pairs {
            assert_eq!(
                fields(compare(&record(&[1.0], &[("k", a)]), &record(&[1.0], &[("k", b)]), Distance::L2)),
                ["metadata.k"]
            );
        }
    }

    #[test]
    fn an_empty_document_is_not_an_absent_one() {
        let mut a = record(&[1.0], &[]);
        let mut b = a.clone();
        a.document = Some(String::new());
        b.document = None;
        assert_eq!(fields(compare(&a, &b, Distance::L2)), ["document"]);
    }

    #[test]
    fn lists_compare_in_order_and_doubles_in_them_within_ulps() {
        let list = |items: &[f64]| Value::List(items.iter().copied().map(Value::Float).collect());
        let near = f64::from_bits(1.5_f64.to_bits() + 2);
        assert_eq!(value_distance(&list(&[1.5, 2.0]), &list(&[near, 2.0])), Some(2));
        assert_eq!(value_distance(&list(&[1.5, 2.0]), &list(&[2.0, 1.5])), None);
        assert_eq!(value_distance(&list(&[1.5]), &list(&[1.5, 2.0])), None);
    }

    proptest! {
        #[test]
        fn a_record_equals_itself(v in proptest::collection::vec(-1e6_f32..1e6, 0..8), k in ".{0,3}", x in -1e9_f64..1e9) {
            let a = record(&v, &[(k.as_str(), Value::Float(x))]);
            for distance in [Distance::L2, Distance::Cosine, Distance::Ip] {
                prop_assert_eq!(compare(&a, &a, distance), Comparison::Equal(0));
            }
        }

        #[test]
        fn any_changed_field_shows(v in proptest::collection::vec(-1e6_f32..1e6, 1..8), at in 0..6_usize, by in 5_u32..1000) {
            let a = record(&v, &[("k", Value::Int(1))]);
            let mut b = a.clone();
            let expected = match at {
                0 => { b.embedding[0] = f32::from_bits(b.embedding[0].to_bits().wrapping_add(by)); "embedding" }
                1 => { b.document = None; "document" }
                2 => { b.uri = Some(String::new()); "uri" }
                3 => { b.metadata.clear(); "metadata.k" }
                4 => { b.metadata.insert("other".into(), Value::Bool(false)); "metadata.other" }
                _ => { b.embedding.push(0.0); "embedding" }
            };
            prop_assert_eq!(fields(compare(&a, &b, Distance::Cosine)), [expected]);
        }
    }
}
