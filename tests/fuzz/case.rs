//! One case of each target: something is made from the dice and given to a parser. Whatever it answers is right, if it does
//! answer: panics, memory and time are judged outside. Only of the proof more is asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use memory_migration_operator::api::{parse_manifest, parse_pod_template};
use memory_migration_operator::endpoint;
use memory_migration_operator::engine::progress::Tracker;
use memory_migration_operator::engine::select::Entry;
use memory_migration_operator::engine::{Options, Relation, Selection};
use memory_migration_operator::model::{Collection, Error};
use memory_migration_operator::report::Reason;
use memory_migration_operator::store::files::index::taken::Taken;
use memory_migration_operator::store::files::index::{IndexRow, Shape, Vectors, pickle};
use memory_migration_operator::store::files::log::queue::{self, Content};
use memory_migration_operator::store::files::{self, LocalStore};
use memory_migration_operator::store::http::{self, ServerConfig, Timeouts};
use memory_migration_operator::store::{Budget, Reader};
use memory_migration_operator::{Endpoint, Folder};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Target, extremes, index, tables};
use crate::campaign::judge::Judge;
use crate::support::chroma::crate_path;
use crate::support::command::TestCommand;
use crate::support::dice::Dice;
use crate::support::dump::{Dump, Record};
use crate::support::proxy::Proxy;
use crate::support::stores::{Store, committed, oracle};

const DEFAULT: (&str, &str) = ("default_tenant", "default_database");
/// Collections that cases are made from: both in the index and in the log, all types, and no distance that moves a vector.
const COLLECTIONS: [&str; 6] = ["synced_l2", "log_l2", "texts_synced", "values", "absent", "edges_l2"];
/// As the engine's own windows.
const WINDOW: Budget = Budget { bytes: 4 << 20, first: true, most: usize::MAX };
/// How long a command may take: much longer than the slowest one does.
const COMMAND: Duration = Duration::from_secs(60);

/// How one case ended: a word that is counted; or what must not be.
pub(crate) type Ended = Result<&'static str, String>;

/// Answers that are changed on their way: the dice, how many come first that are not, and whether all after it are.
type Spoiling = Arc<Mutex<Option<(Dice, usize, bool)>>>;

/// What a target's cases are made from.
pub(crate) struct Bench {
    target: Target,
    runtime: Runtime,
    intact: Store,
    scratch: TempDir,
    cases: usize,
    /// Bytes of an intact pickle, and the ids in it.
    pickle: Vec<u8>,
    ids: Vec<String>,
    manifests: Vec<Json>,
    oracle: Dump,
    judge: Option<Judge>,
    answers: Option<(Proxy, Spoiling)>,
}

impl Bench {
    /// `server`: of what answers are changed.
    pub(crate) fn new(target: Target, version: &str, server: Option<&str>) -> Self {
        // as the command has it
        let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(4).enable_all().build().unwrap();
        let intact = committed(version);
        let place = tables::Place::of(&intact.path, "synced_l2");
        let pickle = fs::read(place.index.join("index_metadata.pickle")).unwrap();
        let found = pickle::parse(&pickle[..], pickle.len() as u64).unwrap().unwrap();
        let (mut walk, mut ids) = (found.labels.walk(), Vec::new());
        while let Some((id, _)) = walk.next().unwrap() {
            ids.push(String::from_utf8_lossy(id).into_owned());
        }
        let is_proof = target == Target::Proof;
        let answers = server.map(|url| {
            let spoiling = Spoiling::default();
            let proxy = runtime.block_on(Proxy::telling(url, told(Arc::clone(&spoiling))));
            (proxy, spoiling)
        });
        Self {
            target,
            runtime,
            intact,
            scratch: tempfile::tempdir().unwrap(),
            cases: 0,
            pickle,
            ids,
            manifests: manifests(),
            oracle: if is_proof { oracle(version).in_database(DEFAULT.0, DEFAULT.1) } else { Dump::default() },
            judge: is_proof.then(|| Judge::start(version)),
            answers,
        }
    }

    /// One case.
    pub(crate) fn case(&mut self, dice: &mut Dice) -> Ended {
        self.cases += 1;
        match self.target {
            Target::Pickle => self.pickle(dice),
            Target::Index => self.index(dice),
            Target::Log => Ok(log(dice)),
            Target::Tables => Ok(self.tables(dice)),
            Target::Proof => self.proof(dice),
            Target::Answers => self.answers(dice),
            Target::Manifest => Ok(self.manifest(dice)),
            Target::Flags => self.flags(dice),
        }
    }

    fn pickle(&self, dice: &mut Dice) -> Ended {
        let spoilt = index::pickle(dice, &self.pickle);
        let len = if dice.below(8) == 0 { u64::MAX } else { spoilt.len() as u64 };
        match pickle::parse(&spoilt[..], len) {
            Ok(Ok(_)) => Ok("read"),
            Ok(Err(_)) => Ok("refused"),
            Err(error) => Err(format!("the scratch space failed: {error}")),
        }
    }

