//! What identifies a run. Pure. Only a change of what is moved, or `runId`, is another run.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::access::{Auth, Tls};
use super::endpoint::{DEFAULT_DATABASE, LocalSource, LocalTarget, Remote, ServiceRef, Source, Target};
use super::search::SearchCheck;
use super::select::Selected;
use super::spec::{MemoryMigrationSpec, Verification};

/// What a tenant is called that nobody named.
const DEFAULT_TENANT: &str = "default_tenant";
/// The port of a Service that nobody named.
const DEFAULT_PORT: i32 = 8000;

impl MemoryMigrationSpec {
    /// The run that this spec asks for: 16 hex digits.
    ///
    /// A value that equals its default is left out: a field that a later version adds changes no run of before. Every
    /// field is named here, so that a new one must be decided on.
    #[must_use]
    pub fn run_hash(&self) -> String {
        let Self {
            mode,
            source,
            target,
            databases,
            collections,
            on_conflict,
            duplicates,
            verification,
            allow_empty,
            dry_run,
            run_id,
            pacing: _,
            suspend: _,
            backoff_limit: _,
            active_deadline_seconds: _,
            job_ttl_seconds_after_finished: _,
            report: _,
            runner: _,
        } = self;
        let run = Identity::default()
            .with("mode", mode)
            .with("source", &source_identity(source))
            .with("target", &target_identity(target))
            .with("databases", &sorted(databases))
            .with("collections", &in_order(collections))
            .with("onConflict", on_conflict)
            .with("duplicates", duplicates)
            .with("verification", &verification_identity(verification))
            .with("allowEmpty", allow_empty)
            .with("dryRun", dry_run)
            .with("runId", run_id);
        short_hash(Value::Object(run.0).to_string().as_bytes(), 16)
    }
}

/// The values that are not their default, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
struct Identity(Map<String, Value>);

impl Identity {
    /// Adds a value, unless it is its type's default.
    fn with<T: Serialize + Default + PartialEq>(self, name: &str, value: &T) -> Self {
        self.unless(name, value, &T::default())
    }

    /// Adds a value, unless it is this one.
    fn unless<T: Serialize + PartialEq + ?Sized>(mut self, name: &str, value: &T, default: &T) -> Self {
        if value != default {
            self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
        }
        self
    }

    fn within(self, tenant: &str, database: &str) -> Self {
        self.unless("tenant", tenant, DEFAULT_TENANT).unless("database", database, DEFAULT_DATABASE)
    }
}

/// The first `digits` hex digits of the SHA-256.
#[must_use]
pub fn short_hash(bytes: &[u8], digits: usize) -> String {
    let hash = format!("{:x}", Sha256::digest(bytes));
    hash.chars().take(digits).collect()
}

fn source_identity(source: &Source) -> Identity {
    let Source { local, remote } = source;
    let local = local.as_ref().map(|source| {
        let LocalSource { claim_name, path, tenant, database: _ } = source;
        let named = Identity::default().with("claimName", claim_name).with("path", path);
        named.within(tenant, source.database())
    });
    Identity::default().with("local", &local).with("remote", &remote.as_ref().map(server_identity))
}

fn target_identity(target: &Target) -> Identity {
    let Target { local, remote } = target;
    let local = local.as_ref().map(|target| {
        // who writes the records changes none of them
        let LocalTarget { claim_name, path, tenant, database: _, image, fill: _ } = target;
        let named = Identity::default().with("claimName", claim_name).with("path", path).with("image", image);
        named.within(tenant, target.database())
    });
    Identity::default().with("local", &local).with("remote", &remote.as_ref().map(server_identity))
}

fn server_identity(remote: &Remote) -> Identity {
    let Remote { service, url, tenant, database: _, auth, tls } = remote;
    let service = service.as_ref().map(|service| {
        let ServiceRef { name, namespace, port } = service;
        Identity::default().with("name", name).with("namespace", namespace).unless("port", port, &DEFAULT_PORT)
    });
    let auth = auth.as_ref().map(|auth| {
        let Auth { bearer, basic, header } = auth;
        Identity::default().with("bearer", bearer).with("basic", basic).with("header", header)
    });
    let tls = tls.as_ref().map(|tls| {
        let Tls { ca, server_name, client_certificate, insecure_skip_verify } = tls;
        Identity::default()
            .with("ca", ca)
            .with("serverName", server_name)
            .with("clientCertificate", client_certificate)
            .with("insecureSkipVerify", insecure_skip_verify)
    });
    let named = Identity::default().with("service", &service).with("url", url).with("auth", &auth).with("tls", &tls);
    named.within(tenant, remote.database())
}

