//! Ready, Reconciling and Stalled, and the closed list of their reasons. Pure builders: the time is passed in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::status::Phase;
use crate::report;

/// Ready=True: done and proved.
pub const READY: &str = "Ready";
/// Reconciling=True: it works, or it waits and will go on by itself.
pub const RECONCILING: &str = "Reconciling";
/// Stalled=True: a person is needed.
pub const STALLED: &str = "Stalled";
/// VerificationStale=True: the last success is older than `spec.verification.validFor`. It is there only with both.
pub const STALE: &str = "VerificationStale";
/// The conditions that say how a run goes; others beside them are left as they are.
const TYPES: [&str; 3] = [READY, RECONCILING, STALLED];

/// What a reason says of the three conditions: the rows of the table of situations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    /// The runner works.
    Running,
    /// It will go on by itself.
    Waiting,
    /// A person must edit the spec or change `runId`.
    NeedsPerson,
    /// `spec.suspend`.
    Suspended,
    /// Done.
    Done,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $situation:ident),+ $(,)?) => {
        /// Why the conditions are as they are: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in the condition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The row of the table that it belongs to.
            #[must_use]
            pub const fn situation(self) -> Situation {
                match self { $(Self::$name => Situation::$situation),+ }
            }
        }
    };
}

reasons! {
    /// Checks and comparison.
    Preflight => Running,
    /// Records are written.
    Copying => Running,
    /// Records are compared.
    Verifying => Running,
    /// What verification named is sent again.
    Repairing => Running,
    /// Another pod uses the target's claim.
    VolumeInUse => Waiting,
    /// Another migration writes the target.
    TargetBusy => Waiting,
    /// The source's claim, server, tenant, database or collection is not there.
    SourceNotFound => Waiting,
    /// The selected collections hold no record, and `allowEmpty` is false.
    SourceEmpty => Waiting,
    /// The target's claim, server, tenant or database is not there.
    TargetNotFound => Waiting,
    /// A Secret or `ConfigMap`, or a key in it, is not there.
    SecretNotReady => Waiting,
    /// The API server refuses the Job or its pod: a quota, an admission policy, the pod-security level.
    NotAdmitted => Waiting,
    /// The pod's node does not answer, and nobody knows whether the pod still runs there.
    NodeLost => Waiting,
    /// The runner's log has said nothing for 5 minutes, or another container keeps its pod from ending.
    NoProgress => Waiting,
    /// An image cannot be pulled.
    ImagePullFailed => Waiting,
    /// No node takes the pod.
    PodUnschedulable => Waiting,
    /// A volume cannot be mounted.
    MountFailed => Waiting,
    /// The Chroma server that writes a local target dies again and again.
    ServerCrashLooping => Waiting,
    /// Two claims that only one node each can use are used on different nodes.
    ClaimsOnDifferentNodes => Waiting,
    /// Something outside failed, or the runner is about to start; it is tried again.
    Retrying => Waiting,
    /// A check before the first write failed.
    PreflightRefused => NeedsPerson,
    /// Differences remain that repair could not mend.
    VerificationFailed => NeedsPerson,
    /// All records are right, and searches in the target answer wrongly (`verification.search.mode: Require`).
    SearchDegraded => NeedsPerson,
    /// `onConflict: Fail`, and an id has other content in the target.
    RecordConflict => NeedsPerson,
    /// Tried `backoffLimit` times.
    BackoffLimitExceeded => NeedsPerson,
    /// `activeDeadlineSeconds` have passed.
    DeadlineExceeded => NeedsPerson,
    /// The runner was killed for its memory, in the last try too.
    OutOfMemory => NeedsPerson,
    /// The source changes faster than it can be copied.
    SourceChanging => NeedsPerson,
    /// A collection of the source was replaced or emptied while the run was under way.
    SourceReplaced => NeedsPerson,
    /// The spec cannot be run.
    InvalidSpec => NeedsPerson,
    /// A bug.
    InternalError => NeedsPerson,
    /// `spec.suspend` is true.
    Suspended => Suspended,
    /// Every record was compared and is equal.
    Verified => Done,
    /// Every record but those skipped was compared and is equal.
    VerifiedWithSkips => Done,
    /// Only counts were compared.
    CountsVerified => Done,
    /// A dry run ended with its plan.
    DryRunCompleted => Done,
}

