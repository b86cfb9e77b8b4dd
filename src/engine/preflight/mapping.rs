//! What to paste where the target does not take collections as they are: other names, or all the others. Pure.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use crate::chroma::{Capabilities, rules};
use crate::engine::select::{Selected, Selection, Written};

/// Collections that the mapping names, each. Of more it names those that need another name, and keeps the entries asked with.
const NAMED: usize = 100;

/// All that a run was asked to move, also what cannot be read: a mapping without it would leave it out unseen.
pub(super) struct Asked<'a> {
    pub(super) all: &'a [Selected],
    pub(super) selection: &'a Selection,
}

/// What to paste so that each collection goes to a name of its own that the target takes: all others keep theirs, and none is
/// left out.
pub(super) fn remedy(asked: &Asked<'_>, capabilities: &Capabilities) -> String {
    let moves = moves(asked.all, capabilities);
    let is_short = moves.len() <= NAMED;
    let renamed = |source: &str| moves.iter().any(|(name, _, is_renamed)| *is_renamed && *name == source);
    let listed = moves.iter().filter(|(_, _, is_renamed)| is_short || *is_renamed);
    let mut entries: Vec<Written> = listed.map(|(source, target, _)| Written::named(source, target)).collect();
    if !is_short {
        entries
            .extend(asked.selection.written().into_iter().filter(|entry| entry.is_pattern || !renamed(&entry.source)));
    }
    format!("choose other target names; these do, and the others keep theirs: {}", pasted(&entries))
}

/// Collections that a run refuses, by database and name.
pub(super) type Refused = HashSet<(String, String)>;

/// What to do about refused collections: `change`, or what to paste so that all others are moved.
pub(super) fn or_others(change: &str, asked: &Asked<'_>, refused: &Refused) -> String {
    without(asked, refused)
        .map_or_else(|| change.to_owned(), |others| format!("{change}, or move all others: {others}"))
}

/// What to paste so that all is moved but these collections; None where nothing would be left. Entries are for all databases alike: the
/// text says so where a name is sound in another one.
fn without(asked: &Asked<'_>, refused: &Refused) -> Option<String> {
    let names: HashSet<&str> = refused.iter().map(|(_, name)| name.as_str()).collect();
    let is_left = |one: &&Selected| !names.contains(one.source.name.as_str());
    if !asked.all.iter().any(|one| is_left(&one)) {
        return None;
    }
    let is_refused = |one: &Selected| refused.contains(&(one.source.database.clone(), one.source.name.clone()));
    let twin = asked.all.iter().find(|one| !is_left(one) && !is_refused(one));
    let also = twin.map(|one| {
        format!(
            ". This leaves out collections of the same name in other databases, too, as {}: move each by a run of its own",
            one.source_words()
        )
    });
    Some(all_but(asked, &names) + &also.unwrap_or_default())
}

/// What to paste so that collections of these names are left out.
fn all_but(asked: &Asked<'_>, names: &HashSet<&str>) -> String {
    let is_left = |one: &&Selected| !names.contains(one.source.name.as_str());
    let mut excluded: Vec<&str> = names.iter().copied().collect();
    excluded.sort_unstable();
    if excluded.iter().any(|name| name.contains('*')) {
        // such a name is a pattern of others, too
        let mut known = HashSet::new();
        let left = asked.all.iter().filter(is_left).map(|one| (one.source.name.as_str(), one.target_name.as_str()));
        let left = left.filter(|names| known.insert(*names));
        return pasted(&left.map(|(source, target)| Written::named(source, target)).collect::<Vec<_>>());
    }
    let mut entries = asked.selection.written();
    entries.retain(|entry| !names.contains(entry.source.as_str()));
    for entry in entries.iter_mut().filter(|entry| entry.is_pattern) {
        entry.exclude.extend(excluded.iter().map(|name| (*name).to_owned()));
    }
    pasted(&entries)
}

