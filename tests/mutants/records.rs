//! The records that mutants are made of, and what each mutant makes of them. Pure.

use serde_json::{Map, Value as Json, json};

use super::catalogue::{Bit, Component, Fault, Field, KINDS, Kind, Mutant};
use crate::support::dice::Dice;

pub(crate) const DIMENSION: usize = 5;
/// Records that have everything, and then those that have nothing but id and vector.
const FULL: usize = 16;
const BARE: usize = 8;

/// A record as JSON carries it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) vector: Vec<f32>,
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: Map<String, Json>,
}

/// A store's records after the fault, and what must be said of them.
#[derive(Clone, Debug)]
pub(crate) struct Mutated {
    pub(crate) after: Vec<Record>,
    /// Id and field, of each record that is not as it was; empty for what may pass.
    pub(crate) named: Vec<(String, String)>,
}

fn value(kind: Kind, n: usize) -> Json {
    // exact doubles: an API write moves others by some ULP on its own
    #[allow(clippy::cast_precision_loss)]
    let double = 1.5 + n as f64 / 4.0;
    match kind {
        Kind::Text => json!(format!("text {n} é")),
        Kind::Int => json!(4_611_686_018_427_387_904_i64 + i64::try_from(n).unwrap()),
        Kind::Float => json!(double),
        Kind::Bool => json!(n.is_multiple_of(2)),
        Kind::Texts => json!([format!("a{n}"), format!("b{n}"), "c"]),
        Kind::Ints => json!([n, n + 100, n + 200]),
        Kind::Floats => json!([double, double + 0.5, double + 8.0]),
        Kind::Bools => json!([n.is_multiple_of(2), !n.is_multiple_of(2), true, !n.is_multiple_of(3)]),
    }
}

/// Between 2 and 4: there the exponent's highest bit makes a number tiny, and never infinite.
fn component(n: usize, at: usize) -> f32 {
    let step = u16::try_from((n * 37 + at * 61) % 199).unwrap();
    let sign = if (n + at).is_multiple_of(3) { -1.0 } else { 1.0 };
    sign * (2.0 + f32::from(step) / 100.0)
}

/// What source and target hold before each mutant.
pub(crate) fn originals() -> Vec<Record> {
    let vector = |n| (0..DIMENSION).map(|at| component(n, at)).collect();
    let full = (0..FULL).map(|n| {
        let mut metadata: Map<String, Json> =
            KINDS.map(|kind| (kind.key().to_owned(), value(kind, n))).into_iter().collect();
        metadata.insert("other".into(), json!(format!("other {n}")));
        Record {
            id: format!("full-{n:02}"),
            vector: vector(n),
            document: Some(format!("the document of record {n}")),
            uri: Some(format!("file:///{n}")),
            metadata,
        }
    });
    let bare = (FULL..FULL + BARE).map(|n| Record {
        id: format!("bare-{n:02}"),
        vector: vector(n),
        document: None,
        uri: None,
        metadata: Map::from_iter([("other".to_owned(), json!(n))]),
    });
    full.chain(bare).collect()
}

/// What this mutant makes of the originals; for a field of records only.
pub(crate) fn mutated(mutant: &Mutant, dice: &mut Dice) -> Mutated {
    let before = originals();
    let is_bare = mutant.fault == Fault::Added && mutant.field != Field::ListLength;
    let one = if is_bare { FULL + dice.below(BARE) } else { dice.below(FULL) };
    let other = (one + 1 + dice.below(FULL - 1)) % FULL;
    let mut after = before.clone();
    let mut named = Vec::new();
    match (mutant.field, mutant.fault) {
        (Field::Record, fault) => whole(fault, &mut after, &mut named, [one, other]),
        (Field::Id, fault) => {
            let id = &before[one].id;
            after[one].id =
                if fault == Fault::Truncated { id[..id.len() - 1].to_owned() } else { format!("{id}-renamed") };
            named = vec![(id.clone(), "missing".to_owned()), (after[one].id.clone(), "extra".to_owned())];
        }
        (field, Fault::Swapped) if field != Field::Key && field != Field::ListOrder => {
            let (a, b) = (before[one].clone(), before[other].clone());
            take(field, &mut after[one], &b);
            take(field, &mut after[other], &a);
            named = [one, other].map(|n| (before[n].id.clone(), name_of(field))).to_vec();
        }
        (field, Fault::Duplicated) if field != Field::ListLength => {
            take(field, &mut after[one], &before[other]);
            named.push((before[one].id.clone(), name_of(field)));
        }
        (field, fault) => {
            let fields = within(field, fault, &mut after[one], dice);
            named.extend(fields.into_iter().map(|name| (before[one].id.clone(), name)));
        }
    }
    // a neighbour may have the same value; what is equal is no difference
    named.retain(|(id, _)| before.iter().find(|r| r.id == *id) != after.iter().find(|r| r.id == *id));
    if mutant.is_tolerated() {
        named.clear();
    }
    Mutated { after, named }
}

