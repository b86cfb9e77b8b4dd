//! The records of a trial, as their writer knows them: the truth that the official client's reading is held against.
//! Pure. Every document is the record's own, so that a record under two ids is seen.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::support::dice::Dice;
use crate::support::dump::{Collection, Record, Tolerance, Value, differences};

pub(crate) const DIMENSION: usize = 6;

/// What one record is, but for its id. Whoever writes it again writes all of it, and always these keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Memory {
    pub(crate) vector: Vec<f32>,
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: Map<String, Json>,
}

/// Records by id.
pub(crate) type Memories = BTreeMap<String, Memory>;

impl Memory {
    /// The version `of` of the record with this id: another one has another vector, document and metadata.
    pub(crate) fn new(id: &str, of: usize, dice: &mut Dice) -> Self {
        // between 1 and 3: what cosine and doubles cost stays within their tolerance
        let component = |dice: &mut Dice| 1.0 + f32::from(u16::try_from(dice.below(2000)).unwrap()) / 1000.0;
        let metadata = json!({
            "text": format!("é漢 {of}"), "version": of, "half": f64::from(u32::try_from(of).unwrap()) + 0.5,
            "even": of.is_multiple_of(2), "large": 9_007_199_254_740_993_u64 + of as u64,
        });
        Self {
            vector: (0..DIMENSION).map(|_| component(dice)).collect(),
            document: Some(format!("{id}, version {of} {}", "x".repeat(dice.below(80)))),
            uri: id.ends_with(['0', '5']).then(|| format!("file:///{id}")),
            metadata: metadata.as_object().unwrap().clone(),
        }
    }

    fn record(&self, id: &str) -> Record {
        let value = |value: &Json| match value {
            Json::Bool(value) => Value::Bool(*value),
            Json::String(value) => Value::Str(value.clone()),
            Json::Number(value) if value.is_f64() => Value::Float(value.as_f64().unwrap().to_bits()),
            other => Value::Int(other.as_i64().unwrap()),
        };
        Record {
            id: id.to_owned(),
            embedding: self.vector.iter().map(|component| Some(component.to_bits())).collect(),
            document: self.document.clone(),
            uri: self.uri.clone(),
            metadata: self.metadata.iter().map(|(key, of)| (key.clone(), value(of))).collect(),
        }
    }
}

/// So many records `m-0000`, `m-0001` and so on, in their first version. Every eleventh has no document.
pub(crate) fn memories(count: usize, dice: &mut Dice) -> Memories {
    let one = |n: usize| {
        let id = format!("m-{n:04}");
        let mut memory = Memory::new(&id, n, dice);
        if n % 11 == 3 {
            memory.document = None;
        }
        (id, memory)
    };
    (0..count).map(one).collect()
}

/// The body of `add`, `upsert` or `update` for these records.
pub(crate) fn body<'m>(records: impl Iterator<Item = (&'m String, &'m Memory)>) -> Json {
    let mut columns = json!({"ids": [], "embeddings": [], "documents": [], "uris": [], "metadatas": []});
    let mut push = |column: &str, value: Json| columns[column].as_array_mut().unwrap().push(value);
    for (id, Memory { vector, document, uri, metadata }) in records {
        push("ids", json!(id));
        push("embeddings", json!(vector));
        push("documents", json!(document));
        push("uris", json!(uri));
        push("metadatas", json!(metadata));
    }
    columns
}

/// What is wrong with a target, one line for each record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Records of the source that are not there, or not as they were written.
    pub(crate) lost: Vec<String>,
    /// Records that are there under two ids or listed twice, or that nobody wrote.
    pub(crate) twice: Vec<String>,
    /// Another client's records that are not as that client left them.
    pub(crate) foreign: Vec<String>,
}

impl Found {
    pub(crate) fn is_nothing(&self) -> bool {
        self.lost.is_empty() && self.twice.is_empty() && self.foreign.is_empty()
    }
}

/// What must be in a target, and what may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// The source's records.
    pub(crate) source: Memories,
    /// What another client wrote last; where the source has the same id, this counts.
    pub(crate) foreign: Memories,
    /// Earlier content of a record: right for a record that is in neither, or that changes right now.
    pub(crate) earlier: BTreeMap<String, Vec<Memory>>,
    /// Ids that change right now: they may hold any content that they ever had, or be gone.
    pub(crate) moving: std::collections::BTreeSet<String>,
    /// Ids that were deleted while a server was read. Such a record may be left as a mix of two versions: a server's answer
    /// takes the vector from its log before the document is changed (1.5.9: 181 of 58,800 records read beside four clients,
    /// 0.6.3 the same), and what is gone from the source is compared with nothing.
    pub(crate) left: std::collections::BTreeSet<String>,
}

impl Truth {
    pub(crate) fn of(source: &Memories) -> Self {
        Self { source: source.clone(), ..Self::default() }
    }