fn pasted(entries: &[Written]) -> String {
    let items: Vec<String> = entries.iter().map(|entry| item(entry).to_string()).collect();
    let manifest = format!("in the manifest collections: [{}]", items.join(", "));
    flags(entries).map_or_else(|| manifest.clone(), |flags| format!("{flags}, or {manifest}"))
}

/// Each collection with its name in the target, and whether that is another one than was asked for.
fn moves<'a>(all: &'a [Selected], capabilities: &Capabilities) -> Vec<(&'a str, String, bool)> {
    // an entry is for all databases alike
    let mut known = HashSet::new();
    let names = all.iter().map(|one| (one.source.name.as_str(), one.target_name.as_str()));
    let all: Vec<(&str, &str)> = names.filter(|names| known.insert(*names)).collect();
    let mut used: HashSet<String> = HashSet::new();
    let mut keeps = vec![false; all.len()];
    for (at, (_, name)) in all.iter().enumerate() {
        keeps[at] = rules::name_problem(name, capabilities).is_none() && used.insert((*name).to_owned());
    }
    let mut target = |name: &str, keeps| if keeps { name.to_owned() } else { fresh(name, capabilities, &mut used) };
    all.into_iter().zip(keeps).map(|((source, name), keeps)| (source, target(name, keeps), !keeps)).collect()
}

/// An entry of a manifest.
fn item(entry: &Written) -> Json {
    let Written { source, is_pattern, target, exclude } = entry;
    let mut item = json!({ if *is_pattern { "match" } else { "name" }: source });
    if let Some(target) = target {
        item["targetName"] = json!(target);
    }
    if !exclude.is_empty() {
        item["exclude"] = json!(exclude);
    }
    item
}

