//! What a Chroma server refuses or dies of: names, keys and poison records, and cosine vectors that it would destroy.
//! Pure: no I/O. Preflight asks this before anything is sent.
//!
//! Measured on 0.5.23, 0.6.3, 1.0.20 and 1.5.9, by sending each of these and reading back.

use std::mem::discriminant;
use std::net::Ipv4Addr;

use super::capabilities::Capabilities;
use crate::model::{Distance, Metadata, Record, Value, ulp, vector};

/// Why a target cannot hold this record unchanged; None where it can.
#[must_use]
pub fn record_problem(record: &Record, distance: Distance, target: &Capabilities) -> Option<String> {
    let Record { id, embedding, document: _, uri: _, metadata } = record;
    if id.is_empty() && target.configuration {
        return Some("its id is empty, which Chroma 1.x refuses".to_owned());
    }
    let vector = || vector_problem(embedding, distance);
    vector().or_else(|| metadata.iter().find_map(|(key, value)| entry_problem(key, value, target)))
}

/// Why no Chroma answers with this record's vector, though its log may still hold it: a cosine index makes it infinite or NaN,
/// which its server tells as null (measured on 1.5.9). None for every other record.
#[must_use]
pub fn lost_by_cosine(record: &Record, distance: Distance) -> Option<String> {
    if distance != Distance::Cosine || vector::first_not_finite(&record.embedding).is_some() {
        return None;
    }
    let (mut kept, norm) = as_cosine_keeps(&record.embedding);
    let lost = kept.position(|component| !(component * norm).is_finite())?;
    Some(format!("a cosine index loses component {lost} of its vector: it is too large ({:e})", record.embedding[lost]))
}

/// Why a server would refuse this collection name; None where it takes it.
#[must_use]
pub fn name_problem(name: &str, target: &Capabilities) -> Option<String> {
    let all = name.len();
    // 0.5 and 0.6 look at it with Python's `$`, which leaves out one newline at the end (measured on 0.5.23 and 0.6.3)
    let name = name.strip_suffix('\n').filter(|_| !target.configuration).unwrap_or(name);
    let longest = if target.configuration { 512 } else { 63 };
    // Servers before 1.0 take four groups of up to three digits for an address, whatever their value.
    let is_address = if target.configuration { name.parse::<Ipv4Addr>().is_ok() } else { looks_like_address(name) };
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let why = match () {
        () if name.len() < 3 || all > longest => format!("it has {all} characters, not 3 to {longest}"),
        () if !name.chars().all(inner) => "it holds other characters than a-z, A-Z, 0-9, '.', '_' and '-'".to_owned(),
        () if !edge(name.chars().next()) || !edge(name.chars().last()) => {
            "it does not start and end with a letter or digit".to_owned()
        }
        () if name.contains("..") => "it holds two periods in a row".to_owned(),
        () if is_address => "it is an IP address".to_owned(),
        () => return None,
    };
    Some(why)
}

/// Why a server would refuse to make a database of this name; None where it takes it (measured on 0.5.23, 0.6.3, 1.0.20 and
/// 1.5.9: three characters everywhere, and the letters of a collection's name in later 1.x).
#[must_use]
pub fn database_problem(name: &str, target: &Capabilities) -> Option<String> {
    if target.schema {
        return name_problem(name, target).filter(|_| name.parse::<Ipv4Addr>().is_err());
    }
    let characters = name.chars().count();
    (characters < 3).then(|| format!("it has {characters} characters, fewer than 3"))
}

fn looks_like_address(name: &str) -> bool {
    let group = |group: &str| (1..=3).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_digit());
    name.split('.').count() == 4 && name.split('.').all(group)
}

/// Why a server would refuse or die of this collection metadata; None where it takes it.
#[must_use]
pub fn collection_metadata_problem(metadata: &Metadata, target: &Capabilities) -> Option<String> {
    metadata.iter().find_map(|(key, value)| match value {
        // 1.5.9 panics in the handler and drops the connection.
        Value::List(_) => Some(format!("collection metadata {key:?} is an array, which Chroma cannot hold")),
        _ if key == "chroma:document" => Some(format!("collection metadata {key:?} is a name that Chroma reserves")),
        _ => number_problem(key, value).or_else(|| key_problem(key, target)),
    })
}

