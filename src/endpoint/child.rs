//! A Chroma server of our own on a folder: the lock that keeps others away, what is cleared before, and the process.
//! The list of parts; no part of it imports this file.

pub mod anew;
pub mod lock;
pub mod server;