/// The entries as flags; None where flags cannot say it: a name with a sign of theirs, or patterns that exclude differently.
fn flags(entries: &[Written]) -> Option<String> {
    let patterns: Vec<&Written> = entries.iter().filter(|entry| entry.is_pattern).collect();
    let exclude = patterns.first().map(|entry| entry.exclude.as_slice()).unwrap_or_default();
    let is_sayable = |entry: &Written| !entry.source.contains('=') && (entry.is_pattern == entry.source.contains('*'));
    if !entries.iter().all(is_sayable) || patterns.iter().any(|entry| entry.exclude != exclude) {
        return None;
    }
    let flag = |Written { source, target, .. }: &Written| {
        let word = target.as_ref().map_or_else(|| source.clone(), |target| format!("{source}={target}"));
        format!("--collection {}", quoted(&word))
    };
    let excluded = exclude.iter().map(|pattern| format!("--exclude {}", quoted(pattern)));
    Some(entries.iter().map(flag).chain(excluded).collect::<Vec<_>>().join(" "))
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
    use crate::engine::select::Entry;
    use crate::model::{Collection, Distance, Metadata};

    fn of(all: &[Selected], selection: &Selection) -> String {
        remedy(&Asked { all, selection }, &Capabilities::newest())
    }

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
        let text = of(&selected, &Selection::default());
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
        let text = of(&selected, &Selection::default());
        assert!(text.contains("--collection one --collection two=one-2"), "{text}");
    }

    /// Beyond a hundred the text named the first ones, and "more": who pasted it moved only those, and read `Verified`.
    #[test]
    fn the_mapping_of_many_leaves_none_out() {
        let all: Vec<String> = (0..150).map(|n| format!("user-{n}")).chain(["user-a b".to_owned()]).collect();
        let selected: Vec<_> = all.iter().map(|name| collection(name)).collect();
        let glob = |exclude: &[&str]| {
            let exclude: Vec<String> = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
            Entry::matching("user-*", None, &exclude).unwrap()
        };
        let named = |name| Entry::named(name, None).unwrap();
        for (entries, expected, item) in [
            (vec![], "--collection '*'", r#"{"match":"*"}"#),
            (
                vec![named("user-a b"), glob(&["*-tmp"]), named("user-1")],
                "--collection 'user-*' --collection user-1 --exclude '*-tmp'",
                r#"{"match":"user-*","exclude":["*-tmp"]}, {"name":"user-1"}"#,
            ),
            (vec![glob(&["*-tmp"]), glob(&[])], "", r#"{"match":"user-*","exclude":["*-tmp"]}, {"match":"user-*"}"#),
        ] {
            let text = of(&selected, &Selection::new(&[], entries).unwrap());
            let flags = format!("--collection 'user-a b=user-a-b' {expected}");
            assert_eq!(text.contains(&flags), !expected.is_empty(), "{text}");
            assert!(text.contains(&format!(r#"[{{"name":"user-a b","targetName":"user-a-b"}}, {item}]"#)), "{text}");
        }
    }

    #[test]
    fn all_but_some_are_named_as_they_were_asked_for() {
        let selected = ["good", "it's", "user-1", "user-2"].map(collection);
        let of = |entries, names: &[&str]| {
            let selection = Selection::new(&[], entries).unwrap();
            let refused = names.iter().map(|name| ("d".to_owned(), (*name).to_owned())).collect();
            without(&Asked { all: &selected, selection: &selection }, &refused)
        };
        let glob = |pattern, exclude: &[&str]| {
            let exclude: Vec<String> = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
            Entry::matching(pattern, None, &exclude).unwrap()
        };
        let named = |name| Entry::named(name, None).unwrap();
        for (entries, names, expected) in [
            (
                vec![],
                vec!["user-2", "it's"],
                r#"--collection '*' --exclude 'it'\''s' --exclude user-2, or in the manifest collections: [{"match":"*","exclude":["it's","user-2"]}]"#,
            ),
            (
                vec![named("good"), glob("user-*", &["*-tmp"]), named("it's")],
                vec!["it's", "user-1"],
                "--collection good --collection 'user-*' --exclude '*-tmp' --exclude 'it'\\''s' --exclude user-1, or",
            ),
            (vec![glob("user-1", &[]), named("good")], vec!["user-1"], "--collection good, or"),
            (
                vec![],
                vec!["a*"],
                r"--collection good --collection 'it'\''s' --collection user-1 --collection user-2, or",
            ),
        ] {
            let text = of(entries, &names).unwrap();
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert_eq!(of(vec![], &["good", "it's", "user-1", "user-2"]), None);
    }

    #[test]
    fn a_sound_collection_of_a_refused_name_in_another_database_is_told() {
        let in_database = |name: &str, database: &str| {
            let mut one = collection(name);
            one.source.database = database.into();
            one.target_database = Some(database.into());
            one
        };
        let all = [in_database("notes", "a"), in_database("notes", "b"), in_database("other", "b")];
        let selection = Selection::default();
        let asked = Asked { all: &all, selection: &selection };
        let refused = |all: &[&str]| -> Refused { all.iter().map(|d| ((*d).to_owned(), "notes".to_owned())).collect() };
        let text = without(&asked, &refused(&["a"])).unwrap();
        assert!(
            text.contains("--exclude notes") && text.contains("too, as \"notes\" of database \"b\": move"),
            "{text}"
        );
        let text = or_others("change it", &asked, &refused(&["a", "b"]));
        assert!(text.starts_with("change it, or move all others: --collection '*' --exclude notes"), "{text}");
        assert!(!text.contains("too, as"), "{text}");
    }

    #[test]
    fn a_name_that_no_flag_can_say_stands_in_the_manifest() {
        let text = of(&["a=b", "c*"].map(collection), &Selection::default());
        assert!(!text.contains("--collection"), "{text}");
        assert!(text.contains(r#"[{"name":"a=b","targetName":"a-b"}, {"name":"c*","targetName":"c-2"}]"#), "{text}");
    }
}
