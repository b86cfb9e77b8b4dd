//! The command line as its users meet it: help, exit codes, report, log, manifests, credentials, conflicts, inspection.

use std::fs;
use std::path::Path;

use memory_migration_operator::exit::Exit;
use serde_json::{Value as Json, json};

use super::support::api::{create, snapshot, write};
use super::support::chroma::{ChromaServer, crate_path, env};
use super::support::command::{Output, TestCommand};
use super::support::dump::{Tolerance, assert_same, dump, dump_folder};
use super::support::gateway::Gateway;
use super::support::migration::{DEFAULT, Migration, local, remote};
use super::support::stores::{Store, committed, damage, oracle};

const TOKEN: &str = "a-secret-that-nobody-may-print";

fn server() -> (ChromaServer, Store) {
    let folder = Store::absent();
    (ChromaServer::start("1.5.9", &folder.path), folder)
}

/// A server with these records (id, document) in the collection `memories`, one component each.
fn memories(server: &ChromaServer, records: &[(&str, &str)]) {
    create(server, DEFAULT, &json!({"name": "memories"}));
    let ids: Vec<_> = records.iter().map(|(id, _)| id).collect();
    let documents: Vec<_> = records.iter().map(|(_, text)| text).collect();
    let vectors: Vec<_> = (0..records.len()).map(|row| [row]).collect();
    write(server, DEFAULT, "memories", "add", &json!({"ids": ids, "documents": documents, "embeddings": vectors}));
}

/// A flag that the controller does not know would show in a cluster only: as a pod that restarts for ever.
#[test]
fn the_controller_knows_the_flags_that_the_chart_gives_it() {
    let operator = fs::read_to_string(crate_path("deploy/operator.yaml")).unwrap();
    let lines = operator.lines().map(str::trim).skip_while(|line| *line != "- controller");
    // YAML quotes what would not be plain text
    let mut args: Vec<&str> =
        lines.map_while(|line| line.strip_prefix("- ")).map(|arg| arg.trim_matches('"')).collect();
    assert!(args.len() > 5, "{args:?}");
    args.extend(["--watch-namespace=team-a", "--watch-namespace=team-b", "--help"]);
    TestCommand::new().args(args).run().code(0).stdout("--watch-namespace <NAMESPACE>");
}

#[test]
fn help_says_what_is_needed() {
    let all = TestCommand::new().args(["--help"]).run().code(0);
    let all = all.stdout("migrate").stdout("run").stdout("verify").stdout("inspect").stdout("Exit codes: 0 succeeded");
    assert!(all.stderr_text().is_empty());
    let flags = [
        "--source-type <SOURCE_TYPE>",
        "--source-config <PATH_OR_JSON>",
        "--target-type <TARGET_TYPE>",
        "--target-config <PATH_OR_JSON>",
        "--collection <NAME[=TARGET]>",
        "--batch-size <BATCH_SIZE>",
        "[default: 10]",
        "--delay <DELAY>",
        "[default: 1s]",
        "--pacing <PACING>",
        "--on-conflict <ON_CONFLICT>",
        "--duplicates <DUPLICATES>",
        "--verification <VERIFICATION>",
        "--extras <EXTRAS>",
        "--dry-run",
        "--chroma-bin <FILE>",
        "--report <FILE>",
        "--log-format <LOG_FORMAT>",
        "MEMORY_MIGRATION_SOURCE_TOKEN_FILE",
    ];
    let help = |subcommand| TestCommand::new().args([subcommand, "--help"]).run().code(0);
    flags.into_iter().fold(help("migrate"), Output::stdout);
    ["-f, --file <FILE>", "--volume <CLAIM=DIR>", "--secrets-dir <DIR>"].into_iter().fold(help("run"), Output::stdout);
    ["writes nothing", "--extras <EXTRAS>", "--source-config", "MEMORY_MIGRATION_SOURCE_TOKEN"]
        .into_iter()
        .fold(help("verify"), Output::stdout);
    ["<PATH_OR_JSON>", "--records", "--json"].into_iter().fold(help("inspect"), Output::stdout);
    // it has one store, and no target
    assert!(!help("inspect").stdout_text().to_lowercase().contains("target"), "{}", help("inspect").stdout_text());
    let codes = all.stdout_text().split("Exit codes:").nth(1).unwrap_or_default().split_whitespace();
    let codes = codes.fold(String::new(), |text, word| text + " " + word);
    for exit in Exit::ALL {
        assert!(codes.contains(&format!(" {} ", exit.code())), "--help says nothing of exit code {}", exit.code());
    }
    for command in ["migrate", "controller", "crd", "run", "verify", "prune", "inspect", "report"] {
        assert!(!help(command).stdout_text().contains('`'), "{}", help(command).stdout_text());
    }
    TestCommand::new().run().code(2).stderr("Usage: memory-migration");
    TestCommand::new().args(["transmogrify"]).run().code(2).stderr("unrecognized subcommand");
}

