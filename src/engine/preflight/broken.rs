//! Whether a source that fails does so on one collection only: that one is left out by name, and the others are moved. Writes
//! nothing.

use super::source;
use crate::engine::halt::Halt;
use crate::engine::{Context, Run};
use crate::model::{Collection, Error, Fetched};

/// Other collections that are asked, at most.
const OTHERS: usize = 3;

/// Whether an error may be about one collection, and not about the store.
pub(super) const fn may_be_of_a_collection(error: &Error) -> bool {
    matches!(error, Error::Failing { .. } | Error::Rejected { .. } | Error::Unsupported { .. } | Error::NotFound { .. })
}

/// Collections of which no record can be read, by their place in the run.
#[derive(Default)]
pub(in crate::engine) struct Broken(Vec<(usize, Error)>);

impl Broken {
    /// Takes how the reading of a pair ended. An error is the end of the run, unless it is about this collection alone.
    pub(in crate::engine) async fn take(
        &mut self,
        context: &Context<'_>,
        run: &Run,
        at: usize,
        ended: Result<(), Halt>,
    ) -> Result<(), Halt> {
        match ended {
            Err(Halt::Source(error)) if may_be_of_a_collection(&error) => {
                if !self.another_is_read(context, run, at).await? || !is_listed(context, run, at).await? {
                    return Err(Halt::Source(error));
                }
                self.0.push((at, error));
                Ok(())
            }
            ended => ended,
        }
    }

    /// Leaves them out, by name.
    pub(in crate::engine) fn leave_out(self, run: &mut Run) -> Result<(), Halt> {
        if self.0.is_empty() {
            return Ok(());
        }
        for (at, error) in self.0.into_iter().rev() {
            let pair = run.pairs.remove(at);
            source::skip(run, &pair.source_words(), &format!("its records cannot be read: {error}"));
        }
        source::none_left(run)
    }

    /// Whether a record of another collection can be read now: of one that was read before, if there is any.
    async fn another_is_read(&self, context: &Context<'_>, run: &Run, at: usize) -> Result<bool, Halt> {
        let before = (0..at).rev().chain(at + 1..run.pairs.len());
        let others = before.filter(|other| self.0.iter().all(|(broken, _)| broken != other));
        let others = others.filter_map(|other| run.pairs.get(other)).filter(|pair| !pair.ledger.ids().is_empty());
        for pair in others.take(OTHERS) {
            let ids = [pair.ledger.id(0)?];
            let found = context.until_stopped(context.source.fetch(&pair.source, &ids)).await?;
            if found.is_ok_and(|found| found.iter().any(|one| matches!(one, Fetched::Record { .. }))) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the source still lists the collection: one that was deleted meanwhile is none that cannot be read.
async fn is_listed(context: &Context<'_>, run: &Run, at: usize) -> Result<bool, Halt> {
    let Some(pair) = run.pairs.get(at) else { return Ok(false) };
    still_lists(context, &pair.source).await
}

/// As [`is_listed`], of any collection.
pub(super) async fn still_lists(context: &Context<'_>, collection: &Collection) -> Result<bool, Halt> {
    let all = context.until_stopped(context.source.collections()).await?.map_err(Halt::Source)?;
    Ok(all.iter().any(|one| one.id == collection.id))
}
