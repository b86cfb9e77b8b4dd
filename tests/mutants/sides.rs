//! Puts one mutant after another into real servers and files, runs `verify` and `migrate` on it, and takes it out again.
//! Servers live as long as a side's bench; each mutant leaves them as they were.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::answers::{Untruth, told};
use super::catalogue::{Fault, Field, Mutant, SPACES, Side, collection_of};
use super::described::{self, Described};
use super::files::Files;
use super::oracle::{self, Expected, Judged};
use super::records::{Mutated, Record, mutated, originals};
use super::server::{Shelf, same};
use crate::support::chroma::{ChromaServer, env};
use crate::support::dice::Dice;
use crate::support::migration::{Migration, Report};
use crate::support::proxy::{Fault as Passing, Proxy, Seen};

/// What a proxy does to the next run.
#[derive(Default)]
struct Plan {
    untruth: Option<Untruth>,
    /// After so many reads of content, just before the next one: the change of the source.
    change: Option<(usize, Box<dyn FnOnce() + Send>)>,
}

/// A fault, as both kinds of fields have it.
#[derive(Clone)]
enum Made {
    Records(Mutated),
    Collection(Described),
    Count(i64),
}

/// What one side's mutants are tried on.
pub(crate) struct Bench {
    side: Side,
    source: ChromaServer,
    at_source: Shelf,
    at_target: Shelf,
    /// None where files are the target.
    target: Option<ChromaServer>,
    /// The source's or the target's address that runs are given, where something stands before it.
    proxy: Option<Proxy>,
    plan: Arc<Mutex<Plan>>,
    files: PathBuf,
    scratch: TempDir,
    _runtime: Runtime,
}

