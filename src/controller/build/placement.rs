//! Where the runner may run and as whom, from the pods that use the claims. Pure.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Toleration,
};

use crate::api::MemoryMigrationSpec;
use crate::controller::observe::world::{Endpoint, Ids, UserFact, World};

/// The node that the runner is bound to, and what it tolerates there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pin {
    /// The node, if a claim that only one node can use is used there.
    pub node: Option<String>,
    /// What the claim's user tolerates: its node may be tainted.
    pub tolerations: Vec<Toleration>,
}

/// Where the pods that use the source's or the target's claim leave room for the runner.
/// A pod that runs counts before one that is about to.
#[must_use]
pub fn pin(spec: &MemoryMigrationSpec, world: &World) -> Pin {
    let user = bound(spec, world).into_iter().flatten().max_by_key(|user| user.running);
    user.map(|user| Pin { node: user.node.clone(), tolerations: user.tolerations.clone() }).unwrap_or_default()
}

/// Why no node can take the runner: both claims can be used on one node only, and are in use on two.
#[must_use]
pub fn apart(spec: &MemoryMigrationSpec, world: &World) -> Option<String> {
    let [Some(source), Some(target)] = bound(spec, world) else { return None };
    (source.running && target.running && source.node != target.node).then(|| {
        format!(
            "claim {} is used on node {} (pod {}) and claim {} on node {} (pod {}), and each can be used on one node only: \
             end one of these pods, or migrate through a server",
            source.claim,
            source.node.as_deref().unwrap_or_default(),
            source.pod,
            target.claim,
            target.node.as_deref().unwrap_or_default(),
            target.pod
        )
    })
}

/// The pods that bind source and target to a node: of each claim that only one node can use, one user that has a node.
fn bound<'a>(spec: &'a MemoryMigrationSpec, world: &'a World) -> [Option<&'a UserFact>; 2] {
    let user = |claim: Option<&'a str>, endpoint: &Endpoint| {
        let claim = claim.filter(|_| matches!(endpoint, Endpoint::Found { one_node: true, .. }))?;
        users_of(world, claim).filter(|user| user.node.is_some()).max_by_key(|user| user.running)
    };
    [user(source_claim(spec), &world.source), user(target_claim(spec), &world.target)]
}

/// Why the run must not go on to write now: another pod can write the target's claim.
#[must_use]
pub fn second_writer(spec: &MemoryMigrationSpec, world: &World) -> Option<String> {
    let claim = target_claim(spec).filter(|_| spec.writes())?;
    let user = users_of(world, claim).find(|user| !user.read_only)?;
    Some(uses(user, "a second process that writes a Chroma store destroys it"))
}

/// Why the run must not begin now: another pod uses a claim that it needs for itself.
#[must_use]
pub fn in_use(spec: &MemoryMigrationSpec, world: &World) -> Option<String> {
    let alone = |claim: Option<&str>, endpoint: &Endpoint| {
        let claim = claim.filter(|_| matches!(endpoint, Endpoint::Found { one_pod: true, .. }))?;
        users_of(world, claim).next().map(|user| uses(user, "only one pod can use this claim at a time"))
    };
    second_writer(spec, world)
        .or_else(|| alone(source_claim(spec), &world.source))
        .or_else(|| alone(target_claim(spec), &world.target))
}

fn uses(user: &UserFact, why: &str) -> String {
    format!(
        "pod {} uses claim {}, and {why}: scale its workload to 0; the migration resumes on its own when the pod is gone",
        user.pod, user.claim
    )
}

fn source_claim(spec: &MemoryMigrationSpec) -> Option<&str> {
    spec.source.local.as_ref().map(|local| local.claim_name.as_str())
}

fn target_claim(spec: &MemoryMigrationSpec) -> Option<&str> {
    spec.target.local.as_ref().map(|local| local.claim_name.as_str())
}

/// Ids that can read and write what is on the claims. Root is not taken over: the runner is never root by itself.
#[must_use]
pub fn ids(spec: &MemoryMigrationSpec, world: &World) -> Ids {
    let claims = [target_claim(spec), source_claim(spec)];
    let user = claims.into_iter().flatten().find_map(|claim| users_of(world, claim).max_by_key(|user| user.running));
    let mut ids = user.map(|user| user.ids.clone()).unwrap_or_default();
    for id in [&mut ids.user, &mut ids.group, &mut ids.fs_group] {
        *id = id.filter(|id| *id != 0);
    }
    ids.supplemental.retain(|group| *group != 0);
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

fn users_of<'a>(world: &'a World, claim: &'a str) -> impl Iterator<Item = &'a UserFact> {
    world.users.iter().filter(move |user| user.claim == claim)
}
