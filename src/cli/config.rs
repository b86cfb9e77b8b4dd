//! The replaced script's endpoint configuration: a path, a URL, JSON, or a file that holds JSON; and credentials from
//! the environment. Opens no store.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::flags::{Databases, Kind};
use crate::endpoint::{Endpoint, Folder};
use crate::store::http::{Auth, ServerConfig};

/// `{"type": …, "config": {…}}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "type")]
    kind: String,
    config: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalConfig {
    path: PathBuf,
    #[serde(default = "default_tenant")]
    tenant: String,
    database: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteConfig {
    host: String,
    #[serde(default = "default_port")]
    port: u16,
    #[serde(default)]
    ssl: bool,
    #[serde(default = "default_tenant")]
    tenant: String,
    database: Option<String>,
}

fn default_tenant() -> String {
    "default_tenant".to_owned()
}

fn default_database() -> String {
    "default_database".to_owned()
}

const fn default_port() -> u16 {
    8000
}

/// Which end a configuration is for; names the environment variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Where it is read.
    Source,
    /// Where it is written.
    Target,
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }

    fn variable(self, name: &str) -> String {
        format!("MEMORY_MIGRATION_{}_{name}", self.word().to_uppercase())
    }
}

/// The endpoint that a configuration describes.
///
/// # Errors
/// A sentence that says what is wrong with which configuration.
pub(super) fn endpoint(side: Side, kind: Option<Kind>, text: &str, databases: &Databases) -> Result<Endpoint, String> {
    let named = |e: String| format!("the {} configuration {e}", side.word());
    let Parsed { mut endpoint, names_database } = parse(kind, text).map_err(named)?;
    if names_database && !databases.names.is_empty() {
        return Err(named("names a database, and so does --database: leave one of them out".to_owned()));
    }
    if let Endpoint::Remote(server) = &mut endpoint {
        credentials(side, server)?;
    }
    Ok(endpoint)
}

/// What a configuration says.
struct Parsed {
    endpoint: Endpoint,
    /// Whether it says which database.
    names_database: bool,
}

impl From<Endpoint> for Parsed {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, names_database: false }
    }
}

fn parse(kind: Option<Kind>, text: &str) -> Result<Parsed, String> {
    if text.trim_start().starts_with('{') {
        return from_json(kind, text);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        if kind == Some(Kind::Local) {
            return Err(format!("{text:?} is a URL, but the type is local; write a store's folder"));
        }
        let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL: {e}"))?;
        return Ok(Endpoint::Remote(Box::new(ServerConfig::new(url))).into());
    }
    let file = Path::new(text);
    if let (Some(folder), true) = (file.parent(), file.ends_with("chroma.sqlite3") && file.is_file()) {
        return Err(format!("{text:?} is a store's database; write the folder that holds it: {}", folder.display()));
    }
    if kind != Some(Kind::Local) && is_host_and_port(text) && !file.exists() {
        return Err(format!("{text:?} is no folder here; a server is written http://{text}"));
    }
    if file.is_file() {
        let json = std::fs::read_to_string(text).map_err(|e| format!("in file {text} cannot be read: {e}"))?;
        return from_json(kind, &json).map_err(|e| format!("in file {text}: {e}"));
    }
    match kind {
        Some(Kind::Remote) => Err(format!(
            "{text:?} is neither JSON, a URL, nor a file; write for instance {{\"host\": \"localhost\", \"port\": 8000}}"
        )),
        Some(Kind::Local) | None if text.is_empty() => Err("is empty; write a store's folder".to_owned()),
        Some(Kind::Local) | None => Ok(Endpoint::Local(Folder::new(PathBuf::from(text))).into()),
    }
}

fn from_json(kind: Option<Kind>, text: &str) -> Result<Parsed, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("is not valid JSON: {e}"))?;
    let object = json.as_object().ok_or("is JSON, but no object")?;
    if object.contains_key("type") {
        let whole: Whole = serde_json::from_value(json).map_err(|e| format!("has a wrong key or value: {e}"))?;
        let named = match whole.kind.as_str() {
            "local" => Kind::Local,
            "remote" => Kind::Remote,
            other => return Err(format!("has type {other:?}; write local or remote")),
        };
        if kind.is_some_and(|kind| kind != named) {
            return Err(format!("has type {:?}, but the flag says otherwise; leave one of them out", whole.kind));
        }
        return from_parts(named, whole.config);
    }
    let guessed = if object.contains_key("path") { Kind::Local } else { Kind::Remote };
    from_parts(kind.unwrap_or(guessed), json)
}

