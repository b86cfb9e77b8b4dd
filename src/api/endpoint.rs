//! Where memories are: a Chroma server, or a Chroma store on a claim. Types, docs and rules of `spec.source` and
//! `spec.target`. No methods that do I/O; secrets are named here, never held.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Auth, Tls};

const CLAIM: &str = "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')";
const CLAIM_SAYS: &str = "write the name of a PersistentVolumeClaim in this namespace: lower-case letters, digits, '-' and '.', as in dev-memories";
const PATH: &str =
    "!self.startsWith('/') && !self.contains('\\\\') && !self.contains(':') && !self.matches('(^|/)[.][.](/|$)')";
const PATH_SAYS: &str = "write the folder as it is inside the claim, relative, without '..', ':' or '\\', as in chroma_db; leave it out for the claim's root";
const URL: &str = "self.matches('^https?://[^/?#@ ]+(/[^?#@ ]*)?$')";
const URL_SAYS: &str = "write http:// or https://, a host and perhaps a port and a path, as in https://chroma.example.com:8000; put credentials into auth";
const ONE_OF: &str = "has(self.local) != has(self.remote)";
const ONE_OF_SAYS: &str =
    "write exactly one of local (a store on a PersistentVolumeClaim) and remote (a Chroma server)";

/// Where the memories are read. Nothing is ever written there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(ONE_OF).message(ONE_OF_SAYS))]
pub struct Source {
    /// A Chroma store on a PersistentVolumeClaim. The operator reads its files, even while a server uses them. Write
    /// exactly one of local and remote. Example: `{claimName: dev-memories, path: chroma_db}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSource>,
    /// A Chroma server, read over HTTP. Write exactly one of local and remote. Example: `{service: {name: chroma}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

/// Where the memories are written, by a Chroma server. See `spec.target` for what may be deleted there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(ONE_OF).message(ONE_OF_SAYS))]
pub struct Target {
    /// A Chroma store on a PersistentVolumeClaim. The operator starts a Chroma server on it for the length of the
    /// migration. Meanwhile no other pod may write the claim. Write exactly one of local and remote. Example:
    /// `{claimName: prod-memories, path: chroma_db}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalTarget>,
    /// A Chroma server, version 0.5.16 or newer. Write exactly one of local and remote. Example: `{service: {name:
    /// chroma, namespace: prod, port: 8000}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Remote>,
}

/// A Chroma store on a claim, to be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSource {
    /// The PersistentVolumeClaim, in this object's namespace. It is mounted read-only. If the target is on the same
    /// claim, the target's Chroma server gets it writable. Example: `dev-memories`.
    #[x_kube(validation = Rule::new(CLAIM).message(CLAIM_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The folder with chroma.sqlite3, relative to the claim's root. Default: empty, the root itself. Example:
    /// `chroma_db`.
    #[serde(default)]
    #[x_kube(validation = Rule::new(PATH).message(PATH_SAYS))]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`, unless `spec.databases` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub database: Option<String>,
}

/// A Chroma store on a claim, to be written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalTarget {
    /// The PersistentVolumeClaim, in this object's namespace. While the migration runs, other pods may mount it
    /// read-only. Example: `prod-memories`.
    #[x_kube(validation = Rule::new(CLAIM).message(CLAIM_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The store's folder, relative to the claim's root. It is created if it does not exist. Default: empty, the root
    /// itself. Example: `chroma_db`.
    #[serde(default)]
    #[x_kube(validation = Rule::new(PATH).message(PATH_SAYS))]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`, unless `spec.databases` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub database: Option<String>,
    /// Image of the Chroma server that writes the store. Choose the version that will use the store afterwards. Its
    /// entrypoint must be the command `chroma`, as in official images from 1.0 on; for 0.5.16 to 0.6 build your own.
    /// Default: the chart's `chroma.image`. Example: `chromadb/chroma:1.5.9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Who writes the records of a new store. Engine (default): the Chroma server. Files: the operator writes them and their
    /// index into the store's files, which is faster. Every record is then compared as usual. Files needs Chroma 1.0.20 or
    /// 1.5.9, and a `path` to a folder that is new or empty; otherwise the server takes the records, and the status says
    /// why. A change starts no run. Example: `Files`.
    #[serde(default)]
    pub fill: Fill,
}

/// Who writes the records of a new store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Fill {
    /// The Chroma server.
    #[default]
    Engine,
    /// The operator, into the files.
    Files,
}

/// A Chroma server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.service) != has(self.url)").message("write exactly one of service (a Service of this cluster) and url"))]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.url) || self.url.startsWith('https://')").message("tls is set, so the url must begin with https://; or remove tls"))]
pub struct Remote {
    /// A Service of this cluster. Write exactly one of service and url. Example: `{name: chroma, namespace: prod, port:
    /// 8000}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// The server's address, http or https. Write exactly one of service and url. Example:
    /// `https://chroma.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(URL).message(URL_SAYS))]
    #[schemars(length(min = 1, max = 2048))]
    pub url: Option<String>,
    /// Chroma's tenant. Default: `default_tenant`.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = 512))]
    pub tenant: String,
    /// Chroma's database in that tenant. Default: `default_database`, unless `spec.databases` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub database: Option<String>,
    /// How to log in, if a proxy or the server asks for it. Default: no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How to trust an https server. With a `service`, it also switches to https. Default: the public authorities.
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

fn default_tenant() -> String {
    "default_tenant".into()
}

fn default_port() -> i32 {
    8000
}

/// Chroma's own database, where nobody named one.
pub const DEFAULT_DATABASE: &str = "default_database";

fn database(named: Option<&String>) -> &str {
    named.map_or(DEFAULT_DATABASE, String::as_str)
}

impl LocalSource {
    /// The database, where `spec.databases` names none.
    #[must_use]
    pub fn database(&self) -> &str {
        database(self.database.as_ref())
    }
}

impl LocalTarget {
    /// The database, where `spec.databases` names none.
    #[must_use]
    pub fn database(&self) -> &str {
        database(self.database.as_ref())
    }
}

impl Remote {
    /// The database, where `spec.databases` names none.
    #[must_use]
    pub fn database(&self) -> &str {
        database(self.database.as_ref())
    }
}

/// A path inside a claim as its folders, without empty ones and `.`.
#[must_use]
pub fn folders(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}
