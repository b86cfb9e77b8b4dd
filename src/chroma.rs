//! What is known of Chroma whatever the store: what each version takes, refuses and loses.
//! Pure: no I/O, and nothing of ours but the model.

pub mod capabilities;
pub mod creation;
pub mod rules;
pub mod settings;

pub use capabilities::Capabilities;
pub use creation::NewCollection;
