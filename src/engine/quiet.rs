//! Whether the source stood still from its listing to the end of the comparison. Only files can show that it did: what was seen
//! to change shows that it did not. Writes nothing.

use super::{Context, Pair, Run};
use crate::model::Collection;
use crate::report::SourceQuiet;

/// Which state of its files a source's collection is in; None where nothing tells.
pub(super) async fn generation(context: &Context<'_>, source: &Collection) -> Option<String> {
    context.source.generation(source).await.ok().flatten()
}

/// Looks at the files once more, after all was compared.
pub(super) async fn settle(context: &Context<'_>, pairs: &mut [Pair]) {
    for pair in pairs {
        let Some(before) = &pair.generation else { continue };
        match generation(context, &pair.source).await {
            Some(now) if now == *before && pair.source_quiet == SourceQuiet::Unknown => {
                pair.source_quiet = SourceQuiet::Yes;
            }
            Some(now) => pair.has_moved(now != *before),
            None => {}
        }
    }
}

/// What is known of all collections together.
pub(super) fn of(run: &Run) -> SourceQuiet {
    let pairs = &run.pairs;
    if !run.came_later.is_empty()
        || pairs.iter().any(|pair| pair.source_quiet == SourceQuiet::No || pair.came_later > 0)
    {
        SourceQuiet::No
    } else if !pairs.is_empty() && pairs.iter().all(|pair| pair.source_quiet == SourceQuiet::Yes) {
        SourceQuiet::Yes
    } else {
        SourceQuiet::Unknown
    }
}
