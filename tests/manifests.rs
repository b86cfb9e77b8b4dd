//! What becomes of a manifest in a cluster: the defaults that an API server fills in, and that applying, reading back and
//! applying again changes nothing, as kubectl, Argo CD and Flux compare. The three are done here by the rules that they
//! follow (structural defaulting, three-way merge patch, server-side apply); `tests/cluster` has the real ones.

use std::fs;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use memory_migration_operator::api::{
    KIND, MemoryMigrationSchedule, crd, parse_manifest, parse_schedule, schedule_crd,
};
use serde_json::{Map, Value, json};

use super::support::chroma::crate_path;

/// The schema of the whole object.
fn schema() -> Value {
    schema_of(crd())
}

fn schema_of(mut crd: CustomResourceDefinition) -> Value {
    let version = crd.spec.versions.remove(0);
    serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap()
}

/// Schedules: the example, the shortest one, and one that sets every field.
fn schedules() -> Vec<(String, Value)> {
    let head = "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigrationSchedule\nmetadata: {name: s}\nspec:\n";
    let template =
        "template: {spec: {source: {remote: {service: {name: chroma}}}, target: {local: {claimName: backup}}}}";
    let everything = "  schedule: 0 2 * * *\n  timeZone: Europe/Berlin\n  suspend: true\n  concurrencyPolicy: Replace\n  \
        startingDeadlineSeconds: 60\n  successfulHistoryLimit: 0\n  failedHistoryLimit: 7\n  \
        template:\n    metadata: {labels: {a: b}, annotations: {c: d}}\n    spec:\n      \
          source: {remote: {service: {name: chroma}}}\n      target: {local: {claimName: backup, path: a/b}}\n      \
          collections: [{name: one}]\n      pacing: {mode: Adaptive}\n";
    let read = |text: String| serde_saphyr::from_str::<Value>(&text).unwrap();
    let example = fs::read_to_string(crate_path("deploy/examples/schedule.yaml")).unwrap();
    vec![
        ("example".into(), read(example)),
        ("shortest".into(), read(format!("{head}  schedule: '@daily'\n  {template}\n"))),
        ("everything".into(), read(format!("{head}{everything}"))),
    ]
}