impl Reason {
    /// The words with which a run can fail.
    #[must_use]
    pub fn failures() -> Vec<&'static str> {
        let failures = Self::ALL.iter().filter(|reason| reason.situation() == Situation::NeedsPerson);
        failures.map(|reason| reason.as_str()).collect()
    }

    /// The reason that a condition names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }

    /// The word for people that goes with it.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Preflight => Phase::Preflight,
            Self::Copying | Self::Repairing => Phase::Copying,
            Self::Verifying => Phase::Verifying,
            _ => match self.situation() {
                Situation::Running | Situation::Waiting => Phase::Waiting,
                Situation::NeedsPerson => Phase::Failed,
                Situation::Suspended => Phase::Suspended,
                Situation::Done => Phase::Succeeded,
            },
        }
    }

    /// Whether the run is over: nothing but an edit or a new `runId` goes on.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self.situation(), Situation::NeedsPerson | Situation::Done)
    }
}

impl From<report::Stage> for Reason {
    fn from(stage: report::Stage) -> Self {
        match stage {
            report::Stage::Preflight => Self::Preflight,
            report::Stage::Copying | report::Stage::Indexing => Self::Copying,
            report::Stage::Verifying => Self::Verifying,
            report::Stage::Repairing => Self::Repairing,
        }
    }
}

/// The three conditions for this reason, and those of other types as they are. A condition whose status does not change
/// keeps its transition time.
#[must_use]
pub fn conditions(before: &[Condition], reason: Reason, message: &str, generation: i64, now: &Time) -> Vec<Condition> {
    let ours = TYPES.into_iter().zip(row(reason.situation())).map(|(kind, status)| {
        let kept = before.iter().find(|c| c.type_ == kind && c.status == status);
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.as_str().into(),
            message: message.into(),
            observed_generation: Some(generation),
            last_transition_time: kept.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
        }
    });
    let theirs = before.iter().filter(|c| !TYPES.contains(&c.type_.as_str())).cloned();
    ours.chain(theirs).collect()
}

/// Puts in what is said of the age of the last success; None: nothing. It says the same at every look, so that only a
/// change is written.
pub fn set_stale(conditions: &mut Vec<Condition>, said: Option<(bool, String)>, generation: i64, now: &Time) {
    let before = conditions.iter().position(|c| c.type_ == STALE).map(|at| conditions.remove(at));
    let Some((is_stale, message)) = said else { return };
    let (status, reason) = if is_stale { ("True", "Expired") } else { ("False", "Valid") };
    let kept = before.filter(|c| c.status == status).map(|c| c.last_transition_time);
    conditions.push(Condition {
        type_: STALE.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: Some(generation),
        last_transition_time: kept.unwrap_or_else(|| now.clone()),
    });
}

/// What is said of the age of the last success; None: nothing.
#[must_use]
pub fn is_stale(conditions: &[Condition]) -> Option<bool> {
    conditions.iter().find(|c| c.type_ == STALE).map(|c| c.status == "True")
}

/// The status of Ready, Reconciling and Stalled in this situation.
const fn row(situation: Situation) -> [&'static str; 3] {
    match situation {
        Situation::Running | Situation::Waiting => ["False", "True", "False"],
        Situation::NeedsPerson => ["False", "False", "True"],
        Situation::Suspended => ["False", "False", "False"],
        Situation::Done => ["True", "False", "False"],
    }
}