    /// Holds what the client read against this.
    pub(crate) fn judge(&self, read: &Collection) -> Found {
        let mut found = Found::default();
        let mut seen: BTreeMap<&str, &Record> = BTreeMap::new();
        let mut documents: BTreeMap<&str, &str> = BTreeMap::new();
        for record in &read.records {
            if seen.insert(&record.id, record).is_some() {
                found.twice.push(format!("{} is listed twice", record.id));
            }
            if let Some(other) = record.document.as_deref().and_then(|text| documents.insert(text, &record.id)) {
                found.twice.push(format!("{} and {other} have one document", record.id));
            }
        }
        if read.count != seen.len() as u64 {
            found.twice.push(format!("count() is {}, {} are listed", read.count, seen.len()));
        }
        for (id, memory) in &self.foreign {
            found.foreign.extend(Self::differs(id, memory, seen.get(id.as_str()).copied(), &read.space));
        }
        for (id, memory) in self.source.iter().filter(|(id, _)| !self.foreign.contains_key(*id)) {
            let record = seen.get(id.as_str()).copied();
            let was = |record| self.was(id, record, &read.space);
            if (self.moving.contains(id) || self.left.contains(id)) && record.is_none_or(was) {
                continue;
            }
            found.lost.extend(Self::differs(id, memory, record, &read.space));
        }
        for (id, record) in seen {
            let is_known = self.source.contains_key(id) || self.foreign.contains_key(id);
            if !is_known && !self.was(id, record, &read.space) {
                found.twice.push(format!("{id}: nobody wrote this{}", self.nearest(id, record, &read.space)));
            }
        }
        found
    }

    fn was(&self, id: &str, record: &Record, space: &str) -> bool {
        let all: Vec<&Memory> = self.earlier.get(id).into_iter().flatten().chain(self.source.get(id)).collect();
        let is = |memory: &Memory| Self::differs(id, memory, Some(record), space).is_none();
        let mix = |rest: &&Memory, vector: &&Memory| is(&Memory { vector: vector.vector.clone(), ..(*rest).clone() });
        all.iter().any(|memory| is(memory))
            || self.left.contains(id) && all.iter().any(|rest| all.iter().any(|vector| mix(rest, vector)))
    }

    /// In what a record that nobody wrote differs from the version that it has the document of.
    fn nearest(&self, id: &str, record: &Record, space: &str) -> String {
        let mut all = self.earlier.get(id).into_iter().flatten();
        let same = all.find(|memory| memory.document == record.document);
        let how = same.and_then(|memory| Self::differs(id, memory, Some(record), space));
        how.map(|how| format!(", but its document: {how}")).unwrap_or_default()
    }

    /// What is wrong with this record, in one line.
    fn differs(id: &str, memory: &Memory, record: Option<&Record>, space: &str) -> Option<String> {
        let Some(record) = record else { return Some(format!("{id} is not there")) };
        let found = differences(&alone(memory.record(id), space), &alone(record.clone(), space), Tolerance::MIGRATED);
        (!found.is_empty()).then(|| found.join("; "))
    }
}

/// A collection of one record.
fn alone(record: Record, space: &str) -> Collection {
    Collection {
        name: record.id.clone(),
        tenant: String::new(),
        database: String::new(),
        id: String::new(),
        space: space.to_owned(),
        metadata: BTreeMap::new(),
        configuration: Json::Null,
        count: 1,
        records: vec![record],
    }
}

#[test]
fn a_judge_sees_what_is_lost_twice_changed_and_strange() {
    let mut dice = Dice::new(1);
    let source = memories(4, &mut dice);
    let read = |memories: &Memories| Collection {
        name: "c".to_owned(),
        tenant: String::new(),
        database: String::new(),
        id: String::new(),
        space: "l2".to_owned(),
        metadata: BTreeMap::new(),
        configuration: Json::Null,
        count: memories.len() as u64,
        records: memories.iter().map(|(id, memory)| memory.record(id)).collect(),
    };
    let truth = Truth::of(&source);
    assert!(truth.judge(&read(&source)).is_nothing());
    let mut less = source.clone();
    less.remove("m-0001");
    less.get_mut("m-0002").unwrap().vector[0] += 1.0;
    assert_eq!(truth.judge(&read(&less)).lost.len(), 2);
    let mut more = source.clone();
    more.insert("m-copy".to_owned(), source["m-0002"].clone());
    assert_eq!(truth.judge(&read(&more)).twice.len(), 2, "one document, and nobody's record");
    let mut counted = read(&source);
    counted.count += 1;
    assert_eq!(truth.judge(&counted).twice.len(), 1);
    let theirs = Memories::from([("m-0001".to_owned(), Memory::new("m-0001", 77, &mut dice))]);
    let truth = Truth { foreign: theirs.clone(), ..truth };
    assert_eq!(truth.judge(&read(&source)).foreign.len(), 1);
    let both = source.into_iter().chain(theirs).collect();
    assert!(truth.judge(&read(&both)).is_nothing());
}

#[test]
fn a_judge_takes_a_mix_of_two_versions_only_for_a_record_that_left() {
    let mut dice = Dice::new(2);
    let [one, two] = [1, 2].map(|version| Memory::new("m-0001", version, &mut dice));
    let mix = Memory { vector: two.vector.clone(), ..one.clone() };
    let read = alone(mix.record("m-0001"), "l2");
    let earlier = BTreeMap::from([("m-0001".to_owned(), vec![one, two])]);
    let truth = Truth { earlier, ..Truth::default() };
    assert_eq!(truth.judge(&read).twice.len(), 1);
    let left = Truth { left: ["m-0001".to_owned()].into(), ..truth };
    assert!(left.judge(&read).is_nothing());
}