#[test]
fn a_report_a_table_and_progress_lines() {
    let store = committed("1.5.9");
    let (target, _folder) = server();
    let (from, to) = (local(&store.path, DEFAULT), remote(&target, DEFAULT));
    let dry = Migration::new(&from, &to).only(&["synced_l2"]).args(["--dry-run"]).ends(0);
    assert_eq!((dry.reason(), dry.count("copied"), dry.count("verified")), ("DryRunCompleted", 45, 0));
    dry.says(&["dry run, nothing was written. Of 45 records 45 would be copied"]);
    dry.output.stdout("TO COPY");
    assert_eq!(snapshot(&target, DEFAULT), Vec::<Json>::new());

    let report = Migration::new(&from, &to).only(&["synced_l2=memories"]).args(["--log-format", "json"]).verified();
    let keys: Vec<_> = report.json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["schema", "verdict", "reason", "message", "direction", "startedAt", "finishedAt"];
    assert_eq!(keys, [expected.as_slice(), &["preflight", "counts", "verification", "rate", "collections"]].concat());
    assert_eq!(report.json["direction"], "local-to-remote");
    assert!(report.json["startedAt"].as_str() <= report.json["finishedAt"].as_str());
    let collection = report.collection("memories");
    assert_eq!(
        (&collection["name"], &collection["dimension"], &collection["distance"]),
        (&json!("synced_l2"), &json!(3), &json!("l2"))
    );
    for name in ["sourceName", "source_before", "target_before"] {
        assert!(collection["counts"].get(name).is_none());
    }
    for check in ["source", "target", "same-store", "names", "compatible", "settings", "records", "conflicts"] {
        assert_eq!(report.check(check)["ok"], true, "{check}");
    }
    let lines: Vec<Json> =
        report.output.stderr_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stages: Vec<_> = lines.iter().filter(|line| line["memmig"] == "progress").map(|line| &line["stage"]).collect();
    assert_eq!(stages.first(), Some(&&json!("Preflight")));
    assert!(stages.contains(&&json!("Copying")) && stages.contains(&&json!("Verifying")), "{stages:?}");
    let fingerprint = report.fingerprints()["synced_l2"][..12].to_owned();
    let output = report.output.stdout("COLLECTION").stdout("FINGERPRINT").stdout(&fingerprint);
    let output = output.stdout("EXTRA").stdout("Succeeded (Verified): ");
    output.stdout("45 records verified: every one was compared and is equal; source and target are identical");
    let proof = json!({"identical": true, "sourceQuiet": "Yes", "recall": 1.0});
    assert_eq!(report.json["verification"], proof);

    let counts = Migration::new(&from, &to).only(&["single"]).args(["--verification", "counts"]).ends(0);
    assert_eq!((counts.reason(), counts.count("verified")), ("CountsVerified", 0));
    counts.says(&["Contents were not compared", "less than Verified"]);
    // A report that cannot be written is said before anything is done; one that fails later is no success.
    let args = ["migrate", "--source-config", &from, "--target-config", &to, "--collection", "single", "--delay", "0"];
    let refused = TestCommand::new().args(args).args(["--report", "/nowhere/report.json"]).run().code(2);
    refused.stderr("the report /nowhere/report.json cannot be written");
    let output = TestCommand::new().args(args).args(["--report", "/dev/full"]).run().code(4);
    output.stdout("Succeeded (Verified)").stderr("failed to write the report /dev/full");
}

