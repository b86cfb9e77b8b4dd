//! Where the runner may run and as whom, from the pods that use the claims. Pure.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};

use super::observed::{Endpoint, Ids, Observed, UserFact};
use crate::api::{LABEL_UID, MemoryMigrationSpec};

/// The node that the runner is bound to, and what it tolerates there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pin {
    /// The node, if a claim that only one node can use is in use.
    pub node: Option<String>,
    /// What the claim's user tolerates: its node may be tainted.
    pub tolerations: Vec<Toleration>,
}

/// Where the pods that use the source's claim leave room for the runner.
/// A pod that runs counts before one that is about to.
#[must_use]
pub fn pin(spec: &MemoryMigrationSpec, observed: &Observed) -> Pin {
    let Some(local) = &spec.source.local else { return Pin::default() };
    if !matches!(observed.source, Endpoint::Found { one_node: true, .. }) {
        return Pin::default();
    }
    let user = users_of(observed, &local.claim_name).filter(|user| user.node.is_some()).max_by_key(|user| user.running);
    user.map(|user| Pin { node: user.node.clone(), tolerations: user.tolerations.clone() }).unwrap_or_default()
}

/// Why the run must not (go on to) write now: another pod uses a claim that it needs for itself.
#[must_use]
pub fn in_use(spec: &MemoryMigrationSpec, observed: &Observed) -> Option<String> {
    let target = spec.target.local.as_ref().filter(|_| !spec.dry_run).map(|local| local.claim_name.as_str());
    let source = spec.source.local.as_ref().map(|local| local.claim_name.as_str());
    let source = source.filter(|_| matches!(observed.source, Endpoint::Found { one_pod: true, .. }));
    let user = observed
        .users
        .iter()
        .find(|user| Some(user.claim.as_str()) == target || Some(user.claim.as_str()) == source)?;
    let why = if Some(user.claim.as_str()) == target {
        "a second process that writes a Chroma store destroys it"
    } else {
        "only one pod can use this claim at a time"
    };
    Some(format!(
        "pod {} uses claim {}, and {why}: scale its workload to 0; the migration goes on by itself when the pod is gone",
        user.pod, user.claim
    ))
}

/// Ids that can read and write what is on the claims. Root is not taken over: the runner is never root by itself.
#[must_use]
pub fn ids(spec: &MemoryMigrationSpec, observed: &Observed) -> Ids {
    let claims = [
        spec.target.local.as_ref().map(|local| local.claim_name.as_str()),
        spec.source.local.as_ref().map(|local| local.claim_name.as_str()),
    ];
    let user = claims.into_iter().flatten().find_map(|claim| users_of(observed, claim).max_by_key(|user| user.running));
    let mut ids = user.map(|user| user.ids.clone()).unwrap_or_default();
    for id in [&mut ids.user, &mut ids.group, &mut ids.fs_group] {
        *id = id.filter(|id| *id != 0);
    }
    ids
}

/// Binds to the node by its name, in addition to what the user's own affinity asks for.
#[must_use]
pub fn affinity(own: Option<&Affinity>, node: Option<&str>) -> Option<Affinity> {
    let Some(node) = node else { return own.cloned() };
    let here =
        NodeSelectorRequirement { key: "metadata.name".into(), operator: "In".into(), values: Some(vec![node.into()]) };
    let mut affinity = own.cloned().unwrap_or_default();
    let mut of_nodes: NodeAffinity = affinity.node_affinity.take().unwrap_or_default();
    let mut required = of_nodes.required_during_scheduling_ignored_during_execution.take().unwrap_or_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_fields.get_or_insert_default().push(here.clone());
    }
    of_nodes.required_during_scheduling_ignored_during_execution = Some(NodeSelector { ..required });
    affinity.node_affinity = Some(of_nodes);
    Some(affinity)
}

/// How the API server is asked for the pods of one object.
#[must_use]
pub fn selector(uid: &str) -> String {
    format!("{LABEL_UID}={uid}")
}

fn users_of<'a>(observed: &'a Observed, claim: &'a str) -> impl Iterator<Item = &'a UserFact> {
    observed.users.iter().filter(move |user| user.claim == claim)
}
