//! A manifest's spec in the engine's terms. Reads the files of the named Secrets; opens no store.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use url::Url;

use super::flags::{self, Slowdown};
use crate::api::endpoint::folders;
use crate::api::{self, Authority, ClientCertificate, KeyRef, MemoryMigration, MemoryMigrationSpec, Remote};
use crate::endpoint::{Endpoint, Folder, LayoutServer, LocalWriter, Pod, Request};
use crate::engine::select::Entry;
use crate::engine::{
    Duplicates, Extras, Fill, OnConflict, Options, Pacing, Search, SearchMode, Selection, Verification,
};
use crate::store::http::{Auth, ServerConfig, Tls};

/// What stands for claims, Secrets and the image's program outside a cluster.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// A folder for each claim.
    pub(super) volumes: Vec<(String, PathBuf)>,
    /// The folder with a folder for each Secret.
    pub(super) secrets: Option<PathBuf>,
    /// The folder with a folder for each `ConfigMap`.
    pub(super) config_maps: Option<PathBuf>,
    /// The Chroma program that writes a local target, outside a pod.
    pub(super) chroma_bin: Option<PathBuf>,
    /// Whether this is a container of the runner's pod.
    pub(super) in_pod: bool,
    /// The server of the pod that writes a local target.
    pub(super) writer_url: Option<Url>,
    /// The server of the pod that lays out the store that this container fills.
    pub(super) layout: Option<LayoutServer>,
    /// The folder in which the container that fills leaves word for the one that goes on.
    pub(super) handover: Option<PathBuf>,
}

/// What the manifest asks for.
///
/// # Errors
/// A sentence that names the field and what is missing.
pub(super) fn request(migration: &MemoryMigration, places: Mounts) -> Result<Request, String> {
    let spec = &migration.spec;
    let namespace = migration.metadata.namespace.as_deref().unwrap_or("default");
    let source = match (&spec.source.local, &spec.source.remote) {
        (Some(local), _) => {
            let path = places.folder("spec.source.local", &local.claim_name, &local.path)?;
            Endpoint::Local(Folder { path, tenant: local.tenant.clone(), database: local.database().to_owned() })
        }
        (None, Some(remote)) => Endpoint::Remote(Box::new(places.server("spec.source.remote", remote, namespace)?)),
        (None, None) => return Err("spec.source: write local or remote".to_owned()),
    };
    let target = match (&spec.target.local, &spec.target.remote) {
        (Some(local), _) => {
            let path = places.folder("spec.target.local", &local.claim_name, &local.path)?;
            Endpoint::Local(Folder { path, tenant: local.tenant.clone(), database: local.database().to_owned() })
        }
        (None, Some(remote)) => Endpoint::Remote(Box::new(places.server("spec.target.remote", remote, namespace)?)),
        (None, None) => return Err("spec.target: write local or remote".to_owned()),
    };
    let writer = if places.in_pod {
        let image = spec.target.local.as_ref().and_then(|local| local.image.clone());
        let run = format!("{}/{}", migration.metadata.uid.as_deref().unwrap_or_default(), spec.run_hash());
        let Mounts { writer_url: url, layout, handover, .. } = places;
        LocalWriter::Sidecar(Box::new(Pod { url, image, layout, handover, run }))
    } else {
        LocalWriter::Program(places.chroma_bin)
    };
    Ok(Request { source, target, options: options(spec)?, writer })
}

fn options(spec: &MemoryMigrationSpec) -> Result<Options, String> {
    let field = |name: &str, why: String| format!("spec.pacing.{name}: {why}");
    let Slowdown(slowdown) = flags::slowdown(spec.pacing.max_slowdown()).map_err(|e| field("maxSlowdown", e))?;
    Ok(Options {
        selection: selection(spec)?,
        on_conflict: match spec.on_conflict {
            api::OnConflict::Skip => OnConflict::Skip,
            api::OnConflict::Overwrite => OnConflict::Overwrite,
            api::OnConflict::Fail => OnConflict::Fail,
        },
        duplicates: match spec.duplicates {
            api::Duplicates::ById => Duplicates::ById,
            api::Duplicates::ByContent => Duplicates::ByContent,
        },
        pacing: match spec.pacing.mode {
            api::PacingMode::Fixed => Pacing::Fixed,
            api::PacingMode::Adaptive => Pacing::Adaptive { slowdown },
        },
        batch_size: usize::try_from(spec.pacing.batch_size())
            .map_err(|_| field("batchSize", "write a number from 1".to_owned()))?,
        delay: flags::delay(spec.pacing.delay()).map_err(|e| field("delay", e))?,
        verification: match spec.verification.mode {
            api::VerificationMode::Full => Verification::Full,
            api::VerificationMode::Counts => Verification::Counts,
        },
        extras: match spec.verification.extras() {
            api::Extras::Allow => Extras::Allow,
            api::Extras::Fail => Extras::Fail,
        },
        fill: match spec.target.local.as_ref().map(|local| local.fill).unwrap_or_default() {
            api::Fill::Engine => Fill::Engine,
            api::Fill::Files => Fill::Files,
        },
        search: search(&spec.verification.search())?,
        allow_empty: spec.allow_empty,
        dry_run: spec.dry_run,
        ..Options::default()
    })
}

