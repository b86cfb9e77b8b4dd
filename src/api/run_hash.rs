//! What identifies a run. Pure. Only a change of what is moved, or `runId`, is another run.

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::endpoint::{LocalTarget, Source, Target};
use super::spec::{MemoryMigrationSpec, NamePair};

impl MemoryMigrationSpec {
    /// The run that this spec asks for: 16 hex digits.
    ///
    /// Every field is named here, so that a new one must be decided on: fields left out never start a run.
    #[must_use]
    pub fn run_hash(&self) -> String {
        let Self {
            source,
            target,
            collections,
            on_conflict,
            duplicates,
            verification,
            allow_empty,
            dry_run,
            run_id,
            batch: _,
            pacing: _,
            suspend: _,
            backoff_limit: _,
            active_deadline_seconds: _,
            ttl_seconds_after_finished: _,
            runner: _,
        } = self;
        let run = json!([
            source_identity(source),
            target_identity(target),
            sorted(collections),
            on_conflict,
            duplicates,
            verification,
            dry_run,
            run_id,
        ]);
        // a field that came later counts only where it is not its default, so that it changes no run of before
        let run = if *allow_empty { json!([run, "allowEmpty"]) } else { run };
        short_hash(run.to_string().as_bytes(), 16)
    }
}

/// The first `digits` hex digits of the SHA-256.
#[must_use]
pub fn short_hash(bytes: &[u8], digits: usize) -> String {
    let hash = format!("{:x}", Sha256::digest(bytes));
    hash.chars().take(digits).collect()
}

fn source_identity(source: &Source) -> Value {
    canonical(source)
}

/// A target's resources are how much its server may use, not what is moved.
fn target_identity(target: &Target) -> Value {
    let Target { local, remote } = target;
    let local = local.as_ref().map(|local| {
        let LocalTarget { claim_name, path, tenant, database, image, resources: _ } = local;
        json!([claim_name, path, tenant, database, image])
    });
    json!([local, canonical(remote)])
}

/// The order in which collections are listed does not matter.
fn sorted(collections: &[NamePair]) -> Vec<[&str; 2]> {
    let mut names: Vec<_> = collections.iter().map(|c| [c.name.as_str(), c.target()]).collect();
    names.sort_unstable();
    names
}

