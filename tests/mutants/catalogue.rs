//! Every fault that a copy can have, as data: field x fault x side x distance, and the rules by which some make no sense.
//! Pure: the same seed draws the same mutants.

use std::fmt;

use crate::support::dice::Dice;

/// Where the fault is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Written into the target's server, by its API.
    Server,
    /// Written into the target's files: `SQLite` rows, the log's bytes, the index's bytes.
    Files,
    /// The target's answers, changed on their way.
    Answer,
    /// The source's server, between two reads of one run.
    Source,
}

/// What of a collection or record is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Record,
    Id,
    Vector,
    /// One bit of the component at this place.
    Bit(Component, Bit),
    Document,
    Uri,
    /// A metadata value of this type.
    Value(Kind),
    /// A bit of a double.
    DoubleBit(Bit),
    Key,
    ListOrder,
    ListLength,
    CollectionMetadata,
    Distance,
    Dimension,
    /// An index parameter.
    Setting(&'static str),
    EmbeddingFunction,
    Count,
}

/// A place in a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    First,
    Middle,
    Last,
}

/// A bit of a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bit {
    Sign,
    /// The exponent's highest.
    Highest,
    /// 16 units in the last place: the lowest one that is beyond what Chroma itself costs.
    Sixteen,
    /// 1 unit in the last place.
    Lowest,
}

/// A type of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Texts,
    Ints,
    Floats,
    Bools,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Changed,
    Dropped,
    Added,
    Swapped,
    TypeChanged,
    Truncated,
    /// Also: what belongs to another record.
    Duplicated,
}

/// One fault to be put and to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mutant {
    pub(crate) side: Side,
    pub(crate) field: Field,
    pub(crate) fault: Fault,
    /// `l2`, `cosine` or `ip`.
    pub(crate) space: &'static str,
}

pub(crate) const SIDES: [Side; 4] = [Side::Server, Side::Files, Side::Answer, Side::Source];
pub(crate) const SPACES: [&str; 3] = ["l2", "cosine", "ip"];
pub(crate) const KINDS: [Kind; 8] =
    [Kind::Text, Kind::Int, Kind::Float, Kind::Bool, Kind::Texts, Kind::Ints, Kind::Floats, Kind::Bools];
pub(crate) const SETTINGS: [&str; 5] =
    ["ef_construction", "ef_search", "max_neighbors", "resize_factor", "sync_threshold"];
const FAULTS: [Fault; 7] = [
    Fault::Changed,
    Fault::Dropped,
    Fault::Added,
    Fault::Swapped,
    Fault::TypeChanged,
    Fault::Truncated,
    Fault::Duplicated,
];

impl Kind {
    /// Its key in the records' metadata.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Texts => "texts",
            Self::Ints => "ints",
            Self::Floats => "floats",
            Self::Bools => "bools",
        }
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Ints | Self::Floats | Self::Bools)
    }
}

impl Field {
    /// Whether it belongs to the collection, not to one record.
    pub(crate) fn is_of_collection(self) -> bool {
        use Field::{CollectionMetadata, Count, Dimension, Distance, EmbeddingFunction, Setting};
        matches!(self, CollectionMetadata | Distance | Dimension | Setting(_) | EmbeddingFunction | Count)
    }
}

/// The collection of this distance.
pub(crate) fn collection_of(space: &str) -> &'static str {
    match space {
        "l2" => "of-l2",
        "ip" => "of-ip",
        _ => "of-cosine",
    }
}

impl Mutant {
    /// The collection that it is about.
    pub(crate) fn collection(&self) -> &'static str {
        collection_of(self.space)
    }

    /// The only faults that may pass. Chroma itself moves numbers that far, so nobody can tell; and a count that is lower than
    /// the listing says nothing against records that were all read.
    pub(crate) fn is_tolerated(&self) -> bool {
        match self.field {
            Field::Bit(_, Bit::Lowest) => self.space == "cosine",
            Field::DoubleBit(Bit::Lowest) => true,
            Field::Count => self.fault == Fault::Truncated,
            _ => false,
        }
    }

    /// Why it makes no sense; None: it is tried.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        nonsense(self.field, self.fault).or_else(|| impossible(self))
    }
}

/// Faults that a field cannot have, on no side.
fn nonsense(field: Field, fault: Fault) -> Option<&'static str> {
    use Fault::{Added, Changed, Dropped, Duplicated, Swapped, Truncated, TypeChanged};
    const OTHER: Option<&str> = Some("another field has this fault under its own name");
    const NONE: Option<&str> = Some("it has no such state");
    match (field, fault) {
        // a record's faults are those of its fields
        (Field::Record, Changed | Truncated | TypeChanged)
        | (Field::Id, Dropped | Added | Swapped | Duplicated)
        | (Field::Key, Dropped | Added | TypeChanged | Duplicated)
        | (Field::Distance | Field::Dimension | Field::Setting(_), Duplicated | Swapped) => OTHER,
        (Field::Bit(..) | Field::DoubleBit(_) | Field::Distance | Field::Dimension | Field::Setting(_), Changed)
        | (Field::ListOrder, Swapped)
        | (Field::ListLength, Truncated | Added | Duplicated)
        | (Field::EmbeddingFunction, Changed | Added | Dropped)
        | (Field::CollectionMetadata, Changed | Dropped | Added | TypeChanged | Truncated)
        | (Field::Count, Changed | Truncated) => None,
        (
            Field::Bit(..)
            | Field::DoubleBit(_)
            | Field::Distance
            | Field::Dimension
            | Field::Setting(_)
            | Field::ListOrder
            | Field::ListLength
            | Field::EmbeddingFunction
            | Field::CollectionMetadata
            | Field::Count,
            _,
        ) => NONE,
        (Field::Value(kind), Truncated) if !kind.is_list() && kind != Kind::Text => NONE,
        _ => None,
    }
}

