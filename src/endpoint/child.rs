//! A Chroma server of our own on a folder: the lock that keeps others away, and the process. Only here does a folder's
//! writer start. The list of parts; no part of it imports this file.

pub mod lock;
pub mod server;
