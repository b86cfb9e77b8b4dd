//! One memory and its collection: the lossless record, the arithmetic of its numbers, and the errors of whatever holds it.
//! Pure: no I/O, and nothing else of ours.

pub mod collection;
pub mod distance;
pub mod error;
pub mod filter;
pub mod glob;
pub mod record;
pub mod ulp;
pub mod vector;

pub use collection::Collection;
pub use distance::Distance;
pub use error::{Error, Result};
pub use filter::Filter;
pub use glob::Glob;
pub use record::{Fetched, Metadata, Origin, Record, Value};