#[test]
fn a_schedule_that_is_applied_read_back_and_applied_again_is_the_same() {
    let schema = schema_of(schedule_crd());
    for (name, applied) in schedules() {
        assert_eq!(differences(&schema, &applied), Vec::<&str>::new(), "{name}");
        let asked = parse_schedule(&applied.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let stored = parse_schedule(&stored(&schema, &applied).to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let hash = |schedule: &MemoryMigrationSchedule| schedule.spec.template.spec.run_hash();
        assert_eq!(hash(&stored), hash(&asked), "{name}");
        assert_eq!(stored.spec.time_zone, asked.spec.time_zone, "{name}");
    }
}

/// Whoever breaks a rule reads what to write instead.
#[test]
fn what_a_schedule_cannot_be_is_refused_with_a_sentence() {
    let (_, everything) = schedules().pop().unwrap();
    let says = |change: &dyn Fn(&mut Value), wanted: &str| {
        let mut object = everything.clone();
        change(&mut object);
        let said = parse_schedule(&object.to_string()).expect_err(wanted).to_string();
        assert!(said.contains(wanted), "{said}");
    };
    says(&|o| o["spec"]["schedule"] = json!("0 2 * *"), "spec.schedule: \"0 2 * *\" is no schedule (it has 4 fields)");
    says(&|o| o["spec"]["timeZone"] = json!("Europe/Bonn"), "spec.timeZone: there is no time zone \"Europe/Bonn\"");
    says(&|o| o["spec"]["concurrencyPolicy"] = json!("Allow"), "spec.concurrencyPolicy");
    says(&|o| o["spec"]["startingDeadlineSeconds"] = json!(0), "write a number of seconds from 1");
    says(
        &|o| o["spec"]["template"]["spec"]["target"]["local"]["path"] = json!("../x"),
        "spec.template.spec.target.local.path",
    );
    says(
        &|o| o["spec"]["template"]["spec"]["pacing"] = json!({"mode": "Fixed", "delay": "2h"}),
        "spec.template.spec.pacing.delay",
    );
    says(&|o| o["metadata"]["name"] = json!("n".repeat(201)), "write one of at most 200 characters");
    says(&|o| o["spec"]["template"]["name"] = json!("x"), "spec.template.name: unknown field");
}

/// The examples, and an object that sets every kind of field.
fn manifests() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(crate_path("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let value: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if value["kind"] != KIND {
            continue;
        }
        all.push((path.file_name().unwrap().to_str().unwrap().to_owned(), value));
    }
    assert!(all.len() >= 8, "{}", all.len());
    let everything = r#"
apiVersion: memory-migration.dev/v1alpha1
kind: MemoryMigration
metadata: {name: everything}
spec:
  source: {local: {claimName: dev, path: a/b, tenant: t}}
  target:
    remote:
      url: https://chroma.example.com
      auth: {basic: {username: {secretKeyRef: {name: s, key: u}}, password: {secretKeyRef: {name: s, key: p}}}}
      tls: {ca: {configMapKeyRef: {name: ca, key: ca.crt}}, serverName: chroma, clientCertificate: {secretName: tls}}
  databases: [one, "two-*"]
  collections:
    - {name: one}
    - {match: "user-*", exclude: ["*-tmp"]}
    - {match: "*", targetName: "other-*"}
  pacing: {mode: Adaptive, maxSlowdown: none}
  verification: {extras: Fail}
  runner:
    jobLabels: {kueue.x-k8s.io/queue-name: batch}
    podTemplate:
      metadata: {labels: {a: b}}
      spec:
        tolerations: [{key: a, operator: Exists}]
        topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
        hostAliases: [{ip: 10.0.0.1, hostnames: [chroma]}]
        containers:
          - {name: mover, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}], resources: {limits: {memory: 4Gi}}}
          - {name: chroma, securityContext: {runAsUser: 1000}}
"#;
    parse_manifest(everything).unwrap();
    all.push(("everything".into(), serde_saphyr::from_str(everything).unwrap()));
    all
}

