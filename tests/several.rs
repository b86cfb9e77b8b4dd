//! Patterns of collections and several databases in one run, with real Chroma on both sides.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::support::api::{call, create, make_place, snapshot, write};
use super::support::chroma::{ChromaServer, crate_path};
use super::support::command::TestCommand;
use super::support::dump::{Dump, Tolerance, assert_same, assert_same_content, dump, dump_folder};
use super::support::migration::{DEFAULT, Migration, Place, Report};
use super::support::stores::{Store, committed, oracle};

const BLUE: Place = ("default_tenant", "customer-blue");
const GREEN: Place = ("default_tenant", "customer-green");

fn server(version: &str) -> (ChromaServer, Store) {
    let folder = Store::absent();
    (ChromaServer::start(version, &folder.path), folder)
}

/// A collection with some records, which say where they come from.
fn fill(server: &ChromaServer, place: Place, name: &str, records: usize) {
    create(server, place, &json!({ "name": name }));
    let ids: Vec<String> = (0..records).map(|n| format!("id-{n}")).collect();
    let vectors: Vec<[usize; 2]> = (0..records).map(|n| [n, 1]).collect();
    let documents: Vec<String> = ids.iter().map(|id| format!("{id} of {name} in {}", place.1)).collect();
    write(server, place, name, "add", &json!({"ids": ids, "embeddings": vectors, "documents": documents}));
}

/// Two databases with the memories of some users, scratch collections, and one that nobody asks for.
fn users(server: &ChromaServer) {
    for (place, users) in [(BLUE, ["1", "2"]), (GREEN, ["1", "3"])] {
        make_place(server, place);
        for (n, user) in users.iter().enumerate() {
            fill(server, place, &format!("user-memory-{user}"), 5 + n);
        }
        fill(server, place, "user-memory-9-tmp", 1);
        fill(server, place, "billing", 1);
    }
}

/// A server, or a folder, of a tenant: no database is named.
fn of_tenant(server: &ChromaServer, tenant: &str) -> String {
    json!({"host": "127.0.0.1", "port": server.port, "tenant": tenant}).to_string()
}

fn in_folder(path: &Path, tenant: &str) -> String {
    json!({"path": path, "tenant": tenant}).to_string()
}

/// Database, name and name in the target of each collection of a report.
fn moved(report: &Report) -> BTreeSet<[String; 3]> {
    let text = |one: &Json, key: &str| one[key].as_str().unwrap().to_owned();
    let all = report.json["collections"].as_array().unwrap().iter();
    all.map(|one| ["database", "name", "targetName"].map(|key| text(one, key))).collect()
}

fn names(dump: &Dump) -> Vec<&str> {
    dump.collections.iter().map(|collection| collection.name.as_str()).collect()
}

/// The users' collections are in the target under their new names, and nothing else is.
#[track_caller]
fn assert_promoted(source: &ChromaServer, target: &ChromaServer, version: &str) {
    for (tenant, database) in [BLUE, GREEN] {
        let (ours, theirs) =
            (dump("1.5.9", &source.url, tenant, database), dump(version, &target.url, tenant, database));
        let wanted: Vec<&str> = names(&ours)
            .into_iter()
            .filter(|name| name.starts_with("user-memory-") && !name.ends_with("-tmp"))
            .collect();
        assert_eq!(wanted.len(), 2);
        assert_eq!(names(&theirs).len(), 2);
        for name in wanted {
            let there = theirs.collection(&name.replace("user-", "prod-"));
            assert_same_content(ours.collection(name), there, Tolerance::MIGRATED);
        }
    }
    assert!(snapshot(target, DEFAULT).is_empty());
}

