//! What a run needs in memory for its largest record, held against what its process may use. Pure.

/// Bytes that a run takes beside a large record, at least: 33 MiB in a debug build with one small record, measured.
const REST: u64 = 40 << 20;
/// A record of fewer bytes is never refused: `REST` is an estimate.
const SMALL: usize = 1 << 20;

/// Bytes that a run takes at least with one record of `content` bytes, `encoded` as JSON. Verification holds it three times for
/// a local target: from the source, from the target's server and from its files, while one answer is still text. Measured with
/// a document of 37 MiB: 146 MiB into a server, 185 MiB into files. With many large ones the allocator keeps more (161 MiB with
/// 40 documents of 16 MiB): what certainly does not fit is refused, not what might not.
pub(super) fn needed(content: usize, encoded: usize) -> u64 {
    REST.saturating_add((content as u64).saturating_add(encoded as u64).saturating_mul(2))
}

/// Why a record does not fit. `encoded` is only asked for where it matters.
pub(super) fn problem(limit: Option<u64>, content: usize, encoded: impl FnOnce() -> usize) -> Option<String> {
    let limit = limit.filter(|_| content > SMALL)?;
    let needed = needed(content, encoded());
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    (needed > limit).then(|| {
        format!(
            "{content} bytes, for which a run needs at least {} MiB of memory; the limit is {} MiB",
            mib(needed),
            limit >> 20
        )
    })
}

/// Bytes that one record may have to be read at all: preflight holds its text and its content, and has to live to name it.
pub(super) fn most(limit: Option<u64>) -> usize {
    let half = |limit: u64| usize::try_from(limit.saturating_sub(REST) / 2).unwrap_or(usize::MAX);
    limit.map_or(usize::MAX, |limit| half(limit).max(SMALL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_measured_run_fits_into_what_is_said_to_be_needed() {
        assert!(needed(39_000_000, 39_000_100) >= 185 << 20);
        assert_eq!(problem(Some(256 << 20), 39_000_000, || 39_000_100), None);
        let why = problem(Some(128 << 20), 39_000_000, || 39_000_100).unwrap();
        assert_eq!(why, "39000000 bytes, for which a run needs at least 189 MiB of memory; the limit is 128 MiB");
        // control characters: six bytes each
        assert!(problem(Some(128 << 20), 8 * MIB, || 8 * MIB).is_none());
        assert!(problem(Some(128 << 20), 8 * MIB, || 48 * MIB).is_some());
        assert_eq!(problem(None, usize::MAX, || usize::MAX), None);
    }

    proptest! {
        /// What preflight would not even read is also what it refuses, and small records are never refused.
        #[test]
        fn a_record_that_is_not_read_would_be_refused(limit in 0_u64..1 << 40, content in 0_usize..1 << 40) {
            let refused = problem(Some(limit), content, || content).is_some();
            prop_assert!(refused || content <= most(Some(limit)));
            prop_assert!(content > SMALL || !refused);
        }
    }
}
