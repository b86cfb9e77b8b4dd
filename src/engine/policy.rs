//! What a run is asked to do, one choice each. Knows no other file.

/// What to do with an id that the target has with other content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave it alone; count and list it.
    #[default]
    Skip,
    /// Make it equal to the source.
    Overwrite,
    /// Refuse before any write.
    Fail,
}

/// Which records are taken for already being in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// Those with the same id.
    #[default]
    ById,
    /// Also those whose non-empty document the target has under an id that is none of the source's.
    ByContent,
}

/// How much is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Every record is compared.
    #[default]
    Full,
    /// Only counts are compared: weaker, and the verdict says so.
    Counts,
}

/// Who writes the records of a new local target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Its Chroma server, as of any target.
    #[default]
    Engine,
    /// This program writes its files, its server builds the index, and then the run goes on as any other. Where that cannot
    /// be, a finding of preflight says so, and the server takes the records.
    Files,
}

/// Whether the target may hold records that the source does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extras {
    /// They are counted and listed.
    #[default]
    Allow,
    /// They are a failure; none is deleted.
    Fail,
}

/// Who decides on batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pacing {
    /// `batch_size` and `delay`.
    #[default]
    Fixed,
    /// The rate follows the target's errors and the latency of a small read.
    Adaptive {
        /// How many times as long as on the resting target a small read may take, at its 95th percentile; it may always
        /// take 25 ms longer. None: any time, for a target that nobody else uses.
        slowdown: Option<f64>,
    },
}

/// What is known of source and target beside their contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relation {
    /// Nothing yet.
    #[default]
    Unasked,
    /// Nothing, and somebody has looked.
    Unknown,
    /// Who serves one side has not the other side's files: an id that differs shows that they are two.
    Unshared,
    /// Their files are not the same.
    Apart,
    /// Their files are the same, or who serves one side has the other side's.
    Same,
}
