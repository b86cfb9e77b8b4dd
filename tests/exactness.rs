//! After a migration the official client reads from the target what it reads from the source: stores of five versions,
//! files and servers, in each direction. The oracle judges, not our own verification.

use serde_json::{Value as Json, json};

use super::support::api::{self, make_place, snapshot};
use super::support::chroma::{ChromaServer, Python};
use super::support::dump::{Collection, Dump, Tolerance, assert_same, assert_same_content, dump, dump_folder};
use super::support::migration::{DEFAULT, Migration, Place, Report, local, remote};
use super::support::stores::{Store, committed, damage, generated, oracle};

/// The databases of a committed store that a server of 1.x can hold whole, beside the default one.
const OTHERS: [Place; 4] =
    [("default_tenant", "archive"), ("team b", "notes"), ("team-a", "default_database"), ("team-a", "notes")];

/// The names of all but those collections.
fn names<'a>(dump: &'a Dump, without: &[&str]) -> Vec<&'a str> {
    let all = dump.collections.iter().map(|one| one.name.as_str());
    all.filter(|name| !without.contains(name)).collect()
}

fn migrated(source: &Dump, target: &Dump) {
    assert_same(source, target, Tolerance::MIGRATED);
}

/// A 1.5.9 server on an empty folder.
fn empty_server(version: &str) -> (ChromaServer, Store) {
    let folder = Store::absent();
    (ChromaServer::start(version, &folder.path), folder)
}

/// Everything that one version's store holds, from its files (`from`: a path) or its server, into a server of 1.5.9.
fn everything_into_a_server(version: &str, from: &dyn Fn(Place) -> String) {
    let (mut target, folder) = empty_server("1.5.9");
    let expected = oracle(version);
    for place in OTHERS.into_iter().chain([DEFAULT]) {
        make_place(&target, place);
        let report = Migration::new(&from(place), &remote(&target, place)).verified();
        let source = expected.in_database(place.0, place.1);
        assert_eq!(report.count("copied"), source.collections.iter().map(|one| one.count).sum::<u64>());
        assert_eq!(report.count("source"), report.count("targetAfter"));
    }
    let in_default = expected.in_database(DEFAULT.0, DEFAULT.1);
    migrated(&in_default, &dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1));
    // The files of the stopped server, too: what was only in its memory or its log is not proved yet.
    target.stop();
    let written = dump_folder("1.5.9", &folder.path);
    for place in OTHERS.into_iter().chain([DEFAULT]) {
        migrated(&expected.in_database(place.0, place.1), &written.in_database(place.0, place.1));
    }
    settings_are_kept(version, &in_default, &written.in_database(DEFAULT.0, DEFAULT.1));
}

/// Configurations are documents: compared by what both versions know.
fn settings_are_kept(version: &str, source: &Dump, target: &Dump) {
    for (source, target) in source.collections.iter().zip(&target.collections) {
        let name = &source.name;
        let (before, after) = (&source.configuration, &target.configuration);
        assert_eq!(after["hnsw"]["space"], source.space.as_str(), "{name}");
        if version.starts_with("0.") {
            let threshold = source.metadata.contains_key("hnsw:sync_threshold");
            assert_eq!(after["hnsw"]["sync_threshold"] == 10, threshold, "{name}: {after}");
            continue;
        }
        for setting in ["ef_construction", "ef_search", "max_neighbors", "resize_factor", "sync_threshold"] {
            assert_eq!(after["hnsw"][setting], before["hnsw"][setting], "{setting} of {name}");
        }
        assert_eq!(after["embedding_function"], before["embedding_function"], "{name}");
    }
}

fn from_files(version: &str) {
    let store = committed(version);
    everything_into_a_server(version, &|place| local(&store.path, place));
}

fn from_its_server(version: &str) {
    let store = committed(version);
    let source = ChromaServer::start(version, &store.path);
    everything_into_a_server(version, &|place| remote(&source, place));
}

#[test]
fn files_of_1_5_9_into_a_server() {
    from_files("1.5.9");
}

#[test]
fn files_of_1_0_20_into_a_server() {
    from_files("1.0.20");
}

#[test]
fn files_of_0_6_3_into_a_server() {
    from_files("0.6.3");
}

#[test]
fn files_of_0_5_23_into_a_server() {
    from_files("0.5.23");
}

#[test]
fn files_of_0_4_24_into_a_server() {
    from_files("0.4.24");
}

#[test]
fn a_server_of_1_5_9_into_a_server() {
    from_its_server("1.5.9");
}

