//! `migrate`: flags to endpoints to the engine; the interface of the replaced script.

use std::path::PathBuf;
use std::time::Duration;

use super::config::{self, Side};
use super::flags::{
    self, ConflictFlag, DuplicatesFlag, Endpoints, ExtrasFlag, FillFlag, OneStoreFlag, PacingFlag, SearchFlags,
    Slowdown, Telling, VerificationFlag,
};
use super::session::{self, Failure};
use crate::endpoint::{Endpoint, LocalWriter, Request};
use crate::engine::{Options, Pacing, Verification};
use crate::exit::Exit;

/// Copy every record of a source into a target, and verify every one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    endpoints: Endpoints,
    /// Records in one write
    #[arg(long, default_value = "10", value_parser = flags::batch_size)]
    batch_size: usize,
    /// Pause between two writes: 1s, 500ms, 0
    #[arg(long, default_value = "1s", value_parser = flags::delay)]
    delay: Duration,
    /// How to pace writes; adaptive ignores --batch-size and --delay
    #[arg(long, value_enum, default_value = "fixed")]
    pacing: PacingFlag,
    /// With adaptive pacing: slow down when other clients' reads take this many times as long as on the idle server (95th
    /// percentile), and at least 25 ms longer; none for no limit
    #[arg(long, value_name = "FACTOR", default_value = "2", value_parser = flags::slowdown)]
    max_slowdown: Slowdown,
    /// For an id that the target has with other content
    #[arg(long, value_enum, default_value = "skip")]
    on_conflict: ConflictFlag,
    /// How to detect duplicates
    #[arg(long, value_enum, default_value = "by-id")]
    duplicates: DuplicatesFlag,
    /// How to compare
    #[arg(long, value_enum, default_value = "full")]
    verification: VerificationFlag,
    /// For records that only the target has
    #[arg(long, value_enum, default_value = "allow")]
    extras: ExtrasFlag,
    #[command(flatten)]
    search: SearchFlags,
    /// Succeed if the source has no records
    #[arg(long)]
    allow_empty: bool,
    /// If collections of both sides have equal UUIDs, as in a restored copy: whether the sides are one store. Default: find
    /// out from files and processes
    #[arg(long, value_enum)]
    one_store: Option<OneStoreFlag>,
    /// Check everything and show the plan; write nothing
    #[arg(long)]
    dry_run: bool,
    /// The Chroma program that writes a local target. Default: chroma on PATH
    #[arg(long, value_name = "FILE")]
    chroma_bin: Option<PathBuf>,
    /// Who writes the records of a new local target
    #[arg(long, value_enum, default_value = "engine")]
    fill: FillFlag,
    #[command(flatten)]
    telling: Telling,
}

/// Runs it.
pub(super) async fn run(args: Args) -> Exit {
    let telling = args.telling.clone();
    session::run(&telling, None, |tracker, stop| async move {
        let (source, target) = endpoints(&args.endpoints)?;
        if args.fill == FillFlag::Files && matches!(target, Endpoint::Remote(_)) {
            return Err(Failure::usage("--fill files: only a local target has files; leave it out for a server"));
        }
        let options = options(&args)?;
        if args.fill == FillFlag::Files && options.verification != Verification::Full {
            let why = "--fill files needs --verification full: what is written into files is believed only when it was compared";
            return Err(Failure::usage(why));
        }
        let request = Request { source, target, options, writer: LocalWriter::Program(args.chroma_bin) };
        Ok(crate::endpoint::migrate(request, tracker, &stop).await)
    })
    .await
}

/// Both endpoints, as flags and environment describe them.
pub(super) fn endpoints(flags: &Endpoints) -> Result<(Endpoint, Endpoint), Failure> {
    let databases = &flags.what.databases;
    let source = config::endpoint(Side::Source, flags.source_type, &flags.source_config, databases);
    let target = config::endpoint(Side::Target, flags.target_type, &flags.target_config, databases);
    Ok((source.map_err(Failure::usage)?, target.map_err(Failure::usage)?))
}

fn options(args: &Args) -> Result<Options, Failure> {
    Ok(Options {
        pacing: match args.pacing {
            PacingFlag::Fixed => Pacing::Fixed,
            PacingFlag::Adaptive => Pacing::Adaptive { slowdown: args.max_slowdown.0 },
        },
        selection: args.endpoints.what.selection().map_err(Failure::usage)?,
        on_conflict: args.on_conflict.into(),
        duplicates: args.duplicates.into(),
        batch_size: args.batch_size,
        delay: args.delay,
        verification: args.verification.into(),
        extras: args.extras.into(),
        fill: args.fill.into(),
        search: args.search.into(),
        allow_empty: args.allow_empty,
        relation: args.one_store.map(Into::into).unwrap_or_default(),
        dry_run: args.dry_run,
        ..Options::default()
    })
}
