//! What is wrong with a `MemoryMigration`: the CRD's own rules, evaluated in process, and those that the API server's
//! rule language cannot say. Pure; the controller and `run -f` share it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, Validator, compile_schema};

use super::crd::SCHEMA;
use super::endpoint::{Remote, ServiceRef};
use super::spec::{MemoryMigration, MemoryMigrationSpec};
use super::{duration, endpoint};

/// The CRD's rules, compiled once: the controller looks at every object again and again.
static RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&SCHEMA));

impl MemoryMigration {
    /// Everything that is wrong with the spec, each with its place and what to write instead; empty when it can run.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let broken = self.broken_rules();
        if broken.is_empty() { self.spec.validate() } else { broken }
    }

    /// The CRD's rules that the object breaks: an object made before a rule existed can be in the cluster.
    fn broken_rules(&self) -> Vec<String> {
        let object = serde_json::json!({"spec": self.spec});
        match Validator::new().validate_compiled(&RULES, &object, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().iter().map(ToString::to_string).collect(),
        }
    }
}

impl MemoryMigrationSpec {
    /// What is wrong beyond the CRD's rules.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(duration::parse(self.pacing.delay()).err().map(|why| format!("spec.pacing.delay: {why}")));
        problems.extend(address_problem("source", self.source.remote.as_ref()));
        problems.extend(address_problem("target", self.target.remote.as_ref()));
        problems.extend(self.same_folder());
        problems.extend(self.same_database());
        problems.extend(self.collection_problems());
        problems
    }

    /// One claim may hold both stores, but not one inside the other.
    fn same_folder(&self) -> Option<String> {
        let (source, target) = (self.source.local.as_ref()?, self.target.local.as_ref()?);
        let (from, to) = (endpoint::folders(&source.path), endpoint::folders(&target.path));
        if source.claim_name != target.claim_name || !(from.starts_with(&to) || to.starts_with(&from)) {
            return None;
        }
        Some(format!(
            "spec.target.local.path: \"{}\" and the source's \"{}\" are the same folder of claim {}, or one holds the \
             other: write a path that lies beside it, or another claim",
            target.path, source.path, target.claim_name
        ))
    }

    fn same_database(&self) -> Option<String> {
        let (source, target) = (self.source.remote.as_ref()?, self.target.remote.as_ref()?);
        let same = address(source) == address(target)
            && source.tenant == target.tenant
            && (!self.databases.is_empty() || source.database() == target.database());
        same.then(|| {
            "spec: source and target are the same database of the same server: write another server, tenant or \
             database in one of them"
                .into()
        })
    }

    fn collection_problems(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        for (n, entry) in self.collections.iter().enumerate() {
            // A second entry of one name would never decide: the first that matches does.
            let what = entry.name.as_deref().or(entry.pattern.as_deref()).unwrap_or_default();
            let excluded = entry.exclude.as_slice();
            if !seen.insert((entry.name.is_some(), what, excluded)) {
                problems.push(format!("spec.collections[{n}]: {what} is listed twice: remove one entry"));
            }
            let Some(target) = entry.target_name.as_deref().or(entry.name.as_deref()) else { continue };
            let stars = entry.pattern.as_deref().map_or(0, |pattern| pattern.matches('*').count());
            if target.contains('*') && stars > 1 {
                problems.push(format!(
                    "spec.collections[{n}]: match \"{what}\" has {stars} stars, so it is not clear which one the * of \
                     targetName stands for: write match with exactly one *"
                ));
            }
            if !target.contains('*') && !is_collection_name(target) {
                problems.push(format!(
                    "spec.collections[{n}]: no Chroma server takes the name \"{target}\": write a targetName of 3 to \
                     512 letters, digits, '.', '_' and '-', beginning and ending with a letter or digit, without '..', \
                     and no IP address"
                ));
            }
        }
        problems
    }
}

fn address_problem(side: &str, remote: Option<&Remote>) -> Option<String> {
    let text = remote?.url.as_deref()?;
    let why = match url::Url::parse(text) {
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => return None,
        Ok(_) => "it names no host".to_owned(),
        Err(e) => e.to_string(),
    };
    Some(format!(
        "spec.{side}.remote.url: \"{text}\" is no address ({why}): write one as in https://chroma.example.com"
    ))
}

/// Chroma's rule for names of collections.
fn is_collection_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (3..=512).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && edge(name.chars().next())
        && edge(name.chars().last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// The server's address in one form, whatever way it is written.
fn address(remote: &Remote) -> String {
    let Some(ServiceRef { name, namespace, port }) = &remote.service else {
        let text = remote.url.as_deref().unwrap_or_default();
        return url::Url::parse(text)
            .map_or_else(|_| text.to_owned(), |url| url.as_str().trim_end_matches('/').to_owned());
    };
    format!("{name}/{}/{port}", namespace.as_deref().unwrap_or_default())
}