#[test]
fn a_server_of_1_0_20_into_a_server() {
    from_its_server("1.0.20");
}

#[test]
fn a_server_of_0_6_3_into_a_server() {
    from_its_server("0.6.3");
}

#[test]
fn a_server_of_0_5_23_into_a_server() {
    from_its_server("0.5.23");
}

#[test]
fn a_server_of_0_4_24_into_a_server() {
    from_its_server("0.4.24");
}

/// Older servers hold the same records; what they cannot keep is named before anything is written.
#[test]
fn a_new_server_into_older_ones() {
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let chosen = names(&expected, &["arrays"]);
    for version in ["1.0.20", "0.6.3", "0.5.23"] {
        let (target, _folder) = empty_server(version);
        let to = remote(&target, DEFAULT);
        Migration::new(&remote(&source, DEFAULT), &to)
            .refused(&["\"all-0\" of \"arrays\"", "is an array, which this Chroma drops"]);
        assert_eq!(snapshot(&target, DEFAULT), Vec::<Json>::new());

        let report = Migration::new(&remote(&source, DEFAULT), &to).only(&chosen).verified();
        let losses = report.check("settings")["message"].as_str().unwrap();
        let keeps_functions = version == "1.0.20";
        assert_eq!(losses.contains("its embedding function \"default\" is not recorded"), !keeps_functions, "{losses}");
        let mut written = dump(version, &target.url, DEFAULT.0, DEFAULT.1);
        for collection in &mut written.collections {
            // Before 1.0 the metadata is where these settings are.
            collection.metadata.retain(|key, _| !key.starts_with("hnsw:"));
        }
        migrated(&expected.only(&chosen), &written);
    }
}

/// Distances of every record to a vector, by definition, nearest first.
fn distances(collection: &Collection, to: &[f64]) -> Vec<(String, f64)> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let of = |vector: &[f64]| match collection.space.as_str() {
        "l2" => vector.iter().zip(to).map(|(a, b)| (a - b) * (a - b)).sum(),
        "ip" => 1.0 - dot(vector, to),
        _ => 1.0 - dot(vector, to) / (dot(vector, vector) * dot(to, to)).sqrt(),
    };
    let components = |bits: &[Option<u32>]| -> Vec<f64> {
        bits.iter().map(|bits| f64::from(f32::from_bits(bits.unwrap()))).collect()
    };
    let records = collection.records.iter();
    let mut all: Vec<_> = records.map(|one| (one.id.clone(), of(&components(&one.embedding)))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all
}

/// Settings can be shown and not be in force: only a query proves by which distance the target answers.
#[track_caller]
fn answers_by_its_distance(version: &str, place: &str, collection: &Collection, name: &str) {
    let vector = [0.5, -2.0, 1.25];
    let args = [place, DEFAULT.0, DEFAULT.1, name, &json!(vector).to_string()];
    let answer: Json = serde_json::from_str(&Python::run(version, "tests/chroma/query.py", &args)).unwrap();
    let expected = distances(collection, &vector);
    let ids: Vec<&str> = expected.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(answer["ids"], json!(ids), "{name} of {place}");
    for ((id, expected), told) in expected.iter().zip(answer["distances"].as_array().unwrap()) {
        let told = told.as_f64().unwrap();
        assert!((expected - told).abs() <= 1e-4 * expected.abs().max(1.0), "{name} {id}: {told}, not {expected}");
    }
}

#[test]
fn the_target_answers_by_the_sources_distance() {
    for (version, written_by) in [("0.5.23", "1.5.9"), ("1.5.9", "0.6.3")] {
        let store = committed(version);
        let source = ChromaServer::start(version, &store.path);
        let (target, _folder) = empty_server(written_by);
        let expected = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        let chosen = ["synced_l2", "synced_cosine", "synced_ip", "unit_cosine"];
        Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT)).only(&chosen).verified();
        for name in chosen {
            answers_by_its_distance(written_by, &target.url, expected.collection(name), name);
        }
    }
}

#[test]
fn renamed_empty_and_single_ones_together() {
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let (target, _folder) = empty_server("1.5.9");
    let chosen = ["single=only.one", "emptied", "never_written=still_never_written", "log_cosine=memories-2024"];
    let report = Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT)).only(&chosen).verified();
    assert_eq!(report.json["collections"].as_array().unwrap().len(), 4);
    assert_eq!(report.collection("only.one")["name"], "single");
    assert!(report.collection("still_never_written").get("dimension").is_none());
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let written = dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1);
    assert_eq!(names(&written, &[]), ["emptied", "memories-2024", "only.one", "still_never_written"]);
    for pair in chosen {
        let (name, renamed) = pair.split_once('=').unwrap_or((pair, pair));
        assert_same_content(expected.collection(name), written.collection(renamed), Tolerance::MIGRATED);
    }
}

