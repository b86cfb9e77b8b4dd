//! The exit codes of every subcommand, as one enum: the binary, the docs and the Job's podFailurePolicy share it.
//! Knows no error type and does no I/O.

use std::process::ExitCode;

/// How a run of `memory-migration` ended. The numbers are a contract and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything asked for was done (also a dry run).
    Success,
    /// A bug in this program.
    Bug,
    /// Bad arguments or a bad manifest.
    Usage,
    /// Refused for what the manifest or the data says; nothing was written.
    Refused,
    /// Interrupted, or something outside failed: a rerun resumes.
    Interrupted,
    /// Verification found differences that repair could not mend.
    Different,
    /// A record conflict with `onConflict: Fail`: found before the first write, or arisen during the run.
    Conflict,
    /// Only in a Job: a wait that the runner alone sees (no source yet, an empty one, no target, a busy one), before the
    /// first write. It counts as no failed try; the command says [`Exit::Interrupted`].
    Waiting,
}

impl Exit {
    /// Every exit there is, in the order of its code.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Bug,
        Self::Usage,
        Self::Refused,
        Self::Interrupted,
        Self::Different,
        Self::Conflict,
        Self::Waiting,
    ];

    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Interrupted => 4,
            Self::Different => 5,
            Self::Conflict => 6,
            Self::Waiting => 7,
        }
    }

    /// The exit that a process's code stands for, if it is one of ours.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|e| i32::from(e.code()) == code)
    }

    /// Whether another attempt with the same manifest cannot end better. Such a Job fails at once.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Usage | Self::Refused | Self::Different | Self::Conflict)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contract() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|e| e.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(Exit::ALL.iter().all(|e| Exit::from_code(i32::from(e.code())) == Some(*e)));
        assert_eq!(Exit::from_code(137), None);
    }

    #[test]
    fn a_permanent_exit_is_one_that_a_rerun_cannot_mend() {
        let permanent: Vec<u8> = Exit::ALL.iter().filter(|e| e.is_permanent()).map(|e| e.code()).collect();
        assert_eq!(permanent, [2, 3, 5, 6]);
    }
}
