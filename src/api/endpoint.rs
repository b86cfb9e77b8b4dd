//! Where memories are: a Chroma server, or a Chroma store on a claim. Types, docs and rules of `spec.source` and
//! `spec.target`. No methods that do I/O; secrets are named here, never held.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const CLAIM: &str = "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')";
const CLAIM_SAYS: &str = "write the name of a PersistentVolumeClaim in this namespace: lower-case letters, digits, '-' and '.', as in dev-memories";
const PATH: &str =
    "!self.startsWith('/') && !self.contains('\\\\') && !self.contains(':') && !self.matches('(^|/)[.][.](/|$)')";
const PATH_SAYS: &str = "write the folder as it is inside the claim, relative, without '..', ':' or '\\', as in chroma_db; leave it out for the claim's root";
const URL: &str = "self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')";
const URL_SAYS: &str = "write http:// or https://, a host and perhaps a port and a path, as in https://chroma.example.com:8000; credentials belong into auth";
const ONE_OF: &str = "has(self.local) != has(self.remote)";
const ONE_OF_SAYS: &str =
    "write exactly one of local (a store on a PersistentVolumeClaim) and remote (a Chroma server)";

/// Where the memories are read. Nothing is ever written there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(ONE_OF).message(ONE_OF_SAYS))]
pub struct Source {
    /// A Chroma store on a PersistentVolumeClaim, read from its files, also while its server runs.
    /// Exactly one of local and remote is needed. Example: `{claimName: dev-memories, path: chroma_db}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSource>,
    /// A Chroma server, read over HTTP (API v2, or v1 where it has none).
    /// Exactly one of local and remote is needed. Example: `{service: {name: chroma}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

/// Where the memories are written, always by a Chroma server. Nothing is deleted there for good: see `spec.target`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(ONE_OF).message(ONE_OF_SAYS))]
pub struct Target {
    /// A Chroma store on a PersistentVolumeClaim. A Chroma server is started on it for the length of the migration, so
    /// nothing else may write the claim meanwhile; readers may. Exactly one of local and remote is needed.
    /// Example: `{claimName: prod-memories, path: chroma_db}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalTarget>,
    /// A Chroma server from version 0.5.16. Exactly one of local and remote is needed.
    /// Example: `{service: {name: chroma, namespace: prod, port: 8000}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

/// A Chroma store on a claim, to be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSource {
    /// The PersistentVolumeClaim, in this object's namespace. It is mounted read-only, unless the target is on it, too:
    /// then its mount for the target's Chroma server is writable. Example: `dev-memories`.
    #[x_kube(validation = Rule::new(CLAIM).message(CLAIM_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The store's folder (the one that holds chroma.sqlite3), relative to the claim's root.
    /// Default: empty, the claim's root. Example: `chroma_db`.
    #[serde(default)]
    #[x_kube(validation = Rule::new(PATH).message(PATH_SAYS))]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 512))]
    pub database: String,
    /// How the store is reached. Direct, the default and so far the only way: the claim itself is mounted.
    #[serde(default)]
    pub copy_method: CopyMethod,
}

/// A Chroma store on a claim, to be written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalTarget {
    /// The PersistentVolumeClaim, in this object's namespace. No other pod may write it while the migration runs;
    /// one that mounts it read-only may stay.
    /// Example: `prod-memories`.
    #[x_kube(validation = Rule::new(CLAIM).message(CLAIM_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The store's folder, relative to the claim's root; made if it is not there.
    /// Default: empty, the claim's root. Example: `chroma_db`.
    #[serde(default)]
    #[x_kube(validation = Rule::new(PATH).message(PATH_SAYS))]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 512))]
    pub database: String,
    /// The image of the Chroma server that writes the store: the version that will use it afterwards. It is started
    /// with the arguments `run --host … --path …`, so its entrypoint must be the command `chroma`: official images from
    /// 1.0 on, or one of your own with Chroma 0.5.16 or newer (official images of 0.5 and 0.6 start something else).
    /// Default: the one that the operator was installed with. Example: `chromadb/chroma:1.5.9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Requests and limits of that server's container. Default: 250m CPU and 512Mi requested, limit 2Gi memory.
    /// Editing them starts no run. Example: `{limits: {memory: 4Gi}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// A Chroma server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.service) != has(self.url)").message("write exactly one of service (a Service of this cluster) and url"))]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.url) || self.url.startsWith('https://')").message("tls is set, so the url must begin with https://; or remove tls"))]
pub struct Remote {
    /// A Service of this cluster. Exactly one of service and url is needed.
    /// Example: `{name: chroma, namespace: prod, port: 8000}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// The server's address, http or https. Exactly one of service and url is needed.
    /// Example: `https://chroma.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(URL).message(URL_SAYS))]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`.
    #[serde(default = "default_database")]
    #[schemars(length(min = 1, max = 512))]
    pub database: String,
    /// How to log in, where a proxy or an older server asks for it. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How to trust an https server. Setting it makes a `service` be addressed by https. Default: the public authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The Service's name. Example: `chroma`.
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("write the name of a Service: lower-case letters, digits and '-', beginning with a letter, as in chroma"))]
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The Service's namespace. Default: this object's own. Example: `prod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("write the name of a namespace: lower-case letters, digits and '-', as in prod"))]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The Service's port. Default: 8000.
    #[serde(default = "default_port")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65535").message("write a port from 1 to 65535; Chroma's own is 8000"))]
    pub port: i32,
}

/// Credentials for a server, from a Secret in this object's namespace. The operator never reads the Secret: the kubelet
/// mounts it into the runner's pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.bearer), has(self.basic), has(self.header)].filter(x, x).size() == 1").message("write exactly one of bearer, basic and header"))]
pub struct Auth {
    /// Sends `Authorization: Bearer TOKEN`. Example: `{secretName: chroma-token, key: token}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerAuth>,
    /// Sends `Authorization: Basic`. Example: `{secretName: chroma-login}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Sends a header of your choice. Example: `{name: X-Chroma-Token, secretName: chroma-token, key: token}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
}