/// The forms of the replaced script, its defaults, and a configuration in a file.
#[test]
fn the_replaced_scripts_way() {
    let store = committed("1.5.9");
    let (target, folder) = server();
    let config = folder.path.with_file_name("target.json");
    let whole = json!({"type": "remote", "config": {"host": "localhost", "port": target.port, "ssl": false}});
    fs::write(&config, whole.to_string()).unwrap();
    let args = ["migrate", "--source-type", "local", "--source-config", store.path(), "--target-type", "remote"];
    let run = TestCommand::new().args(args).args(["--target-config", config.to_str().unwrap()]);
    run.args(["--collection", "log_ip"]).run().code(0).stdout("8 records verified");
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1).only(&["log_ip"]);
    assert_same(&expected, &dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1), Tolerance::MIGRATED);
}

fn manifest(source: &Json, target: &Json, more: &Json) -> String {
    let mut spec = json!({"source": source, "target": target, "pacing": {"batchSize": 100, "delay": "0s"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let kind = json!({"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration"});
    let mut object = kind.as_object().unwrap().clone();
    object.insert("metadata".into(), json!({"name": "promote", "namespace": "dev"}));
    object.insert("spec".into(), spec);
    serde_json::to_string_pretty(&object).unwrap()
}

#[test]
fn a_manifest_without_a_cluster_there_and_back() {
    let store = committed("1.5.9");
    let (server, folder) = server();
    let gateway = Gateway::start(&server.url, ("x-chroma-token", TOKEN), true);
    let secrets = folder.path.with_file_name("secrets");
    fs::create_dir_all(secrets.join("chroma")).unwrap();
    fs::write(secrets.join("chroma/token"), format!("{TOKEN}\n")).unwrap();
    fs::write(secrets.join("chroma/ca.crt"), &gateway.ca_pem).unwrap();
    let dev = json!({"local": {"claimName": "dev", "path": "store"}});
    let prod = json!({"remote": {
        "url": gateway.url,
        "auth": {"header": {"name": "X-Chroma-Token", "secretKeyRef": {"name": "chroma", "key": "token"}}},
        "tls": {"ca": {"secretKeyRef": {"name": "chroma", "key": "ca.crt"}}},
    }});
    let some = json!({"collections": [{"name": "values", "targetName": "imported"}, {"name": "absent"}]});
    let volume = format!("dev={}", store.path.parent().unwrap().display());
    let secrets = secrets.to_str().unwrap();
    let run = || TestCommand::new().args(["run", "-f", "-", "--volume", &volume]).stdin(manifest(&dev, &prod, &some));
    run().run().code(2).stderr("add --secrets-dir DIR");
    let output = run().args(["--secrets-dir", secrets]).env("RUST_LOG", "trace").run().code(0);
    assert!(!format!("{output:?}").contains(TOKEN));
    let expected = oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1);
    let written = dump("1.5.9", &server.url, DEFAULT.0, DEFAULT.1);
    assert_same(&expected.only(&["absent"]), &written.only(&["absent"]), Tolerance::MIGRATED);

    let file = folder.path.with_file_name("back.yaml");
    let back = json!({"local": {"claimName": "new", "path": "a/b"}});
    fs::write(&file, manifest(&prod, &back, &json!({"collections": [{"name": "absent"}]}))).unwrap();
    let volume = format!("new={}", folder.path.with_file_name("new").display());
    let args = ["run", "-f", file.to_str().unwrap(), "--volume", &volume, "--secrets-dir", secrets, "--chroma-bin"];
    TestCommand::new().args(args).args([env("1.5.9").chroma()]).run().code(0).stdout("36 records verified");
    let copy = dump_folder("1.5.9", &folder.path.with_file_name("new").join("a/b"));
    assert_same(&expected.only(&["absent"]), &copy, Tolerance::MIGRATED);
}

/// A server whose certificate is for another name than its Service's, with an authority from a `ConfigMap` (as trust-manager
/// makes them), that asks for a certificate.
#[test]
fn an_authority_a_server_name_and_a_client_certificate() {
    let (source, _one) = server();
    memories(&source, &[("a", "one")]);
    let (server, folder) = server();
    let gateway = Gateway::mutual(&server.url, ("x-chroma-token", TOKEN), "chroma.example.com");
    let there = |kind: &str| folder.path.with_file_name(kind);
    let put = |file: &str, text: &str| {
        let file = folder.path.with_file_name(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    put("secrets/chroma/token", TOKEN);
    put("secrets/runner-tls/tls.crt", &gateway.client[0]);
    put("secrets/runner-tls/tls.key", &gateway.client[1]);
    put("config-maps/chroma/ca.crt", &gateway.ca_pem);
    let run = |tls: &serde_json::Value| {
        let target = json!({"remote": {
            "url": gateway.url,
            "auth": {"header": {"name": "X-Chroma-Token", "secretKeyRef": {"name": "chroma", "key": "token"}}},
            "tls": tls,
        }});
        let source = json!({"remote": {"url": source.url}});
        TestCommand::new()
            .args(["run", "-f", "-", "--secrets-dir"])
            .args([there("secrets")])
            .stdin(manifest(&source, &target, &json!({})))
            .env("RUST_LOG", "trace")
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("NO_PROXY", "localhost")
    };
    let ca = json!({"configMapKeyRef": {"name": "chroma", "key": "ca.crt"}});
    let whole =
        json!({"ca": ca, "serverName": "chroma.example.com", "clientCertificate": {"secretName": "runner-tls"}});
    run(&whole).run().code(2).stderr("add --config-maps-dir DIR");
    let run = |tls: &serde_json::Value| run(tls).args(["--config-maps-dir"]).args([there("config-maps")]).run();
    let output = run(&whole).code(0).stdout("1 records verified");
    let said = format!("{output:?}");
    assert!(!said.contains(gateway.client[1].lines().nth(1).unwrap()), "the key is shown");
    for (without, why) in [("serverName", "check the host name"), ("clientCertificate", "did not answer")] {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(without);
        run(&part).code(4).stdout(why);
    }
}

/// A local target is read from its files: no Chroma is started, and nothing is made.
#[test]
fn a_manifest_that_only_compares() {
    let ((source, _one), (target, folder)) = (server(), server());
    memories(&source, &[("a", "one"), ("b", "two")]);
    memories(&target, &[("a", "one")]);
    let remote = |server: &ChromaServer| json!({"remote": {"url": server.url}});
    let verify = json!({"mode": "Verify"});
    let run =
        |target: &Json| TestCommand::new().args(["run", "-f", "-"]).stdin(manifest(&remote(&source), target, &verify));
    let differs = run(&remote(&target)).run().code(5);
    differs.stdout("nothing was written: 0 records differ and 1 are missing");
    let second = json!({"ids": ["b"], "documents": ["two"], "embeddings": [[1]]});
    write(&target, DEFAULT, "memories", "add", &second);
    run(&remote(&target)).run().code(0).stdout("2 records compared: every one is equal");
    let volume = format!("files={}", folder.path.display());
    let files = run(&json!({"local": {"claimName": "files"}})).args(["--volume", &volume]).run().code(0);
    files.stdout("nothing was written: 2 records compared").stdout("source and target are identical");
    let counts = manifest(&remote(&source), &remote(&target), &json!({"mode": "Verify", "onConflict": "Overwrite"}));
    TestCommand::new().args(["run", "-f", "-"]).stdin(counts).run().code(2).stderr("mode: Verify writes nothing");
}

#[test]
fn manifests_that_make_no_sense() {
    let run = |text: &str| TestCommand::new().args(["run", "-f", "-"]).stdin(text).run().code(2);
    let local = |claim| json!({"local": {"claimName": claim}});
    run("a: [").stderr("cannot be read as YAML");
    run("apiVersion: v1\nkind: Secret\n").stderr("write apiVersion: memory-migration.dev/v1alpha1");
    let both = manifest(&local("a"), &local("b"), &json!({"onConflict": "Merge", "colections": []}));
    run(&both).stderr("colections");
    run(&manifest(&local("a"), &local("b"), &json!({"pacing": {"batchSize": 0}}))).stderr("batchSize");
    run(&manifest(&local("a"), &local("b"), &json!({}))).stderr("add --volume a=DIR");
    let missing = TestCommand::new().args(["run", "-f", "/nowhere/m.yaml"]).run().code(2);
    missing.stderr("failed to read the manifest /nowhere/m.yaml");
    TestCommand::new().args(["run", "-f", "-", "--volume", "dev"]).run().code(2).stderr("write CLAIM=DIR");
    // The committed examples are good: only what stands for their claims is missing.
    for entry in fs::read_dir(crate_path("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("kind: MemoryMigrationSchedule") || !text.contains("claimName") {
            // no migration; or from server to server: it would be carried out, as `several.rs` does with servers of its own
            continue;
        }
        TestCommand::new().args([Path::new("run"), Path::new("-f"), &path]).run().code(2).stderr("add --volume");
    }
}

#[test]
fn credentials_come_from_the_environment_and_are_never_shown() {
    let store = committed("1.5.9");
    let (server, folder) = server();
    let file = folder.path.with_file_name("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let ca = folder.path.with_file_name("ca.pem");
    let bearer = format!("Bearer {TOKEN}");
    // base64 of ada:TOKEN
    let basic = "Basic YWRhOmEtc2VjcmV0LXRoYXQtbm9ib2R5LW1heS1wcmludA==";
    let run = |gateway: &Gateway, name: &str, variables: &[(&str, &str)]| {
        let pair = format!("single={name}");
        let mut run = Migration::new(store.path(), &gateway.url).only(&[&pair]).env("RUST_LOG", "trace");
        for (name, value) in variables {
            run = run.env(&format!("MEMORY_MIGRATION_TARGET_{name}"), value);
        }
        run
    };
    let quiet = |report: &super::support::migration::Report| {
        let all = format!("{report:?}");
        assert!(!all.contains(TOKEN) && !all.contains(&basic[6..]), "{all}");
    };
    let bearer = Gateway::start(&server.url, ("authorization", &bearer), false);
    quiet(&run(&bearer, "by-token", &[("TOKEN", TOKEN)]).verified());
    quiet(&run(&bearer, "by-file", &[("TOKEN_FILE", file.to_str().unwrap())]).verified());
    // The gateway echoes what it refuses.
    let refused = run(&bearer, "by-user", &[("TOKEN", TOKEN), ("USERNAME", "ada")]).ends(4);
    quiet(&refused);
    refused.says(&["check the user \"ada\" and its password"]);
    let gateway = Gateway::start(&server.url, ("authorization", basic), false);
    quiet(&run(&gateway, "by-user", &[("TOKEN", TOKEN), ("USERNAME", "ada")]).verified());

    let gateway = Gateway::start(&server.url, ("x-chroma-token", TOKEN), true);
    fs::write(&ca, &gateway.ca_pem).unwrap();
    let header = [("TOKEN", TOKEN), ("HEADER", "X-Chroma-Token")];
    let trusted = [header[0], header[1], ("CA_FILE", ca.to_str().unwrap())];
    quiet(&run(&gateway, "by-header", &trusted).verified());
    let distrusted = run(&gateway, "by-header", &header).ends(4);
    quiet(&distrusted);
    distrusted.says(&["did not answer", "check the host name, the CA certificate, and that the port speaks TLS"]);

    let missing =
        TestCommand::new().args(["inspect", &gateway.url]).env("MEMORY_MIGRATION_SOURCE_TOKEN_FILE", "/nowhere/t");
    missing.run().code(2).stderr("MEMORY_MIGRATION_SOURCE_TOKEN_FILE names /nowhere/t, which cannot be read");
    for (side, name) in [("SOURCE", "USERNAME"), ("TARGET", "HEADER")] {
        let variable = format!("MEMORY_MIGRATION_{side}_{name}");
        let args = ["verify", "--source-config", &gateway.url, "--target-config", &gateway.url];
        TestCommand::new()
            .args(args)
            .env(&variable, "ada")
            .run()
            .code(2)
            .stderr(&format!("{variable} is set, and there is no"));
    }
    let nothing = ["migrate", "--source-config", store.path(), "--target-config", &gateway.url, "--exclude", "*"];
    TestCommand::new().args(nothing).run().code(2).stderr("exclude \"*\" leaves nothing of \"*\"");
}

#[test]
fn conflicts_are_skipped_overwritten_or_refused() {
    let ((source, _one), (target, _two)) = (server(), server());
    memories(&source, &[("a", "one"), ("b", "two"), ("c", "three")]);
    memories(&target, &[("a", "one"), ("b", "other")]);
    let before = snapshot(&target, DEFAULT);
    let run = |how| Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT)).args(["--on-conflict", how]);

    let fail = run("fail").ends(6);
    assert_eq!((fail.reason(), fail.count("copied")), ("RecordConflict", 0));
    assert_eq!(fail.listed("memories"), [("b", "conflict")]);
    fail.says(&["1 ids are in the target with other content", "use Skip to leave them alone, or Overwrite"]);
    assert_eq!(snapshot(&target, DEFAULT), before);

    let skip = run("skip").ends(0);
    assert_eq!(skip.reason(), "VerifiedWithSkips");
    assert_eq!(["verified", "copied", "present", "conflictsSkipped"].map(|name| skip.count(name)), [2, 1, 1, 1]);
    assert_eq!(skip.listed("memories"), [("b", "conflict")]);
    let document =
        |id: &str| dump("1.5.9", &target.url, DEFAULT.0, DEFAULT.1).collection("memories").record(id).document.clone();
    assert_eq!(document("b").as_deref(), Some("other"));

    let overwrite = run("overwrite").verified();
    assert_eq!(["verified", "copied", "present", "overwritten"].map(|name| overwrite.count(name)), [3, 0, 2, 1]);
    assert_eq!(document("b").as_deref(), Some("two"));
}

#[test]
fn duplicates_by_content_are_listed_and_stay_so_in_a_rerun() {
    let ((source, _one), (target, _two)) = (server(), server());
    memories(&source, &[("a", "same text"), ("b", "twice here"), ("c", "twice here"), ("d", "")]);
    memories(&target, &[("x", "same text"), ("y", "")]);
    for copied in [3, 0] {
        let run = Migration::new(&remote(&source, DEFAULT), &remote(&target, DEFAULT));
        let report = run.args(["--duplicates", "by-content"]).ends(0);
        assert_eq!(report.reason(), "VerifiedWithSkips");
        assert_eq!((report.count("copied"), report.count("duplicates"), report.count("verified")), (copied, 1, 3));
        // what made it a duplicate is none of the source's: it is extra, too
        assert_eq!(report.listed("memories"), [("a", "duplicate"), ("x", "extra"), ("y", "extra")]);
        let detail = report.collection("memories")["differences"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("under id \"x\""), "{detail}");
        assert_eq!(report.count("targetAfter"), 5);
    }
}

#[test]
fn inspection_tells_what_is_there_and_what_is_damaged() {
    let store = committed("1.5.9");
    let inspect = |args: &[&str]| TestCommand::new().args(["inspect"]).args(args).run();
    let text =
        inspect(&[store.path()]).code(0).stdout("COLLECTION").stdout("EMBEDDING FUNCTION").stdout("never_written");
    assert!(text.stdout_text().lines().next().unwrap().contains("Chroma"), "{}", text.stdout_text());
    // a guide that shows one database lost the others
    text.stdout("other databases were not looked at: ").stdout("\"archive\"").stdout("Add --database '*'");
    let all = inspect(&[store.path(), "--database", "*"]).stdout_text().to_owned();
    assert!(!all.contains("not looked at"), "{all}");
    let found = |args: &[&str], code| -> Json { serde_json::from_str(inspect(args).code(code).stdout_text()).unwrap() };
    let told = |found: &Json, name: &str| -> Json {
        found["collections"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let files = found(&[store.path(), "--json", "--records"], 0);
    for expected in oracle("1.5.9").in_database(DEFAULT.0, DEFAULT.1).collections {
        let one = told(&files, &expected.name);
        assert_eq!(
            (&one["records"], &one["distance"], &one["id"]),
            (&json!(expected.count), &json!(expected.space), &json!(expected.id))
        );
    }
    let function = |found: &Json| told(found, "embedded_huggingface")["embeddingFunction"].clone();
    assert_eq!(function(&files), "huggingface");

    damage(&store.path, "lose-vector", &["synced_l2", "synced-1"]);
    let damaged = told(&found(&[store.path(), "--json", "--records"], 5), "synced_l2");
    assert_eq!(damaged["unreadable"].as_array().unwrap().len(), 1);
    assert_eq!(damaged["unreadable"][0]["id"], "synced-1");
    inspect(&[store.path(), "--records"]).code(5).stdout("synced_l2: \"synced-1\" cannot be read: ");
    inspect(&["/nowhere"]).code(4).stderr("the folder does not exist; check the path");

    let store = committed("1.5.9");
    let server = ChromaServer::start("1.5.9", &store.path);
    let over_http = found(&[&server.url, "--json"], 0);
    assert_eq!(function(&over_http), "huggingface");
    assert_eq!(over_http["collections"].as_array().unwrap().len(), files["collections"].as_array().unwrap().len());
}