/// Faults that a side cannot be given.
fn impossible(mutant: &Mutant) -> Option<&'static str> {
    use Fault::{Added, Changed, Dropped, Truncated, TypeChanged};
    let Mutant { side, field, fault, space } = *mutant;
    match (side, field, fault) {
        (Side::Server | Side::Source, Field::Vector, Dropped | Added | Truncated) => {
            Some("the server refuses a vector of another length, and a record without one")
        }
        (
            Side::Server | Side::Source | Side::Files,
            Field::Id | Field::Vector | Field::Document | Field::Uri,
            TypeChanged,
        ) => Some("it has one type in the API and in the files"),
        (Side::Server | Side::Source | Side::Files, Field::Count, _) => Some("a store counts its records: see Record"),
        (Side::Source, Field::Distance | Field::Dimension | Field::EmbeddingFunction, _) => {
            Some("a collection keeps it for life; one that replaces it is another collection")
        }
        (Side::Source, Field::Setting(name), _)
            if name != "ef_search" && name != "resize_factor" && name != "sync_threshold" =>
        {
            Some("a collection keeps it for life; one that replaces it is another collection")
        }
        (Side::Files, Field::Vector, Added | Truncated) if space != "ip" => {
            Some("a row of the index has one length; the log of ip has them")
        }
        (_, Field::EmbeddingFunction, Added) if space != "ip" => Some("this collection has one"),
        (_, Field::EmbeddingFunction, Changed | Dropped) if space == "ip" => Some("this collection has none"),
        (Side::Answer, Field::Distance, _) => {
            Some("the engine is asked by a query, and what its documents say is not believed")
        }
        _ => None,
    }
}

fn fields() -> Vec<Field> {
    let components = [Component::First, Component::Middle, Component::Last];
    let bits = [Bit::Sign, Bit::Highest, Bit::Sixteen, Bit::Lowest];
    let of_vectors = components.into_iter().flat_map(|at| bits.map(|bit| Field::Bit(at, bit)));
    let plain = [
        Field::Record,
        Field::Id,
        Field::Vector,
        Field::Document,
        Field::Uri,
        Field::Key,
        Field::ListOrder,
        Field::ListLength,
        Field::CollectionMetadata,
        Field::Distance,
        Field::Dimension,
        Field::EmbeddingFunction,
        Field::Count,
    ];
    let values = KINDS.map(Field::Value);
    let doubles = bits.map(Field::DoubleBit);
    let mut all: Vec<_> = plain.into_iter().chain(of_vectors).chain(values).chain(doubles).collect();
    all.extend(SETTINGS.map(Field::Setting));
    all
}

/// Every combination, also those that make no sense.
pub(crate) fn combinations() -> Vec<Mutant> {
    let mut all = Vec::new();
    for side in SIDES {
        for field in fields() {
            for fault in FAULTS {
                all.extend(SPACES.map(|space| Mutant { side, field, fault, space }));
            }
        }
    }
    all
}

/// All that are tried on a side, in an order that the seed decides.
pub(crate) fn drawn(side: Side, seed: u64) -> Vec<Mutant> {
    let mut all: Vec<_> = combinations().into_iter().filter(|one| one.side == side && one.unfit().is_none()).collect();
    let mut dice = Dice::new(seed ^ (side as u64) << 32);
    for last in (1..all.len()).rev() {
        all.swap(last, dice.below(last + 1));
    }
    all
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bit(at, bit) => write!(f, "vector, {at:?} component, {bit:?} bit"),
            Self::Value(kind) => write!(f, "metadata value, {kind:?}"),
            Self::DoubleBit(bit) => write!(f, "metadata double, {bit:?} bit"),
            Self::Key => f.write_str("metadata key"),
            Self::ListOrder => f.write_str("array order"),
            Self::ListLength => f.write_str("array length"),
            Self::CollectionMetadata => f.write_str("collection metadata"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::EmbeddingFunction => f.write_str("embedding function"),
            other => f.write_str(&format!("{other:?}").to_lowercase()),
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, field, fault, space } = self;
        write!(f, "{side:?}: {field}: {fault:?} ({space})")
    }
}

#[test]
fn a_seed_draws_the_same_mutants_and_each_once() {
    for side in SIDES {
        let mut all = drawn(side, 7);
        assert_eq!(all, drawn(side, 7));
        assert_ne!(all, drawn(side, 8));
        all.sort();
        assert!(all.windows(2).all(|two| two[0] != two[1]));
        assert!(all.len() > 100, "{side:?} has {}", all.len());
    }
}

#[test]
fn every_field_is_tried_somewhere() {
    for field in fields() {
        let is_tried = |one: &Mutant| one.field == field && one.unfit().is_none();
        assert!(combinations().iter().any(is_tried), "{field}");
    }
}