impl Bench {
    /// Servers with three collections on both sides, alike.
    pub(crate) fn start(side: Side) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let files = scratch.path().join("target");
        let source = ChromaServer::start("1.5.9", &scratch.path().join("source"));
        let mut target = ChromaServer::start("1.5.9", &files);
        let (at_source, at_target) = (Shelf::new(&source.url), Shelf::new(&target.url));
        for shelf in [&at_source, &at_target] {
            for space in SPACES {
                shelf.create(&described::original(space), &originals());
            }
        }
        let plan: Arc<Mutex<Plan>> = Arc::default();
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(before(side, &source, &target, &plan));
        if side == Side::Files {
            target.stop();
        }
        let target = (side != Side::Files).then_some(target);
        Self { side, source, at_source, at_target, target, proxy, plan, files, scratch, _runtime: runtime }
    }

    /// Puts the mutant, tries `verify` and `migrate`, takes it out; an error says what was missed. `n` numbers it in the
    /// campaign of this seed.
    pub(crate) fn tried(&mut self, mutant: &Mutant, seed: u64, n: usize) -> Judged {
        assert_eq!(mutant.side, self.side);
        let mut dice = Dice::new(seed.wrapping_add(n as u64).wrapping_mul(31));
        let made = match mutant.field {
            Field::Count => Made::Count(if mutant.fault == Fault::Truncated { -1 } else { 1 }),
            field if field.is_of_collection() => Made::Collection(described::mutated(mutant)),
            _ => Made::Records(mutated(mutant, &mut dice)),
        };
        let expected = match &made {
            Made::Records(made) => Expected::of_records(mutant, made.named.clone()),
            Made::Collection(made) => Expected::of_collection(made),
            // every record was listed and read: a number that is too low proves nothing against that
            Made::Count(..0) => Expected::Equal,
            Made::Count(_) => Expected::NoSuccess,
        };
        match self.side {
            Side::Server => self.server(mutant, &made, &expected, n),
            Side::Files => self.files(mutant, &made, &expected, n),
            Side::Answer => self.answer(mutant, made, &expected),
            Side::Source => self.source(mutant, &made, &expected, &mut dice),
        }
    }

    fn from(&self) -> &str {
        match (&self.proxy, self.side) {
            (Some(proxy), Side::Source) => &proxy.url,
            _ => &self.source.url,
        }
    }

    fn to(&self) -> &str {
        match (&self.proxy, self.side) {
            (Some(proxy), Side::Answer) => &proxy.url,
            _ => &self.target.as_ref().unwrap().url,
        }
    }

    fn verify(&self, mutant: &Mutant, to: &str) -> Report {
        Migration::verify(self.from(), to).only(&[mutant.collection()]).args(["--extras", "fail"]).ended()
    }

    fn server(&self, mutant: &Mutant, made: &Made, expected: &Expected, n: usize) -> Judged {
        let name = mutant.collection();
        self.put(name, made);
        let verified = oracle::of_verify(expected, &self.verify(mutant, self.to()));
        let run = Migration::new(self.from(), self.to()).only(&[name]);
        let migrated = if n.is_multiple_of(2) {
            oracle::of_skipping(expected, &run.ended(), false)
        } else {
            oracle::of_overwriting(expected, &run.args(["--on-conflict", "overwrite"]).ended())
        };
        let equal = match made {
            Made::Records(_) if !n.is_multiple_of(2) => self.is_equal(mutant.space, name),
            _ => Ok(()),
        };
        self.take_out(mutant, made);
        both(verified, both(migrated, equal))
    }

    fn put(&self, name: &str, made: &Made) {
        match made {
            Made::Records(made) => self.at_target.change(name, &originals(), &made.after),
            Made::Collection(made) => self.at_target.replace(name, made),
            Made::Count(_) => panic!("a store counts its records"),
        }
    }

    fn take_out(&self, mutant: &Mutant, made: &Made) {
        match made {
            Made::Records(made) => self.at_target.restore(mutant.collection(), &made.after),
            Made::Collection(_) => {
                self.at_target.drop(mutant.collection());
                self.at_target.create(&described::original(mutant.space), &originals());
            }
            Made::Count(_) => {}
        }
    }

    /// Every record of the source is in the target as it is in the source, by our own reading.
    fn is_equal(&self, space: &str, in_target: &str) -> Judged {
        let (source, target) = (self.at_source.read(collection_of(space)), self.at_target.read(in_target));
        let wrong = source.iter().find(|(id, record)| !target.get(*id).is_some_and(|other| same(record, other, space)));
        wrong.map_or(Ok(()), |(id, record)| Err(format!("{id} is {record}, and in the target {:?}", target.get(id))))
    }

    fn files(&self, mutant: &Mutant, made: &Made, expected: &Expected, n: usize) -> Judged {
        let folder = self.scratch.path().join(format!("mutant-{n}"));
        copy(&self.files, &folder);
        let files = Files::open(&folder, mutant.collection());
        match made {
            Made::Records(made) => files.change(&originals(), &made.after),
            Made::Collection(made) => files.describe(mutant, made),
            Made::Count(_) => panic!("a store counts its records"),
        }
        drop(files);
        let path = folder.to_str().unwrap();
        let report = self.verify(mutant, path);
        let is_damaged = oracle::is_damage(&report);
        let verified = if is_damaged { Ok(()) } else { oracle::of_verify(expected, &report) };
        let chroma = env("server").chroma();
        let run = Migration::new(self.from(), path)
            .only(&[mutant.collection()])
            .args(["--chroma-bin", chroma.to_str().unwrap()]);
        let is_broken =
            mutant.field == Field::Vector && matches!(mutant.fault, Fault::Added | Fault::Dropped | Fault::Truncated);
        let migrated = if is_damaged {
            let report = run.ended();
            if oracle::is_success(&report) { Err(format!("a damaged store passed: {}", report.json)) } else { Ok(()) }
        } else if n.is_multiple_of(2) {
            let report = run.ended();
            let judged = oracle::of_skipping(expected, &report, false);
            if is_broken { judged.or_else(|_| oracle::of_a_broken_vector(expected, &report)) } else { judged }
        } else {
            let report = run.args(["--on-conflict", "overwrite"]).ended();
            let judged = oracle::of_overwriting(expected, &report);
            if is_broken { judged.or_else(|_| oracle::of_a_broken_vector(expected, &report)) } else { judged }
        };
        std::fs::remove_dir_all(&folder).unwrap();
        both(verified, migrated)
    }

    fn answer(&self, mutant: &Mutant, made: Made, expected: &Expected) -> Judged {
        let untruth = match made {
            Made::Records(made) => Untruth::Records(*mutant, made.after),
            Made::Collection(made) => Untruth::Collection(*mutant, made),
            Made::Count(by) => Untruth::Count(by),
        };
        self.plan.lock().unwrap().untruth = Some(untruth);
        let verified = oracle::of_verify(expected, &self.verify(mutant, self.to()));
        let run = Migration::new(self.from(), self.to()).only(&[mutant.collection()]);
        let migrated = oracle::of_skipping(expected, &run.ended(), true);
        self.plan.lock().unwrap().untruth = None;
        // the target was right all the time: nothing was to be written
        both(verified, both(migrated, self.is_equal(mutant.space, mutant.collection())))
    }

    fn source(&self, mutant: &Mutant, made: &Made, expected: &Expected, dice: &mut Dice) -> Judged {
        let (space, name) = (mutant.space, mutant.collection());
        self.arm(0, name, made);
        let report = self.verify(mutant, self.to());
        let verified = both(self.has_fired(), of_a_moving_source(expected, &report));
        self.calm(mutant, made);

        let reads = dice.below(3);
        self.arm(reads, name, made);
        let there = "moved";
        let pair = format!("{name}={there}");
        let report = Migration::new(self.from(), self.to()).only(&[&pair]).ended();
        let fired = self.has_fired().map_err(|why| format!("after {reads} reads: {why}"));
        let migrated = self.of_a_moved_source(space, there, expected, &report);
        if self.at_target.description(there).is_some() {
            self.at_target.drop(there);
        }
        self.calm(mutant, made);
        both(verified, both(fired, migrated.map_err(|why| format!("changed after {reads} reads: {why}"))))
    }

    /// Verified is true of what the source holds now; otherwise the run says that the source moves, or what differs.
    fn of_a_moved_source(&self, space: &str, there: &str, expected: &Expected, report: &Report) -> Judged {
        let reason = report.reason();
        match expected {
            Expected::Said(part, _) if reason == "Verified" => {
                let is_said = report.message().contains(part);
                let description = |shelf: &Shelf, name| shelf.description(name).unwrap();
                let (source, target) =
                    (description(&self.at_source, collection_of(space)), description(&self.at_target, there));
                let is_alike = source["metadata"] == target["metadata"]
                    && source["configuration_json"]["hnsw"] == target["configuration_json"]["hnsw"];
                if is_said || is_alike { Ok(()) } else { Err(format!("a changed setting passed: {}", report.json)) }
            }
            Expected::Said(part, _) if report.message().contains(part) => Ok(()),
            _ if reason == "Verified" => self.is_equal(space, there),
            _ if reason == "SourceChanging" => Ok(()),
            _ => Err(format!("neither verified nor changing: {}", report.json)),
        }
    }

    /// Changes the source just before its content is read after so many reads.
    fn arm(&self, reads: usize, name: &'static str, made: &Made) {
        let (at_source, made) = (self.at_source.clone(), made.clone());
        let change = move || match made {
            Made::Records(made) => at_source.change(name, &originals(), &made.after),
            Made::Collection(made) => at_source.modify(name, &made.body),
            Made::Count(_) => panic!("a store counts its records"),
        };
        self.plan.lock().unwrap().change = Some((reads, Box::new(change)));
    }

    fn has_fired(&self) -> Judged {
        let left = self.plan.lock().unwrap().change.take();
        left.map_or(Ok(()), |_| Err("the run never read that often, so nothing was tried".to_owned()))
    }

    fn calm(&self, mutant: &Mutant, made: &Made) {
        match made {
            Made::Records(made) => self.at_source.restore(mutant.collection(), &made.after),
            _ => self.at_source.modify(mutant.collection(), &described::original(mutant.space)),
        }
    }
}

