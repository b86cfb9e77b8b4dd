//! `controller`: flags to the controller. Decides nothing.

use std::net::SocketAddr;

use super::flags::LogFormat;
use super::output;
use crate::api::{PodTemplate, parse_pod_template};
use crate::controller::{self, Config, Platform, Settings};
use crate::exit::Exit;
use crate::telemetry;

/// Reconcile MemoryMigration objects in a cluster
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The controller's own namespace, with the Leases of the leader and of targets
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// The controller's own name among its replicas
    #[arg(long, env = "POD_NAME", default_value = "memory-migration-controller")]
    identity: String,
    /// Watch only this namespace. Repeatable. Default: all
    #[arg(long = "watch-namespace", value_name = "NAMESPACE")]
    watch_namespaces: Vec<String>,
    /// Where /healthz, /readyz and /metrics are served. The default takes IPv6 and IPv4, or IPv4 alone on a node without IPv6
    #[arg(long, default_value = "[::]:8080")]
    listen: SocketAddr,
    /// How many objects to reconcile at the same time; with --watch-namespace, in each namespace
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Image of the runner: the operator's own
    #[arg(long, env = "RUNNER_IMAGE")]
    runner_image: String,
    /// Image of the Chroma server that writes a local target, if the spec sets none
    #[arg(long, env = "CHROMA_IMAGE", default_value = "chromadb/chroma:1.5.9")]
    chroma_image: String,
    /// Size limit of a runner's scratch space
    #[arg(long, default_value = "10Gi")]
    scratch_limit: String,
    /// Defaults for the runners' pods: JSON in the shape of spec.runner.podTemplate
    #[arg(long, env = "RUNNER_POD_TEMPLATE", value_name = "JSON", default_value = "{}", value_parser = parse_pod_template)]
    runner_pod_template: PodTemplate,
    /// How pods get their user ids
    #[arg(long, value_enum, default_value = "kubernetes")]
    platform: PlatformFlag,
    /// Keep the report of each run in a ConfigMap beside its object
    #[arg(long, value_name = "BOOL", default_value = "true", action = clap::ArgAction::Set)]
    report_config_map: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
}

/// How pods get their user ids.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PlatformFlag {
    /// From their spec
    Kubernetes,
    /// From the namespace
    Openshift,
}

/// Runs it until a termination signal, or until another replica leads.
pub(super) async fn run(args: Args) -> Exit {
    telemetry::init(args.log_format == LogFormat::Json, false);
    let config = Config {
        namespace: args.namespace,
        identity: args.identity,
        watch_namespaces: args.watch_namespaces,
        listen: args.listen,
        concurrency: args.concurrency,
        settings: Settings {
            runner_image: args.runner_image,
            chroma_image: args.chroma_image,
            scratch_limit: args.scratch_limit,
            pod_template: args.runner_pod_template,
            report_config_map: args.report_config_map,
            platform: match args.platform {
                PlatformFlag::Kubernetes => Platform::Kubernetes,
                PlatformFlag::Openshift => Platform::OpenShift,
            },
        },
    };
    match controller::run(config).await {
        Ok(()) => Exit::Success,
        Err(error) => {
            output::error(&error.to_string());
            Exit::Interrupted
        }
    }
}
