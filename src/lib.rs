//! Moves the memories of AI agents between Chroma stores and servers, and proves that nothing was lost.

pub mod api;
pub mod cli;
pub mod endpoint;
pub mod engine;
pub mod exit;
pub mod report;
pub mod store;
pub mod telemetry;

pub use endpoint::{Endpoint, Folder, Request, migrate};
