//! A Chroma server over HTTP, to read (any from 0.4.15) and to write (from 0.5.16).
//! The list of parts and of what others may use; no part of it imports this file.

#[cfg(test)]
mod answer_tests;
mod api;
mod auth;
mod body;
mod bounded;
mod config;
mod decision;
mod get;
mod halving;
#[cfg(test)]
mod halving_tests;
mod held;
mod ids;
mod known;
mod list;
#[cfg(test)]
mod odd_tests;
mod page;
mod part;
mod paths;
mod payload;
mod places;
#[cfg(test)]
mod places_tests;
mod probe;
mod query;
mod reader;
mod records;
mod redact;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
pub(crate) mod scripted;
mod stream;
mod suspect;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod wire;
mod words;
mod writer;

pub use self::auth::Auth;
pub use self::config::{ServerConfig, Timeouts, Tls};
pub use self::reader::{HttpStore, open};
pub use self::writer::HttpWriter;