/// Bytes that the record takes in the body of a write at most, its share of the body's frame included.
#[must_use]
pub fn body_len(record: &Record, base64: bool) -> usize {
    /// Everything of a body that is not a record's, and the commas after each of its parts.
    const FRAME: usize = 100;
    let Record { id, embedding, document, uri, metadata } = record;
    // "-2.2250738585072014e-308," is the longest component there is.
    let vector = if base64 { embedding.len().div_ceil(3) * 16 + 2 } else { embedding.len() * 25 + 2 };
    let text = |text: &Option<String>| text.as_deref().map_or(4, text_len);
    let pairs: usize = metadata.iter().map(|(key, value)| text_len(key) + value_len(value) + 2).sum();
    FRAME + text_len(id) + vector + text(document) + text(uri) + pairs + 4
}

/// Bytes of a text as JSON, quotes included.
fn text_len(text: &str) -> usize {
    // most texts have nothing to escape: this pass has no branch, so that it takes many bytes at once
    if text.bytes().filter(|b| *b < 32 || *b == b'"' || *b == b'\\').count() == 0 {
        return 2 + text.len();
    }
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

fn value_len(value: &Value) -> usize {
    match value {
        Value::Str(text) => text_len(text),
        Value::Int(_) => 20,
        Value::Float(_) => 24,
        Value::Bool(_) => 5,
        Value::List(values) => 2 + values.iter().map(|value| value_len(value) + 1).sum::<usize>(),
    }
}

fn entry_problem(key: &str, value: &Value, target: &Capabilities) -> Option<String> {
    if key.starts_with("chroma:") {
        // `chroma:document` kills the compactor of 1.x for every collection, and the others are never read back.
        return Some(format!("its metadata key {key:?} is a name that Chroma reserves and loses"));
    }
    let value_problem = || match value {
        Value::List(values) => list_problem(key, values, target),
        _ => number_problem(key, value),
    };
    key_problem(key, target).or_else(value_problem)
}

fn key_problem(key: &str, target: &Capabilities) -> Option<String> {
    // Refused since there are schemas, which use such keys themselves.
    let refused = target.schema && (key.is_empty() || key.starts_with(['#', '$']));
    refused.then(|| format!("its metadata key {key:?} is empty or starts with '#' or '$', which Chroma refuses"))
}

fn number_problem(key: &str, value: &Value) -> Option<String> {
    matches!(value, Value::Float(number) if !number.is_finite())
        .then(|| format!("its metadata {key:?} is NaN or infinite, which JSON cannot carry"))
}

fn list_problem(key: &str, values: &[Value], target: &Capabilities) -> Option<String> {
    let mixed = || values.windows(2).any(|pair| discriminant(&pair[0]) != discriminant(&pair[1]));
    let why = match () {
        () if !target.arrays => "is an array, which this Chroma drops without a word",
        () if values.is_empty() => "is an empty array, which Chroma drops without a word",
        () if values.iter().any(|value| matches!(value, Value::List(_))) => "is an array of arrays",
        () if mixed() => "is an array of mixed types, which Chroma refuses or changes",
        () if values.iter().any(|value| number_problem(key, value).is_some()) => "holds NaN or infinity",
        () => return None,
    };
    Some(format!("its metadata {key:?} {why}"))
}

fn vector_problem(components: &[f32], distance: Distance) -> Option<String> {
    if components.is_empty() {
        return Some("its vector has no component".to_owned());
    }
    if let Some(n) = vector::first_not_finite(components) {
        return Some(format!("component {n} of its vector is {}, which Chroma refuses", components[n]));
    }
    if distance != Distance::Cosine {
        return None;
    }
    [running_norm(components), exact_norm(components)].into_iter().find_map(|norm| cosine_problem(components, norm))
}

/// What a cosine index would make of the vector: hnswlib keeps `v * (1 / (norm + 1e-30))` and the norm, all in f32,
/// and `get` answers their product.
fn cosine_problem(components: &[f32], norm: f32) -> Option<String> {
    let scale = 1.0 / (norm + 1e-30_f32);
    let pairs = components.iter().map(|component| (*component, component * scale * norm));
    if vector::furthest(pairs.clone(), ulp::TOLERATED).is_some() {
        return None;
    }
    let (n, component, kept) = pairs
        .enumerate()
        .map(|(n, (component, kept))| (n, component, kept))
        .find(|(_, component, kept)| ulp::f32(*component, *kept) > ulp::TOLERATED)?;
    Some(format!(
        "a cosine index would change component {n} of its vector from {component:e} to {kept:e}: \
         too small, too large, or of too different magnitudes"
    ))
}

/// A vector as a cosine index keeps it: of unit length, and its norm apart.
pub fn as_cosine_keeps(components: &[f32]) -> (impl Iterator<Item = f32>, f32) {
    let norm = running_norm(components);
    let scale = 1.0 / (norm + 1e-30_f32);
    (components.iter().map(move |component| component * scale), norm)
}

/// The norm as hnswlib sums it, one component after the other.
fn running_norm(components: &[f32]) -> f32 {
    components.iter().map(|component| component * component).sum::<f32>().sqrt()
}

/// The norm without rounding in the sum: a compiler may sum in another order, and no order comes further than this.
#[allow(clippy::cast_possible_truncation)]
fn exact_norm(components: &[f32]) -> f32 {
    (vector::square(components) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn modern() -> Capabilities {
        Capabilities {
            version: "1.0.0".into(),
            max_batch: 5461,
            max_body: 40 << 20,
            base64: true,
            configuration: true,
            schema: true,
            arrays: true,
        }
    }

    fn old() -> Capabilities {
        Capabilities {
            version: "0.6.3".into(),
            base64: false,
            configuration: false,
            schema: false,
            arrays: false,
            ..modern()
        }
    }

    fn record(key: &str, value: Value) -> Record {
        let metadata = [(key.to_owned(), value)].into();
        Record { id: "a".into(), embedding: vec![3.0, 4.0, 0.0], document: None, uri: None, metadata }
    }

    fn problem(key: &str, value: Value, target: &Capabilities) -> bool {
        record_problem(&record(key, value), Distance::Cosine, target).is_some()
    }

    #[test]
    fn databases_have_three_characters_and_in_later_versions_a_collections_letters() {
        let newest = Capabilities::newest();
        let older = Capabilities { schema: false, ..Capabilities::newest() };
        for (name, newest_takes, older_takes) in [
            ("abc", true, true),
            ("ab", false, false),
            ("team b", false, true),
            ("größe", false, true),
            ("10.0.0.1", true, true),
        ] {
            assert_eq!(database_problem(name, &newest).is_none(), newest_takes, "{name}");
            assert_eq!(database_problem(name, &older).is_none(), older_takes, "{name}");
        }
    }

    #[test]
    fn names_as_the_servers_take_them() {
        let long = |n: usize| "a".repeat(n);
        let both = ["abc", "a_b.c-d", "1.2.3", "1.2.3.4.5", "A-1", &long(63)];
        let neither = ["", "ab", "a..b", ".ab", "ab-", "a b", "1.2.3.4", "äbc", "a/b", &long(513)];
        for name in both {
            assert_eq!((name_problem(name, &modern()), name_problem(name, &old())), (None, None), "{name}");
        }
        for (name, taken) in [("abc\n", true), ("ab\n", false), ("abc\n\n", false), (&(long(63) + "\n"), false)] {
            assert_eq!((name_problem(name, &old()).is_none(), name_problem(name, &modern()).is_none()), (taken, false));
        }
        for name in neither {
            assert!(name_problem(name, &modern()).is_some() && name_problem(name, &old()).is_some(), "{name}");
        }
        for name in ["999.1.1.1", "01.2.3.4", &long(64), &long(512)] {
            assert!(name_problem(name, &modern()).is_none() && name_problem(name, &old()).is_some(), "{name}");
        }
    }

    #[test]
    fn poison_is_refused_everywhere() {
        for target in [modern(), old()] {
            assert!(problem("chroma:document", Value::Int(5), &target));
            assert!(problem("chroma:anything", Value::Bool(true), &target));
            assert!(problem("x", Value::Float(f64::NAN), &target));
            assert!(!problem("chromatic:document", Value::Float(1e300), &target));
        }
    }

    #[test]
    fn keys_are_refused_where_there_are_schemas() {
        for key in ["", "#a", "$a"] {
            assert!(problem(key, Value::Int(1), &modern()) && !problem(key, Value::Int(1), &old()), "{key}");
        }
    }

    #[test]
    fn arrays_of_one_kind_are_held_by_new_servers() {
        let list = Value::List;
        let held = [list(vec![Value::Int(1), Value::Int(2)]), list(vec![Value::Str(String::new())])];
        for value in held {
            assert!(!problem("l", value.clone(), &modern()) && problem("l", value, &old()));
        }
        let unheld = [
            list(vec![]),
            list(vec![Value::Int(1), Value::Float(2.0)]),
            list(vec![Value::Str("a".into()), Value::Bool(true)]),
            list(vec![Value::Float(f64::INFINITY)]),
            list(vec![list(vec![])]),
        ];
        for value in unheld {
            assert!(problem("l", value.clone(), &modern()), "{value:?}");
        }
    }

    #[test]
    fn collection_metadata_that_kills_or_is_refused() {
        let with = |key: &str, value: Value| collection_metadata_problem(&[(key.to_owned(), value)].into(), &modern());
        assert!(with("l", Value::List(vec![Value::Int(1)])).is_some());
        // a creation refuses these, and `modify` takes them
        assert!(with("hnsw:foo", Value::Int(1)).is_none());
        assert!(with("hnsw:space", Value::Str("cosine".into())).is_none());
        assert!(with("chroma:x", Value::Int(1)).is_none());
    }

    #[test]
    fn an_empty_id_is_refused_by_1_x() {
        let record = Record { id: String::new(), ..record("k", Value::Int(1)) };
        assert!(record_problem(&record, Distance::L2, &modern()).is_some());
        assert!(record_problem(&record, Distance::L2, &old()).is_none());
    }

    #[test]
    fn bytes_of_a_record_in_a_body() {
        let of = |text: &str| body_len(&Record { document: Some(text.into()), ..record("k", Value::Int(1)) }, true);
        // the frame, "a" and its comma, the vector, no uri, "k" and a number
        let rest = 100 + 3 + 4 + (16 + 2) + 4 + (3 + 20 + 2);
        for (text, bytes) in
            [("", 2), ("ab", 4), ("\"", 4), ("\\\\", 6), ("\n\r\t\u{8}\u{c}", 12), ("\u{1}", 8), ("é\u{1f}x", 11)]
        {
            assert_eq!(of(text) - rest, bytes, "{text:?}");
        }
        let decimals = Record { embedding: vec![1.0; 4], ..record("k", Value::Int(1)) };
        assert_eq!(body_len(&decimals, false), 100 + 3 + 4 + (4 * 25 + 2) + 2 * 4 + 25);
        assert_eq!(body_len(&decimals, true), 100 + 3 + 4 + (2 * 16 + 2) + 2 * 4 + 25);
        let list = Value::List(vec![Value::Bool(true), Value::Float(1.0), Value::Str("x".into())]);
        assert_eq!(body_len(&record("key", list), true), 100 + 3 + 4 + (16 + 2) + 2 * 4 + (5 + 2 + (2 + 6 + 25 + 4)));
    }

    #[test]
    fn vectors_that_a_cosine_index_destroys() {
        // Each was sent to all four versions and read back after the index was written.
        for vector in [[1e-30, 1e-30, 0.0], [1e20, 2e20, 1.0], [1e10, 1e-30, 1.0]] {
            assert!(vector_problem(&vector, Distance::Cosine).is_some(), "{vector:?}");
            assert_eq!(vector_problem(&vector, Distance::L2), None);
        }
        for (vector, is_lost) in [([1e20, 2e20, 1.0], true), ([1e-30, 1e-30, 0.0], false), ([1e10, 1e-30, 1.0], false)]
        {
            let record = Record { embedding: vector.to_vec(), ..record("k", Value::Int(1)) };
            assert_eq!(lost_by_cosine(&record, Distance::Cosine).is_some(), is_lost, "{vector:?}");
            assert_eq!(lost_by_cosine(&record, Distance::L2), None);
        }
        for vector in [[0.0, 0.0, 0.0], [1e-15, 1e-15, 1e-15], [1e18, 1e18, 1e18], [1e19, 1.0, 1.0], [1e-20, 1.0, 1.0]]
        {
            assert_eq!(vector_problem(&vector, Distance::Cosine), None, "{vector:?}");
        }
        assert!(vector_problem(&[], Distance::L2).is_some());
        assert!(vector_problem(&[1.0, f32::NAN], Distance::L2).is_some());
    }

    proptest! {
        #[test]
        fn ordinary_vectors_pass(
            vector in (0..5_usize).prop_flat_map(|n| {
                proptest::collection::vec(-1.0_f32..1.0, [1, 3, 384, 1536, 3072][n])
            }),
            exponent in -8..8_i32,
        ) {
            let vector: Vec<f32> = vector.iter().map(|c| c * 10_f32.powi(exponent)).collect();
            prop_assert_eq!(vector_problem(&vector, Distance::Cosine), None);
        }
    }
}
