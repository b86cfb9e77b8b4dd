//! Why a store did not answer what it was asked, in a person's words. Pure.

use std::time::Duration;

/// A server that had this long and gave no answer owes it. Less may have been too short for a sound one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a server is not asked any more.
pub(super) const MUTE: &str = "the server had given no answer, twice";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// A termination signal.
    Stopped,
    /// The time for queries is over.
    Late,
    /// It was asked, and gave no answer for so long: until the time for queries was over.
    Slow(Duration),
    /// It was asked, and gave no answer for so long, and then again none.
    Twice(Duration),
    /// It gave no answer before, and is not asked any more.
    Mute,
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
            Self::Slow(waited) => format!(
                "not judged: no answer within {} s, and the time for queries was over (a third of verification's, at \
                 least 10 s)",
                waited.as_secs()
            ),
            Self::Twice(waited) => format!("not judged: no answer within {} s, twice", waited.as_secs()),
            Self::Mute => format!("not asked: {MUTE}"),
            Self::Unasked(why) => format!("not asked: {why}"),
            Self::Failed(why) => format!("not judged: {why}"),
        }
    }

    /// Whether an answer was due.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Twice(_) => true,
            Self::Slow(waited) => *waited >= PATIENCE,
            Self::Stopped | Self::Late | Self::Mute | Self::Unasked(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_was_due_is_a_failure() {
        let failed = |silence: &Silence| (silence.is_failure(), silence.words().starts_with("not judged"));
        assert_eq!(failed(&Silence::Failed("status 500".into())), (true, true));
        assert_eq!(failed(&Silence::Slow(PATIENCE)), (true, true), "a server that goes silent");
        assert_eq!(failed(&Silence::Slow(PATIENCE / 2)), (false, true), "it had little time");
        assert_eq!(failed(&Silence::Twice(PATIENCE)), (true, true));
        assert_eq!(failed(&Silence::Late), (false, false));
        assert_eq!(failed(&Silence::Mute), (false, false), "the first one was due");
        assert_eq!(failed(&Silence::Unasked("files answer no query")), (false, false));
        assert_eq!(failed(&Silence::Stopped), (false, false));
    }
}
