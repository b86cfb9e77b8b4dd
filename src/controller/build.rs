//! From a migration to the Job of one attempt. Pure: no client.

pub mod job;
pub mod placement;
pub mod pod;