    fn index(&self, dice: &mut Dice) -> Ended {
        let from = tables::Place::of(&self.intact.path, "synced_l2").index;
        let folder = self.scratch.path().join("index");
        copy(&from, &folder);
        for _ in 0..=dice.below(2) {
            index::change(dice, &folder);
        }
        let dimension = [None, Some(3)][dice.below(2)];
        let taken = Taken::of(&folder).map_err(|e| e.to_string())?;
        let shape = Shape { dimension, cosine: dice.below(2) == 0, neighbours: [None, Some(16)][dice.below(2)] };
        let Ok(vectors) = Vectors::load(taken, shape) else { return Ok("refused") };
        let Vectors::Index(index) = &vectors else { return Ok("refused") };
        let mut rows: Vec<IndexRow> = Vec::new();
        for id in &self.ids {
            rows.extend(index.row(id).map_err(|e| e.to_string())?.ok());
        }
        rows.sort_unstable_by_key(|one| one.row.number);
        let is_old = dice.below(2) == 0;
        match index.vectors(&rows, is_old, |_| ()) {
            Ok(()) => Ok("read"),
            Err(_) => Ok("refused"),
        }
    }

    /// A copy of the intact store with some changes, and what they are.
    fn changed(&self, dice: &mut Dice, name: &str) -> (PathBuf, String) {
        // a new folder each time: no file of the one before is the same
        let store = self.scratch.path().join(format!("store-{}", self.cases));
        copy(&self.intact.path, &store);
        let place = tables::Place::of(&store, name);
        let mut done = Vec::new();
        for _ in 0..=dice.below(3) {
            let what = match dice.below(8) {
                0 => tables::change_page(dice, &store),
                1 | 2 => index::change(dice, &place.index),
                // SQL needs tables that can be opened
                _ if done.iter().any(|what: &String| what.contains("page")) => continue,
                _ => tables::change(dice, &store, &place.collection),
            };
            done.push(what);
        }
        age(&store);
        (store, done.join("; "))
    }

    fn tables(&self, dice: &mut Dice) -> &'static str {
        let name = dice.one_of(&COLLECTIONS);
        let (store, _) = self.changed(dice, name);
        let is_source = dice.below(2) == 0;
        drop(files::layout(&store));
        let read = self.runtime.block_on(async {
            let reader = if is_source {
                LocalStore::open_source(&store, DEFAULT.0, DEFAULT.1).await?
            } else {
                LocalStore::open(&store, DEFAULT.0, DEFAULT.1).await?
            };
            let all = reader.everything().await?;
            drop(reader.databases().await);
            for collection in all.iter().filter(|one| one.name == name) {
                look(&reader, collection).await?;
            }
            Ok::<(), Error>(())
        });
        fs::remove_dir_all(&store).unwrap();
        if read.is_ok() { "read" } else { "refused" }
    }

    /// Verified, and the client reads another record in the copy that was changed, or none: that must not be.
    fn proof(&mut self, dice: &mut Dice) -> Ended {
        let name = dice.one_of(&COLLECTIONS);
        let (store, done) = self.changed(dice, name);
        let selection = Selection::new(&[], vec![Entry::named(name, None).unwrap()]).unwrap();
        let options =
            Options { selection, relation: Relation::Unshared, second_look: Duration::ZERO, ..Options::default() };
        let (source, target) = (local(&self.intact.path), local(&store));
        let stop = CancellationToken::new();
        let verified = endpoint::verify(source, target, &options, Tracker::new().0, &stop);
        let report = self.runtime.block_on(verified).report;
        let ended = match report.reason {
            Reason::Verified => {
                self.judged(name, &store).map_err(|why| format!("changed: {done}; Verified, but {why}"))
            }
            Reason::InternalError => Err(format!("changed: {done}; {}", report.message)),
            _ => Ok("refused"),
        };
        fs::remove_dir_all(&store).unwrap();
        ended
    }

    fn judged(&mut self, name: &str, store: &Path) -> Ended {
        let Some(judge) = &mut self.judge else { return Ok("verified") };
        // a store that the client itself cannot read proves nothing
        let Ok(found) = judge.read(store.to_str().unwrap(), name) else { return Ok("verified, unjudged") };
        let found: BTreeMap<&str, &Record> = found.records.iter().map(|one| (one.id.as_str(), one)).collect();
        for record in &self.oracle.collection(name).records {
            match found.get(record.id.as_str()) {
                None => return Err(format!("the client does not read {:?} of {name}", record.id)),
                Some(other) if *other != record => {
                    return Err(format!("the client reads {other:?} of {name} where {record:?} was"));
                }
                Some(_) => {}
            }
        }
        Ok("verified")
    }

    fn answers(&self, dice: &mut Dice) -> Ended {
        let Some((proxy, spoiling)) = &self.answers else { return Err("there is no server".to_owned()) };
        let mut own = dice.clone();
        let (first, is_always) = (own.below(14), own.below(3) == 0);
        *spoiling.lock().unwrap() = Some((own, first, is_always));
        let millis = Duration::from_millis;
        let timeouts = Timeouts {
            connect: millis(2000),
            request: millis(20_000),
            retry: millis(200),
            start: millis(500),
            apart: millis(1),
        };
        let config = ServerConfig { timeouts, ..ServerConfig::new(proxy.url.parse().unwrap()) };
        let name = dice.one_of(&COLLECTIONS);
        let read = self.runtime.block_on(async {
            let store = http::open(config).await?;
            drop(store.databases().await);
            let all = store.collections().await?;
            for collection in all.iter().filter(|one| one.name == name) {
                look(&store, collection).await?;
            }
            Ok::<(), Error>(())
        });
        Ok(if read.is_ok() { "read" } else { "refused" })
    }

    fn manifest(&self, dice: &mut Dice) -> &'static str {
        let base = self.manifests[dice.below(self.manifests.len())].clone();
        let mut text = extremes::spoilt(dice, base);
        if dice.below(12) == 0 {
            text = bomb(dice).into_bytes();
        }
        let text = String::from_utf8_lossy(&text);
        drop(parse_pod_template(&text));
        if parse_manifest(&text).is_ok() { "read" } else { "refused" }
    }

    fn flags(&self, dice: &mut Dice) -> Ended {
        let twin = self.scratch.path().join("twin");
        if self.cases == 1 {
            copy(&self.intact.path, &twin);
        }
        let args = args(dice, self.intact.path(), twin.to_str().unwrap());
        let Some(output) = TestCommand::new().args(&args).start().within(COMMAND) else {
            return Err(format!("it takes over {} s: {args:?}", COMMAND.as_secs()));
        };
        match output.code_if_any() {
            Some(0) => Ok("read"),
            Some(2..=6) => Ok("refused"),
            other => Err(format!("{args:?} ends with {other:?}: {}", output.stderr_text())),
        }
    }
}