fn from_parts(kind: Kind, config: serde_json::Value) -> Result<Parsed, String> {
    let wrong = |e: serde_json::Error| format!("has a wrong key or value: {e}");
    match kind {
        Kind::Local => {
            let LocalConfig { path, tenant, database } = serde_json::from_value(config).map_err(wrong)?;
            let names_database = database.is_some();
            let database = database.unwrap_or_else(default_database);
            Ok(Parsed { endpoint: Endpoint::Local(Folder { path, tenant, database }), names_database })
        }
        Kind::Remote => {
            let RemoteConfig { host, port, ssl, tenant, database } = serde_json::from_value(config).map_err(wrong)?;
            if host.contains(['/', '@', '?', '#', '\\']) {
                // not shown: an address may hold a password
                return Err("has a host that is an address: write its name or IP address alone, as in {\"host\": \
                     \"chroma.example.com\", \"port\": 443, \"ssl\": true}, or the whole URL instead of the JSON"
                    .to_owned());
            }
            if is_host_and_port(&host) && host.parse::<Ipv6Addr>().is_err() {
                return Err(format!("has a host with a port, {host:?}: write the port apart, as \"port\": 8000"));
            }
            let scheme = if ssl { "https" } else { "http" };
            // in a URL an IPv6 address stands in brackets
            let text = match host.parse::<Ipv6Addr>() {
                Ok(address) => format!("{scheme}://[{address}]:{port}"),
                Err(_) => format!("{scheme}://{host}:{port}"),
            };
            let url = Url::parse(&text).map_err(|e| format!("has a wrong host {host:?}: {e}"))?;
            let names_database = database.is_some();
            let database = database.unwrap_or_else(default_database);
            let server = ServerConfig { tenant, database, ..ServerConfig::new(url) };
            Ok(Parsed { endpoint: Endpoint::Remote(Box::new(server)), names_database })
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok())
}

/// Adds what the environment says of credentials. No error and no log shows a secret.
fn credentials(side: Side, server: &mut ServerConfig) -> Result<(), String> {
    let variable = |name: &str| std::env::var(side.variable(name)).ok().filter(|value| !value.is_empty());
    let token = match (variable("TOKEN"), variable("TOKEN_FILE")) {
        (Some(token), _) => Some(token),
        (None, Some(file)) => Some(read(side, "TOKEN_FILE", &file)?.trim_end().to_owned()),
        (None, None) => None,
    };
    if let Some(auth) = auth(side, token.map(SecretString::from), variable("USERNAME"), variable("HEADER"))? {
        server.auth = auth;
    }
    if let Some(file) = variable("CA_FILE") {
        server.tls.ca_pem = read(side, "CA_FILE", &file)?.into_bytes();
    }
    Ok(())
}

/// How to log in; None: not at all. What nothing would use is refused, for somebody meant it.
fn auth(
    side: Side,
    token: Option<SecretString>,
    user: Option<String>,
    header: Option<String>,
) -> Result<Option<Auth>, String> {
    let [username, name] = ["USERNAME", "HEADER"].map(|name| side.variable(name));
    match (token, user, header) {
        (_, Some(_), Some(_)) => Err(format!("{username} and {name} are both set: unset one of them")),
        (Some(password), Some(user), None) => Ok(Some(Auth::Basic { user, password })),
        (Some(value), None, Some(name)) => Ok(Some(Auth::Header { name, value })),
        (Some(token), None, None) => Ok(Some(Auth::Bearer(token))),
        (None, None, None) => Ok(None),
        (None, user, _) => Err(format!(
            "{} is set, and there is no token: set {token} or {token}_FILE, or unset it",
            if user.is_some() { username } else { name },
            token = side.variable("TOKEN"),
        )),
    }
}

fn read(side: Side, name: &str, file: &str) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map_err(|e| format!("{} names {file}, which cannot be read: {e}", side.variable(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(kind: Option<Kind>, text: &str) -> String {
        match parse(kind, text).map(|parsed| parsed.endpoint) {
            Ok(Endpoint::Local(f)) => format!("local {} {} {}", f.path.display(), f.tenant, f.database),
            Ok(Endpoint::Remote(s)) => format!("remote {} {} {}", s.url, s.tenant, s.database),
            Err(e) => e,
        }
    }

    #[test]
    fn every_documented_form_is_read() {
        let local = "local /x default_tenant default_database";
        assert_eq!(described(Some(Kind::Local), "/x"), local);
        assert_eq!(described(None, "/x"), local);
        assert_eq!(described(None, r#"{"path": "/x"}"#), local);
        assert_eq!(described(None, r#"{"type": "local", "config": {"path": "/x"}}"#), local);
        let remote = "remote http://h:8000/ default_tenant default_database";
        assert_eq!(described(Some(Kind::Remote), r#"{"host": "h"}"#), remote);
        assert_eq!(described(None, "http://h:8000"), remote);
        for host in ["::1", "[::1]"] {
            let text = format!(r#"{{"host": "{host}"}}"#);
            assert_eq!(described(None, &text), "remote http://[::1]:8000/ default_tenant default_database");
        }
        let all =
            r#"{"type": "remote", "config": {"host": "h", "port": 1, "ssl": true, "tenant": "t", "database": "d"}}"#;
        assert_eq!(described(None, all), "remote https://h:1/ t d");
    }

    #[test]
    fn a_file_may_hold_the_json() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"host": "h", "port": 9}"#).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(described(Some(Kind::Remote), path), "remote http://h:9/ default_tenant default_database");
    }

    #[test]
    fn a_database_is_not_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chroma.sqlite3");
        std::fs::write(&file, b"SQLite format 3\0\xff").unwrap();
        let message = described(None, file.to_str().unwrap());
        assert!(message.ends_with(&format!("the folder that holds it: {}", folder.path().display())), "{message}");
    }

    #[test]
    fn a_database_is_said_in_one_place() {
        let databases = Databases { names: vec!["*".to_owned()] };
        let both = |text| endpoint(Side::Source, None, text, &databases).map(|_| ());
        assert!(both(r#"{"host": "h", "database": "d"}"#).unwrap_err().contains("leave one of them out"));
        assert!(both(r#"{"path": "/x", "database": "d"}"#).unwrap_err().contains("leave one of them out"));
        assert_eq!((both(r#"{"host": "h"}"#), both("/x")), (Ok(()), Ok(())));
    }

    /// Issue 22: a user or a header without a token was ignored, and the server asked for nothing.
    #[test]
    fn a_credential_that_nothing_would_use_is_refused() {
        let said = |token: Option<&str>, user: Option<&str>, header: Option<&str>| {
            let [user, header] = [user, header].map(|text| text.map(str::to_owned));
            match auth(Side::Target, token.map(|text| SecretString::from(text.to_owned())), user, header) {
                Ok(Some(Auth::Basic { .. })) => "basic".to_owned(),
                Ok(Some(Auth::Header { .. })) => "header".to_owned(),
                Ok(Some(Auth::Bearer(_))) => "bearer".to_owned(),
                Ok(_) => "none".to_owned(),
                Err(why) => why,
            }
        };
        for (token, user, header, expected) in [
            (None, None, None, "none"),
            (Some("t"), None, None, "bearer"),
            (Some("t"), Some("u"), None, "basic"),
            (Some("t"), None, Some("h"), "header"),
        ] {
            assert_eq!(said(token, user, header), expected);
        }
        let needs =
            "is set, and there is no token: set MEMORY_MIGRATION_TARGET_TOKEN or MEMORY_MIGRATION_TARGET_TOKEN_FILE";
        for (user, header, name) in [(Some("u"), None, "USERNAME"), (None, Some("h"), "HEADER")] {
            let why = said(None, user, header);
            assert!(why.starts_with(&format!("MEMORY_MIGRATION_TARGET_{name} {needs}")), "{why}");
        }
        assert!(said(Some("t"), Some("u"), Some("h")).contains("both set"));
    }

    #[test]
    fn mistakes_are_named() {
        for (kind, text, expected) in [
            (None, "{\"host\": ", "is not valid JSON"),
            (None, r#"{"host": "h", "prot": 1}"#, "unknown field `prot`"),
            (None, r#"{"host": "h", "port": 99999}"#, "invalid value"),
            // the client of the replaced script took an address there, without the port beside it: nobody meant that
            (None, r#"{"host": "http://h", "port": 8000}"#, "write its name or IP address alone"),
            (Some(Kind::Remote), r#"{"type": "remote", "config": {"host": "https://h/api"}}"#, "the whole URL instead"),
            (None, r#"{"host": "me:pw@h"}"#, "has a host that is an address"),
            (None, r#"{"host": ""}"#, "has a wrong host"),
            (None, r#"{"host": "h:8000"}"#, "write the port apart"),
            (None, r#"{"host": "fe80::zz"}"#, "has a wrong host"),
            (None, r#"{"path": "/x", "token": "abc"}"#, "unknown field `token`"),
            (None, r#"{"type": "cloud", "config": {}}"#, "write local or remote"),
            (Some(Kind::Remote), r#"{"type": "local", "config": {"path": "/x"}}"#, "the flag says otherwise"),
            (Some(Kind::Remote), "nonsense", "neither JSON, a URL, nor a file"),
            (Some(Kind::Local), "http://h", "is a URL"),
            (None, "localhost:8000", "written http://localhost:8000"),
            (Some(Kind::Local), "", "is empty"),
        ] {
            let message = described(kind, text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