/// A bearer token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerAuth {
    /// The Secret. Example: `chroma-token`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The Secret's key that holds the token. Default: `token`.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A user and a password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The Secret, for instance one of type kubernetes.io/basic-auth. Example: `chroma-login`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The Secret's key that holds the user's name. Default: `username`.
    #[serde(default = "default_username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// The Secret's key that holds the password. Default: `password`.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// A header with a secret value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuth {
    /// The header's name. Example: `X-Chroma-Token`.
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$')").message("write a header's name: letters, digits and '-', as in X-Chroma-Token"))]
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The Secret. Example: `chroma-token`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The Secret's key that holds the header's value. Default: `token`.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How an https server is trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.caSecretName) && self.insecureSkipVerify)").message("write caSecretName or insecureSkipVerify: true, not both: a certificate that is not verified needs no authority"))]
pub struct Tls {
    /// A Secret with the certificate authority that signed the server's certificate. Default: the public authorities.
    /// Example: `chroma-ca`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: Option<String>,
    /// The Secret's key that holds it, in PEM. Default: `ca.crt`.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_key: String,
    /// Trust any certificate: whoever is on the way can read and change the memories. Default: false.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// How a local source is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CopyMethod {
    /// The claim itself.
    #[default]
    Direct,
}

fn default_tenant() -> String {
    "default_tenant".into()
}

fn default_database() -> String {
    "default_database".into()
}

fn default_port() -> i32 {
    8000
}

fn default_token_key() -> String {
    "token".into()
}

fn default_username_key() -> String {
    "username".into()
}

fn default_password_key() -> String {
    "password".into()
}

fn default_ca_key() -> String {
    "ca.crt".into()
}

/// A path inside a claim as its folders, without empty ones and `.`.
#[must_use]
pub fn folders(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}
