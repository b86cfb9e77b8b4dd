//! From one look to an ordered list of writes: what a plan is. The rules are in `decide`, what they write in `writes`.
//! Pure: no client, no clock, no async.

pub mod crd_gap;
mod decide;
pub mod evidence;
pub mod lock;
pub mod look;
pub mod notices;
mod pause;
mod proof;
mod stale;
mod status;
mod verdict;
mod writes;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;

use self::decide::{Decision, decide};
use self::look::Look;
use super::observe::world::{Cause, Handle, JobPhase, Pause, Trouble};
use crate::api::MemoryMigrationStatus;
use crate::api::conditions::Reason;
use crate::report::{Direction, Summary};

/// Something of ours is about to end.
pub(super) const SOON: Duration = Duration::from_secs(3);

/// What is to be written, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In this order. The process may be killed between any two; after one that is refused the rest is not done.
    pub writes: Vec<Write>,
    /// What was taken may have changed what was read: look again at once.
    pub again: bool,
    /// When to look again, whatever happens.
    pub requeue: Option<Duration>,
    /// What becomes of the pause before the next attempt.
    pub pause: PauseChange,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Remove a lock whose holder is gone.
    BreakLock(Handle),
    /// Create the Lease of this name: that is taking the lock.
    TakeLock(String),
    /// Create the Job.
    Create(Box<Job>),
    /// The report of a run that has ended. Not being able to keep it changes nothing but what the status says of it.
    Report(Box<ConfigMap>),
    /// The whole status. The Job that was created just before gives it its UID.
    Status(Box<Told>),
    /// Delete a Job with its pods.
    Delete(Handle),
    /// Seconds after which an ended Job goes; None: never.
    Ttl(Handle, Option<i32>),
    /// Tell people. Not being able to changes nothing.
    Tell(notices::Notice),
    /// Delete a Lease of this object.
    GiveBack(Handle),
}

/// A status, and the run that ended with it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: MemoryMigrationStatus,
    /// For the metrics.
    pub outcome: Option<Outcome>,
}

/// What becomes of the pause before the next attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PauseChange {
    /// Nothing.
    #[default]
    Keep,
    /// It is this one.
    Set(Pause),
    /// The run works, or is over: the next pause is a first one.
    Clear,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// From which kind of endpoint to which.
    pub direction: Direction,
    /// Why it ended.
    pub reason: Reason,
    /// Seconds from its first Job to its end.
    pub seconds: f64,
    /// What became of the records, where the runner said so.
    pub summary: Option<Box<Summary>>,
}

/// What the API server was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// To make a Job.
    #[default]
    Job,
    /// To make the lock for it, or to remove that of a holder who is gone.
    Lock,
    /// To delete a Job.
    Stop,
    /// To delete the object's own lock.
    GiveBack,
}

/// A write that the API server refused or did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for.
    pub asked: Asked,
    /// What it is, as "Job team/move-1".
    pub what: String,
    /// Its UID, where it is there.
    pub uid: String,
    /// The HTTP code; None: no answer.
    pub code: Option<u16>,
    /// The API server's own words.
    pub why: String,
    /// An object of somebody else has that name.
    pub in_the_way: bool,
}

impl Refusal {
    /// Whether the same will be refused again until something changes.
    #[must_use]
    pub fn is_firm(&self) -> bool {
        let is_late = match self.code {
            // Of a lock they mean that the operator may not, or that its namespace is not there.
            Some(401 | 404) => self.asked != Asked::Lock,
            Some(429) => true,
            _ => false,
        };
        self.is_sure() && !is_late || self.in_the_way
    }

    /// Whether nothing was made.
    fn is_sure(&self) -> bool {
        self.code.is_some_and(|code| (400..500).contains(&code))
    }
}

impl Plan {
    /// Whether all that it does is to say how a run goes on: what the watches hold is enough for that. `known`: the
    /// status that it is made from. What counts tries, or names another Job, must rest on more.
    #[must_use]
    pub fn only_tells(&self, known: &MemoryMigrationStatus) -> bool {
        let counted = |s: &MemoryMigrationStatus| {
            (
                s.run_hash.clone(),
                s.attempts,
                s.failures,
                s.job_uid.clone(),
                s.stopped_job.clone(),
                s.active_since.clone(),
            )
        };
        let tells = |write: &Write| match write {
            Write::Status(told) => told.outcome.is_none() && counted(&told.status) == counted(known),
            Write::Tell(_) => true,
            _ => false,
        };
        !self.again && self.writes.iter().all(tells)
    }
}

