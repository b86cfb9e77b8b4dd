//! Watches the disk of a local target while it is written. Its server says of a full disk only that something failed, and
//! is asked again for two minutes; whoever must make room should hear of it sooner. Writes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::local_target::existing;
use crate::engine::Outcome;
use crate::report::Reason;

/// How often the disk is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// So many looks in a row must find it full: a server frees space, too.
const LOOKS: u32 = 2;
/// Bytes free that are as good as none on any disk.
const NONE: u64 = 1 << 20;
/// Bytes free that are enough on any disk, for a look that ends a run.
const ENOUGH: u64 = 16 << 20;

/// Space on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: u64,
    all: u64,
}

impl Room {
    /// What an unprivileged process may still write below the folder; None where that cannot be known.
    fn below(folder: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(existing(folder)).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some(Self { free: bytes(disk.f_bavail), all: bytes(disk.f_blocks) })
    }

    /// Less than 1 MiB or 1%: no batch fits, and no transaction.
    fn is_full(self) -> bool {
        self.free < (self.all / 100).clamp(NONE, ENOUGH)
    }
}

/// Does the work. When the disk below `folder` is full meanwhile the work is stopped, as by a signal, and its outcome says
/// why.
pub(super) async fn watched<F>(
    folder: Option<PathBuf>,
    stop: &CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let Some(folder) = folder else { return work(stop.clone()).await };
    let own = stop.child_token();
    let full = until_full(|| Room::below(&folder));
    let work = work(own.clone());
    tokio::pin!(work);
    let mut outcome = tokio::select! {
        outcome = &mut work => outcome,
        () = full => {
            tracing::warn!(folder = %folder.display(), "the target's disk is full: ending after the write under way");
            own.cancel();
            work.await
        }
    };
    // Also where the server failed before the second look, or with more room than a look takes for none.
    let room = Room::below(&folder).filter(|room| own.is_cancelled() || room.free < ENOUGH);
    if let Some(room) = room.filter(|_| may_be_for_it(outcome.report.reason) && !stop.is_cancelled()) {
        explain(&mut outcome, &folder, room, own.is_cancelled());
    }
    outcome
}

/// Whether a full disk can have ended the run: the server failed, or it was stopped for that.
fn may_be_for_it(reason: Reason) -> bool {
    matches!(reason, Reason::Unavailable | Reason::Interrupted)
}

/// Ends when the disk was full in two looks, one after the other.
async fn until_full(mut look: impl FnMut() -> Option<Room>) {
    let mut full = 0;
    while full < LOOKS {
        tokio::time::sleep(EVERY).await;
        full = if look().is_some_and(Room::is_full) { full + 1 } else { 0 };
    }
}

/// Puts the disk into the outcome's words: before them, or instead of them where the run was stopped for it.
fn explain(outcome: &mut Outcome, folder: &Path, room: Room, stopped: bool) {
    let kib = |bytes: u64| bytes / 1024;
    let full = format!(
        "the disk of {} is full, {} of {} KiB are free: enlarge it or make room, then run again; it resumes",
        folder.display(),
        kib(room.free),
        kib(room.all)
    );
    let report = &mut outcome.report;
    report.reason = Reason::Unavailable;
    report.message = if stopped { full } else { format!("{full} ({})", report.message) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_disk_is_full_by_its_size() {
        let full = |free, all| Room { free, all }.is_full();
        assert!(full(MIB - 1, 6 * MIB) && !full(MIB, 6 * MIB));
        assert!(full(10 * MIB, 1024 * MIB) && !full(11 * MIB, 1024 * MIB));
        assert!(full(16 * MIB - 1, 1 << 50) && !full(16 * MIB, 1 << 50));
        assert!(!full(0, 0) || full(0, 0), "a disk of no size does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_is_said_within_thirty_seconds_and_a_moments_need_is_not() {
        let room = |free| Some(Room { free, all: 1024 * MIB });
        let mut looks = [room(0), room(500 * MIB), None, room(0), room(0)].into_iter();
        let started = tokio::time::Instant::now();
        until_full(|| looks.next().unwrap()).await;
        assert_eq!((looks.len(), started.elapsed()), (0, 5 * EVERY));
        assert!(LOOKS * EVERY < Duration::from_secs(30));
    }
}