fn search(search: &api::SearchCheck) -> Result<Search, String> {
    let field = |name: &str, why: &str| format!("spec.verification.search.{name}: {why}");
    Ok(Search {
        mode: match search.mode {
            api::SearchMode::Report => SearchMode::Report,
            api::SearchMode::Require => SearchMode::Require,
            api::SearchMode::Off => SearchMode::Off,
        },
        queries: usize::try_from(search.queries()).map_err(|_| field("queries", "write a number from 1"))?,
        min_recall: search.min_recall().parse().map_err(|_| field("minRecall", "write a share as \"0.9\""))?,
    })
}

fn selection(spec: &MemoryMigrationSpec) -> Result<Selection, String> {
    let entry = |(n, entry): (usize, &api::Selected)| {
        let api::Selected { name, pattern, target_name, exclude } = entry;
        let target_name = target_name.as_deref();
        let entry = match (name, pattern) {
            (Some(name), None) => Entry::named(name, target_name),
            (None, Some(pattern)) => Entry::matching(pattern, target_name, exclude),
            _ => Err("write exactly one of name and match".to_owned()),
        };
        entry.map_err(|why| format!("spec.collections[{n}]: {why}"))
    };
    let entries = spec.collections.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
    Selection::new(&spec.databases, entries).map_err(|why| format!("spec: {why}"))
}

impl Mounts {
    fn folder(&self, field: &str, claim: &str, path: &str) -> Result<PathBuf, String> {
        let found = self.volumes.iter().find(|(name, _)| name == claim);
        let (_, dir) = found.ok_or_else(|| {
            format!("{field}.claimName: no folder stands for the claim {claim:?}; add --volume {claim}=DIR")
        })?;
        Ok(folders(path).iter().fold(dir.clone(), |dir, part| dir.join(part)))
    }

    fn server(&self, field: &str, remote: &Remote, namespace: &str) -> Result<ServerConfig, String> {
        let url = address(remote, namespace).ok_or_else(|| format!("{field}: write service or url"))?;
        let url = Url::parse(&url).map_err(|e| format!("{field}: {url:?} is no URL: {e}"))?;
        let (tenant, database) = (remote.tenant.clone(), remote.database().to_owned());
        let mut server = ServerConfig { tenant, database, ..ServerConfig::new(url) };
        if let Some(auth) = &remote.auth {
            server.auth = self.auth(&format!("{field}.auth"), auth)?;
        }
        if let Some(tls) = &remote.tls {
            server.tls = self.tls(&format!("{field}.tls"), tls)?;
        }
        Ok(server)
    }

    fn tls(&self, field: &str, tls: &api::Tls) -> Result<Tls, String> {
        let api::Tls { ca, server_name, client_certificate, insecure_skip_verify } = tls;
        let ca_pem = match ca {
            Some(Authority { secret_key_ref: Some(key), .. }) => self.secret(field, key)?,
            Some(Authority { config_map_key_ref: Some(key), .. }) => self.config_map(field, key)?,
            Some(Authority { secret_key_ref: None, config_map_key_ref: None }) | None => String::new(),
        };
        let mut identity_pem = String::new();
        if let Some(ClientCertificate { secret_name }) = client_certificate {
            for key in [ClientCertificate::CERTIFICATE, ClientCertificate::KEY] {
                let key = KeyRef { name: secret_name.clone(), key: key.to_owned() };
                identity_pem += &(self.secret(field, &key)? + "\n");
            }
        }
        Ok(Tls {
            ca_pem: ca_pem.into_bytes(),
            server_name: server_name.clone(),
            identity_pem: identity_pem.into_bytes(),
            insecure_skip_verify: *insecure_skip_verify,
        })
    }

    fn auth(&self, field: &str, auth: &api::Auth) -> Result<Auth, String> {
        // an editor's last line break is no part of a token
        let secret = |key: &KeyRef| self.secret(field, key).map(|text| text.trim_end().to_owned());
        match (&auth.bearer, &auth.basic, &auth.header) {
            (Some(bearer), _, _) => Ok(Auth::Bearer(SecretString::from(secret(&bearer.secret_key_ref)?))),
            (_, Some(basic), _) => Ok(Auth::Basic {
                user: secret(&basic.username.secret_key_ref)?,
                password: SecretString::from(secret(&basic.password.secret_key_ref)?),
            }),
            (_, _, Some(header)) => Ok(Auth::Header {
                name: header.name.clone(),
                value: SecretString::from(secret(&header.secret_key_ref)?),
            }),
            (None, None, None) => Err(format!("{field}: write bearer, basic or header")),
        }
    }

