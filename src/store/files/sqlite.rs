//! `chroma.sqlite3`: how it is opened, which layouts it has, and what its tables hold. Writes nothing but a scratch copy.
//! The list of parts; no part of it imports this file.

pub mod around;
pub mod birth;
pub mod catalog;
pub mod check;
pub mod connection;
pub mod content;
pub mod foreign;
pub mod kin;
pub mod lengths;
pub mod listing;
mod lost;
mod python;
pub mod schema;
pub mod segments;
pub mod small;
pub mod spans;
mod strays;
pub mod tables;
pub mod texts;
pub mod unlogged;
mod values;
pub mod walks;
