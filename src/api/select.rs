//! Which collections: one entry of `spec.collections`, its docs and its rules. What an entry matches is decided by the
//! engine.

#![expect(unreachable_pub, reason = "the schema derive copies each struct into a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

const TARGET_NAME: &str = "self.contains('*') \
    ? self.matches('^[a-zA-Z0-9._-]*[*][a-zA-Z0-9._-]*$') && !self.contains('..') \
    : self.matches('^[a-zA-Z0-9][a-zA-Z0-9._-]{1,510}[a-zA-Z0-9]$') && !self.contains('..')";

/// Some collections of the source: one by its `name`, or all that `match`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.name) != has(self.match)").message("write exactly one of name (one collection) and match (all that a pattern matches)"))]
#[x_kube(validation = Rule::new("!has(self.exclude) || has(self.match)").message("exclude is for match: remove exclude, or write match instead of name"))]
#[x_kube(validation = Rule::new("!has(self.targetName) || !self.targetName.contains('*') || (has(self.match) && self.match.contains('*'))").message("the * of targetName stands for what the * of match matched: write match with a *, or a targetName without"))]
pub struct Selected {
    /// One collection, by its name in the source. Write exactly one of name and match. Example: `memory_collection`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub name: Option<String>,
    /// All collections whose names match this pattern; `*` is any text. Write exactly one of name and match. Example:
    /// `user-memory-*`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub pattern: Option<String>,
    /// The name in the target. A `*` in it stands for the text that the `*` of `match` matched. Default: the same name.
    /// Example: `mcp_imported_memories`, `prod-memory-*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(TARGET_NAME).message("write a collection name that Chroma takes: 3 to 512 of letters, digits, '.', '_' and '-', beginning and ending with a letter or digit, without '..'; with match, one * in it"))]
    #[schemars(length(min = 1, max = 512))]
    pub target_name: Option<String>,
    /// Patterns of collections that `match` leaves out. Default: none. Example: `["*-tmp"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    pub exclude: Vec<String>,
}

impl Selected {
    /// One collection, under the same name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// One collection, under another name.
    #[must_use]
    pub fn renamed(name: &str, target_name: &str) -> Self {
        Self { target_name: Some(target_name.to_owned()), ..Self::named(name) }
    }

    /// Whether what it selects has the same name in the target.
    #[must_use]
    pub fn keeps_its_name(&self) -> bool {
        let Self { name, pattern, target_name, exclude: _ } = self;
        target_name.as_ref().is_none_or(|target| Some(target) == name.as_ref().or(pattern.as_ref()))
    }
}