/// Fingerprints, a second run, a way back, and a change that verification finds.
#[test]
fn a_second_run_copies_nothing_and_a_change_is_found() {
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let (target, _folder) = empty_server("1.5.9");
    let (from, to) = (remote(&source, DEFAULT), remote(&target, DEFAULT));
    let first = Migration::new(&from, &to).verified();
    let before = snapshot(&target, DEFAULT);

    let second = Migration::new(&from, &to).verified();
    assert_eq!((second.count("copied"), second.count("present")), (0, first.count("copied")));
    assert_eq!(second.count("targetBefore"), second.count("source"));
    assert_eq!(second.fingerprints(), first.fingerprints());
    assert_eq!(snapshot(&target, DEFAULT), before);

    make_place(&target, ("default_tenant", "back"));
    let back = Migration::new(&to, &remote(&target, ("default_tenant", "back"))).verified();
    assert_eq!(back.fingerprints(), first.fingerprints());
    assert_eq!(Migration::verify(&from, &to).verified().fingerprints(), first.fingerprints());
    assert_eq!(Migration::verify(&to, &from).verified().fingerprints(), first.fingerprints());

    let changed = json!({"ids": ["tail-1", "synced-7"], "metadatas": [{"kept": "changed"}, {"row": 8}]});
    api::write(&target, DEFAULT, "synced_cosine", "update", &changed);
    api::write(&target, DEFAULT, "log_l2", "delete", &json!({"ids": ["tail-2"]}));
    let report = Migration::verify(&from, &to).ends(5);
    assert_eq!(report.reason(), "VerificationFailed");
    assert_eq!((report.count("different"), report.count("missing")), (2, 1));
    assert_eq!(report.listed("synced_cosine"), [("synced-7", "metadata.row"), ("tail-1", "metadata.kept")]);
    assert_eq!(report.listed("log_l2"), [("tail-2", "missing")]);
    report.output.stdout("\"synced-7\" metadata.row").stdout("\"tail-2\" missing");
}

/// What cosine makes of these vectors is no memory any more, although the server says that it took them.
#[test]
fn cosine_vectors_that_chroma_destroys_are_refused() {
    let unsendable = ("default_tenant", "unsendable");
    for version in ["1.5.9", "0.4.24"] {
        // From the files: a server of 1.x has destroyed them already.
        let store = committed(version);
        let (target, _folder) = empty_server("1.5.9");
        let from = local(&store.path, unsendable);
        let ids = ["\"mixed 0\" of \"cosine_log\"", "\"tiny 0\" of \"cosine_log\""];
        let report = Migration::new(&from, &remote(&target, DEFAULT)).only(&["cosine_log"]).refused(&ids);
        // no engine has a number for it, so it is unreadable, as it is from a server
        assert_eq!(report.json["collections"][0]["differences"][0]["id"], "huge 0");
        report.says(&["change or delete these records in the source", "nothing was written"]);
        assert!(!report.message().contains("good"), "{}", report.message());
        assert_eq!(snapshot(&target, DEFAULT), Vec::<Json>::new());
    }
}

/// From a server, files are written by a Chroma that the command starts; then from there to files of another version.
#[test]
fn into_files_and_from_files_to_files() {
    let store = committed("1.5.9");
    let source = ChromaServer::start("1.5.9", &store.path);
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let first = Store::absent();
    let report = Migration::new(&remote(&source, DEFAULT), first.path()).written_by("1.5.9").verified();
    assert_eq!(report.json["direction"], "remote-to-local");
    compared_from_files(&report);
    migrated(&expected, &dump_folder("1.5.9", &first.path));

    let second = Migration::new(&remote(&source, DEFAULT), first.path()).written_by("1.5.9").verified();
    assert_eq!((second.count("copied"), second.count("present")), (0, report.count("copied")));
    assert_eq!(second.fingerprints(), report.fingerprints());
    assert_eq!(
        Migration::verify(first.path(), &remote(&source, DEFAULT)).verified().fingerprints(),
        report.fingerprints()
    );
}

/// Each vector of a local target was read a second time, from its log or its index.
#[track_caller]
fn compared_from_files(report: &Report) {
    for collection in report.json["collections"].as_array().unwrap() {
        let read = |from: &str| collection[from].as_u64().unwrap();
        let both = read("vectorsFromWal") + read("vectorsFromHnsw");
        assert_eq!(both, collection["counts"]["verified"].as_u64().unwrap(), "{collection}");
    }
}

