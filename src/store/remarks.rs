//! What a store says of a collection beside its records, and how that counts on each side. Pure; reads nothing.

/// What a store says of a collection beside its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// What in the store does not add up. The collection is copied as far as it can be read, and is not Verified.
    pub damage: Vec<String>,
    /// What a person should know; it leaves the verdict as it is.
    pub notes: Vec<String>,
    /// What is wrong in the store and was put right by what else stands in it: a note of a source, which loses nothing by it,
    /// and damage of a target, for Chroma goes by what is wrong.
    pub amended: Vec<String>,
    /// Why the newest listing lacks ids that the store counts. What is listed is copied, and the run is not Verified.
    pub short: Option<String>,
    /// Records that the store counts, where it cannot list them all and `short` says why; else 0.
    pub counted: u64,
    /// Why the collection must not be moved at all.
    pub refusal: Option<String>,
    /// What of it was not read, though it might be another time: nothing is proved of that.
    pub unread: Option<String>,
    /// Whether values were left out of records as they were read; `notes` say which.
    pub partial: bool,
}

impl Remarks {
    /// As a source is judged.
    #[must_use]
    pub fn of_source(mut self) -> Self {
        self.notes.append(&mut self.amended);
        self
    }

    /// As a target is judged.
    #[must_use]
    pub fn of_target(mut self) -> Self {
        self.damage.append(&mut self.amended);
        self
    }
}
