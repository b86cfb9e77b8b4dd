//! `verify`: two endpoints to the engine's comparison. Writes nothing.

use super::flags::{Endpoints, ExtrasFlag, SearchFlags, Telling};
use super::session::Failure;
use super::{migrate, session};
use crate::engine::Options;
use crate::exit::Exit;

/// Compare two stores record by record; writes nothing
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoints: Endpoints,
    /// For records that only the target has
    #[arg(long, value_enum, default_value = "allow")]
    extras: ExtrasFlag,
    #[command(flatten)]
    search: SearchFlags,
    /// Succeed if the source has no records
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    telling: Telling,
}

/// Runs it.
pub(super) async fn run(args: Args) -> Exit {
    let telling = args.telling.clone();
    session::run(&telling, None, |tracker, stop| async move {
        let (source, target) = migrate::endpoints(&args.endpoints)?;
        let selection = args.endpoints.what.selection().map_err(Failure::usage)?;
        let (extras, allow_empty) = (args.extras.into(), args.allow_empty);
        let options = Options { selection, extras, allow_empty, search: args.search.into(), ..Options::default() };
        Ok(crate::endpoint::verify(source, target, &options, tracker, &stop).await)
    })
    .await
}