#[test]
fn one_manifest_moves_the_users_of_two_databases_under_new_names() {
    let ((source, _from), (target, _into)) = (server("1.5.9"), server("1.5.9"));
    users(&source);
    // one of both databases is there already, and somebody's collection of the name that a user's gets
    make_place(&target, GREEN);
    fill(&target, GREEN, "prod-memory-1", 0);
    let example = fs::read_to_string(crate_path("deploy/examples/users-of-two-databases.yaml")).unwrap();
    let lines = example.lines().filter(|line| !line.starts_with('#')).count();
    assert!(lines <= 15, "{lines} lines");
    let manifest = example
        .replace("service: {name: chroma, namespace: dev}", &format!("url: {:?}", source.url))
        .replace("service: {name: chroma, namespace: prod}", &format!("url: {:?}", target.url))
        + "  pacing: {batchSize: 100, delay: 0s}\n";
    let before = (snapshot(&source, BLUE), snapshot(&source, GREEN));
    let run = || TestCommand::new().args(["run", "-f", "-"]).stdin(manifest.as_str()).run().code(0);
    let output = run().stdout("22 records verified").stdout("user-memory-1 (database customer-blue)");
    assert!(!output.stdout_text().contains("tmp"), "{output:?}");
    assert_promoted(&source, &target, "1.5.9");
    // a rerun finds everything
    let target_before = snapshot(&target, GREEN);
    run().stdout("22 records verified");
    assert_eq!(snapshot(&target, GREEN), target_before);
    assert_eq!((snapshot(&source, BLUE), snapshot(&source, GREEN)), before);
}

#[test]
fn flags_say_the_same_and_verify_and_inspect_go_over_all_databases_too() {
    let ((source, _from), (target, _into)) = (server("1.5.9"), server("0.6.3"));
    users(&source);
    let (from, into) = (of_tenant(&source, DEFAULT.0), of_tenant(&target, DEFAULT.0));
    let flags = ["--database", "customer-*", "--exclude", "*-tmp"];
    let only = ["user-memory-*=prod-memory-*"];
    // nothing is made for what is not copied yet
    let plan = Migration::new(&from, &into).only(&only).args(flags).args(["--dry-run"]).ends(0);
    assert_eq!(plan.count("copied"), 22);
    assert_eq!(plan.check("databases")["message"], "to be made: customer-blue, customer-green");
    assert_eq!(
        call(Method::GET, &format!("{}/api/v2/tenants/default_tenant/databases/customer-blue", target.url), None).0,
        404
    );
    let report = Migration::new(&from, &into).only(&only).args(flags).verified();
    let expected = [(BLUE, "1"), (BLUE, "2"), (GREEN, "1"), (GREEN, "3")]
        .map(|((_, database), n)| [database.to_owned(), format!("user-memory-{n}"), format!("prod-memory-{n}")]);
    assert_eq!(moved(&report), BTreeSet::from(expected));
    let found = report.check("source")["message"].as_str().unwrap();
    assert!(found.ends_with(", 4 collections of 2 databases"), "{found}");
    assert_promoted(&source, &target, "0.6.3");

    let verified = Migration::verify(&from, &into).only(&only).args(flags).verified();
    assert_eq!(verified.count("verified"), 22);
    // a record of one database only
    write(&target, GREEN, "prod-memory-1", "update", &json!({"ids": ["id-0"], "documents": ["another"]}));
    let different = Migration::verify(&from, &into).only(&only).args(flags).ends(5);
    assert_eq!(different.count("different"), 1);
    assert!(
        different.output.stdout_text().contains("prod-memory-1 (database customer-green): \"id-0\""),
        "{different:?}"
    );

    let inspect = |args: &[&str]| TestCommand::new().args(["inspect", &source.url]).args(args).run();
    let all = inspect(&["--database", "customer-*", "--json"]).code(0);
    let all: Json = serde_json::from_str(all.stdout_text()).unwrap();
    assert_eq!(all["collections"].as_array().unwrap().len(), 8);
    assert_eq!(all["collections"][0]["database"], "customer-blue");
    inspect(&["--database", "customer-*"]).code(0).stdout("billing (database customer-green)");
    inspect(&["--database", "nobody-*"]).code(4).stderr("customer-blue");
}

