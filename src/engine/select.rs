//! Which collections a run moves, and the name of each in the target. Pure: it is resolved once, in preflight, over what the
//! source has listed by then.

use std::collections::BTreeSet;

use crate::model::{Collection, Glob};

/// What is asked for: databases, and collections in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    databases: Vec<Glob>,
    entries: Vec<Entry>,
}

/// One entry of a list of collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    source: Source,
    /// The name in the target; None: the source's. A star in it stands for what the source's only star took.
    target: Option<Glob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Named(String),
    Matching { glob: Glob, exclude: Vec<Glob> },
}

impl Entry {
    /// One collection by its name; `target_name` is its name in the target where that is another.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn named(name: &str, target_name: Option<&str>) -> Result<Self, String> {
        if name.is_empty() {
            return Err("write the collection's name".to_owned());
        }
        if let Some(target) = target_name.filter(|target| target.contains('*')) {
            return Err(format!("a * in targetName {target:?} needs `match` with one *, not `name`"));
        }
        Ok(Self { source: Source::Named(name.to_owned()), target: target_name.map(Glob::exactly) })
    }

    /// The collections that a pattern matches and none of `exclude` does. A star in `target_name` stands for what the
    /// pattern's only star took; without `target_name` each keeps its name.
    ///
    /// # Errors
    /// A sentence that says what to write instead: a star in `target_name` is clear only if `pattern` has exactly one, and
    /// `exclude` must leave something.
    pub fn matching(pattern: &str, target_name: Option<&str>, exclude: &[String]) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("match is empty: write a pattern, as user-memory-*".to_owned());
        }
        let glob = Glob::new(pattern);
        let target = target_name.map(Glob::new);
        match target.as_ref().map(Glob::stars) {
            None | Some(0) => {}
            Some(1) if glob.stars() == 1 => {}
            Some(1) => {
                return Err(format!(
                    "match {pattern:?} has {} stars, so it is not clear which one the * of targetName {:?} stands for: write \
                     match with exactly one *",
                    glob.stars(),
                    target_name.unwrap_or_default()
                ));
            }
            Some(_) => {
                return Err(format!(
                    "targetName {:?} has several stars: write at most one",
                    target_name.unwrap_or_default()
                ));
            }
        }
        let exclude: Vec<Glob> = exclude.iter().map(|pattern| Glob::new(pattern)).collect();
        // only a star matches a star: what matches the pattern as text matches all that the pattern does
        if let Some(all) = exclude.iter().find(|one| one.matches(pattern)) {
            return Err(format!("exclude {:?} leaves nothing of {pattern:?}: remove one of them", all.to_string()));
        }
        Ok(Self { source: Source::Matching { glob, exclude }, target })
    }

    /// The name in the target of a collection that this entry matches.
    fn target_of(&self, name: &str) -> Option<String> {
        let glob = match &self.source {
            Source::Named(own) => {
                return (own == name).then(|| self.target.as_ref().map_or(name.to_owned(), Glob::to_string));
            }
            Source::Matching { glob, exclude } => {
                if !glob.matches(name) || exclude.iter().any(|pattern| pattern.matches(name)) {
                    return None;
                }
                glob
            }
        };
        let Some(target) = &self.target else { return Some(name.to_owned()) };
        Some(match glob.taken(name).filter(|_| target.stars() == 1) {
            Some(taken) => target.to_string().replacen('*', taken, 1),
            None => target.to_string(),
        })
    }

    /// How it is written.
    fn written(&self) -> Written {
        let target = self.target.as_ref().map(Glob::to_string);
        match &self.source {
            Source::Named(name) => Written { source: name.clone(), is_pattern: false, target, exclude: Vec::new() },
            Source::Matching { glob, exclude } => {
                let exclude = exclude.iter().map(Glob::to_string).collect();
                Written { source: glob.to_string(), is_pattern: true, target, exclude }
            }
        }
    }

    /// What it matches, in a person's words.
    fn words(&self) -> String {
        match &self.source {
            Source::Named(name) => format!("{name:?}"),
            Source::Matching { glob, exclude } if exclude.is_empty() => format!("\"{glob}\""),
            Source::Matching { glob, exclude } => {
                let exclude: Vec<String> = exclude.iter().map(|one| format!("\"{one}\"")).collect();
                format!("\"{glob}\" without {}", exclude.join(", "))
            }
        }
    }
}