fn whole(fault: Fault, after: &mut Vec<Record>, named: &mut Vec<(String, String)>, [one, other]: [usize; 2]) {
    let record = after[one].clone();
    let id = record.id.clone();
    match fault {
        Fault::Dropped => {
            after.remove(one);
            named.push((id, "missing".to_owned()));
        }
        Fault::Swapped => {
            let theirs = after[other].clone();
            named.extend([&id, &theirs.id].map(|id| (id.clone(), "embedding".to_owned())));
            after[one] = Record { id, ..theirs.clone() };
            after[other] = Record { id: theirs.id, ..record };
        }
        _ => {
            let stranger = format!("{id}-once-more");
            let mut added = Record { id: stranger.clone(), ..record };
            if fault == Fault::Added {
                added.vector[0] += 1.0;
                added.document = Some("nobody knows it".to_owned());
            }
            after.push(added);
            named.push((stranger, "extra".to_owned()));
        }
    }
}

/// What a report calls the field.
fn name_of(field: Field) -> String {
    match field {
        Field::Vector | Field::Bit(..) => "embedding".to_owned(),
        Field::Document => "document".to_owned(),
        Field::Uri => "uri".to_owned(),
        Field::Value(kind) => format!("metadata.{}", kind.key()),
        Field::DoubleBit(_) => "metadata.float".to_owned(),
        Field::ListOrder | Field::ListLength => "metadata.ints".to_owned(),
        other => panic!("{other} is no field of a record"),
    }
}

fn take(field: Field, to: &mut Record, from: &Record) {
    match field {
        Field::Vector => to.vector.clone_from(&from.vector),
        Field::Document => to.document.clone_from(&from.document),
        Field::Uri => to.uri.clone_from(&from.uri),
        Field::Value(kind) => {
            // two booleans are often the same: then the other one
            let mut value = from.metadata[kind.key()].clone();
            if to.metadata.get(kind.key()) == Some(&value) {
                value = changed(&value);
            }
            to.metadata.insert(kind.key().to_owned(), value);
        }
        other => panic!("{other} cannot be taken"),
    }
}

/// A fault of one record; the fields that must be named.
fn within(field: Field, fault: Fault, record: &mut Record, dice: &mut Dice) -> Vec<String> {
    match field {
        Field::Vector => vector(fault, &mut record.vector),
        Field::Bit(at, bit) => flip(&mut record.vector[place(at)], bit),
        Field::Document => text(fault, &mut record.document),
        Field::Uri => text(fault, &mut record.uri),
        Field::Value(kind) => return metadata(kind, fault, record),
        Field::DoubleBit(bit) => {
            let double = record.metadata["float"].as_f64().unwrap().to_bits();
            let mask = match bit {
                Bit::Sign => 1 << 63,
                // 1.5 to 5.5 becomes tiny or, of an exponent of zero, infinite: so the fraction's highest
                Bit::Highest => 1 << 51,
                Bit::Sixteen => 1 << 4,
                Bit::Lowest => 1,
            };
            record.metadata.insert("float".to_owned(), json!(f64::from_bits(double ^ mask)));
        }
        Field::Key => return key(fault, record),
        Field::ListOrder => list(record, |items| items.reverse()),
        Field::ListLength => list(record, |items| {
            let at = dice.below(items.len());
            match fault {
                Fault::Truncated => drop(items.pop()),
                Fault::Added => items.push(json!(7)),
                _ => items.insert(at, items[at].clone()),
            }
        }),
        other => panic!("{other} is no field of a record"),
    }
    vec![name_of(field)]
}

fn place(at: Component) -> usize {
    match at {
        Component::First => 0,
        Component::Middle => DIMENSION / 2,
        Component::Last => DIMENSION - 1,
    }
}

