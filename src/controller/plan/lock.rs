//! The lock on a target: a Lease whose creation is the lock. Pure; `act` creates it, `observe` reads it.
//! It has no expiry: it goes when no process of its holder is left, so that no clock can give it to two.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use crate::api::run_hash::short_hash;
use crate::api::{
    KIND, LABEL_MANAGED_BY, LABEL_UID, MANAGER, MemoryMigration, MemoryMigrationSchedule, MemoryMigrationSpec, Remote,
    SCHEDULE_KIND, endpoint,
};
use crate::controller::build::ANNOTATION_KIND;

/// namespace/name of the object that holds the lock.
const ANNOTATION_HOLDER: &str = "memory-migration.dev/holder";
/// What is locked, in words.
const ANNOTATION_TARGET: &str = "memory-migration.dev/target";
/// The folder of the claim that the holder writes: whoever reads another one need not wait.
const ANNOTATION_FOLDER: &str = "memory-migration.dev/folder";
/// On the locks of a server: a hash of server and tenant, by which the lock on a tenant and those on its databases find each
/// other.
const LABEL_TENANT: &str = "memory-migration.dev/tenant";

/// The Lease's name for the target; None for a dry run, which does not mind who writes. A verification does not take it, and
/// waits for whoever holds it. One lock covers a claim, or a database of a server: coarser than its collections, so that one
/// migration of all and one of a few exclude each other. With `databases` it covers a tenant of a server, and [`excludes`]
/// says which locks of databases that concerns. It is made of names alone: a UID cannot always be read, and a second name
/// would be a second lock.
#[must_use]
pub fn of_target(spec: &MemoryMigrationSpec, namespace: &str) -> Option<String> {
    if spec.dry_run {
        return None;
    }
    target_words(spec, namespace).map(|what| name(&what))
}

/// The name of the Lease that whoever writes the source holds.
#[must_use]
pub fn of_source(spec: &MemoryMigrationSpec, namespace: &str) -> Option<String> {
    let source = &spec.source;
    let claim = source.local.as_ref().map(|local| local.claim_name.as_str());
    words(claim, source.remote.as_ref(), namespace, false).map(|what| name(&what))
}

/// How the locks of the target's server and tenant are listed; None for a claim, which has one lock for all.
#[must_use]
pub fn beside_target(spec: &MemoryMigrationSpec, namespace: &str) -> Option<String> {
    spec.target.remote.as_ref().map(|remote| format!("{LABEL_TENANT}={}", tenant_hash(remote, namespace)))
}

/// As [`beside_target`], of the source.
#[must_use]
pub fn beside_source(spec: &MemoryMigrationSpec, namespace: &str) -> Option<String> {
    spec.source.remote.as_ref().map(|remote| format!("{LABEL_TENANT}={}", tenant_hash(remote, namespace)))
}

/// Whether a lock of the target's server and tenant, which is not the target's own, covers what the target's covers: each
/// one does for a run over databases, and the tenant's does for every run.
#[must_use]
pub fn excludes(lease: &Lease, spec: &MemoryMigrationSpec, namespace: &str) -> bool {
    let is_own = of_target(spec, namespace).as_ref() == Some(&lease.name_any());
    !is_own && (!spec.databases.is_empty() || is_of_tenant(lease, spec.target.remote.as_ref(), namespace))
}

/// Whether whoever holds this lock of the source's server and tenant writes what is read.
#[must_use]
pub fn writes_source(lease: &Lease, spec: &MemoryMigrationSpec, namespace: &str) -> bool {
    !spec.databases.is_empty() || is_of_tenant(lease, spec.source.remote.as_ref(), namespace)
}

fn is_of_tenant(lease: &Lease, remote: Option<&Remote>, namespace: &str) -> bool {
    words(None, remote, namespace, true).is_some_and(|what| lease.name_any() == name(&what))
}

fn tenant_hash(remote: &Remote, namespace: &str) -> String {
    short_hash(format!("{} {}", server(remote, namespace), remote.tenant).as_bytes(), 16)
}

fn name(what: &str) -> String {
    format!("memory-migration-target-{}", short_hash(what.as_bytes(), 16))
}