#[test]
fn what_cannot_be_done_is_refused_or_waited_for_before_any_write() {
    let ((source, _from), (target, _into)) = (server("1.5.9"), server("1.5.9"));
    users(&source);
    let (from, into) = (of_tenant(&source, DEFAULT.0), of_tenant(&target, DEFAULT.0));
    let run = |only: &[&str], database| Migration::new(&from, &into).only(only).args(["--database", database]);
    run(&["user-memory-*=everyone"], "customer-blue")
        .refused(&["would both go to \"everyone\" of database \"customer-blue\""]);
    let nothing = run(&["agent-*"], "*").ends(4);
    assert_eq!(nothing.reason(), "SourceNotFound");
    nothing.says(&["a collection that \"agent-*\" matches", "billing (database customer-blue)"]);
    let nobody = run(&[], "nobody-*").ends(4);
    assert_eq!(nobody.reason(), "SourceNotFound");
    nobody.says(&["a database that \"nobody-*\" matches", "customer-blue, customer-green"]);
    let missing = run(&[], "nobody").ends(4);
    assert_eq!(missing.reason(), "SourceNotFound");
    missing.says(&["nobody"]);
    // another tenant's databases are not made: who may own a tenant is not for a migration to decide
    let elsewhere = Migration::new(&from, &of_tenant(&target, "nobody")).args(["--database", "customer-blue"]).ends(4);
    assert_eq!(elsewhere.reason(), "TargetNotFound");
    elsewhere.says(&["tenant \"nobody\""]);
    let listed = |server: &ChromaServer| {
        call(Method::GET, &format!("{}/api/v2/tenants/default_tenant/databases", server.url), None).1
    };
    assert_eq!(listed(&target).as_array().unwrap().len(), 1);
    for (args, said) in
        [(["--collection", "user-*-*=prod-*"], "has 2 stars"), (["--collection", "user=prod-*"], "needs `match`")]
    {
        let all = ["migrate", "--source-config", &from, "--target-config", &into];
        TestCommand::new().args(all).args(args).run().code(2).stderr(said);
    }
    let named = json!({"host": "127.0.0.1", "port": source.port, "database": "customer-blue"}).to_string();
    let all = ["migrate", "--source-config", &named, "--target-config", &into, "--database", "customer-blue"];
    TestCommand::new().args(all).run().code(2).stderr("leave one of them out");
}

#[test]
fn local_stores_of_every_version_list_their_databases() {
    let (target, _into) = server("1.5.9");
    for version in ["1.5.9", "1.0.20", "0.6.3", "0.5.23", "0.4.24"] {
        let store = committed(version);
        // a tenant of the target for each, which has no database yet
        let tenant: &'static str = Box::leak(format!("from {version}").into_boxed_str());
        make_place(&target, (tenant, "unused"));
        let report = Migration::new(&in_folder(&store.path, "team-a"), &of_tenant(&target, tenant))
            .args(["--database", "*"])
            .verified();
        assert_eq!(report.json["collections"].as_array().unwrap().len(), 2, "{version}");
        for database in ["default_database", "notes"] {
            let expected = oracle(version).in_database("team-a", database);
            let there = dump("1.5.9", &target.url, tenant, database);
            assert_eq!(names(&there), ["same_name"], "{version} {database}");
            assert_same_content(expected.collection("same_name"), there.collection("same_name"), Tolerance::MIGRATED);
        }
    }
}

#[test]
fn servers_that_cannot_list_databases_take_names_only() {
    let (target, _into) = server("1.5.9");
    for version in ["0.5.23", "0.4.24"] {
        let store = committed(version);
        let source = ChromaServer::start(version, &store.path);
        let tenant: &'static str = Box::leak(format!("from {version}").into_boxed_str());
        make_place(&target, (tenant, "unused"));
        let (from, into) = (of_tenant(&source, "team-a"), of_tenant(&target, tenant));
        Migration::new(&from, &into)
            .args(["--database", "*"])
            .refused(&["it cannot list its databases, as \"*\" asks", "name each database, without a *"]);
        let report =
            Migration::new(&from, &into).args(["--database", "notes", "--database", "default_database"]).verified();
        assert_eq!(report.json["collections"].as_array().unwrap().len(), 2, "{version}");
        for database in ["default_database", "notes"] {
            let expected = oracle(version).in_database("team-a", database);
            let there = dump("1.5.9", &target.url, tenant, database);
            assert_same_content(expected.collection("same_name"), there.collection("same_name"), Tolerance::MIGRATED);
        }
    }
}

