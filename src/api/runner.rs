//! The runner's pod and Job: `spec.runner`. A fixed part of a `PodTemplate`'s fields, in its shape: whoever may make a
//! migration gets no right to run any pod, so there is no image, command, volume, mount, further container or token here.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, HostAlias, LocalObjectReference, PodDNSConfig, PodSecurityContext, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The runner's pod and Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// A part of a `PodTemplate`. It goes over the chart's `runner.podTemplate`; what the operator sets goes over both.
    /// Default: none. Example: `{spec: {containers: [{name: mover, resources: {limits: {memory: 4Gi}}}]}}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod_template: PodTemplate,
    /// More labels for the Job. They cannot replace the operator's own. Default: none. Example:
    /// `{kueue.x-k8s.io/queue-name: batch}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub job_labels: BTreeMap<String, String>,
}

/// A part of a `PodTemplate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// The pod's labels and annotations. Default: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: PodMetadata,
    /// The pod. Default: as the operator sets it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: PodPart,
}

/// The pod's labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// More labels for the pod, for example for a NetworkPolicy. They cannot replace the operator's own. Default: none.
    /// Example: `{sidecar.istio.io/inject: "false"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// More annotations for the pod. They cannot replace the operator's own. Default: none. Example:
    /// `{linkerd.io/inject: disabled}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A part of a `PodSpec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodPart {
    /// Labels that the pod's node must have. If a pod uses a `ReadWriteOnce` claim of this run, the runner is also bound to
    /// that pod's node. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod tolerates. If the runner must go to another pod's node, that pod's tolerations are added.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Scheduling rules. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How to spread pods over nodes and zones. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The pod's PriorityClass. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// The pod's `RuntimeClass`. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// The scheduler. Default: the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub scheduler_name: Option<String>,
    /// The pod's service account; its token is never mounted. Default: the namespace's `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Secrets to pull the images of the runner and of Chroma. The controller's are not used here. Default: none.
    /// Example: `[{name: registry}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The pod's security context. Each field replaces the default for that field. Default: the restricted level, with
    /// the user and groups of a pod that uses the claim when the Job starts. If there is none, or it runs as root:
    /// 65532. Example: `{runAsUser: 1000, fsGroup: 1000}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    /// More entries of the pod's hosts file. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// How names are resolved. Default: the cluster's (`ClusterFirst`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub dns_policy: Option<String>,
    /// Name servers, search domains and options. Default: the cluster's.
    #[serde(rename = "dnsConfig", skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<PodDNSConfig>,
    /// The pod's containers by name: `preflight` (checks, before anything is written), `mover` (migrates and verifies; its
    /// entry counts for `fill`, too), `chroma` (the server that writes a local target; its entry counts for `layout`, too).
    /// Default: none. Example: `[{name: mover, resources: {limits: {memory: 4Gi}}}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<ContainerPart>,
}

/// A part of a Container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPart {
    /// Which container. Example: `mover`.
    pub name: ContainerName,
    /// Requests and limits. Default: 100m CPU and 128Mi requested for preflight and mover, 250m CPU and 512Mi for chroma;
    /// the limit is 2Gi memory. Example: `{limits: {memory: 4Gi}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// The container's security context. Each field replaces the default for that field. Default: the restricted level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// More environment variables. They cannot replace the operator's own. Default: none. Example: `[{name:
    /// HTTPS_PROXY, value: "http://proxy:3128"}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
}

/// A container of the runner's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerName {
    /// Checks before anything is written.
    Preflight,
    /// Migrates and verifies.
    Mover,
    /// The Chroma server that writes a local target.
    Chroma,
}

impl ContainerName {
    /// The container's name in the pod.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Mover => "mover",
            Self::Chroma => "chroma",
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
