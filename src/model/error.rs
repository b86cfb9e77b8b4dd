//! The errors of stores: what happened, to which object, and what to do next.
//! Decides what is worth a retry; knows no exit code.

use std::path::PathBuf;

use thiserror::Error as ThisError;

/// The result of a store's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store could not be read or written.
#[derive(Debug, ThisError)]
pub enum Error {
    /// No answer, or one that says to come back: refused, reset, timed out, DNS, 429, 502 to 504 on a read.
    #[error(
        "{store} did not answer {attempt}: {why}; check its address, that it is up, and that it can be reached from here"
    )]
    Unavailable {
        /// The store, as its `name()` says.
        store: String,
        /// What was attempted, as "GET /api/v2/version".
        attempt: String,
        /// The cause, with how often it was tried.
        why: String,
    },
    /// A server that is up and answers a read with an error of its own: 500 with a text.
    #[error(
        "{store} answered {attempt} with an error of its own: {why}; read the server's log and run it again once it \
         answers. If it stays so, read the store's files instead (source.local, --source-type local)"
    )]
    Failing {
        /// The store.
        store: String,
        /// What was attempted.
        attempt: String,
        /// The server's words, and of which records it said them.
        why: String,
    },
    /// A write whose outcome is not known: 5xx, timeout, reset or a cut body after it was sent.
    #[error("{store} may or may not have applied {attempt}: {why}")]
    Uncertain {
        /// The store.
        store: String,
        /// What was attempted.
        attempt: String,
        /// The cause.
        why: String,
    },
    /// 401 or 403.
    #[error("{store} refused {attempt} (status {status}): {words}; {hint}")]
    Denied {
        /// The store.
        store: String,
        /// What was attempted.
        attempt: String,
        /// 401 or 403.
        status: u16,
        /// The beginning of the answer's text.
        words: String,
        /// Where the credentials came from and what to check; never the credentials.
        hint: String,
    },
    /// A folder, tenant, database or collection that is not there (yet).
    #[error("{what} was not found in {store}: {remedy}")]
    NotFound {
        /// The store, or the folder above what is missing.
        store: String,
        /// The missing object with its name.
        what: String,
        /// What to do next.
        remedy: String,
    },
    /// A request that the server understood and refused: sending it again cannot help.
    #[error("{store} refused {attempt} (status {status}): {body}{}", advice(*status))]
    Rejected {
        /// The store.
        store: String,
        /// What was attempted.
        attempt: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer's text.
        body: String,
    },
    /// Something answers there, but it is no Chroma, or one of a version that this cannot work with.
    #[error("{store} cannot be used: {why}; {remedy}")]
    Unsupported {
        /// The store.
        store: String,
        /// What was found.
        why: String,
        /// What to do next.
        remedy: String,
    },
    /// A store's file that is truncated, torn for good, foreign or contradicts another.
    #[error("{} is damaged: {what}; {readable}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, with offsets and lengths.
        what: String,
        /// What can still be read, and how.
        readable: String,
    },
    /// A store that is filled by its files, and does not come out as it should: to fill it again gives the same.
    #[error("{store} cannot be filled by its files: {why}; {remedy}")]
    Misfilled {
        /// The store.
        store: String,
        /// What does not add up.
        why: String,
        /// What is there now, and what to do next.
        remedy: String,
    },
    /// Another process uses what must not be shared.
    #[error("{what} is in use: {by}; {remedy}")]
    Busy {
        /// The folder, lock or store.
        what: String,
        /// Who holds it.
        by: String,
        /// What to do next.
        remedy: String,
    },
    /// The operating system lets this process not do it. Another try changes nothing.
    #[error(
        "failed to {attempt} {}: permission denied ({whose}); run this as the owner (in a cluster set \
         spec.runner.podTemplate.spec.securityContext.runAsUser, for root with runAsNonRoot: false), or change owner or mode",
        path.display()
    )]
    Forbidden {
        /// A verb, as "open".
        attempt: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What is in the way with its owner and mode, and the user that this process is.
        whose: String,
    },
    /// A record that this process has no memory for.
    #[error(
        "record {id:?} of collection {collection:?} in {store} has more than {most} bytes, which is all that the memory limit of \
         this process leaves room for; raise resources.limits.memory of the containers preflight and mover in \
         spec.runner.podTemplate and set another spec.runId (outside a cluster raise the memory limit of this process)"
    )]
    TooLarge {
        /// The store.
        store: String,
        /// The collection's name.
        collection: String,
        /// The record's id.
        id: String,
        /// Bytes that a record may have.
        most: usize,
    },
    /// The operating system failed: disk full, too many files.
    #[error("failed to {attempt} {}: {source}", path.display())]
    Io {
        /// A verb, as "read" or "copy to scratch space".
        attempt: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// The status of a body that is too large.
pub const TOO_LARGE: u16 = 413;

/// Where the limit of a proxy is set.
pub const LIMITS: &str =
    "client_max_body_size of nginx, the annotation nginx.ingress.kubernetes.io/proxy-body-size of its ingress";

/// What to do about a refusal, where its status tells.
const fn advice(status: u16) -> &'static str {
    if status == TOO_LARGE {
        ". Raise the limit of the server, or of a proxy before it (client_max_body_size of nginx, the annotation \
         nginx.ingress.kubernetes.io/proxy-body-size of its ingress), or make batches smaller (--batch-size, \
         spec.pacing.batchSize)"
    } else {
        ""
    }
}

impl Error {
    /// Whether a later try of the same thing, with nothing edited, can go well.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Failing { .. }
            | Self::Uncertain { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Busy { .. }
            | Self::Io { .. } => true,
            Self::Rejected { .. }
            | Self::Unsupported { .. }
            | Self::Misfilled { .. }
            | Self::Damaged { .. }
            | Self::Forbidden { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}