/// Fills in defaults as an API server does: from the outside in, and never for a null.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    map.entry(name.clone()).or_insert_with(|| default.clone());
                }
                if let Some(inner) = map.get_mut(name) {
                    fill(property, inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

fn stored(schema: &Value, applied: &Value) -> Value {
    let mut live = applied.clone();
    fill(schema, &mut live);
    live
}

/// What kubectl and Argo CD would send: what the manifest has and the live object has not. A list is compared as a whole.
fn merge_patch(live: &Value, applied: &Value) -> Option<Value> {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            let mut patch = Map::new();
            for (key, wanted) in applied {
                let there = live.get(key).unwrap_or(&Value::Null);
                patch.extend(merge_patch(there, wanted).map(|inner| (key.clone(), inner)));
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (live, applied) => (live != applied).then(|| applied.clone()),
    }
}

/// What a server-side apply makes of the live object: maps are merged, lists with keys entry by entry, others replaced.
fn server_side(schema: &Value, live: &Value, applied: &Value) -> Value {
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (key, wanted) in applied {
                let of = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
                let merged_value = live.get(key).map_or_else(|| wanted.clone(), |there| server_side(of, there, wanted));
                merged.insert(key.clone(), merged_value);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(applied)) if schema["x-kubernetes-list-type"] == "map" => {
            let keys: Vec<&str> =
                schema["x-kubernetes-list-map-keys"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
            let same = |a: &Value, b: &Value| keys.iter().all(|key| a[key] == b[key]);
            let merged = applied.iter().map(|wanted| {
                live.iter()
                    .find(|there| same(there, wanted))
                    .map_or_else(|| wanted.clone(), |there| server_side(&schema["items"], there, wanted))
            });
            let others = live.iter().filter(|there| !applied.iter().any(|wanted| same(there, wanted))).cloned();
            Value::Array(merged.chain(others).collect())
        }
        (_, applied) => applied.clone(),
    }
}

/// What differs after applying, reading back and applying again, in the three ways; empty: nothing.
fn differences(schema: &Value, applied: &Value) -> Vec<&'static str> {
    let live = stored(schema, applied);
    let mut found = Vec::new();
    let patch = merge_patch(&live, applied);
    if patch.is_some() {
        found.push("kubectl");
    }
    // Argo CD: the live object against what the patch would make of it.
    let mut predicted = live.clone();
    if let Some(Value::Object(patch)) = patch {
        predicted.as_object_mut().unwrap().extend(patch);
        fill(schema, &mut predicted);
    }
    if predicted != live {
        found.push("Argo CD");
    }
    // Flux: a server-side apply as a dry run.
    let mut dry = server_side(schema, &live, applied);
    fill(schema, &mut dry);
    if dry != live {
        found.push("Flux");
    }
    found
}

#[test]
fn applying_reading_back_and_applying_again_changes_nothing() {
    let schema = schema();
    for (name, applied) in manifests() {
        assert_eq!(differences(&schema, &applied), Vec::<&str>::new(), "{name}");
    }
}

/// The comparison finds what it is there for: the default in a list's entry that made Argo CD differ for ever.
#[test]
fn a_default_in_an_entry_of_a_list_would_be_found() {
    let mut schema = schema();
    let entries = &mut schema["properties"]["spec"]["properties"]["collections"]["items"]["properties"];
    entries["targetName"]["default"] = json!("");
    let (_, applied) = manifests().pop().unwrap();
    let found = differences(&schema, &applied);
    assert!(found.contains(&"kubectl"), "{found:?}");
}

/// What an API server stores passes the rules that it checks after defaulting, and is the run that was asked for.
#[test]
fn a_stored_object_is_valid_and_the_same_run() {
    let schema = schema();
    for (name, applied) in manifests() {
        let asked = parse_manifest(&applied.to_string()).unwrap();
        let stored = parse_manifest(&stored(&schema, &applied).to_string());
        let stored = stored.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(stored.spec.run_hash(), asked.spec.run_hash(), "{name}");
        assert_eq!(stored.problems(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_edit_of_the_pace_passes_whatever_the_api_server_had_stored() {
    let schema = schema();
    let manifest = |pacing: &Value| {
        let mut object = manifests().into_iter().find(|(name, _)| name == "dry-run.yaml").unwrap().1;
        if !pacing.is_null() {
            object["spec"]["pacing"] = pacing.clone();
        }
        object
    };
    let paces =
        [json!(null), json!({"batchSize": 100}), json!({"mode": "Adaptive"}), json!({"mode": "Fixed", "delay": "0s"})];
    for before in &paces {
        for after in &paces {
            // kubectl removes what the last manifest had and the new one lacks, and knows nothing of what was filled in.
            let mut live = stored(&schema, &manifest(before));
            let pacing = live["spec"]["pacing"].as_object_mut().unwrap();
            for key in before.as_object().into_iter().flatten().map(|(key, _)| key) {
                if after.get(key).is_none() {
                    pacing.remove(key);
                }
            }
            pacing.extend(after.as_object().cloned().unwrap_or_default());
            fill(&schema, &mut live);
            let read = parse_manifest(&live.to_string());
            assert!(read.is_ok(), "{before} to {after}: {:?}", read.err());
        }
    }
}

#[test]
fn the_defaults_of_a_small_object() {
    let small = json!({
        "apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration", "metadata": {"name": "small"},
        "spec": {"source": {"local": {"claimName": "dev"}}, "target": {"remote": {"service": {"name": "chroma"}}}}
    });
    let stored = stored(&schema(), &small);
    assert_eq!(
        stored["spec"],
        json!({
            "mode": "Migrate",
            "source": {"local": {"claimName": "dev", "path": "", "tenant": "default_tenant"}},
            "target": {"remote": {"service": {"name": "chroma", "port": 8000}, "tenant": "default_tenant"}},
            "databases": [],
            "collections": [],
            "onConflict": "Skip",
            "duplicates": "ById",
            "pacing": {"mode": "Fixed", "batchSize": 10, "delay": "1s"},
            "verification": {"mode": "Full", "extras": "Allow"},
            "allowEmpty": false,
            "dryRun": false,
            "runId": "",
            "suspend": false,
            "backoffLimit": 6,
            "report": {"values": false},
            "runner": {},
        })
    );
    assert_eq!(stored["status"]["observedGeneration"], -1);
}

/// What `kubectl explain` prints of a field, without its own line breaks.
fn explained<'a>(schema: &'a Value, path: &str) -> &'a str {
    let field = path.split('.').fold(schema, |schema, name| {
        let schema = if schema["items"].is_object() { &schema["items"] } else { schema };
        &schema["properties"][name]
    });
    field["description"].as_str().unwrap_or_else(|| panic!("{path} explains nothing"))
}

#[test]
fn kubectl_explain_says_what_a_field_does() {
    let schema = schema();
    for (path, says) in [
        (
            "spec.mode",
            "Migrate (default): copy, then compare every record. Verify: compare only. It writes nothing and takes no lock.",
        ),
        (
            "spec.pacing",
            "How to pace writes. An edit starts no run; it applies to the next Job. Default: `{mode: Fixed, batchSize: 10, delay: 1s}`.",
        ),
        (
            "spec.duplicates",
            "How to detect duplicates. `ById` (default): same id. `ByContent`: same id, or same document under another id. Duplicates are listed, not copied.",
        ),
        (
            "spec.collections.match",
            "All collections whose names match this pattern; `*` is any text. Write exactly one of name and match. Example: `user-memory-*`.",
        ),
        (
            "spec.jobTTLSecondsAfterFinished",
            "Seconds after which the Job and pod of a finished run are removed. The object and its status stay. Default: never. Example: `86400`.",
        ),
        ("spec.target.remote.auth.bearer.secretKeyRef.key", "Its key. Example: `token`."),
    ] {
        assert_eq!(explained(&schema, path), says, "{path}");
    }
    assert!(explained(&schema, "spec.onConflict").contains("An object that is created again"));
    assert!(!schema.to_string().contains("\\n"), "kubectl breaks lines by itself");
}

/// The rights of the operator's own roles in deploy/operator.yaml: resource, with its group if it has one, and verb.
fn rights() -> std::collections::BTreeSet<(String, String)> {
    let text = fs::read_to_string(crate_path("deploy/operator.yaml")).unwrap();
    let objects: Vec<Value> = text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap()).collect();
    let texts =
        |list: &Value| list.as_array().unwrap().iter().map(|x| x.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut found = std::collections::BTreeSet::new();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if !["memory-migration-operator", "memory-migration-operator-leases"].contains(&name) {
            continue;
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            for (group, resource) in texts(&rule["apiGroups"])
                .iter()
                .flat_map(|g| texts(&rule["resources"]).into_iter().map(move |r| (g.clone(), r)))
            {
                let what = if group.is_empty() { resource } else { format!("{resource} ({group})") };
                found.extend(texts(&rule["verbs"]).into_iter().map(|verb| (what.clone(), verb)));
            }
        }
    }
    found
}

/// Issue 22: the lists of the chart's page and of the page on security were older than the roles.
#[test]
fn the_pages_list_the_rights_of_the_roles_and_no_others() {
    let expected = rights();
    assert!(expected.len() > 30, "{expected:?}");
    for (file, begin) in [
        ("docs/security.md", "| where | what | verbs: requests that used them |"),
        ("charts/memory-migration-operator/README.md", "| in | on | may |"),
    ] {
        let text = fs::read_to_string(crate_path(file)).unwrap();
        let mut listed = std::collections::BTreeSet::new();
        for line in text.split(begin).nth(1).unwrap().lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            for resource in cells[1].split(", ") {
                // `verb`, or `verb: what is known of it`
                for verb in cells[2].split(", ").map(|verb| verb.split(':').next().unwrap()) {
                    if ["get", "list", "watch", "create", "update", "patch", "delete"].contains(&verb) {
                        listed.insert((resource.to_owned(), verb.to_owned()));
                    }
                }
            }
        }
        assert_eq!(listed, expected, "{file}");
    }
}
