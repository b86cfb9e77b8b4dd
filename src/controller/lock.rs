//! The lock on a target: a Lease whose creation is the lock. Pure; `act` creates it, `observe` reads it.
//! It has no expiry: it goes when no process of its holder is left, so that no clock can give it to two.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::observed::Endpoint;
use crate::api::run_hash::short_hash;
use crate::api::{LABEL_MANAGED_BY, LABEL_UID, MANAGER, MemoryMigration, MemoryMigrationSpec, endpoint};

/// namespace/name of the object that holds the lock.
const ANNOTATION_HOLDER: &str = "memory-migration.dev/holder";
/// What is locked, in words.
const ANNOTATION_TARGET: &str = "memory-migration.dev/target";

/// The Lease's name for this target; None where nothing is written. One lock covers a folder of a claim, or a database
/// of a server: coarser than its collections, so that one migration of all and one of a few exclude each other.
#[must_use]
pub fn name(spec: &MemoryMigrationSpec, namespace: &str, target: &Endpoint) -> Option<String> {
    let what = target_text(spec, namespace, target)?;
    Some(format!("memory-migration-target-{}", short_hash(what.as_bytes(), 16)))
}

fn target_text(spec: &MemoryMigrationSpec, namespace: &str, target: &Endpoint) -> Option<String> {
    if spec.dry_run {
        return None;
    }
    let uid = match target {
        Endpoint::Found { uid, .. } => Some(uid.as_str()),
        Endpoint::Unknown | Endpoint::Missing(_) => None,
    };
    if let Some(local) = &spec.target.local {
        let claim = uid.map_or_else(|| format!("{namespace}/{}", local.claim_name), Into::into);
        return Some(format!("claim {claim} {}", endpoint::folders(&local.path).join("/")));
    }
    let remote = spec.target.remote.as_ref()?;
    let server = match (&remote.service, uid) {
        (Some(service), Some(uid)) => format!("{uid}:{}", service.port),
        (Some(service), None) => {
            format!("{}.{}:{}", service.name, service.namespace.as_deref().unwrap_or(namespace), service.port)
        }
        (None, _) => authority(remote.url.as_deref().unwrap_or_default()),
    };
    Some(format!("server {server} {} {}", remote.tenant, remote.database))
}

fn authority(text: &str) -> String {
    let parsed = url::Url::parse(text).ok();
    let host = parsed.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    host.unwrap_or_else(|| text.into())
}

/// The Lease to create.
#[must_use]
pub fn lease(migration: &MemoryMigration, name: &str) -> Lease {
    let uid = migration.uid().unwrap_or_default();
    let holder = format!("{}/{}", migration.namespace().unwrap_or_default(), migration.name_any());
    let what = migration.status.as_ref().map(|s| s.target_name.clone()).unwrap_or_default();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(BTreeMap::from([
                (LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()),
                (LABEL_UID.to_owned(), uid.clone()),
            ])),
            annotations: Some(BTreeMap::from([
                (ANNOTATION_HOLDER.to_owned(), holder),
                (ANNOTATION_TARGET.to_owned(), what),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: Some(uid), ..LeaseSpec::default() }),
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Who holds this lock.
#[must_use]
pub fn holder(lease: &Lease) -> Holder {
    let uid = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let (namespace, name) =
        lease.annotations().get(ANNOTATION_HOLDER).and_then(|text| text.split_once('/')).unwrap_or_default();
    Holder { uid, namespace: namespace.into(), name: name.into() }
}
