//! The write-ahead log of a store: its entries, what each does to a record, and what all do to a collection.
//! The list of parts; no part of it imports this file, and none runs a query.

pub mod overlay;
pub mod queue;
pub mod replay;
