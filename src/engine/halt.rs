//! Why a run stopped before its end, and which exit and reason that is. No I/O.

use std::future::Future;
use std::time::Duration;

use thiserror::Error as ThisError;

use super::Context;
use crate::exit::Exit;
use crate::model::Error;
use crate::report::Reason;

/// How long a write under way may still take after a termination signal, so that Chroma has time to close within the
/// pod's grace period.
const LAST_WRITE: Duration = Duration::from_secs(20);

/// Why a run stopped before its end.
#[derive(Debug, ThisError)]
pub enum Halt {
    /// The source.
    #[error("the source failed: {0}")]
    Source(#[source] Error),
    /// The target.
    #[error("the target failed: {0}")]
    Target(#[source] Error),
    /// The target refused a write that preflight took for acceptable.
    #[error(
        "the target refused to take {records} records ({first:?} to {last:?}) of collection {collection:?}: {source}"
    )]
    WriteRefused {
        /// The collection's name in the target.
        collection: String,
        /// How many records the write had.
        records: usize,
        /// The first of its ids.
        first: String,
        /// The last of its ids.
        last: String,
        /// The answer.
        source: Box<Error>,
    },
    /// Preflight found what forbids a migration.
    #[error("{0}")]
    Refused(String),
    /// As `Refused`, by checks that can pass by themselves later.
    #[error("{0}")]
    NotYet(String),
    /// No id is in the whole selection, and nobody said that this is meant.
    #[error("{0}")]
    SourceEmpty(String),
    /// A collection of the source is another one than this run, or an earlier attempt of it, has listed; or empty now.
    #[error("{0}")]
    SourceReplaced(String),
    /// `onConflict: Fail` and there are conflicts.
    #[error("{0}")]
    Conflict(String),
    /// A termination signal.
    #[error("interrupted by a termination signal; run it again: it resumes")]
    Interrupted,
    /// The scratch space failed.
    #[error("scratch space failed: {0}; free space in the folder that TMPDIR names")]
    Scratch(#[from] std::io::Error),
}

impl Halt {
    /// The reason to report. A permanent error is a refusal only while nothing was written.
    #[must_use]
    pub fn reason(&self, written: bool) -> Reason {
        match self {
            Self::Source(Error::NotFound { .. }) => Reason::SourceNotFound,
            Self::Target(Error::NotFound { .. }) => Reason::TargetNotFound,
            Self::Target(Error::Busy { .. }) => Reason::TargetBusy,
            // a rerun would fill it as wrongly, and send what is refused
            Self::Target(Error::Misfilled { .. }) | Self::WriteRefused { .. } => Reason::VerificationFailed,
            Self::Source(e) | Self::Target(e) if !written && !e.is_transient() => Reason::PreflightRefused,
            Self::Source(_) | Self::Target(_) | Self::Scratch(_) | Self::NotYet(_) => Reason::Unavailable,
            Self::Refused(_) => Reason::PreflightRefused,
            Self::SourceEmpty(_) => Reason::SourceEmpty,
            Self::SourceReplaced(_) => Reason::SourceReplaced,
            Self::Conflict(_) => Reason::RecordConflict,
            Self::Interrupted => Reason::Interrupted,
        }
    }
}

/// The exit code of a reason.
#[must_use]
pub const fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::Verified | Reason::VerifiedWithSkips | Reason::CountsVerified | Reason::DryRunCompleted => {
            Exit::Success
        }
        Reason::PreflightRefused | Reason::SourceReplaced => Exit::Refused,
        Reason::VerificationFailed | Reason::SearchDegraded => Exit::Different,
        Reason::RecordConflict => Exit::Conflict,
        Reason::InvalidSpec => Exit::Usage,
        Reason::InternalError => Exit::Bug,
        Reason::SourceChanging
        | Reason::SourceNotFound
        | Reason::SourceEmpty
        | Reason::TargetNotFound
        | Reason::TargetBusy
        | Reason::Interrupted
        | Reason::Unavailable => Exit::Interrupted,
    }
}

impl Context<'_> {
    /// Waits for a read, and gives up at once on a termination signal.
    pub(super) async fn until_stopped<T>(&self, read: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Halt::Interrupted),
            value = read => Ok(value),
        }
    }

    /// Waits for a write, also after a termination signal, but then only so long.
    pub(super) async fn last_write<T>(&self, write: impl Future<Output = T>) -> Result<T, Halt> {
        let too_long = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_WRITE).await;
        };
        tokio::select! {
            biased;
            value = write => Ok(value),
            () = too_long => Err(Halt::Interrupted),
        }
    }

    /// An error if a termination signal came.
    pub(super) fn go_on(&self) -> Result<(), Halt> {
        if self.stop.is_cancelled() { Err(Halt::Interrupted) } else { Ok(()) }
    }
}
