//! How a server is logged in to and trusted: references to Secrets and `ConfigMaps`, never their content. Types, docs and
//! rules only.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

const OBJECT: &str = "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')";
const OBJECT_SAYS: &str =
    "write the name of an object in this namespace: lower-case letters, digits, '-' and '.', as in chroma-token";
const KEY: &str = "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && self != '..'";
const KEY_SAYS: &str = "write the name of a key: letters, digits, '-', '_' and '.', as in token";

/// Credentials for a server, from a Secret in this object's namespace. The operator never reads the Secret: the kubelet
/// mounts it into the runner's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.bearer), has(self.basic), has(self.header)].filter(x, x).size() == 1").message("write exactly one of bearer, basic and header"))]
pub struct Auth {
    /// Sends `Authorization: Bearer TOKEN`. Example: `{secretKeyRef: {name: chroma-token, key: token}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<FromSecret>,
    /// Sends `Authorization: Basic`. Example: `{username: {secretKeyRef: {name: chroma-login, key: username}}, password:
    /// {secretKeyRef: {name: chroma-login, key: password}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
    /// Sends a header of your choice. Example: `{name: X-Chroma-Token, secretKeyRef: {name: chroma-token, key: token}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
}

/// A value that is in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromSecret {
    /// The Secret and its key. Example: `{name: chroma-token, key: token}`.
    pub secret_key_ref: KeyRef,
}

/// One key of a Secret or `ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The Secret's or `ConfigMap`'s name, in this object's namespace. Example: `chroma-token`, or `chroma-ca`.
    #[x_kube(validation = Rule::new(OBJECT).message(OBJECT_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its key. Example: `token`.
    #[x_kube(validation = Rule::new(KEY).message(KEY_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A user and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The user's name. Example: `{secretKeyRef: {name: chroma-login, key: username}}`.
    pub username: FromSecret,
    /// The password. Example: `{secretKeyRef: {name: chroma-login, key: password}}`.
    pub password: FromSecret,
}

/// A header with a secret value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuth {
    /// The header's name. Example: `X-Chroma-Token`.
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$')").message("write a header's name: letters, digits and '-', as in X-Chroma-Token"))]
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The Secret and its key that holds the header's value. Example: `{name: chroma-token, key: token}`.
    pub secret_key_ref: KeyRef,
}

/// How an https server is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.ca) && self.insecureSkipVerify)").message("write ca or insecureSkipVerify: true, not both: a certificate that is not verified needs no authority"))]
#[x_kube(validation = Rule::new("!(has(self.serverName) && self.insecureSkipVerify)").message("write serverName or insecureSkipVerify: true, not both: a certificate that is not verified has no name to compare"))]
pub struct Tls {
    /// The certificate authority that signed the server's certificate, in PEM. Default: the public authorities.
    /// Example: `{configMapKeyRef: {name: chroma-ca, key: ca.crt}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Authority>,
    /// The name that the server's certificate must have, if it is not the host of the address. The connection still
    /// goes to the address, and to no proxy. Default: the host of the address. Example: `chroma.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$') && !self.matches('^[0-9.]+$')").message("write a host name, as in chroma.example.com; an IP address is no server name"))]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// The certificate that the runner shows to the server (mutual TLS). Default: none. Example: `{secretName: runner-tls}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Trust any certificate. Then anyone on the network path can read and change the memories. Default: false.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// A certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)").message("write exactly one of secretKeyRef and configMapKeyRef"))]
pub struct Authority {
    /// A key of a Secret. Write exactly one of secretKeyRef and configMapKeyRef. Example: `{name: chroma-ca, key:
    /// ca.crt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a `ConfigMap`. Write exactly one of secretKeyRef and configMapKeyRef. Example: `{name: chroma-ca, key:
    /// ca.crt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A client certificate with its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// A Secret of type kubernetes.io/tls: its keys tls.crt and tls.key, in PEM. Example: `runner-tls`.
    #[x_kube(validation = Rule::new(OBJECT).message(OBJECT_SAYS))]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

impl ClientCertificate {
    /// The Secret's key that holds the certificate.
    pub const CERTIFICATE: &'static str = "tls.crt";
    /// The Secret's key that holds the certificate's private key.
    pub const KEY: &'static str = "tls.key";
}