#[test]
fn a_local_target_gets_every_database_and_is_compared_from_its_files() {
    for version in ["1.5.9", "0.5.23"] {
        let (source, _from) = server("1.5.9");
        users(&source);
        let folder = Store::absent();
        let (from, into) = (of_tenant(&source, DEFAULT.0), in_folder(&folder.path, DEFAULT.0));
        let run = || Migration::new(&from, &into).args(["--database", "customer-*"]).written_by(version);
        let report = run().verified();
        assert_eq!((report.count("verified"), report.count("copied")), (26, 26), "{version}");
        let vectors: u64 = report.json["collections"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["vectorsFromWal"].as_u64().unwrap() + one["vectorsFromHnsw"].as_u64().unwrap())
            .sum();
        assert_eq!(vectors, 26, "{version}");
        let written = dump_folder(version, &folder.path);
        for (tenant, database) in [BLUE, GREEN] {
            let expected = dump("1.5.9", &source.url, tenant, database);
            assert_eq!(names(&written.in_database(tenant, database)), names(&expected), "{version}");
        }
        // one more database, into a store that has the others
        let red = ("default_tenant", "customer-red");
        make_place(&source, red);
        fill(&source, red, "user-memory-7", 4);
        let report = run().verified();
        assert_eq!(
            (report.count("verified"), report.count("present"), report.count("copied")),
            (30, 26, 4),
            "{version}"
        );
        let back = dump_folder(version, &folder.path);
        if version == "1.5.9" {
            let expected = dump("1.5.9", &source.url, red.0, red.1);
            assert_same(&expected, &back.in_database(red.0, red.1), Tolerance::MIGRATED);
        }
    }
}

/// In a pod the server that writes the folder is beside us, and preflight comes before it.
#[test]
fn beside_a_server_of_the_pod_every_database_is_made_through_it() {
    let (source, _from) = server("1.5.9");
    users(&source);
    let folder = Store::absent();
    let volume = format!("new={}", folder.path.parent().unwrap().display());
    let name = folder.path.file_name().unwrap().to_str().unwrap();
    let object = json!({
        "apiVersion": "memory-migration.dev/v1alpha1",
        "kind": "MemoryMigration",
        "metadata": {"name": "back-up", "namespace": "dev"},
        "spec": {
            "source": {"remote": {"url": source.url}},
            "target": {"local": {"claimName": "new", "path": name}},
            "databases": ["customer-*"],
            "pacing": {"batchSize": 100, "delay": "0s"},
        },
    });
    let run = || {
        let args = ["run", "-f", "-", "--termination-log", "/dev/null", "--volume", &volume];
        TestCommand::new().args(args).stdin(object.to_string())
    };
    run().args(["--preflight-only"]).run().code(0).stdout("26 would be copied");
    assert!(!folder.path.exists());
    let beside = ChromaServer::start("1.5.9", &folder.path);
    run().args(["--writer-url", &beside.url]).run().code(0).stdout("26 records verified");
    for (tenant, database) in [BLUE, GREEN] {
        let expected = dump("1.5.9", &source.url, tenant, database);
        assert_same(&expected, &dump("1.5.9", &beside.url, tenant, database), Tolerance::MIGRATED);
    }
}

/// A local store of an old version may have databases that a newer server refuses to make.
#[test]
fn a_database_that_the_target_refuses_to_make_is_refused_before_any_write() {
    let ((source, _from), (target, _into)) = (server("1.0.20"), server("1.5.9"));
    users(&source);
    let spaced = ("default_tenant", "customer red");
    make_place(&source, spaced);
    fill(&source, spaced, "user-memory-1", 2);
    let (from, into) = (of_tenant(&source, DEFAULT.0), of_tenant(&target, DEFAULT.0));
    Migration::new(&from, &into)
        .args(["--database", "customer*"])
        .refused(&["\"customer red\" is no database name that Chroma takes", "by a run of its own"]);
    assert_eq!(
        call(Method::GET, &format!("{}/api/v2/tenants/default_tenant/databases/customer-blue", target.url), None).0,
        404
    );
}