    fn secret(&self, field: &str, key: &KeyRef) -> Result<String, String> {
        keyed(field, key, "Secret", self.secrets.as_deref(), "--secrets-dir")
    }

    fn config_map(&self, field: &str, key: &KeyRef) -> Result<String, String> {
        keyed(field, key, "ConfigMap", self.config_maps.as_deref(), "--config-maps-dir")
    }
}

/// The value of a key, from the folder that stands for all objects of its kind.
fn keyed(field: &str, key: &KeyRef, kind: &str, dir: Option<&Path>, flag: &str) -> Result<String, String> {
    let KeyRef { name, key } = key;
    let dir = dir.ok_or_else(|| {
        format!("{field}: the {kind} {name:?} is not here; put it into DIR/{name}/{key} and add {flag} DIR")
    })?;
    let file = dir.join(name).join(key);
    std::fs::read_to_string(&file)
        .map_err(|e| format!("{field}: key {key:?} of {kind} {name:?} cannot be read from {}: {e}", file.display()))
}

/// The URL of a server; a Service is reached by its name in its namespace.
fn address(remote: &Remote, namespace: &str) -> Option<String> {
    let Some(service) = &remote.service else { return remote.url.clone() };
    let scheme = if remote.tls.is_some() { "https" } else { "http" };
    let namespace = service.namespace.as_deref().unwrap_or(namespace);
    Some(format!("{scheme}://{}.{namespace}.svc:{}", service.name, service.port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const MANIFEST: &str = "
apiVersion: memory-migration.dev/v1alpha1
kind: MemoryMigration
metadata: {name: promote, namespace: dev}
spec:
  source: {local: {claimName: dev-memories, path: a/chroma_db}}
  target:
    remote:
      service: {name: chroma, namespace: prod}
      auth: {bearer: {secretKeyRef: {name: s, key: token}}}
  collections: [{name: m, targetName: memories}]
  pacing: {batchSize: 100, delay: 500ms}
";

    fn parsed(places: Mounts) -> Result<Request, String> {
        request(&api::parse_manifest(MANIFEST).unwrap(), places)
    }

    #[test]
    fn a_manifest_becomes_a_request() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("s")).unwrap();
        fs::write(dir.path().join("s/token"), "secret\n").unwrap();
        let volumes = vec![("dev-memories".to_owned(), PathBuf::from("/data"))];
        let request = parsed(Mounts { volumes, secrets: Some(dir.path().to_owned()), ..Mounts::default() }).unwrap();
        let (Endpoint::Local(source), Endpoint::Remote(target)) = (&request.source, &request.target) else {
            panic!("{request:?}")
        };
        assert_eq!(source.path, PathBuf::from("/data/a/chroma_db"));
        assert_eq!(target.url.as_str(), "http://chroma.prod.svc:8000/");
        assert!(matches!(target.auth, Auth::Bearer(_)));
        assert_eq!(request.options.batch_size, 100);
        assert_eq!(request.options.selection.target_of("m").as_deref(), Some("memories"));
        assert!(!format!("{request:?}").contains("secret\""), "no secret in a debug print");
    }

    #[test]
    fn databases_and_patterns_become_a_selection() {
        let manifest = |more: &str| {
            let (text, _) = MANIFEST.split_once("  collections:").unwrap();
            selection(&api::parse_manifest(&format!("{text}{more}")).unwrap().spec)
        };
        let found = manifest(
            "  databases: [blue, \"g*\"]\n  collections: [{match: \"user-*\", targetName: \"prod-*\", exclude: [\"*-tmp\"]}, \
             {name: other}]",
        )
        .unwrap();
        let listed = ["green".to_owned(), "red".to_owned()];
        assert_eq!(found.databases(Some(&listed)).unwrap(), ["blue", "green"]);
        assert_eq!(found.target_of("user-1").as_deref(), Some("prod-1"));
        assert_eq!((found.target_of("user-1-tmp"), found.target_of("other").as_deref()), (None, Some("other")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parsed(Mounts::default()).unwrap_err();
        assert!(error.contains("--volume dev-memories=DIR"), "{error}");
        let volumes = vec![("dev-memories".to_owned(), PathBuf::from("/data"))];
        let error = parsed(Mounts { volumes, ..Mounts::default() }).unwrap_err();
        assert!(error.contains("--secrets-dir DIR") && error.contains("s/token"), "{error}");
    }
}