/// The situation and the word that our three conditions agree on, also where the word is another version's; None where
/// they are not what [`conditions`] makes, for instance because somebody else wrote them.
#[must_use]
pub fn said(conditions: &[Condition]) -> Option<(Situation, &str)> {
    let of_type = |kind: &str| conditions.iter().find(|c| c.type_ == kind && c.observed_generation.is_some());
    let [ready, reconciling, stalled] = [of_type(READY)?, of_type(RECONCILING)?, of_type(STALLED)?];
    let word = ready.reason.as_str();
    if reconciling.reason != word || stalled.reason != word {
        return None;
    }
    let statuses = [ready.status.as_str(), reconciling.status.as_str(), stalled.status.as_str()];
    let situation = match Reason::parse(word) {
        Some(reason) => reason.situation(),
        None => [Situation::Waiting, Situation::NeedsPerson, Situation::Suspended, Situation::Done]
            .into_iter()
            .find(|situation| row(*situation) == statuses)?,
    };
    (row(situation) == statuses).then_some((situation, word))
}

/// Whether none of our three is there.
#[must_use]
pub fn has_none(conditions: &[Condition]) -> bool {
    !conditions.iter().any(|c| [READY, RECONCILING, STALLED].contains(&c.type_.as_str()))
}

/// The reason that conditions agree on; None also for a word of another version.
#[must_use]
pub fn agreed_reason(conditions: &[Condition]) -> Option<Reason> {
    said(conditions).and_then(|(_, word)| Reason::parse(word))
}

/// What our conditions say in words; all three say the same.
#[must_use]
pub fn message(conditions: &[Condition]) -> String {
    conditions.iter().find(|c| c.type_ == READY).map(|c| c.message.clone()).unwrap_or_default()
}

/// The same, said of this generation.
pub fn observe_generation(conditions: &mut [Condition], generation: i64) {
    for condition in conditions.iter_mut().filter(|c| TYPES.contains(&c.type_.as_str())) {
        condition.observed_generation = Some(generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn row(reason: Reason) -> [String; 3] {
        let made = conditions(&[], reason, "m", 1, &at(0));
        [READY, RECONCILING, STALLED].map(|kind| made.iter().find(|c| c.type_ == kind).unwrap().status.clone())
    }

    #[test]
    fn every_reason_is_in_its_row() {
        let rows = |situation| match situation {
            Situation::Running | Situation::Waiting => ["False", "True", "False"],
            Situation::NeedsPerson => ["False", "False", "True"],
            Situation::Suspended => ["False", "False", "False"],
            Situation::Done => ["True", "False", "False"],
        };
        for reason in Reason::ALL {
            assert_eq!(row(*reason), rows(reason.situation()), "{reason:?}");
        }
    }

    #[test]
    fn only_the_last_row_is_ready() {
        let ready: Vec<&str> = Reason::ALL.iter().filter(|r| row(**r)[0] == "True").map(|r| r.as_str()).collect();
        assert_eq!(ready, ["Verified", "VerifiedWithSkips", "CountsVerified", "DryRunCompleted"]);
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let first = conditions(&[], Reason::Preflight, "a", 1, &at(1));
        let second = conditions(&first, Reason::Copying, "b", 2, &at(2));
        let third = conditions(&second, Reason::Verified, "c", 2, &at(3));
        let times = |made: &[Condition]| made.iter().map(|c| c.last_transition_time.0.as_second()).collect::<Vec<_>>();
        assert_eq!(times(&second), [1, 1, 1]);
        assert_eq!(times(&third), [3, 3, 1]);
        assert!(third.iter().all(|c| c.observed_generation == Some(2)));
    }

    #[test]
    fn conditions_that_somebody_else_wrote_agree_on_nothing() {
        let made = conditions(&[], Reason::PreflightRefused, "m", 1, &at(1));
        assert_eq!(agreed_reason(&made), Some(Reason::PreflightRefused));
        let mut forged = made.clone();
        forged[0].status = "True".into();
        assert_eq!(agreed_reason(&forged), None);
        forged = made.clone();
        forged[0].reason = "AllGood".into();
        assert_eq!(agreed_reason(&forged), None);
        assert_eq!(agreed_reason(&made[..1]), None);
        assert_eq!(agreed_reason(&[]), None);
    }
}
