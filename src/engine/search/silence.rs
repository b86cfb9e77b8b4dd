//! Why a store did not answer what it was asked, in a person's words. Pure.

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// A termination signal.
    Stopped,
    /// The time for queries is over.
    Late,
    /// Nothing could be asked.
    Unasked(&'static str),
    /// It was asked and did not answer, in the server's words.
    Failed(String),
}

impl Silence {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Stopped => "not asked: the run was ended".to_owned(),
            Self::Late => {
                "not asked: the time for queries was over (a third of verification's, at least 10 s)".to_owned()
            }
            Self::Unasked(why) => format!("not asked: {why}"),
            Self::Failed(why) => format!("not judged: {why}"),
        }
    }

    /// Whether an answer was due.
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}
