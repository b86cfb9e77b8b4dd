//! What the dicts of the pickle mean: ids and labels, some changes, numbers. Reads no byte of the file by itself.

use std::collections::BTreeMap;
use std::io::Read;

use super::value::Value;
use super::{MAX_SMALL, Machine, Root};
use crate::store::files::index::labels::Map;

/// Entries of `id_to_seq_id` that are kept, and bytes of the longest id among them.
const SAMPLE: usize = 256;
const MAX_SAMPLED: u32 = 1 << 10;
/// The names of [`Machine::maps`].
const MAPS: [&str; 2] = ["id_to_label", "label_to_id"];

impl<R: Read> Machine<R> {
    pub(super) fn store(&mut self, items: &[Value]) -> Result<(), String> {
        let Some(Value::Dict(number)) = self.stack.last() else {
            return Err("items are set on what is no dict".to_owned());
        };
        if !items.len().is_multiple_of(2) {
            return Err("a key has no value".to_owned());
        }
        let number = *number;
        let owner = match self.stack.len().checked_sub(2).and_then(|n| self.stack.get(n)).copied() {
            Some(owner @ Value::Text { len, .. }) if len as usize <= "id_to_seq_id".len() => self.text(owner)?,
            _ => String::new(),
        };
        if let Some(which) = MAPS.iter().position(|name| *name == owner) {
            return items.chunks_exact(2).try_for_each(|pair| self.map(which, number, pair[0], pair[1]));
        }
        // The third map is as large as the others: some entries tell whose it is.
        if owner == "id_to_seq_id" {
            return items.chunks_exact(2).try_for_each(|pair| self.change(pair[0], pair[1]));
        }
        let dict = self.dicts.get_mut(number as usize).ok_or("an unknown dict")?;
        dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        if dict.len() > MAX_SMALL { Err("it has more parts than Chroma writes".to_owned()) } else { Ok(()) }
    }

    /// Takes one item of a map.
    fn map(&mut self, which: usize, dict: u32, key: Value, value: Value) -> Result<(), String> {
        let (id, label) = if which == 0 { (key, value) } else { (value, key) };
        let label = match label {
            Value::Int(label) => u32::try_from(label).ok(),
            _ => None,
        };
        let id = if matches!(id, Value::Text { .. }) { Some(self.text(id)?) } else { None };
        let (known, map) = self.maps[which].get_or_insert_with(|| (dict, Map::default()));
        if *known != dict {
            return Err(format!("it has two maps {}", MAPS[which]));
        }
        let Some(id) = id else {
            map.push_nameless();
            return Ok(());
        };
        let pushed = map.push(&id, label);
        self.kept(pushed)
    }

    /// Takes one entry of the third map, while there is room.
    fn change(&mut self, id: Value, change: Value) -> Result<(), String> {
        if let (Value::Text { len: ..=MAX_SAMPLED, .. }, Value::Int(change)) = (id, change)
            && self.changes.len() < SAMPLE
        {
            let id = self.text(id)?;
            self.changes.push((id, change));
        }
        Ok(())
    }

    /// The text of a value; empty for one that is none.
    pub(super) fn text(&mut self, value: Value) -> Result<String, String> {
        let Value::Text { start, len } = value else { return Ok(String::new()) };
        let mut bytes = vec![0; len as usize];
        let read = self.texts.read_at(start, &mut bytes);
        self.kept(read)?;
        String::from_utf8(bytes).map_err(|e| e.to_string())
    }

    /// Takes the known attributes out of the root: numbers, and both maps.
    pub(super) fn finish(&mut self, root: Value) -> Result<Root, String> {
        let ((Value::Dict(number), None) | (Value::Object, Some(number))) = (root, self.state) else {
            return Err("it holds neither a dict nor a PersistentData object".to_owned());
        };
        let mut attributes = BTreeMap::new();
        for (key, value) in self.dicts.get(number as usize).cloned().unwrap_or_default() {
            attributes.insert(self.text(key)?, value);
        }
        let names = ["dimensionality", "max_seq_id", "total_elements_added"];
        let numbers = names.map(|name| match attributes.get(name) {
            Some(Value::Int(n)) => Some(*n),
            _ => None,
        });
        let is_odd = |name: &&str| !matches!(attributes.get(*name), None | Some(Value::None | Value::Int(_)));
        let odd: Vec<&str> = names.into_iter().filter(is_odd).collect();
        let odd = (!odd.is_empty()).then(|| format!("its {} is no integer", odd.join(" and ")));
        let map = |name: &str| match attributes.get(name) {
            Some(Value::Dict(dict)) => Ok(*dict),
            _ => Err(format!("its {name} is missing")),
        };
        Ok(Root { numbers, maps: [self.taken(0, map(MAPS[0])?)?, self.taken(1, map(MAPS[1])?)?], odd })
    }

    /// The items of a map, which are those of this dict.
    fn taken(&mut self, which: usize, dict: u32) -> Result<Map, String> {
        match self.maps[which].take() {
            Some((known, map)) if known == dict => Ok(map),
            None if self.dicts.get(dict as usize).is_some_and(Vec::is_empty) => Ok(Map::default()),
            _ => Err(format!("its {} is not where Chroma writes it", MAPS[which])),
        }
    }
}
