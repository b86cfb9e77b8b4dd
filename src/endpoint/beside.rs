//! What a container of the runner's pod is told of those beside it. Opens nothing.

use std::path::PathBuf;

use url::Url;

/// What a container knows of its pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Where the server answers that writes the target; None while it does not run yet, which is enough for preflight.
    pub url: Option<Url>,
    /// Its image, whose tag tells which layout it writes.
    pub image: Option<String>,
    /// What lays out the store that this container fills by its files, and nothing more; None: it fills nothing.
    pub layout: Option<LayoutServer>,
    /// The folder in which the container that fills leaves word for the one that goes on.
    pub handover: Option<PathBuf>,
    /// The object's UID and the run's hash: what an attempt has filled is thrown away by another attempt of this run alone. A run
    /// that goes on through the server, for its `fill` was edited, may not take the mark away.
    pub run: String,
}

/// A server beside us that lays out an empty store, and that nobody else uses.
#[derive(Clone, Debug)]
pub struct LayoutServer {
    /// Where it answers.
    pub url: Url,
    /// The folder of its store.
    pub folder: PathBuf,
    /// Bytes of memory that the server has that will write the target, if that is limited; 0: not.
    pub memory: Option<u64>,
}
