//! What each Chroma version answers wrongly by itself, on a store that it made and filled a moment ago: told, and no failure.
//! Pure.
//!
//! Measured through the HTTP API on fresh stores of two collections with 1,500 records each, some updated and deleted since:
//! 86 filters by metadata (`$eq`, `$in`, `$gte` with `$lte`, `$gt`; text, integers up to 2^62, booleans) and 75 pieces of
//! documents in seven scripts. Every filter by metadata was answered exactly by every version, and every piece by 1.0.20 and
//! 1.5.9. Pieces with `%` or `_`, which are wildcards before 1.0, are never asked for.

/// What a version makes of `$contains`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// ASCII letters match in either case.
    pub(super) folds: bool,
    /// A piece of fewer than three characters that takes three bytes or more matches nothing: `記憶`, not `ab`.
    pub(super) misses_short: bool,
}

/// By what the server says its version is; every 1.x says 1.0.0, and 1.0.20 and 1.5.9 were measured.
const MEASURED: [(&str, Quirks); 4] = [
    ("0.4.24", Quirks { folds: true, misses_short: true }),
    ("0.5.23", Quirks { folds: false, misses_short: true }),
    ("0.6.3", Quirks { folds: false, misses_short: true }),
    ("1.0.0", Quirks { folds: false, misses_short: false }),
];

/// None for a version that was not measured: its wrong answers are told, and fail nothing.
pub(super) fn of(engine: &str) -> Option<Quirks> {
    MEASURED.iter().find(|(version, _)| *version == engine).map(|(_, quirks)| *quirks)
}

/// Whether the piece is one that some versions never find.
pub(super) fn is_short(piece: &str) -> bool {
    piece.len() >= 3 && piece.chars().count() < 3
}
