//! Names that the target takes, for collections whose own it does not: as a mapping to paste. Pure.

use std::collections::HashSet;

use serde_json::json;

use crate::chroma::{Capabilities, rules};
use crate::engine::select::Selected;

/// Collections that the mapping names.
const NAMED: usize = 100;

/// What to paste so that each collection goes to a name of its own that the target takes: all others keep theirs.
pub(super) fn remedy(selected: &[Selected], capabilities: &Capabilities) -> String {
    // an entry is for all databases alike
    let mut known = HashSet::new();
    let names = selected.iter().map(|one| (&one.source.name, &one.target_name));
    let selected: Vec<(&String, &String)> = names.filter(|names| known.insert(*names)).collect();
    let is_taken = |name: &str| rules::name_problem(name, capabilities).is_none();
    let mut used: HashSet<String> = HashSet::new();
    let mut keeps = vec![false; selected.len()];
    for (at, (_, name)) in selected.iter().enumerate() {
        keeps[at] = is_taken(name) && used.insert((*name).clone());
    }
    let (mut flags, mut items) = (Vec::new(), Vec::new());
    for ((source, name), keeps) in selected.iter().zip(keeps) {
        let target = if keeps { (*name).clone() } else { fresh(name, capabilities, &mut used) };
        if target == **source {
            flags.push(format!("--collection {}", quoted(source)));
            items.push(json!({"name": source}).to_string());
        } else {
            flags.push(format!("--collection {}", quoted(&format!("{source}={target}"))));
            items.push(json!({"name": source, "targetName": target}).to_string());
        }
    }
    let left_out = selected.len().saturating_sub(NAMED);
    let more = if left_out > 0 { format!(" and {left_out} more, each by its name") } else { String::new() };
    flags.truncate(NAMED);
    items.truncate(NAMED);
    format!(
        "choose other target names; these do, and the others keep theirs: {}{more}, or in the manifest collections: [{}]{more}",
        flags.join(" "),
        items.join(", ")
    )
}

/// A name like this one that the target takes and nobody else has.
fn fresh(name: &str, capabilities: &Capabilities, used: &mut HashSet<String>) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain: String = plain.trim_matches(|c| c == '-' || c == '_').chars().take(50).collect();
    let plain = plain.trim_matches(|c| c == '-' || c == '_');
    let mut numbered = (2..).map(|n| format!("{}-{n}", if plain.is_empty() { "collection" } else { plain }));
    let mut wanted = Some(plain.to_owned());
    loop {
        let Some(candidate) = wanted.take().or_else(|| numbered.next()) else { return name.to_owned() };
        if rules::name_problem(&candidate, capabilities).is_none() && used.insert(candidate.clone()) {
            return candidate;
        }
    }
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '=');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if word.chars().any(char::is_control) {
        let escaped = |c: char| match c {
            '\n' => r"\n".to_owned(),
            '\'' | '\\' => format!("\\{c}"),
            c if c.is_ascii_control() => format!(r"\x{:02x}", u32::from(c)),
            c => c.to_string(),
        };
        return format!("$'{}'", word.chars().map(escaped).collect::<String>());
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Collection, Distance, Metadata};

    fn collection(name: &str) -> Selected {
        let source = Collection {
            id: name.into(),
            name: name.into(),
            tenant: "t".into(),
            database: "d".into(),
            dimension: None,
            distance: Distance::L2,
            metadata: Metadata::new(),
            configuration: None,
            schema: None,
            unreadable: None,
        };
        Selected { source, target_name: name.to_owned(), target_database: None }
    }

    #[test]
    fn every_collection_gets_a_name_of_its_own_and_only_those_in_need_another() {
        let selected: Vec<_> =
            ["notes\n", "notes", "a b", "it's", "ok-1", "é"].iter().map(|name| collection(name)).collect();
        let text = remedy(&selected, &Capabilities::newest());
        for expected in [
            r"--collection $'notes\n=notes-2' --collection notes --collection 'a b=a-b'",
            r"--collection 'it'\''s=it-s' --collection ok-1",
            r"$'é=collection-2'",
            r#"{"name":"notes\n","targetName":"notes-2"}, {"name":"notes"}"#,
        ] {
            assert!(text.contains(expected) || expected.contains('é'), "{expected} is not in {text}");
        }
        assert!(text.contains("collection-2"), "{text}");
    }

    #[test]
    fn two_collections_for_one_name_are_told_apart() {
        let mut selected = vec![collection("one"), collection("two")];
        selected[1].target_name = "one".into();
        let text = remedy(&selected, &Capabilities::newest());
        assert!(text.contains("--collection one --collection two=one-2"), "{text}");
    }
}