/// What `verify` said of a source that changed after its ids were listed.
fn of_a_moving_source(expected: &Expected, report: &Report) -> Judged {
    let Expected::Named(named) = expected else { return oracle::of_verify(expected, report) };
    if expected.missing().is_empty() && expected.extra().is_empty() {
        return oracle::of_verify(&Expected::Named(named.clone()), report);
    }
    // gone or new since the listing: told, and never called identical
    let told = ["goneFromSource", "cameLater", "missing", "extra"].iter().any(|count| report.count(count) > 0);
    if told && report.json["verification"]["identical"] == false {
        Ok(())
    } else {
        Err(format!("a record that came or went is not told: {}", report.json))
    }
}

fn both(one: Judged, other: Judged) -> Judged {
    match (one, other) {
        (Err(one), Err(other)) => Err(format!("{one}\n and {other}")),
        (one, other) => one.and(other),
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "cannot copy {}", from.display());
}

/// The proxy that a side needs.
async fn before(side: Side, source: &ChromaServer, target: &ChromaServer, plan: &Arc<Mutex<Plan>>) -> Option<Proxy> {
    let plan = Arc::clone(plan);
    match side {
        Side::Answer => {
            let answer = move |line: &str, request: &[u8], truth: &[u8]| {
                let untruth = plan.lock().unwrap().untruth.clone();
                told(&untruth?, line, request, truth)
            };
            Some(Proxy::telling(&target.url, answer).await)
        }
        Side::Source => Some(Proxy::start(&source.url, move |seen| passed(seen, &plan)).await),
        Side::Server | Side::Files => None,
    }
}

fn passed(seen: &Seen, plan: &Mutex<Plan>) -> Passing {
    let mut plan = plan.lock().unwrap();
    if seen.verb() == "get" && seen.body.contains("\"embeddings\"") {
        match plan.change.take() {
            Some((0, change)) => change(),
            Some((reads, change)) => plan.change = Some((reads - 1, change)),
            None => {}
        }
    }
    Passing::Pass
}

/// Records that a mutant left as they were are not its business.
#[test]
fn a_record_mutant_touches_what_it_names_and_nothing_else() {
    use super::catalogue::combinations;
    for (n, mutant) in combinations().into_iter().enumerate() {
        if mutant.unfit().is_some() || mutant.field.is_of_collection() {
            continue;
        }
        let made = mutated(&mutant, &mut Dice::new(n as u64));
        let before = originals();
        let is_new = |one: &&Record| !before.contains(one);
        let is_gone = |one: &&Record| !made.after.contains(one);
        let touched: Vec<_> = made.after.iter().filter(is_new).chain(before.iter().filter(is_gone)).collect();
        assert!(!touched.is_empty() || mutant.fault == Fault::TypeChanged, "{mutant} changes nothing");
        assert_eq!(made.named.is_empty(), mutant.is_tolerated(), "{mutant}: {:?}", made.named);
        for record in touched.iter().filter(|_| !mutant.is_tolerated()) {
            assert!(made.named.iter().any(|(id, _)| *id == record.id), "{mutant}: {} is not named", record.id);
        }
    }
}
