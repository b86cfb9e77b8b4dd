//! What objects leave behind when they are gone: their series, and the locks on targets, which lie in the operator's own
//! namespace and so cannot be owned by an object. A finalizer would do the same, but hold up every deletion. No decisions
//! about migrations that exist.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::memory;
use crate::api::{LABEL_MANAGED_BY, LABEL_UID, MANAGER, Phase};
use crate::controller::act::ANSWER;
use crate::controller::observe::{failed, is_gone};
use crate::controller::plan::lock;
use crate::controller::{Context, Error, Found};

/// How often it is done.
const PAUSE: Duration = Duration::from_secs(15);

/// Sweeps until it is dropped. `watched`: the only namespaces that this process looks at; empty: all.
pub(super) async fn run(context: Arc<Context>, stores: Vec<Store<Found>>, watched: Vec<String>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let objects: Vec<_> = stores.iter().flat_map(Store::state).collect();
        let existing = objects.iter().map(|found| (found.namespace().unwrap_or_default(), found.name_any())).collect();
        context.metrics.keep_only(&existing, &Phase::ALL.map(Phase::as_str));
        let keys = existing.iter().map(|(namespace, name)| memory::key(namespace, name)).collect();
        context.memory.keep_only(&keys, &unfinished(&objects));
        let living = objects.iter().filter_map(|found| found.uid()).collect();
        if let Err(error) = locks(&context, &living, &watched).await {
            tracing::warn!(error = error.to_string(), "a lock that nobody holds may stay");
        }
    }
}

/// The objects whose status does not hold their run's verdict yet.
fn unfinished(objects: &[Arc<Found>]) -> BTreeSet<String> {
    let is_over = |found: &Found| {
        let migration = found.0.as_ref().ok();
        let status = migration.and_then(|migration| migration.status.as_ref());
        status.is_some_and(|status| status.completion_time.is_some())
    };
    objects.iter().filter(|found| !is_over(found)).filter_map(|found| found.uid()).collect()
}

/// Removes the locks whose holder is gone with all that could write for it.
///
/// # Errors
/// When the API server refused or did not answer.
pub async fn locks(context: &Context, living: &BTreeSet<String>, watched: &[String]) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(context.client.clone(), &context.namespace);
    let ours = ListParams::default().labels(&format!("{LABEL_MANAGED_BY}={MANAGER},{LABEL_UID}"));
    for lease in leases.list(&ours).await.map_err(failed("list the locks on targets"))? {
        let holder = lock::holder(&lease);
        let seen = watched.is_empty() || watched.contains(&holder.namespace);
        let uid = lease.uid().unwrap_or_default();
        let may_ask = context.memory.may_sweep(&uid, Instant::now());
        if !seen || living.contains(&holder.uid) || !may_ask || !is_gone(context, &holder).await? {
            continue;
        }
        let name = lease.name_any();
        tracing::info!(lock = name, holder = holder.name, namespace = holder.namespace, "its holder is gone: removed");
        let same = Preconditions { uid: lease.uid(), resource_version: lease.resource_version() };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        let error = match timeout(ANSWER, leases.delete(&name, &params)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {ANSWER:?}"),
        };
        // The others go all the same.
        tracing::warn!(
            lock = name,
            error,
            "the API server does not delete a lock that nobody holds: it is asked again later"
        );
        context.memory.was_not_swept(&uid, Instant::now());
    }
    Ok(())
}