/// A component with one bit turned.
pub(crate) fn flip(component: &mut f32, bit: Bit) {
    let mask = match bit {
        Bit::Sign => 1 << 31,
        Bit::Highest => 1 << 30,
        Bit::Sixteen => 1 << 4,
        Bit::Lowest => 1,
    };
    *component = f32::from_bits(component.to_bits() ^ mask);
}

fn vector(fault: Fault, vector: &mut Vec<f32>) {
    match fault {
        Fault::Changed | Fault::TypeChanged => vector.iter_mut().for_each(|x| *x = *x * 0.5 + 1.0),
        Fault::Dropped => vector.clear(),
        Fault::Truncated => drop(vector.pop()),
        _ => vector.push(1.25),
    }
}

fn text(fault: Fault, text: &mut Option<String>) {
    *text = match fault {
        Fault::Dropped => None,
        Fault::Truncated => text.as_ref().map(|text| text[..text.len() - 1].to_owned()),
        Fault::Added => Some("added".to_owned()),
        // in answers alone: a number where a text belongs
        Fault::TypeChanged => Some("5".to_owned()),
        _ => Some(format!("{}!", text.clone().unwrap_or_default())),
    };
}

fn metadata(kind: Kind, fault: Fault, record: &mut Record) -> Vec<String> {
    let key = kind.key();
    let old = record.metadata.get(key).cloned().unwrap_or(Json::Null);
    match fault {
        Fault::Dropped => drop(record.metadata.shift_remove(key)),
        Fault::Added => drop(record.metadata.insert(key.to_owned(), value(kind, 3))),
        Fault::Truncated => drop(record.metadata.insert(key.to_owned(), shorter(&old))),
        Fault::TypeChanged => drop(record.metadata.insert(key.to_owned(), of_another_type(&old))),
        _ => drop(record.metadata.insert(key.to_owned(), changed(&old))),
    }
    vec![format!("metadata.{key}")]
}

fn changed(value: &Json) -> Json {
    match value {
        Json::Bool(value) => json!(!value),
        Json::Number(n) if n.is_i64() => json!(n.as_i64().unwrap() + 1),
        Json::Number(n) => json!(n.as_f64().unwrap() + 0.25),
        Json::String(text) => json!(format!("{text}.")),
        Json::Array(items) => {
            items.iter().enumerate().map(|(n, item)| if n == 1 { changed(item) } else { item.clone() }).collect()
        }
        other => panic!("{other} is no metadata"),
    }
}

fn shorter(value: &Json) -> Json {
    match value {
        Json::String(text) => json!(text[..text.len() - "é".len()]),
        Json::Array(items) => json!(items[..items.len() - 1]),
        other => panic!("{other} cannot be shorter"),
    }
}

/// The same to a human eye, of another type.
fn of_another_type(value: &Json) -> Json {
    match value {
        Json::Bool(value) => json!(i64::from(*value)),
        Json::Number(n) => json!(n.to_string()),
        Json::String(text) => json!([text]),
        Json::Array(items) if items[0].is_string() => (0..items.len()).map(|n| json!(n)).collect(),
        Json::Array(items) => items.iter().map(|item| json!(item.to_string())).collect(),
        other => panic!("{other} is no metadata"),
    }
}

fn key(fault: Fault, record: &mut Record) -> Vec<String> {
    if fault == Fault::Swapped {
        let (text, other) = (record.metadata["text"].clone(), record.metadata["other"].clone());
        record.metadata.insert("text".to_owned(), other);
        record.metadata.insert("other".to_owned(), text);
        return vec!["metadata.text".to_owned(), "metadata.other".to_owned()];
    }
    let new = if fault == Fault::Truncated { "tex" } else { "Text" };
    let value = record.metadata.shift_remove("text").unwrap();
    record.metadata.insert(new.to_owned(), value);
    vec!["metadata.text".to_owned(), format!("metadata.{new}")]
}

fn list(record: &mut Record, act: impl FnOnce(&mut Vec<Json>)) {
    act(record.metadata["ints"].as_array_mut().unwrap());
}

/// The bodies that send records.
pub(crate) fn body(records: &[Record]) -> Json {
    let column = |of: &dyn Fn(&Record) -> Json| records.iter().map(of).collect::<Json>();
    json!({
        "ids": column(&|r| json!(r.id)),
        "embeddings": column(&|r| json!(r.vector)),
        "documents": column(&|r| json!(r.document)),
        "uris": column(&|r| json!(r.uri)),
        "metadatas": column(&|r| json!(r.metadata)),
    })
}
