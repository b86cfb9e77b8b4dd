//! Who keeps a store: pods and claims, and whether both sides of a migration have one of them in common. The pods of a
//! Service are read; what they mean is pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{facts, failed};
use crate::controller::{Context, Error};

/// Who keeps one side's store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keepers {
    /// UIDs of the pods that serve it.
    pub pods: BTreeSet<String>,
    /// Claims on which it may be, as namespace/name.
    pub claims: BTreeSet<String>,
}

impl Keepers {
    /// Of a store on a claim.
    #[must_use]
    pub fn of_claim(namespace: &str, claim: &str) -> Self {
        Self { claims: BTreeSet::from([format!("{namespace}/{claim}")]), ..Self::default() }
    }

    /// Of a Service whose pods are these; None where none of them lives, for then nobody knows who answers.
    #[must_use]
    pub fn of_pods(pods: &[Pod]) -> Option<Self> {
        let living: Vec<&Pod> = pods.iter().filter(|pod| facts::is_alive(pod)).collect();
        let claims = living.iter().flat_map(|pod| {
            let namespace = pod.namespace().unwrap_or_default();
            facts::claims(pod).into_iter().map(move |claim| format!("{namespace}/{claim}"))
        });
        let keepers = Self { pods: living.iter().filter_map(|pod| pod.uid()).collect(), claims: claims.collect() };
        (!living.is_empty()).then_some(keepers)
    }
}

/// Whether both sides may be one store; None where one side's keepers are not known.
#[must_use]
pub fn in_common(source: Option<&Keepers>, target: Option<&Keepers>) -> Option<bool> {
    let (source, target) = source.zip(target)?;
    Some(!source.pods.is_disjoint(&target.pods) || !source.claims.is_disjoint(&target.claims))
}

/// The labels by which a Service finds its pods; None where somebody else says who answers.
#[must_use]
pub fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|labels| !labels.is_empty())
}

/// Who keeps the store behind a Service; None where that cannot be known, or may not be looked at.
///
/// # Errors
/// When the API server did not answer.
pub async fn of_service(context: &Context, namespace: &str, service: &Service) -> Result<Option<Keepers>, Error> {
    let Some(labels) = selector(service) else { return Ok(None) };
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    match pods.list(&ListParams::default().labels(&labels.join(","))).await {
        Ok(pods) => Ok(Keepers::of_pods(&pods.items)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(failed(&format!("list the pods of Service {namespace}/{}", service.name_any()))(error)),
    }
}