/// Fields come in the order of the types, and absent ones are left out: a later version that adds an optional field
/// gives the same hash.
fn canonical(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        Auth, Batch, BearerAuth, CopyMethod, Duplicates, LocalSource, OnConflict, Pacing, Remote, Runner, ServiceRef,
        Tls, Verification,
    };
    use k8s_openapi::api::core::v1::ResourceRequirements;

    fn spec() -> MemoryMigrationSpec {
        MemoryMigrationSpec {
            source: Source {
                local: Some(LocalSource { claim_name: "dev".into(), ..LocalSource::default() }),
                remote: None,
            },
            target: Target {
                local: Some(LocalTarget { claim_name: "prod".into(), ..LocalTarget::default() }),
                remote: None,
            },
            ..MemoryMigrationSpec::default()
        }
    }

    fn starts_a_run(edit: impl FnOnce(&mut MemoryMigrationSpec)) -> bool {
        edited_starts_a_run(&spec(), edit)
    }

    fn edited_starts_a_run(before: &MemoryMigrationSpec, edit: impl FnOnce(&mut MemoryMigrationSpec)) -> bool {
        let mut after = before.clone();
        edit(&mut after);
        assert_ne!(&after, before, "the edit must change something");
        after.run_hash() != before.run_hash()
    }

    #[test]
    fn source_starts_a_run() {
        let edits: [fn(&mut LocalSource); 4] = [
            |l| l.claim_name = "x".into(),
            |l| l.path = "x".into(),
            |l| l.tenant = "x".into(),
            |l| l.database = "x".into(),
        ];
        for edit in edits {
            assert!(starts_a_run(|s| edit(s.source.local.as_mut().unwrap())));
        }
        // The list of copy methods has one entry: the day it has two, this says to decide.
        let CopyMethod::Direct = CopyMethod::default();
    }

    #[test]
    fn target_starts_a_run() {
        let edits: [fn(&mut LocalTarget); 5] = [
            |l| l.claim_name = "x".into(),
            |l| l.path = "x".into(),
            |l| l.tenant = "x".into(),
            |l| l.database = "x".into(),
            |l| l.image = Some("chroma:2".into()),
        ];
        for edit in edits {
            assert!(starts_a_run(|s| edit(s.target.local.as_mut().unwrap())));
        }
    }

    #[test]
    fn the_targets_resources_start_no_run() {
        assert!(!starts_a_run(|s| s.target.local.as_mut().unwrap().resources = Some(ResourceRequirements::default())));
    }

    #[test]
    fn a_server_starts_a_run_on_either_side() {
        let service = ServiceRef { name: "chroma".into(), namespace: None, port: 8000 };
        let remote = Remote { service: Some(service), ..Remote::default() };
        let edits: [fn(&mut Remote); 8] = [
            |r| r.service.as_mut().unwrap().name = "x".into(),
            |r| r.service.as_mut().unwrap().namespace = Some("x".into()),
            |r| r.service.as_mut().unwrap().port = 1,
            |r| r.url = Some("http://x".into()),
            |r| r.tenant = "x".into(),
            |r| r.database = "x".into(),
            |r| r.auth = Some(Auth { bearer: Some(BearerAuth::default()), ..Auth::default() }),
            |r| r.tls = Some(Tls::default()),
        ];
        let from = MemoryMigrationSpec { source: Source { local: None, remote: Some(remote.clone()) }, ..spec() };
        let to = MemoryMigrationSpec { target: Target { local: None, remote: Some(remote) }, ..spec() };
        for edit in edits {
            assert!(edited_starts_a_run(&from, |s| edit(s.source.remote.as_mut().unwrap())));
            assert!(edited_starts_a_run(&to, |s| edit(s.target.remote.as_mut().unwrap())));
        }
    }

    #[test]
    fn collections_start_a_run_but_their_order_does_not() {
        let pair = |name: &str, target: &str| NamePair { name: name.into(), target_name: target.into() };
        assert!(starts_a_run(|s| s.collections = vec![pair("a", "")]));
        let two = MemoryMigrationSpec { collections: vec![pair("a", "b"), pair("c", "")], ..spec() };
        assert!(!edited_starts_a_run(&two, |s| s.collections.reverse()));
        assert!(!edited_starts_a_run(&two, |s| s.collections[1].target_name = "c".into()));
        assert!(edited_starts_a_run(&two, |s| s.collections[0].target_name = "d".into()));
    }

    #[test]
    fn on_conflict_starts_a_run() {
        assert!(starts_a_run(|s| s.on_conflict = OnConflict::Fail));
    }

    #[test]
    fn duplicates_starts_a_run() {
        assert!(starts_a_run(|s| s.duplicates = Duplicates::ByContent));
    }

    #[test]
    fn verification_starts_a_run() {
        assert!(starts_a_run(|s| s.verification = Verification::Counts));
    }

    #[test]
    fn allow_empty_starts_a_run() {
        assert!(starts_a_run(|s| s.allow_empty = true));
    }

    #[test]
    fn dry_run_starts_a_run() {
        assert!(starts_a_run(|s| s.dry_run = true));
    }

    #[test]
    fn run_id_starts_a_run() {
        assert!(starts_a_run(|s| s.run_id = "2".into()));
    }

    #[test]
    fn batch_starts_no_run() {
        assert!(!starts_a_run(|s| s.batch = Batch { size: 100, delay: "0s".into() }));
    }

    #[test]
    fn pacing_starts_no_run() {
        assert!(!starts_a_run(|s| s.pacing = Pacing::Adaptive));
    }

    #[test]
    fn suspend_starts_no_run() {
        assert!(!starts_a_run(|s| s.suspend = true));
    }

    #[test]
    fn backoff_limit_starts_no_run() {
        assert!(!starts_a_run(|s| s.backoff_limit = 1));
    }

    #[test]
    fn active_deadline_seconds_starts_no_run() {
        assert!(!starts_a_run(|s| s.active_deadline_seconds = Some(1)));
    }

    #[test]
    fn ttl_seconds_after_finished_starts_no_run() {
        assert!(!starts_a_run(|s| s.ttl_seconds_after_finished = Some(1)));
    }

    #[test]
    fn runner_starts_no_run() {
        assert!(!starts_a_run(|s| s.runner = Runner { priority_class_name: Some("x".into()), ..Runner::default() }));
    }

    /// A finished migration must not run again because the operator was upgraded: every shape of an endpoint, and every
    /// field that starts a run.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_hash_of_every_shape_is_the_same_in_every_version() {
        let local = "local: {claimName: dev}";
        let server = "remote: {service: {name: chroma}}";
        let shapes = [
            ("local, plain", local, server, "", "1186810287cb9ce9"),
            (
                "local, all",
                "local: {claimName: dev, path: a/b, tenant: t, database: d, copyMethod: Direct}",
                server,
                "",
                "13e6cd855a34065a",
            ),
            (
                "service, all",
                "remote: {service: {name: c, namespace: prod, port: 9000}, tenant: t, database: d}",
                local,
                "",
                "6ff5627f62f40de0",
            ),
            ("url", "remote: {url: \"https://c.example.com:8443/x\"}", local, "", "c3970d4ec4f358b1"),
            (
                "bearer",
                "remote: {url: \"https://c\", auth: {bearer: {secretName: s, key: k}}}",
                local,
                "",
                "16eebd243cbcb945",
            ),
            (
                "basic",
                "remote: {url: \"https://c\", auth: {basic: {secretName: s, usernameKey: u, passwordKey: p}}}",
                local,
                "",
                "bd3991d42b0cffcc",
            ),
            (
                "header",
                "remote: {url: \"https://c\", auth: {header: {name: X-Chroma-Token, secretName: s, key: k}}}",
                local,
                "",
                "7b27ac19a26c6fca",
            ),
            (
                "tls",
                "remote: {url: \"https://c\", tls: {caSecretName: ca, caSecretKey: k}}",
                local,
                "",
                "c2c50d14ca3a6c03",
            ),
            (
                "target, all",
                server,
                "local: {claimName: p, path: x, tenant: t, database: d, image: \"chroma:2\", resources: {}}",
                "",
                "90fb5e8df2ec5c51",
            ),
            (
                "collections",
                local,
                server,
                "collections: [{name: b, targetName: ccc}, {name: aaa}]",
                "da24d5206d5eea34",
            ),
            (
                "policies",
                local,
                server,
                "onConflict: Fail\n  duplicates: ByContent\n  verification: Counts",
                "af952ab8e1d91e50",
            ),
            ("flags", local, server, "allowEmpty: true\n  dryRun: true\n  runId: \"2\"", "3804a1db57086b8d"),
            (
                "defaults",
                local,
                server,
                "allowEmpty: false\n  dryRun: false\n  runId: \"\"\n  collections: []",
                "1186810287cb9ce9",
            ),
        ];
        let mut others = Vec::new();
        for (name, source, target, more, hash) in shapes {
            let manifest = format!(
                "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\nmetadata: {{name: m}}\nspec:\n  \
                 source: {{{source}}}\n  target: {{{target}}}\n  {more}\n"
            );
            let spec = crate::api::parse_manifest(&manifest).unwrap().spec;
            if spec.run_hash() != hash {
                others.push((name, spec.run_hash()));
            }
        }
        assert!(others.is_empty(), "{others:#?}");
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        let manifest = "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\nmetadata: {name: m}\nspec:\n  source: {local: {claimName: dev-memories, path: chroma_db}}\n  target: {remote: {service: {name: chroma, namespace: prod}}}\n";
        let spec = crate::api::parse_manifest(manifest).unwrap().spec;
        assert_eq!(spec.run_hash(), "560504a9813b37c4");
    }
}
