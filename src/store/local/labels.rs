//! Ids with their labels in little memory: an index of a million records must fit.
//! Holds what the pickle said and nothing of the rows.

/// Ids with their labels, sorted by id. Some 16 bytes an id beside its text.
#[derive(Debug, Default)]
pub struct Labels {
    text: String,
    entries: Vec<(usize, u32, u32)>,
}

impl Labels {
    /// Takes an id that sorts after all before; None for an id of over 4 GiB.
    #[must_use]
    pub fn with(mut self, id: &str, label: u32) -> Option<Self> {
        self.entries.push((self.text.len(), u32::try_from(id.len()).ok()?, label));
        self.text.push_str(id);
        Some(self)
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The label of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<u32> {
        let place = self.entries.binary_search_by(|(start, len, _)| self.id(*start, *len).cmp(id)).ok()?;
        self.entries.get(place).map(|(_, _, label)| *label)
    }

    /// All ids with their labels, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.entries.iter().map(|(start, len, label)| (self.id(*start, *len), *label))
    }

    fn id(&self, start: usize, len: u32) -> &str {
        self.text.get(start..start + len as usize).unwrap_or_default()
    }
}