/// Decides.
///
/// # Guarantees
/// For an object that is being deleted nothing is created, and no status is written.
#[must_use]
pub fn plan(look: &Look<'_>) -> Plan {
    if look.migration.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let look = at_hand(look);
    held_back(&look, writes::of(&look, decide(&look)))
}

/// Leaves out what the API server refused to delete a moment ago.
fn held_back(look: &Look<'_>, mut plan: Plan) -> Plan {
    let (writes, requeue) = (&mut plan.writes, &mut plan.requeue);
    writes.retain(|write| {
        let (Write::Delete(of) | Write::GiveBack(of)) = write else { return true };
        let Some(left) = pause::of_deletion(look, &of.uid) else { return true };
        *requeue = Some(requeue.map_or(left, |requeue| requeue.min(left)));
        false
    });
    plan
}

/// After an edit the run before it is looked at as long as something of it is left: its verdict is read, or it is stopped.
fn at_hand<'a>(look: &Look<'a>) -> Look<'a> {
    let is_left = |look: &Look<'_>| {
        look.world.present().next().is_some() || look.world.alive().next().is_some() || verdict::of_run(look).is_some()
    };
    look.at_run_before().filter(is_left).unwrap_or_else(|| look.clone())
}

/// What is written when the API server refuses a write.
#[must_use]
pub fn refused(look: &Look<'_>, refusal: &Refusal) -> Plan {
    let look = at_hand(look);
    match refusal.asked {
        Asked::Job | Asked::Lock => not_started(&look, refusal),
        Asked::Stop | Asked::GiveBack => not_deleted(&look, refusal),
    }
}

/// Nothing was started.
fn not_started(look: &Look<'_>, refusal: &Refusal) -> Plan {
    let Refusal { asked, what, in_the_way, .. } = refusal;
    let (reason, message) = if *in_the_way {
        (Reason::NotAdmitted, format!("{what} of somebody else is in the way: delete it, or rename this object"))
    } else if refusal.is_firm() {
        let remedy = if *asked == Asked::Lock {
            "it is the lock on the target, without which nothing is written: let the operator create and delete Leases in \
             its own namespace"
        } else {
            "raise the quota, change the policy that refuses it, or correct spec.runner"
        };
        let message = format!(
            "the API server does not admit {what} ({}): {remedy}; it is tried again by itself, within 5 minutes, and after an \
             edit at once",
            answer(refusal)
        );
        (Reason::NotAdmitted, message)
    } else {
        let message = format!("the API server did not take {what} ({}): it is tried again by itself", answer(refusal));
        (Reason::Retrying, message)
    };
    let pause = pause::next(look, Cause::Refused, Trouble { reason, message });
    writes::of(look, Decision::Pause { pause, sure: refusal.in_the_way || refusal.is_sure() })
}

/// A Job goes on that was to be stopped, which the status says; or something is left that should be gone, which an event
/// says, for the status stays what it is. What the API server refused is not asked again before its pause has passed.
fn not_deleted(look: &Look<'_>, refusal: &Refusal) -> Plan {
    let Refusal { asked, what, uid, .. } = refusal;
    let goes_on = look.world.present().any(|job| job.uid == *uid && job.phase == JobPhase::Active);
    let message = if goes_on {
        format!(
            "{what} could not be stopped, so its runner goes on: the API server does not delete it ({}). Let the operator \
             delete Jobs in this namespace, or delete it yourself; it is tried again by itself, within 5 minutes, and after \
             an edit at once",
            answer(refusal)
        )
    } else {
        let so = match asked {
            Asked::GiveBack => "; until it is gone, no other migration writes this target",
            _ => "",
        };
        format!("{what} could not be deleted ({}){so}: it is tried again by itself, within 5 minutes", answer(refusal))
    };
    let is_told = goes_on && look.finish().is_none();
    let writes = (!is_told).then(|| Write::Tell(notices::warning("NotDeleted", &message))).into_iter().collect();
    let pause = pause::next_deletion(look, uid, Trouble { reason: Reason::Retrying, message });
    Plan { writes, again: true, requeue: Some(SOON), pause: PauseChange::Set(pause) }
}

/// The code and the words of a refusal.
fn answer(refusal: &Refusal) -> String {
    let code = refusal.code.map_or_else(|| "no answer".to_owned(), |code| code.to_string());
    format!("{code}: {}", refusal.why)
}
