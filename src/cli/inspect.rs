//! `inspect`: one endpoint to what it holds. Read only; says what is damaged instead of failing where it can.

use std::collections::HashMap;
use std::io;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::config::{self, Side};
use super::flags::{CREDENTIALS_OF_ONE, Databases, Kind};
use super::output;
use crate::endpoint::Endpoint;
use crate::engine::Selection;
use crate::engine::halt::{Halt, exit_of};
use crate::engine::select::{plain_words, shown};
use crate::exit::Exit;
use crate::model::distance::embedding_function;
use crate::model::{Collection, Error, Fetched};
use crate::scratch::{self, SortedIds};
use crate::store::{Budget, Reader, Remarks};

/// Ids in one read.
const WINDOW: usize = 1000;
/// What one window holds, and one record beyond it.
const BUDGET: Budget = Budget { bytes: 8 << 20, first: true, most: usize::MAX };

/// Collections that may fail one after the other before any was read: then it is the store.
const FAILED: usize = 3;

/// What `--database` means where there is no target.
const DATABASE: &str =
    "A database of the tenant, or a pattern with *. Repeatable. Default: the database of the configuration";

/// Show what a store or server holds
#[derive(Debug, clap::Args)]
#[command(after_help = CREDENTIALS_OF_ONE)]
#[command(mut_arg("names", |database| database.help(DATABASE)))]
pub(super) struct Args {
    /// A store's folder, a server's URL, or the JSON configuration of one (see memory-migration migrate --help)
    #[arg(value_name = "PATH_OR_JSON")]
    store: String,
    /// Kind of the store. Default: as its configuration says
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    #[command(flatten)]
    databases: Databases,
    /// Read every record, and list those that cannot be read
    #[arg(long)]
    records: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    store: String,
    version: String,
    collections: Vec<FoundCollection>,
    /// Databases that were not looked at, where none was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_databases: Vec<String>,
    /// Why the rest was not looked at.
    #[serde(skip)]
    stopped: Option<Error>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundCollection {
    database: String,
    name: String,
    id: String,
    /// None: they could not be counted.
    records: Option<u64>,
    dimension: Option<u32>,
    distance: &'static str,
    embedding_function: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Unreadable {
    id: String,
    why: String,
}

/// Runs it.
pub(super) async fn run(args: Args) -> Exit {
    crate::telemetry::init(false, true);
    let (endpoint, selection) = match config::endpoint(Side::Source, args.kind, &args.store, &args.databases)
        .and_then(|endpoint| Ok((endpoint, Selection::new(&args.databases.names, Vec::new())?)))
    {
        Ok(both) => both,
        Err(message) => {
            output::error(&message);
            return Exit::Usage;
        }
    };
    let is_asked = !args.databases.names.is_empty();
    match look(endpoint, &selection, args.records, is_asked).await {
        Ok(found) => tell(found, args.json),
        Err(error) => failed(error),
    }
}

fn failed(error: Error) -> Exit {
    output::error(&error.to_string());
    exit_of(Halt::Source(error).reason(false))
}

async fn look(endpoint: Endpoint, selection: &Selection, records: bool, is_asked: bool) -> Result<Found, Error> {
    let shown = match &endpoint {
        Endpoint::Local(folder) => folder.database.clone(),
        Endpoint::Remote(server) => server.database.clone(),
    };
    let (store, _) = endpoint.open_selected(selection).await?;
    let mut found = Found { store: store.name(), version: store.version(), ..Found::default() };
    let all = store.collections().await?;
    if !is_asked {
        // whoever may not list them sees what was asked for
        let others = store.databases().await.ok().flatten().unwrap_or_default();
        found.other_databases = others.into_iter().filter(|other| *other != shown).collect();
    }
    let (mut read, mut failing) = (Vec::new(), Vec::new());
    for (at, collection) in all.iter().enumerate() {
        let mut row = described(collection);
        if collection.unreadable.is_none() && found.stopped.is_none() {
            match filled(&*store, collection, records, &mut row).await {
                Ok(()) => read.push(collection),
                // of this collection alone
                Err(error @ Error::Damaged { .. }) => row.damage.push(error.to_string()),
                Err(error) => {
                    let goes_on = !read.is_empty() || failing.len() + 1 < FAILED;
                    if goes_on && answers(&*store, &read, &all, collection).await {
                        failing.push((at, error));
                    } else {
                        found.stopped = Some(error);
                    }
                }
            }
        }
        found.collections.push(row);
    }
    if read.is_empty() {
        // it answers for none: that is no damage of each
        found.stopped = failing.into_iter().next().map(|(_, error)| error).or(found.stopped);
    } else {
        for (at, error) in failing {
            found.collections[at].damage.push(format!("it cannot be read: {error}"));
        }
    }
    Ok(found)
}

/// Whether the store answers for another collection, now that it failed on this one.
async fn answers(store: &dyn Reader, read: &[&Collection], all: &[Collection], failed: &Collection) -> bool {
    let others = all.iter().filter(|one| one.id != failed.id && one.unreadable.is_none());
    for other in read.last().copied().into_iter().chain(others).take(FAILED) {
        match store.count(other).await {
            Ok(_) => return true,
            // each further one would be waited for as long
            Err(Error::Unavailable { .. }) => return false,
            Err(_) => {}
        }
    }
    false
}

fn described(collection: &Collection) -> FoundCollection {
    let function = embedding_function(collection.schema.as_ref(), collection.configuration.as_ref());
    FoundCollection {
        database: collection.database.clone(),
        name: collection.name.clone(),
        id: collection.id.clone(),
        dimension: collection.dimension,
        distance: collection.distance_word(),
        embedding_function: function.map(|f| f.name),
        damage: collection.unreadable.iter().map(|why| format!("nothing of it can be read: it {why}")).collect(),
        ..FoundCollection::default()
    }
}

/// Counts, lists, and with `records` reads the collection; then the store says what does not add up.
async fn filled(
    store: &dyn Reader,
    collection: &Collection,
    records: bool,
    row: &mut FoundCollection,
) -> Result<(), Error> {
    // the listing first: what has no id is left out of the count, and said
    let (ids, count) = store.listing(collection).await?;
    row.records = Some(count);
    if records {
        unreadable(store, collection, &ids, &mut row.unreadable).await?;
    }
    let told = store.remarks(collection).await?.of_source();
    let Remarks { damage, notes, amended: _, short, counted: _, refusal, unread, partial: _ } = told;
    row.damage.extend(damage.into_iter().chain(short).chain(refusal).chain(unread));
    row.notes.extend(notes);
    Ok(())
}

async fn unreadable(
    store: &dyn Reader,
    collection: &Collection,
    ids: &SortedIds,
    found: &mut Vec<Unreadable>,
) -> Result<(), Error> {
    let mut from = 0;
    while from < ids.len() {
        let window = (from..ids.len().min(from + WINDOW)).map(|n| ids.get(n)).collect::<io::Result<Vec<_>>>();
        let window = window.map_err(scratch::failed)?;
        let (answers, count) = store.fetch_within(collection, &window, BUDGET).await?;
        for fetched in answers {
            if let Fetched::Unreadable { id, why } = fetched {
                found.push(Unreadable { id, why });
            }
        }
        from += count.max(1);
    }
    Ok(())
}

/// Damage is an answer, and a script must see it: exit 5, as for a verification.
fn tell(found: Found, json: bool) -> Exit {
    if json {
        output::json(&serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        output::line(&output::in_line(&format!("{}: {}", found.store, found.version)));
        output::line(&table(&found).to_string());
        let of_several = of_several(&found);
        for (text, names) in &of_several {
            output::line(&output::in_line(&format!("  {names}: {text}")));
        }
        for collection in &found.collections {
            let name = named(&found, collection);
            for text in collection.damage.iter().filter(|text| !of_several.iter().any(|(told, _)| told == *text)) {
                output::line(&output::in_line(&format!("  {name}: {text}")));
            }
            for Unreadable { id, why } in &collection.unreadable {
                output::line(&output::in_line(&format!("  {name}: {id:?} cannot be read: {why}")));
            }
            for text in &collection.notes {
                output::line(&output::in_line(&format!("  {name} (a note, no damage): {text}")));
            }
        }
    }
    if !json && !found.other_databases.is_empty() {
        let names: Vec<String> = found.other_databases.iter().map(|name| format!("{name:?}")).collect();
        let (count, names) = (names.len(), output::names(&names, 0));
        let databases = if count == 1 { "database was" } else { "databases were" };
        output::line(&output::in_line(&format!(
            "  {count} other {databases} not looked at: {names}. Add --database '*'"
        )));
    }
    let is_sound = found.collections.iter().all(|c| c.unreadable.is_empty() && c.damage.is_empty());
    let stopped = found.stopped.map(failed);
    if is_sound { stopped.unwrap_or(Exit::Success) } else { Exit::Different }
}

fn named(found: &Found, collection: &FoundCollection) -> String {
    plain_words(several(found).then_some(&*collection.database), &collection.name)
}

/// The damage that several collections have, each sentence once, with their names.
fn of_several(found: &Found) -> Vec<(String, String)> {
    let mut all: Vec<(&String, Vec<&FoundCollection>)> = Vec::new();
    let mut places: HashMap<&String, usize> = HashMap::new();
    for collection in &found.collections {
        for text in &collection.damage {
            let place = *places.entry(text).or_insert(all.len());
            match all.get_mut(place) {
                Some((_, of)) => of.push(collection),
                None => all.push((text, vec![collection])),
            }
        }
    }
    let one = |(text, of): (&String, Vec<&FoundCollection>)| {
        let of: Vec<String> = of.iter().map(|collection| named(found, collection)).collect();
        (text.clone(), output::names(&of, found.collections.len()))
    };
    all.into_iter().filter(|(_, of)| of.len() > 1).map(one).collect()
}

/// What is wrong with a collection, in as many words as a row of a table has room for.
fn state(collection: &FoundCollection) -> String {
    match (collection.records, collection.unreadable.len(), collection.damage.is_empty()) {
        (None, _, false) => "unreadable".to_owned(),
        (None, _, true) => "not read".to_owned(),
        (_, 0, true) => "ok".to_owned(),
        (_, 0, false) => "damaged".to_owned(),
        (_, lost, _) => format!("damaged, {lost} unreadable"),
    }
}

fn several(found: &Found) -> bool {
    found.collections.windows(2).any(|pair| pair[0].database != pair[1].database)
}

fn table(found: &Found) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let several = several(found);
    table.set_header(["COLLECTION", "RECORDS", "DIM", "DISTANCE", "EMBEDDING FUNCTION", "STATE", "ID"]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for c in &found.collections {
        table.add_row([
            plain_words(several.then_some(&*c.database), &c.name),
            or_dash(c.records.map(|n| n.to_string())),
            or_dash(c.dimension.map(|d| d.to_string())),
            c.distance.to_owned(),
            or_dash(c.embedding_function.as_deref().map(shown)),
            state(c),
            shown(&c.id),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Distance, Metadata, Record};
    use crate::store::memory::MemoryStore;

    /// A fault of the whole database was printed once for each collection.
    #[test]
    fn what_is_true_of_several_collections_is_said_once() {
        let one = |name: &str, damage: &[&str]| FoundCollection {
            name: name.to_owned(),
            damage: damage.iter().map(|what| (*what).to_owned()).collect(),
            ..FoundCollection::default()
        };
        let found = |collections| Found { collections, ..Found::default() };
        let told = |found: &Found| {
            let told = of_several(found).into_iter().map(|(text, names)| format!("{names}: {text}"));
            told.collect::<Vec<_>>()
        };
        let all = found(vec![one("a", &["torn", "short"]), one("b", &["own", "torn"]), one("c", &["torn", "short"])]);
        assert_eq!(told(&all), ["every collection: torn", "a, c: short"]);
        assert_eq!(told(&found(vec![one("a", &["torn"])])), Vec::<String>::new());
        let many = found((0..9).map(|n| one(&n.to_string(), if n < 8 { &["torn"] } else { &[] })).collect());
        assert_eq!(told(&many), ["0, 1, 2, 3, 4 and 3 more: torn"]);
    }

    /// Report 16: it read 600 records at once, whatever their size.
    #[tokio::test]
    async fn records_are_looked_at_within_a_budget() {
        let record = |n: usize| Record {
            id: format!("{n:03}"),
            embedding: vec![1.0],
            document: Some(format!("{n:04}").repeat(1 << 18)),
            uri: None,
            metadata: Metadata::new(),
        };
        let store = MemoryStore::new("store").with("memories", Distance::L2, (0..24).map(record));
        store.state().unreadable = vec!["000".into(), "017".into()];
        let collection = store.collections().await.unwrap().remove(0);
        let mut row = described(&collection);
        filled(&store, &collection, true, &mut row).await.unwrap();
        let mut lost: Vec<&str> = row.unreadable.iter().map(|one| one.id.as_str()).collect();
        lost.sort_unstable();
        assert_eq!((row.records, lost), (Some(24), vec!["000", "017"]));
        let largest = store.state().largest;
        assert!(largest <= BUDGET.bytes, "{largest} bytes at once");
    }
}