fn target_words(spec: &MemoryMigrationSpec, namespace: &str) -> Option<String> {
    let claim = spec.target.local.as_ref().map(|local| local.claim_name.as_str());
    words(claim, spec.target.remote.as_ref(), namespace, !spec.databases.is_empty())
}

fn words(claim: Option<&str>, remote: Option<&Remote>, namespace: &str, whole_tenant: bool) -> Option<String> {
    if let Some(claim) = claim {
        return Some(format!("claim {namespace}/{claim}"));
    }
    let remote = remote?;
    let (server, tenant) = (server(remote, namespace), &remote.tenant);
    if whole_tenant {
        return Some(format!("tenant {server} {tenant}"));
    }
    Some(format!("server {server} {tenant} {}", remote.database()))
}

fn server(remote: &Remote, namespace: &str) -> String {
    let Some(service) = &remote.service else { return authority(remote.url.as_deref().unwrap_or_default()) };
    format!("{}/{}:{}", service.namespace.as_deref().unwrap_or(namespace), service.name, service.port)
}

fn authority(text: &str) -> String {
    let parsed = url::Url::parse(text).ok();
    let host = parsed.as_ref().and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    host.unwrap_or_else(|| text.into())
}

/// The Lease to create.
#[must_use]
pub fn lease(migration: &MemoryMigration, name: &str) -> Lease {
    held_by(KIND, &migration.metadata, &migration.spec, name)
}

/// The Lease with which a schedule keeps the claim of its generations to itself, to remove some.
#[must_use]
pub fn lease_of_schedule(schedule: &MemoryMigrationSchedule, name: &str) -> Lease {
    held_by(SCHEDULE_KIND, &schedule.metadata, &schedule.spec.template.spec, name)
}

fn held_by(kind: &str, holder: &ObjectMeta, spec: &MemoryMigrationSpec, name: &str) -> Lease {
    let uid = holder.uid.clone().unwrap_or_default();
    let namespace = holder.namespace.clone().unwrap_or_default();
    let what = target_words(spec, &namespace).unwrap_or_default();
    let holder = format!("{namespace}/{}", holder.name.as_deref().unwrap_or_default());
    let mut annotations = BTreeMap::from([
        (ANNOTATION_HOLDER.to_owned(), holder),
        (ANNOTATION_KIND.to_owned(), kind.to_owned()),
        (ANNOTATION_TARGET.to_owned(), what),
    ]);
    let folder = spec.target.local.as_ref().map(|local| endpoint::folders(&local.path).join("/"));
    annotations.extend(folder.map(|folder| (ANNOTATION_FOLDER.to_owned(), folder)));
    let mut labels =
        BTreeMap::from([(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned()), (LABEL_UID.to_owned(), uid.clone())]);
    let tenant = spec.target.remote.as_ref().map(|remote| tenant_hash(remote, &namespace));
    labels.extend(tenant.map(|tenant| (LABEL_TENANT.to_owned(), tenant)));
    Lease {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: Some(uid), ..LeaseSpec::default() }),
    }
}

/// Whether the holder of this lock writes where the source is read: the same folder of a claim, one above or one below.
/// A Lease that names no folder covers all.
#[must_use]
pub fn covers_source(lease: &Lease, spec: &MemoryMigrationSpec) -> bool {
    let (Some(local), Some(written)) = (&spec.source.local, lease.annotations().get(ANNOTATION_FOLDER)) else {
        return true;
    };
    let (read, written) = (endpoint::folders(&local.path), endpoint::folders(written));
    read.starts_with(&written) || written.starts_with(&read)
}

/// Who holds a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its UID.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Holder {
    /// As people read it.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Who holds this lock.
#[must_use]
pub fn holder(lease: &Lease) -> Holder {
    let uid = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    let kind = lease.annotations().get(ANNOTATION_KIND).cloned().unwrap_or_else(|| KIND.into());
    let (namespace, name) =
        lease.annotations().get(ANNOTATION_HOLDER).and_then(|text| text.split_once('/')).unwrap_or_default();
    Holder { uid, kind, namespace: namespace.into(), name: name.into() }
}