#[test]
fn old_files_into_new_files_of_other_versions() {
    for (version, written_by) in [("0.4.24", "1.5.9"), ("1.5.9", "0.6.3")] {
        let store = committed(version);
        let expected = oracle(version).in_database(DEFAULT.0, DEFAULT.1);
        let chosen = names(&expected, if version == "1.5.9" { &["arrays"] } else { &[] });
        let target = Store::absent();
        let report = Migration::new(store.path(), target.path()).only(&chosen).written_by(written_by).verified();
        assert_eq!(report.json["direction"], "local-to-local");
        compared_from_files(&report);
        let mut written = dump_folder(written_by, &target.path);
        if written_by == "0.6.3" {
            written.collections.iter_mut().for_each(|one| one.metadata.retain(|key, _| !key.starts_with("hnsw:")));
        }
        migrated(&expected.only(&chosen), &written);
    }
}

/// 0.4 can lose a vector by itself, and never purges its log: its files still give the record, its server does not.
#[test]
fn a_vector_that_its_server_has_lost_is_still_read_from_the_files() {
    let place = ("default_tenant", "broken");
    let store = committed("0.4.24");
    let (target, _folder) = empty_server("1.5.9");
    Migration::new(&local(&store.path, place), &remote(&target, DEFAULT)).verified();
    // Later versions wrote the same record and did not lose it.
    let mut expected = oracle("0.6.3").in_database(place.0, place.1);
    let lossy = oracle("0.4.24").in_database(place.0, place.1);
    assert!(lossy.collection("added_again").record("record-1").embedding.is_empty());
    expected.collections[0].metadata = lossy.collection("added_again").metadata.clone();
    migrated(&expected, &dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1));
}

/// Everything readable is copied, and the verdict says what is not.
#[test]
fn a_record_without_a_vector_is_named_and_all_others_are_copied() {
    let store = committed("1.5.9");
    damage(&store.path, "lose-vector", &["synced_l2", "synced-1"]);
    let (target, _folder) = empty_server("1.5.9");
    let report = Migration::new(store.path(), &remote(&target, DEFAULT)).only(&["synced_l2"]).ends(5);
    assert_eq!(report.reason(), "VerificationFailed");
    assert_eq!(report.listed("synced_l2"), [("synced-1", "unreadable")]);
    assert_eq!((report.count("verified"), report.count("unreadable"), report.count("source")), (44, 1, 45));
    report.says(&["1 records of the source cannot be read", "restore them from a backup"]);
    let mut expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1).collection("synced_l2").clone();
    expected.records.retain(|record| record.id != "synced-1");
    expected.count -= 1;
    let written = dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1);
    assert_same_content(&expected, written.collection("synced_l2"), Tolerance::MIGRATED);
}

#[test]
fn every_dimension_in_bodies_below_the_limit() {
    // The last would be bodies beyond 40 MiB, were they sent in the batches asked for; 41,666 is what old servers take in
    // one call, and more than this one does.
    let cases = [(6000, 1, "l2", "41666"), (700, 3, "ip", "5461"), (700, 384, "cosine", "5461")];
    let large = [(800, 1536, "ip", "5461"), (1500, 3072, "l2", "5461")];
    for (count, dimension, space, batch) in cases.into_iter().chain(large) {
        let store = generated("1.5.9", count, dimension, space);
        let (target, _folder) = empty_server("1.5.9");
        let report = Migration::new(store.path(), &remote(&target, DEFAULT)).batch(batch).verified();
        assert_eq!(report.collection("generated")["dimension"], dimension);
        assert_eq!(report.count("copied"), count as u64);
        holds_the_same(&store, &target, count);
    }
}

/// From files, in few bodies. `make bench` moves more.
#[test]
fn fifty_thousand_records() {
    let store = generated("1.5.9", 50_000, 384, "cosine");
    let (target, _folder) = empty_server("1.5.9");
    let report = Migration::new(store.path(), &remote(&target, DEFAULT)).batch("5000").verified();
    assert_eq!((report.count("copied"), report.count("targetAfter")), (50_000, 50_000));
    holds_the_same(&store, &target, 50_000);
}

/// Compared in Python, where millions of components are numpy's work.
#[track_caller]
fn holds_the_same(store: &Store, target: &ChromaServer, count: usize) {
    let args = [store.path(), &target.url, "generated"];
    let found = Python::run("1.5.9", "tests/chroma/compare_large.py", &args);
    assert_eq!(found.trim(), format!("{count} records are the same"));
}
