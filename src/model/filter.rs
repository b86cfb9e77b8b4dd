//! A question for records by their metadata or their documents, as Chroma's `where` and `where_document` ask it. Pure.

use super::record::Value;

/// Which records are asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Those whose metadata has this value (`$eq`).
    Equal {
        /// The metadata key.
        key: String,
        /// The value; never a double or a list.
        value: Value,
    },
    /// Those whose metadata has one of these values (`$in`).
    Among {
        /// The metadata key.
        key: String,
        /// Values of one type; never doubles or lists.
        values: Vec<Value>,
    },
    /// Those whose metadata has an integer from `from` to `to`, both included (`$gte` and `$lte`).
    Within {
        /// The metadata key.
        key: String,
        /// The smallest.
        from: i64,
        /// The largest.
        to: i64,
    },
    /// Those whose document holds this text (`$contains`).
    Contains(
        /// The text.
        String,
    ),
}

impl Filter {
    /// The metadata key that is asked for; None for a document.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Equal { key, .. } | Self::Among { key, .. } | Self::Within { key, .. } => Some(key),
            Self::Contains(_) => None,
        }
    }
}