fn local(path: &Path) -> Endpoint {
    Endpoint::Local(Folder::new(path.to_owned()))
}

/// Takes every look at a collection that a run takes.
async fn look(reader: &dyn Reader, collection: &Collection) -> Result<(), Error> {
    drop(reader.count(collection).await);
    let ids = reader.ids(collection).await?;
    let ids: Vec<String> = ids.iter().filter_map(std::io::Result::ok).collect();
    for window in ids.chunks(600) {
        drop(reader.fetch_within(collection, window, WINDOW).await);
        drop(reader.fetch(collection, window).await);
    }
    drop(reader.generation(collection).await);
    reader.remarks(collection).await.map(|_| ())
}

/// Changes the answers that the state asks for.
fn told(spoiling: Spoiling) -> impl Fn(&str, &[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static {
    move |_, _, answer| {
        let mut state = spoiling.lock().unwrap();
        let (dice, first, is_always) = state.as_mut()?;
        if *first > 0 {
            *first -= 1;
            return None;
        }
        if !*is_always {
            *first = usize::MAX;
        }
        Some(extremes::spoilt(dice, serde_json::from_slice(answer).ok()?))
    }
}

/// What the log says of a record's metadata, and a vector in it.
fn log(dice: &mut Dice) -> &'static str {
    let entries = [
        r#"{"chroma:document": "a text", "chroma:uri": "file:///a", "n": 1, "x": 1.5, "b": true}"#,
        r#"{"list": [1, 2, 3], "texts": ["a", "b"], "gone": null, "x": NaN, "y": -Infinity}"#,
        r#"{"mixed": [1, 2.5], "n": 18446744073709551615, "": "", "deep": {"a": 1}}"#,
    ];
    let base = entries[dice.below(entries.len())];
    let text = if let Ok(json) = serde_json::from_str::<Json>(base) {
        extremes::spoilt(dice, json)
    } else {
        let mut text = base.as_bytes().to_vec();
        extremes::spoil(dice, &mut text);
        text
    };
    let len = dice.below(40);
    let bytes = extremes::bytes(dice, len);
    let encoding = [None, Some("FLOAT32"), Some("INT32"), Some("")][dice.below(4)];
    let dimension = [None, Some(0), Some(3), Some(u32::MAX)][dice.below(4)];
    drop(queue::vector(&bytes, encoding, dimension));
    if Content::default().merge(&String::from_utf8_lossy(&text)).is_ok() { "read" } else { "refused" }
}

/// The examples, and one with most fields.
fn manifests() -> Vec<Json> {
    let folder = fs::read_dir(crate_path("deploy/examples")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut all: Vec<Json> = paths.iter().map(read).collect();
    let everything = r#"
apiVersion: memory-migration.dev/v1alpha1
kind: MemoryMigration
metadata: {name: everything, namespace: memory}
spec:
  source: {local: {claimName: dev, path: a/b, tenant: t}}
  target:
    remote:
      service: {name: chroma, namespace: prod, port: 8000}
      auth: {bearer: {secretKeyRef: {name: s, key: t}}}
      tls: {ca: {secretKeyRef: {name: ca, key: ca.crt}}, serverName: chroma}
  collections: [{name: one, targetName: two}, {match: "user-*", targetName: "prod-*", exclude: ["*-tmp"]}]
  pacing: {mode: Fixed, batchSize: 10, delay: 1s}
  verification: {mode: Full, extras: Fail, search: {mode: Require, queries: 50, minRecall: "0.9"}}
  backoffLimit: 6
  activeDeadlineSeconds: 600
  jobTTLSecondsAfterFinished: 60
  runner: {podTemplate: {spec: {nodeSelector: {a: b}, tolerations: [{key: a, operator: Exists}]}}}
"#;
    all.push(serde_saphyr::from_str(everything).unwrap());
    all
}

/// YAML that is small as a text and not as a value.
fn bomb(dice: &mut Dice) -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    match dice.below(4) {
        0 => {
            for n in 1..2 + dice.below(12) {
                let all = vec![format!("*a{}", n - 1); 10].join(", ");
                let _ = writeln!(text, "a{n}: &a{n} [{all}]");
            }
        }
        1 => text = "a: &a [*a]\n".to_owned(),
        2 => text = "- ".repeat(dice.below(100_000)) + "x",
        _ => text = "? ".repeat(dice.below(50_000)) + &"!!binary ".repeat(3) + "=\n--- \n...\n%YAML 9.9\n",
    }
    text
}

/// A command line with some of its words changed. It writes nothing: a dry run, a comparison, or a look.
fn args(dice: &mut Dice, store: &str, twin: &str) -> Vec<String> {
    let config = format!("{{\"path\": {twin:?}, \"tenant\": \"default_tenant\"}}");
    let words: Vec<&str> = match dice.below(4) {
        0 => vec!["verify", "--source-config", store, "--target-config", &config, "--collection", "synced_l2"],
        1 => vec!["inspect", store],
        2 => ["migrate", "--source-config", store, "--target-config", &config]
            .into_iter()
            .chain("--collection absent=other --batch-size 10 --delay 1s --chroma-bin /nowhere/chroma".split(' '))
            .collect(),
        _ => vec!["verify", "--source-type", "local", "--source-config", store, "--target-config", &config],
    };
    let mut args: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let alone = ["--allow-empty", "--records", "--json", "--dry-run"];
    let words_of: Vec<&str> =
        "skip overwrite fail allow adaptive fixed counts by-content require off local *".split(' ').collect();
    let common = ["--collection", "--collection", "--exclude", "--database", "--extras", "--search", "--log-format"];
    let of_migrate =
        ["--batch-size", "--delay", "--max-slowdown", "--pacing", "--on-conflict", "--duplicates", "--verification"];
    let flags: Vec<&str> = match args[0].as_str() {
        "migrate" => common.into_iter().chain(of_migrate).chain(["--one-store"]).collect(),
        "inspect" => vec!["--database", "--type"],
        _ => common.into_iter().chain(["--source-type", "--target-type"]).collect(),
    };
    for _ in 0..=dice.below(3) {
        let place = 1 + dice.below(args.len());
        let new = match dice.below(6) {
            0 => extremes::LONGS[dice.below(extremes::LONGS.len())].to_string(),
            1 => extremes::DOUBLES[dice.below(extremes::DOUBLES.len())].to_string(),
            2 => format!("{}s", extremes::LONGS[dice.below(extremes::LONGS.len())]),
            3 => dice.one_of(&words_of).to_owned(),
            // the system takes no more than 128 KiB in one word, and no NUL
            _ => extremes::text(dice).replace('\0', "0").chars().take(20_000).collect(),
        };
        match dice.below(8) {
            0 if place < args.len() => args[place] = new,
            1 if place < args.len() => drop(args.remove(place)),
            2 => args.insert(place, new),
            3 => args.push(dice.one_of(&alone).to_owned()),
            _ => args.extend([dice.one_of(&flags).to_owned(), new]),
        }
    }
    if args[0] == "migrate" {
        args.push("--dry-run".to_owned());
    }
    args
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Makes all files an hour old: a reader waits for those that may be changing still.
fn age(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(3600);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        }
    }
}