fn verification_identity(verification: &Verification) -> Identity {
    let Verification { mode, extras: _, search: _, valid_for: _ } = verification;
    let search = verification.search();
    let identity = Identity::default()
        .with("mode", &search.mode)
        .unless("queries", &search.queries(), &SearchCheck::default().queries())
        .unless("minRecall", search.min_recall(), SearchCheck::default().min_recall());
    Identity::default().with("mode", mode).with("extras", &verification.extras()).with("search", &identity)
}

/// The order in which databases are listed does not matter.
fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// The first entry that matches a collection decides, so that the order matters as soon as there is a pattern.
fn in_order(collections: &[Selected]) -> Vec<Identity> {
    let mut entries: Vec<&Selected> = collections.iter().collect();
    if entries.iter().all(|entry| entry.pattern.is_none()) {
        entries.sort_unstable();
    }
    let identity = |entry: &&Selected| {
        let Selected { name, pattern, target_name, exclude } = entry;
        let target_name = target_name.as_ref().filter(|_| !entry.keeps_its_name());
        let named = Identity::default().with("name", name).with("match", pattern);
        named.with("targetName", &target_name).with("exclude", exclude)
    };
    entries.iter().map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::FromSecret;
    use crate::api::{Duplicates, Extras, Fill, Mode, OnConflict, Pacing, Runner, SearchMode, VerificationMode};

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
            |l| l.database = Some("x".into()),
        ];
        for edit in edits {
            assert!(starts_a_run(|s| edit(s.source.local.as_mut().unwrap())));
        }
    }

    #[test]
    fn a_default_that_is_written_out_starts_no_run() {
        assert!(!starts_a_run(|s| s.source.local.as_mut().unwrap().database = Some("default_database".into())));
        let with = |target_name: Option<&str>| MemoryMigrationSpec {
            collections: vec![Selected { target_name: target_name.map(Into::into), ..Selected::named("one") }],
            ..spec()
        };
        assert_eq!(with(None).run_hash(), with(Some("one")).run_hash());
    }

    #[test]
    fn mode_starts_a_run() {
        assert!(starts_a_run(|s| s.mode = Mode::Verify));
    }

    #[test]
    fn databases_start_a_run_but_their_order_does_not() {
        let two = MemoryMigrationSpec { databases: vec!["a".into(), "b".into()], ..spec() };
        assert!(edited_starts_a_run(&two, |s| s.databases.truncate(1)));
        assert!(!edited_starts_a_run(&two, |s| s.databases.reverse()));
    }

    #[test]
    fn target_starts_a_run() {
        let edits: [fn(&mut LocalTarget); 5] = [
            |l| l.claim_name = "x".into(),
            |l| l.path = "x".into(),
            |l| l.tenant = "x".into(),
            |l| l.database = Some("x".into()),
            |l| l.image = Some("chroma:2".into()),
        ];
        for edit in edits {
            assert!(starts_a_run(|s| edit(s.target.local.as_mut().unwrap())));
        }
    }

    #[test]
    fn fill_starts_no_run() {
        assert!(!starts_a_run(|s| s.target.local.as_mut().unwrap().fill = Fill::Files));
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
            |r| r.database = Some("x".into()),
            |r| r.auth = Some(Auth { bearer: Some(FromSecret::default()), ..Auth::default() }),
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
        assert!(starts_a_run(|s| s.collections = vec![Selected::named("a")]));
        let two = vec![Selected::renamed("a", "b"), Selected::named("c")];
        let two = MemoryMigrationSpec { collections: two, ..spec() };
        assert!(!edited_starts_a_run(&two, |s| s.collections.reverse()));
        assert!(!edited_starts_a_run(&two, |s| s.collections[1].target_name = Some("c".into())));
        assert!(edited_starts_a_run(&two, |s| s.collections[0].target_name = Some("d".into())));
        let all = Selected { pattern: Some("*".into()), ..Selected::default() };
        let mut pattern = two;
        pattern.collections.push(all);
        assert!(edited_starts_a_run(&pattern, |s| s.collections.reverse()), "the first that matches decides");
        assert!(edited_starts_a_run(&pattern, |s| s.collections[2].exclude = vec!["x".into()]));
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
        assert!(starts_a_run(|s| s.verification.mode = VerificationMode::Counts));
        assert!(starts_a_run(|s| s.verification.extras = Some(Extras::Fail)));
        assert!(starts_a_run(
            |s| s.verification.search = Some(SearchCheck { mode: SearchMode::Off, ..Default::default() })
        ));
        assert!(starts_a_run(|s| s.verification.search = Some(SearchCheck { queries: Some(9), ..Default::default() })));
        let default = SearchCheck { queries: Some(50), min_recall: Some("0.9".into()), ..Default::default() };
        assert!(!starts_a_run(|s| s.verification.search = Some(default.clone())), "the default, written out");
        assert!(!starts_a_run(|s| s.verification.extras = None), "the default, not written out");
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
    fn pacing_starts_no_run() {
        assert!(!starts_a_run(|s| s.pacing = Pacing { batch_size: Some(100), ..Pacing::default() }));
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
    fn job_ttl_seconds_after_finished_starts_no_run() {
        assert!(!starts_a_run(|s| s.job_ttl_seconds_after_finished = Some(1)));
    }

    #[test]
    fn runner_starts_no_run() {
        let job_labels = [("a".to_owned(), "b".to_owned())].into();
        assert!(!starts_a_run(|s| s.runner = Runner { job_labels, ..Runner::default() }));
    }

    /// A finished migration must not run again because the operator was upgraded: every shape of an endpoint, and every
    /// field that starts a run.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_hash_of_every_shape_is_the_same_in_every_version() {
        let local = "local: {claimName: dev}";
        let server = "remote: {service: {name: chroma}}";
        let shapes = [
            ("local, plain", local, server, "", "6d49c44e1b8d16e3"),
            (
                "local, all",
                "local: {claimName: dev, path: a/b, tenant: t, database: d}",
                server,
                "",
                "497a2e6b2ef48b1d",
            ),
            (
                "service, all",
                "remote: {service: {name: c, namespace: prod, port: 9000}, tenant: t, database: d}",
                local,
                "",
                "6c1c86112ee3290c",
            ),
            ("url", "remote: {url: \"https://c.example.com:8443/x\"}", local, "", "7b54c629bcf9b791"),
            (
                "bearer",
                "remote: {url: \"https://c\", auth: {bearer: {secretKeyRef: {name: s, key: k}}}}",
                local,
                "",
                "8fb2752be57e0614",
            ),
            (
                "basic",
                "remote: {url: \"https://c\", auth: {basic: {username: {secretKeyRef: {name: s, key: u}}, password: {secretKeyRef: {name: s, key: p}}}}}",
                local,
                "",
                "8f6969a9802bc98c",
            ),
            (
                "header",
                "remote: {url: \"https://c\", auth: {header: {name: X-Chroma-Token, secretKeyRef: {name: s, key: k}}}}",
                local,
                "",
                "de6c9daf820cabac",
            ),
            (
                "tls",
                "remote: {url: \"https://c\", tls: {ca: {configMapKeyRef: {name: ca, key: k}}, serverName: n, clientCertificate: {secretName: c}}}",
                local,
                "",
                "6c6dc74b7847b7c6",
            ),
            (
                "target, all",
                server,
                "local: {claimName: p, path: x, tenant: t, database: d, image: \"chroma:2\"}",
                "",
                "847cf82fd1d9de87",
            ),
            (
                "collections",
                local,
                server,
                "collections: [{name: b, targetName: ccc}, {name: aaa}]",
                "66bd3f9b4d66d736",
            ),
            (
                "policies",
                local,
                server,
                "onConflict: Fail\n  duplicates: ByContent\n  verification: {mode: Counts}",
                "95b448e709faca8e",
            ),
            (
                "patterns of several databases",
                local,
                server,
                "databases: [b, a]\n  collections: [{match: \"u-*\", targetName: \"p-*\", exclude: [\"*-tmp\"]}]",
                "2d76c9c00ed4e47e",
            ),
            ("no extras", local, server, "verification: {extras: Fail}", "3472dedcee488f93"),
            ("verify", local, server, "mode: Verify", "8c2a33567902c650"),
            ("flags", local, server, "allowEmpty: true\n  dryRun: true\n  runId: \"2\"", "99a5fbfd8ff9c72b"),
            (
                "defaults",
                local,
                server,
                "allowEmpty: false\n  dryRun: false\n  runId: \"\"\n  collections: []\n  databases: []\n  mode: Migrate\n  \
                 verification: {mode: Full, extras: Allow}\n  pacing: {mode: Adaptive}",
                "6d49c44e1b8d16e3",
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
        assert_eq!(spec.run_hash(), "794e441182b9045f");
    }
}
