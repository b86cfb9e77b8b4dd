//! Moves the memories of AI agents between Chroma stores and servers, and proves that nothing was lost.
//!
//! # The modules, in the order in which one may use another
//!
//! | module | is | may use of ours |
//! |---|---|---|
//! | [`cli`] | the command line | all below |
//! | [`controller`] | reconciles objects: observe, plan, act | api, report, exit, metrics, serve, telemetry |
//! | [`endpoint`] | opens stores, starts a Chroma on a folder; picks the implementation | engine, fill, store and below, report |
//! | [`engine`] | preflight, copy, verify, repair | the traits of store, chroma, scratch, model, report, exit |
//! | [`fill`] | writes the files of a new local store, before Chroma takes it over | the files of store, model |
//! | [`store`] | traits to read and write, for a folder's files and a server over HTTP | chroma, scratch, model |
//! | [`chroma`] | what each Chroma version takes, refuses and loses; pure | model |
//! | [`scratch`] | lists that may be larger than memory | model |
//! | [`api`] | the Kubernetes resource | report |
//! | [`metrics`] | every metric's name | report |
//! | [`serve`], [`telemetry`] | probes; the log | nothing |
//! | [`report`], [`exit`] | what a run tells | nothing |
//! | [`model`] | a memory, its collection, their arithmetic and errors; pure | nothing |
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use memory_migration_operator::engine::Options;
//! use memory_migration_operator::report::{Reason, Verdict};
//! use memory_migration_operator::store::http::ServerConfig;
//! use memory_migration_operator::{Endpoint, Folder, migrate};
//!
//! let source = Endpoint::Local(Folder::new("/data/no-such-store".into()));
//! let target = Endpoint::Remote(Box::new(ServerConfig::new("http://127.0.0.1:8000".parse().unwrap())));
//!
//! let report = migrate(source, target, Options::default()).await;
//!
//! assert_eq!(report.verdict, Verdict::Failed);
//! assert_eq!(report.reason, Reason::SourceNotFound);
//! assert_eq!(report.counts.copied, 0);
//! # });
//! ```

pub mod api;
pub mod chroma;
pub mod cli;
pub mod controller;
pub mod endpoint;
pub mod engine;
pub mod exit;
#[cfg(feature = "faults")]
pub mod faults;
pub mod fill;
pub mod metrics;
pub mod model;
pub mod page;
pub mod report;
pub mod scratch;
pub mod serve;
pub mod store;
pub mod telemetry;

use tokio_util::sync::CancellationToken;

pub use endpoint::{Endpoint, Folder, Request};

/// Migrates `source` into `target` and proves it; `chroma` on PATH writes a local target.
///
/// [`endpoint::migrate`] does the same with progress, cancellation and another Chroma program. Whatever happens is in
/// the report: only its verdict `Succeeded` with reason `Verified` says that every record was compared and is equal.
pub async fn migrate(source: Endpoint, target: Endpoint, options: engine::Options) -> report::Report {
    let request = Request { source, target, options, writer: endpoint::LocalWriter::Program(None) };
    let (tracker, _progress) = engine::progress::Tracker::new();
    endpoint::migrate(request, tracker, &CancellationToken::new()).await.report
}
