//! What integration tests need: real Chroma servers and clients, stores, the command, the oracle and its comparator.
//! Knows nothing of the library under test, so that a fault of ours cannot hide in what judges it.

pub(crate) mod api;
pub(crate) mod chroma;
pub(crate) mod command;
pub(crate) mod dice;
pub(crate) mod dump;
pub(crate) mod gateway;
pub(crate) mod lies;
pub(crate) mod migration;
pub(crate) mod proxy;
pub(crate) mod stores;
