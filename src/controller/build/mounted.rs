//! The Secrets and `ConfigMaps` that a runner's pod mounts, each with its keys. Pure. The kubelet mounts them; the controller
//! cannot read them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};

use crate::api::{Auth, Authority, ClientCertificate, KeyRef, MemoryMigrationSpec, Remote, Tls};

const SECRETS_DIR: &str = "/secrets";
const CONFIG_MAPS_DIR: &str = "/config-maps";

/// Keys by the name of their object.
type Keys<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Every Secret and every `ConfigMap` that a spec names, with the keys that are needed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounted<'a> {
    secrets: Keys<'a>,
    config_maps: Keys<'a>,
}

impl<'a> Mounted<'a> {
    /// What this spec names.
    #[must_use]
    pub fn of(spec: &'a MemoryMigrationSpec) -> Self {
        let mut mounted = Self::default();
        for remote in [spec.source.remote.as_ref(), spec.target.remote.as_ref()].into_iter().flatten() {
            mounted.add(remote);
        }
        mounted
    }

    fn add(&mut self, remote: &'a Remote) {
        let Remote { service: _, url: _, tenant: _, database: _, auth, tls } = remote;
        if let Some(Auth { bearer, basic, header }) = auth {
            let mut keys: Vec<&KeyRef> = bearer.iter().map(|b| &b.secret_key_ref).collect();
            keys.extend(basic.iter().flat_map(|b| [&b.username.secret_key_ref, &b.password.secret_key_ref]));
            keys.extend(header.iter().map(|h| &h.secret_key_ref));
            for key in keys {
                put(&mut self.secrets, key);
            }
        }
        let Some(Tls { ca, server_name: _, client_certificate, insecure_skip_verify: _ }) = tls else { return };
        if let Some(Authority { secret_key_ref, config_map_key_ref }) = ca {
            if let Some(key) = secret_key_ref {
                put(&mut self.secrets, key);
            }
            if let Some(key) = config_map_key_ref {
                put(&mut self.config_maps, key);
            }
        }
        if let Some(ClientCertificate { secret_name }) = client_certificate {
            self.secrets
                .entry(secret_name)
                .or_default()
                .extend([ClientCertificate::CERTIFICATE, ClientCertificate::KEY]);
        }
    }

    /// The runner's arguments that say where they are.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let secrets = (!self.secrets.is_empty()).then_some(["--secrets-dir", SECRETS_DIR]);
        let config_maps = (!self.config_maps.is_empty()).then_some(["--config-maps-dir", CONFIG_MAPS_DIR]);
        [secrets, config_maps].into_iter().flatten().flatten().map(Into::into).collect()
    }

    /// Where they are mounted.
    #[must_use]
    pub fn mounts(&self) -> Vec<VolumeMount> {
        let mount = |volume: String, dir: &str, name: &str| VolumeMount {
            name: volume,
            mount_path: format!("{dir}/{name}"),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        let secrets = self.secrets.keys().enumerate().map(|(n, name)| mount(secret(n), SECRETS_DIR, name));
        let config_maps =
            self.config_maps.keys().enumerate().map(|(n, name)| mount(config_map(n), CONFIG_MAPS_DIR, name));
        secrets.chain(config_maps).collect()
    }

    /// Their volumes, with the keys by name: a pod whose object lacks one waits for it.
    #[must_use]
    pub fn volumes(&self) -> Vec<Volume> {
        let secrets = self.secrets.iter().enumerate().map(|(n, (name, keys))| Volume {
            name: secret(n),
            secret: Some(SecretVolumeSource {
                secret_name: Some((*name).into()),
                items: Some(items(keys)),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
        let config_maps = self.config_maps.iter().enumerate().map(|(n, (name, keys))| Volume {
            name: config_map(n),
            config_map: Some(ConfigMapVolumeSource {
                name: (*name).into(),
                items: Some(items(keys)),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
        secrets.chain(config_maps).collect()
    }
}

fn put<'a>(keys: &mut Keys<'a>, key: &'a KeyRef) {
    keys.entry(&key.name).or_default().insert(&key.key);
}

fn secret(number: usize) -> String {
    format!("secret-{number}")
}

fn config_map(number: usize) -> String {
    format!("config-map-{number}")
}

fn items(keys: &BTreeSet<&str>) -> Vec<KeyToPath> {
    keys.iter().map(|key| KeyToPath { key: (*key).into(), path: (*key).into(), mode: None }).collect()
}