/// An entry as a person writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// A name or a pattern.
    pub source: String,
    /// Whether it is a pattern.
    pub is_pattern: bool,
    /// The name in the target; None: the source's.
    pub target: Option<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
}

impl Written {
    /// One collection by its name, and by that in the target.
    #[must_use]
    pub fn named(source: &str, target: &str) -> Self {
        let other = (target != source).then(|| target.to_owned());
        Self { source: source.to_owned(), is_pattern: false, target: other, exclude: Vec::new() }
    }
}

/// A collection of the source, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// As the source describes it.
    pub source: Collection,
    /// Its name in the target.
    pub target_name: String,
    /// Its database in the target; None: the only one that the target was opened for.
    pub target_database: Option<String>,
}

impl Selected {
    /// Whether this is its counterpart.
    #[must_use]
    pub fn is_target(&self, other: &Collection) -> bool {
        is_at(other, self.target_database.as_deref(), &self.target_name)
    }

    /// The source's name in a person's words.
    #[must_use]
    pub fn source_words(&self) -> String {
        words(self.target_database.as_deref(), &self.source.name)
    }

    /// Its counterpart's name in a person's words.
    #[must_use]
    pub fn target_words(&self) -> String {
        words(self.target_database.as_deref(), &self.target_name)
    }
}

/// Whether a collection of a target has this name, in this database unless the target was opened for only one.
#[must_use]
pub fn is_at(collection: &Collection, database: Option<&str>, name: &str) -> bool {
    collection.name == name && database.is_none_or(|database| collection.database == database)
}

/// A collection's name in a person's words, with its database where a run goes over several.
#[must_use]
pub fn words(database: Option<&str>, name: &str) -> String {
    database.map_or_else(|| format!("{name:?}"), |database| format!("{name:?} of database {database:?}"))
}

/// As [`words`], for a list of many.
#[must_use]
pub fn plain_words(database: Option<&str>, name: &str) -> String {
    database.map_or_else(|| shown(name), |database| format!("{} (database {})", shown(name), shown(database)))
}

/// A name as it is, or quoted where it would not be seen as such: empty, with a line break, with a space at an end.
#[must_use]
pub fn shown(name: &str) -> String {
    let quoted = format!("{name:?}");
    let is_plain = !name.is_empty() && name.trim() == name && quoted.get(1..quoted.len() - 1) == Some(name);
    if is_plain { name.to_owned() } else { quoted }
}

/// What a selection came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// In the order of the entries; those of one entry by database and name.
    pub selected: Vec<Selected>,
    /// Collections that are asked for by name and are in no database.
    pub missing: Vec<String>,
    /// Entries that no collection was left for, in a person's words.
    pub idle: Vec<String>,
}

/// Why no database is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDatabase {
    /// There are patterns, and the store cannot list its databases.
    CannotList,
    /// None matches.
    NothingMatches,
}

impl Selection {
    /// Of all collections that these entries match, the first one that does decides. No entries: every collection, under its
    /// own name. `databases` are names or patterns; none: the one database that each side was opened for.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn new(databases: &[String], entries: Vec<Entry>) -> Result<Self, String> {
        let mut named = BTreeSet::new();
        for entry in &entries {
            if let Source::Named(name) = &entry.source
                && !named.insert(name)
            {
                return Err(format!("collection {name:?} is listed twice: remove one entry"));
            }
        }
        if databases.iter().any(String::is_empty) {
            return Err("a database's name is empty: write a name or a pattern, as *".to_owned());
        }
        Ok(Self { databases: databases.iter().map(|pattern| Glob::new(pattern)).collect(), entries })
    }

    /// Whether it goes over databases by name, each to the one of its name in the target.
    #[must_use]
    pub const fn has_databases(&self) -> bool {
        !self.databases.is_empty()
    }

    /// Whether a database that is not named yet may belong to it.
    #[must_use]
    pub fn has_database_patterns(&self) -> bool {
        self.databases.iter().any(|glob| glob.stars() > 0)
    }

    /// What is asked for as databases, in a person's words.
    #[must_use]
    pub fn database_words(&self) -> String {
        self.databases.iter().map(|glob| format!("\"{glob}\"")).collect::<Vec<_>>().join(", ")
    }

    /// The databases, in order: those that match among `listed`, and those that are named, listed or not.
    ///
    /// # Errors
    /// [`NoDatabase`], where `listed` is None for a store that cannot list them.
    pub fn databases(&self, listed: Option<&[String]>) -> Result<Vec<String>, NoDatabase> {
        let mut found = BTreeSet::new();
        for glob in &self.databases {
            if glob.stars() == 0 {
                found.insert(glob.to_string());
                continue;
            }
            let listed = listed.ok_or(NoDatabase::CannotList)?;
            found.extend(listed.iter().filter(|name| glob.matches(name)).cloned());
        }
        if found.is_empty() { Err(NoDatabase::NothingMatches) } else { Ok(found.into_iter().collect()) }
    }

    /// The name in the target of a collection of the source; None for one that no entry matches.
    #[must_use]
    pub fn target_of(&self, name: &str) -> Option<String> {
        self.decide(name).map(|(_, target)| target)
    }

    /// The entry that decides on a collection, and its name in the target.
    fn decide(&self, name: &str) -> Option<(usize, String)> {
        if self.entries.is_empty() {
            return Some((0, name.to_owned()));
        }
        self.entries.iter().enumerate().find_map(|(n, entry)| Some((n, entry.target_of(name)?)))
    }

    /// Patterns that match every selected collection of the source, and perhaps others; None: all.
    #[must_use]
    pub fn source_names(&self) -> Option<Vec<Glob>> {
        let glob = |entry: &Entry| match &entry.source {
            Source::Named(name) => Glob::exactly(name),
            Source::Matching { glob, .. } => glob.clone(),
        };
        (!self.entries.is_empty()).then(|| self.entries.iter().map(glob).collect())
    }

    /// As [`Selection::source_names`], of the target.
    #[must_use]
    pub fn target_names(&self) -> Option<Vec<Glob>> {
        let own = self.source_names()?;
        Some(self.entries.iter().zip(own).map(|(entry, own)| entry.target.clone().unwrap_or(own)).collect())
    }

    /// Who of these collections is selected, and where each goes.
    #[must_use]
    pub fn resolve(&self, all: &[Collection]) -> Resolved {
        let mut found: Vec<(usize, Selected)> = Vec::new();
        for source in all {
            if let Some((entry, target_name)) = self.decide(&source.name) {
                let target_database = self.has_databases().then(|| source.database.clone());
                found.push((entry, Selected { source: source.clone(), target_name, target_database }));
            }
        }
        found.sort_by(|(a, x), (b, y)| {
            (a, &x.source.database, &x.source.name).cmp(&(b, &y.source.database, &y.source.name))
        });
        let used: BTreeSet<usize> = found.iter().map(|(entry, _)| *entry).collect();
        let is_there = |name: &String| all.iter().any(|c| c.name == *name);
        let (mut missing, mut idle) = (Vec::new(), Vec::new());
        for (n, entry) in self.entries.iter().enumerate().filter(|(n, _)| !used.contains(n)) {
            match &entry.source {
                Source::Named(name) if !is_there(name) => missing.push(name.clone()),
                _ => idle.push(format!("entry {} ({})", n + 1, entry.words())),
            }
        }
        Resolved { selected: found.into_iter().map(|(_, selected)| selected).collect(), missing, idle }
    }

    /// What of the databases that a run goes over no collection was left for, in a person's words.
    #[must_use]
    pub fn idle_databases(&self, databases: &[String], selected: &[Selected]) -> Vec<String> {
        let is_in = |database: &str, name: Option<&str>| {
            let mut of_it = selected.iter().filter(|one| one.source.database == database);
            of_it.any(|one| name.is_none_or(|name| one.source.name == name))
        };
        let unmatched = self.databases.iter().filter(|glob| !databases.iter().any(|name| glob.matches(name)));
        let mut idle: Vec<String> = unmatched.map(|glob| format!("database \"{glob}\"")).collect();
        for database in databases {
            if !is_in(database, None) {
                idle.push(format!("database {database:?}"));
                continue;
            }
            for entry in &self.entries {
                if let Source::Named(name) = &entry.source
                    && !is_in(database, Some(name))
                {
                    idle.push(words(Some(database), name));
                }
            }
        }
        idle
    }

    /// The entries as a person writes them: for all collections a pattern that matches each.
    #[must_use]
    pub fn written(&self) -> Vec<Written> {
        if self.entries.is_empty() {
            return vec![Written { source: "*".to_owned(), is_pattern: true, target: None, exclude: Vec::new() }];
        }
        self.entries.iter().map(Entry::written).collect()
    }

    /// What the entries match, in a person's words.
    #[must_use]
    pub fn entry_words(&self) -> String {
        self.entries.iter().map(Entry::words).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Distance;
    use crate::store::memory::collection;
    use proptest::prelude::*;

    fn in_database(database: &str, name: &str) -> Collection {
        Collection { database: database.to_owned(), ..collection("source", name, Distance::L2, 1) }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn over(names: &[&str], entries: Vec<Entry>) -> Resolved {
        let all: Vec<Collection> = names.iter().map(|name| in_database("d", name)).collect();
        Selection::new(&[], entries).unwrap().resolve(&all)
    }

    fn moves(resolved: &Resolved) -> Vec<String> {
        resolved.selected.iter().map(|s| format!("{}>{}", s.source.name, s.target_name)).collect()
    }

    /// Issue 22: `--exclude '*'` waited for a collection that could never come.
    #[test]
    fn an_exclude_that_leaves_nothing_is_refused() {
        for (pattern, exclude, is_good) in [
            ("*", "*", false),
            ("user-*", "**", false),
            ("user-*", "user-*", false),
            ("user-*-a", "user-*", false),
            ("user-*", "user-*-a", true),
            ("*", "?", true),
            ("a*b", "a", true),
        ] {
            let made = Entry::matching(pattern, None, &texts(&[exclude])).map(|_| ());
            assert_eq!(made.is_ok(), is_good, "{pattern} without {exclude}: {made:?}");
            assert!(is_good || made.unwrap_err().contains("leaves nothing of"));
        }
    }

    #[test]
    fn the_first_entry_that_matches_decides() {
        let glob = |pattern, target, exclude: &[&str]| Entry::matching(pattern, target, &texts(exclude)).unwrap();
        let name = |name, target| Entry::named(name, target).unwrap();
        let names = ["user-1", "user-2-tmp", "user-3", "other"];
        for (entries, expected) in [
            (vec![], "other>other user-1>user-1 user-2-tmp>user-2-tmp user-3>user-3"),
            (vec![glob("user-*", Some("prod-*"), &["*-tmp"])], "user-1>prod-1 user-3>prod-3"),
            (
                vec![name("user-1", Some("first")), glob("user-*", None, &[])],
                "user-1>first user-2-tmp>user-2-tmp user-3>user-3",
            ),
            (
                vec![glob("user-*", Some("x-*"), &[]), name("user-1", Some("first"))],
                "user-1>x-1 user-2-tmp>x-2-tmp user-3>x-3",
            ),
            (
                vec![glob("user-*", Some("a-*"), &["*-tmp"]), glob("*", Some("b-*"), &["other"])],
                "user-1>a-1 user-3>a-3 user-2-tmp>b-user-2-tmp",
            ),
            (vec![glob("*-3", Some("third"), &[])], "user-3>third"),
            (vec![glob("u*r-*", None, &["*-1", "*-3"])], "user-2-tmp>user-2-tmp"),
            (vec![glob("user-1", Some("one"), &[])], "user-1>one"),
            (vec![glob("user-*", Some("all"), &["user-2*"])], "user-1>all user-3>all"),
        ] {
            assert_eq!(moves(&over(&names, entries.clone())).join(" "), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for (entry, expected) in [
            (Entry::named("a", Some("b-*")), "needs `match`"),
            (Entry::named("", None), "collection's name"),
            (Entry::matching("", None, &[]), "write a pattern"),
            (Entry::matching("a-*-*", Some("b-*"), &[]), "has 2 stars"),
            (Entry::matching("a", Some("b-*"), &[]), "has 0 stars"),
            (Entry::matching("a-*", Some("b-*-*"), &[]), "at most one"),
        ] {
            let error = entry.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Entry::matching("a-*-*", Some("b"), &[]).is_ok() && Entry::matching("a-*-*", None, &[]).is_ok());
        let twice = vec![Entry::named("a", None).unwrap(), Entry::named("a", Some("b")).unwrap()];
        assert!(Selection::new(&[], twice).unwrap_err().contains("listed twice"));
        assert!(Selection::new(&texts(&[""]), Vec::new()).unwrap_err().contains("name is empty"));
    }

    #[test]
    fn a_name_that_is_nowhere_is_missing_and_an_entry_that_comes_too_late_is_idle() {
        let entries = vec![
            Entry::matching("a*", None, &[]).unwrap(),
            Entry::named("a1", Some("b")).unwrap(),
            Entry::named("c", None).unwrap(),
            Entry::matching("d*", None, &[]).unwrap(),
        ];
        let resolved = over(&["a1"], entries);
        assert_eq!(resolved.missing, ["c"]);
        assert_eq!(resolved.idle, ["entry 2 (\"a1\")", "entry 4 (\"d*\")"]);
    }

    #[test]
    fn each_database_goes_to_its_namesake_and_one_database_to_the_targets_own() {
        let all = [in_database("y", "a"), in_database("x", "a"), in_database("x", "b")];
        let entries = vec![Entry::named("a", Some("z")).unwrap()];
        let several = Selection::new(&texts(&["*"]), entries.clone()).unwrap().resolve(&all);
        let places: Vec<_> = several.selected.iter().map(|s| (s.target_database.as_deref(), &*s.target_name)).collect();
        assert_eq!(places, [(Some("x"), "z"), (Some("y"), "z")]);
        assert!(several.selected[0].is_target(&in_database("x", "z")));
        assert!(!several.selected[0].is_target(&in_database("y", "z")));
        let one = Selection::new(&[], entries).unwrap().resolve(&all[..1]);
        assert!(one.selected[0].target_database.is_none() && one.selected[0].is_target(&in_database("prod", "z")));
    }

    #[test]
    fn databases_are_names_or_patterns_of_what_is_listed() {
        let listed = texts(&["cust-a", "cust-b", "other"]);
        let of = |wanted: &[&str], listed: Option<&[String]>| {
            Selection::new(&texts(wanted), Vec::new()).unwrap().databases(listed)
        };
        assert_eq!(of(&["*"], Some(&listed)), Ok(listed.clone()));
        assert_eq!(of(&["cust-*", "cust-a"], Some(&listed)), Ok(texts(&["cust-a", "cust-b"])));
        // what is named is looked for, also where the list lacks it
        assert_eq!(of(&["new", "cust-b"], Some(&listed)), Ok(texts(&["cust-b", "new"])));
        assert_eq!(of(&["b", "a"], None), Ok(texts(&["a", "b"])));
        assert_eq!(of(&["a", "x*"], None), Err(NoDatabase::CannotList));
        assert_eq!(of(&["x*"], Some(&listed)), Err(NoDatabase::NothingMatches));
    }

    proptest! {
        /// Each collection goes where the first entry that matches it says, and nowhere else.
        #[test]
        fn nothing_is_selected_twice_or_forgotten(
            names in proptest::collection::btree_set("[ab]{1,4}", 0..12),
            patterns in proptest::collection::vec("[ab*]{1,3}", 1..4),
        ) {
            let all: Vec<Collection> = names.iter().map(|name| in_database("d", name)).collect();
            let entries = patterns.iter().map(|pattern| Entry::matching(pattern, None, &[]).unwrap()).collect();
            let selection = Selection::new(&[], entries).unwrap();
            let resolved = selection.resolve(&all);
            let mut got: Vec<&str> = resolved.selected.iter().map(|s| s.source.name.as_str()).collect();
            got.sort_unstable();
            let wanted: Vec<&str> = names.iter().map(String::as_str)
                .filter(|name| patterns.iter().any(|pattern| Glob::new(pattern).matches(name))).collect();
            prop_assert_eq!(&got, &wanted);
            let probed = selection.source_names().unwrap();
            prop_assert!(got.iter().all(|name| probed.iter().any(|glob| glob.matches(name))));
        }

        /// A server is asked about every collection that one may go to.
        #[test]
        fn target_names_hold_every_target(name in "[ab]{1,4}", pattern in "[ab]{0,2}[*]", target in "[xy]{0,2}[*][xy]{0,2}") {
            let selection = Selection::new(&[], vec![Entry::matching(&pattern, Some(&target), &[]).unwrap()]).unwrap();
            if let Some(target) = selection.target_of(&name) {
                prop_assert!(selection.target_names().unwrap().iter().any(|glob| glob.matches(&target)));
            }
        }
    }
}
