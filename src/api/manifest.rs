//! A manifest's text to a checked `MemoryMigration`: what `run -f FILE` reads. Pure; stricter than an API server, which
//! drops unknown keys.

use serde_json::Value;
use thiserror::Error as ThisError;

use super::crd::{SCHEDULE_SCHEMA, SCHEMA};
use super::runner::PodTemplate;
use super::schedule::{MemoryMigrationSchedule, SCHEDULE_KIND};
use super::spec::MemoryMigration;
use super::{API_VERSION, KIND, schema as shape};

/// Why a manifest cannot be used.
#[derive(Debug, ThisError)]
pub enum ManifestError {
    /// Not YAML, or a key twice.
    #[error("the manifest cannot be read as YAML: {0}")]
    Yaml(#[from] serde_saphyr::Error),
    /// None, or more than one.
    #[error("the manifest holds {0} objects: write one MemoryMigration in a file of its own")]
    Documents(usize),
    /// Another kind of object.
    #[error(
        "the manifest says apiVersion {api_version} and kind {kind}: write apiVersion: {API_VERSION} and kind: {wanted}"
    )]
    Kind {
        /// What it should say for `kind`.
        wanted: &'static str,
        /// What it says for `apiVersion`.
        api_version: String,
        /// What it says for `kind`.
        kind: String,
    },
    /// Everything that is wrong with it, each with its place.
    #[error("the manifest is refused:\n- {}", .0.join("\n- "))]
    Refused(Vec<String>),
    /// Its metadata is not what Kubernetes knows.
    #[error("the manifest cannot be used: {0}")]
    Object(#[from] serde_json::Error),
}

/// Reads a manifest: one YAML (or JSON) document.
///
/// # Errors
/// When it is no YAML, not one document, another kind of object, has an unknown key, or breaks a rule of the
/// resource; all that is wrong is said at once.
pub fn parse_manifest(yaml: &str) -> Result<MemoryMigration, ManifestError> {
    let migration: MemoryMigration = serde_json::from_value(checked(yaml, KIND, &SCHEMA)?)?;
    let problems = migration.problems();
    if problems.is_empty() { Ok(migration) } else { Err(ManifestError::Refused(problems)) }
}

/// Reads the manifest of a schedule, as strictly.
///
/// # Errors
/// As [`parse_manifest`].
pub fn parse_schedule(yaml: &str) -> Result<MemoryMigrationSchedule, ManifestError> {
    let schedule: MemoryMigrationSchedule = serde_json::from_value(checked(yaml, SCHEDULE_KIND, &SCHEDULE_SCHEMA)?)?;
    let problems: Vec<String> = schedule.calendar().err().into_iter().chain(schedule.problems()).collect();
    if problems.is_empty() { Ok(schedule) } else { Err(ManifestError::Refused(problems)) }
}

/// The one document, if it is of this kind and has the shape of its schema.
fn checked(yaml: &str, kind: &'static str, schema: &Value) -> Result<Value, ManifestError> {
    // As kubectl reads it: `y` is a name, not a truth value.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(yaml, options)?;
    let mut documents: Vec<Value> = documents.into_iter().filter(|d| !d.is_null()).map(shape::without_nulls).collect();
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return Err(ManifestError::Documents(documents.len() + usize::from(!documents.is_empty())));
    };
    check_kind(&document, kind)?;
    let problems = shape_problems(&document, kind, schema);
    if problems.is_empty() { Ok(document) } else { Err(ManifestError::Refused(problems)) }
}

/// Reads a part of a `PodTemplate` from JSON, as strictly as an API server reads it in a manifest.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn parse_pod_template(json: &str) -> Result<PodTemplate, String> {
    let value: Value = serde_json::from_str(json).map_err(|e| format!("it is no JSON: {e}"))?;
    let value = shape::without_nulls(value);
    let of_template = &SCHEMA["properties"]["spec"]["properties"]["runner"]["properties"]["podTemplate"];
    let problems = shape::problems(of_template, &value, "podTemplate");
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn check_kind(document: &Value, wanted: &'static str) -> Result<(), ManifestError> {
    let word = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or("(none)").to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    if api_version == API_VERSION && kind == wanted {
        return Ok(());
    }
    Err(ManifestError::Kind { wanted, api_version, kind })
}

fn shape_problems(document: &Value, kind: &str, schema: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in document.as_object().into_iter().flatten() {
        match key.as_str() {
            // A status in the file is what some cluster said once: nothing reads it.
            "metadata" if !value.is_object() => problems.push("metadata: write an object with fields".into()),
            "apiVersion" | "kind" | "metadata" | "status" => {}
            "spec" => problems.extend(shape::problems(&schema["properties"]["spec"], value, "spec")),
            other => problems.push(format!("{other}: unknown field; a {kind} has apiVersion, kind, metadata and spec")),
        }
    }
    if document.get("spec").is_none() {
        problems.push("spec: is missing".into());
    }
    if document["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        problems.push("metadata.name: is missing".into());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Duplicates, Mode, OnConflict, PacingMode, VerificationMode};

    const HEAD: &str = "apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\nmetadata: {name: m}\n";
    const GOOD: &str =
        "spec:\n  source: {local: {claimName: dev, path: chroma_db}}\n  target: {remote: {service: {name: chroma}}}\n";

    fn refused(yaml: &str) -> String {
        parse_manifest(yaml).expect_err("the manifest must be refused").to_string()
    }

    /// What the user reads when GOOD is changed like this.
    fn refused_with(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        refused(&format!("{HEAD}{}", GOOD.replace(from, to)))
    }

    /// What the user reads when this line is added to the spec.
    fn refused_line(line: &str) -> String {
        refused(&format!("{HEAD}{GOOD}  {line}\n"))
    }

    fn says(text: &str, wanted: &str) {
        assert_eq!(text, format!("the manifest is refused:\n- {wanted}"));
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let spec = parse_manifest(&format!("{HEAD}{GOOD}")).unwrap().spec;
        let source = spec.source.local.unwrap();
        let target = spec.target.remote.unwrap();
        assert_eq!((source.tenant.as_str(), source.database()), ("default_tenant", "default_database"));
        assert_eq!((target.tenant.as_str(), target.database()), ("default_tenant", "default_database"));
        assert_eq!(target.service.unwrap().port, 8000);
        assert_eq!((spec.on_conflict, spec.duplicates), (OnConflict::Skip, Duplicates::ById));
        assert_eq!((spec.mode, spec.verification.mode, spec.backoff_limit), (Mode::Migrate, VerificationMode::Full, 6));
        assert_eq!((spec.pacing.mode, spec.pacing.batch_size(), spec.pacing.delay()), (PacingMode::Fixed, 10, "1s"));
    }

    #[test]
    fn neither_local_nor_remote() {
        says(
            &refused_with("{local: {claimName: dev, path: chroma_db}}", "{}"),
            "spec.source: write exactly one of local (a store on a PersistentVolumeClaim) and remote (a Chroma server)",
        );
    }

    #[test]
    fn both_local_and_remote() {
        let text =
            refused_with("{remote: {service: {name: chroma}}}", "{remote: {url: http://c}, local: {claimName: x}}");
        says(
            &text,
            "spec.target: write exactly one of local (a store on a PersistentVolumeClaim) and remote (a Chroma server)",
        );
    }

    #[test]
    fn a_null_is_an_absent_field() {
        let both = GOOD.replace("{service: {name: chroma}}", "{service: {name: chroma}, url: null}");
        parse_manifest(&format!("{HEAD}{both}")).unwrap();
        let text = refused_with("{local: {claimName: dev, path: chroma_db}}", "{local: null}");
        assert!(text.contains("exactly one of local"), "{text}");
    }

    #[test]
    fn a_url_that_is_not_http() {
        for url in ["ftp://chroma", "chroma:8000", "http://", "http://user:secret@chroma", "http://chroma/?token=x"] {
            let text = refused_with("{service: {name: chroma}}", &format!("{{url: \"{url}\"}}"));
            says(
                &text,
                "spec.target.remote.url: write http:// or https://, a host and perhaps a port and a path, as in \
                 https://chroma.example.com:8000; put credentials into auth",
            );
        }
        let text = refused_with("{service: {name: chroma}}", "{url: \"http://chroma:99999\"}");
        assert!(text.contains("\"http://chroma:99999\" is no address (invalid port number)"), "{text}");
    }

    #[test]
    fn a_path_that_is_absolute_or_leaves_the_claim() {
        for path in ["/chroma_db", "../other", "a/../../b", "a/.."] {
            says(
                &refused_with("chroma_db", path),
                "spec.source.local.path: write the folder as it is inside the claim, relative, without '..', ':' or \
                 '\\', as in chroma_db; leave it out for the claim's root",
            );
        }
        parse_manifest(&format!("{HEAD}{}", GOOD.replace("chroma_db", "a..b/..c"))).unwrap();
    }

    #[test]
    fn a_batch_of_0_or_5000000() {
        for size in ["0", "5000000", "-1"] {
            says(
                &refused_line(&format!("pacing: {{batchSize: {size}}}")),
                "spec.pacing.batchSize: write a number of records from 1 to 41666, the most that any Chroma server takes in \
                 one request; the default is 10",
            );
        }
        says(&refused_line("pacing: {batchSize: 5.5}"), "spec.pacing.batchSize: write a whole number, not 5.5");
    }

    #[test]
    fn a_delay_that_is_no_duration() {
        for delay in ["fast", "10", "1.5s"] {
            says(
                &refused_line(&format!("pacing: {{delay: \"{delay}\"}}")),
                "spec.pacing.delay: write a duration, a number with ms, s, m or h, as in 500ms, 1s or 1m30s; 0s for no pause",
            );
        }
        says(&refused_line("pacing: {delay: 5h}"), "spec.pacing.delay: \"5h\" is too long: write at most 1h");
        says(
            &refused_line("pacing: {delay: 5}"),
            "spec.pacing.delay: write text (in quotes, if it looks like a number or a truth value), not 5",
        );
    }

    #[test]
    fn what_does_not_fit_the_pace() {
        let fixed = "spec.pacing: batchSize and delay are for mode: Fixed: remove them, Adaptive finds both by itself";
        for line in [
            "{mode: Adaptive, batchSize: 11}",
            "{mode: Adaptive, delay: 2s}",
            "{mode: Adaptive, batchSize: 100, delay: 1s}",
        ] {
            says(&refused_line(&format!("pacing: {line}")), fixed);
        }
        says(
            &refused_line("pacing: {maxSlowdown: \"2\"}"),
            "spec.pacing: maxSlowdown is for mode: Adaptive: remove it, or set mode: Adaptive",
        );
        for slow in ["1", "0.5", "fast", "1e3", "-2"] {
            let text = refused_line(&format!("pacing: {{mode: Adaptive, maxSlowdown: \"{slow}\"}}"));
            assert!(text.contains("spec.pacing.maxSlowdown: write a number above 1 in quotes"), "{slow}: {text}");
        }
        for slow in ["2", "1.5", "none"] {
            let line = format!("  pacing: {{mode: Adaptive, maxSlowdown: \"{slow}\"}}\n");
            let spec = parse_manifest(&format!("{HEAD}{GOOD}{line}")).unwrap().spec;
            assert_eq!((spec.pacing.batch_size, spec.pacing.max_slowdown()), (None, slow));
        }
    }

    /// What the API server makes of `kubectl apply` of mode: Adaptive onto an object that had no pacing.
    #[test]
    fn the_default_of_fixed_that_is_left_beside_adaptive_is_no_mistake() {
        for left in ["batchSize: 10, delay: 1s", "delay: 1s", "batchSize: 10"] {
            let line = format!("  pacing: {{mode: Adaptive, {left}}}\n");
            parse_manifest(&format!("{HEAD}{GOOD}{line}")).unwrap();
        }
    }

    #[test]
    fn a_verification_that_would_write() {
        let says_so =
            "spec: mode: Verify writes nothing: remove dryRun, onConflict and duplicates; or set mode: Migrate";
        for line in ["dryRun: true", "onConflict: Overwrite", "onConflict: Fail", "duplicates: ByContent"] {
            says(&refused_line(&format!("mode: Verify\n  {line}")), says_so);
        }
        says(
            &refused_line("mode: Verify\n  verification: {mode: Counts}"),
            "spec: mode: Verify compares every record: remove verification.mode: Counts",
        );
        let files =
            GOOD.replace("target: {remote: {service: {name: chroma}}}", "target: {local: {claimName: c, fill: Files}}");
        assert_ne!(files, GOOD);
        parse_manifest(&format!("{HEAD}{files}")).unwrap();
        says(
            &refused(&format!("{HEAD}{files}  verification: {{mode: Counts}}\n")),
            "spec: target.local.fill: Files needs verification.mode: Full, which compares every record: remove verification.mode: Counts, or remove fill",
        );
        let line = "  mode: Verify\n  onConflict: Skip\n  dryRun: false\n";
        assert_eq!(parse_manifest(&format!("{HEAD}{GOOD}{line}")).unwrap().spec.mode, Mode::Verify);
    }

    #[test]
    fn databases_beside_a_database() {
        for side in ["{local: {claimName: dev, path: chroma_db}}", "{remote: {service: {name: chroma}}}"] {
            let named = side.replace("}}", ", database: d}}").replace("chroma, database: d}}", "chroma}, database: d}");
            let text = refused(&format!("{HEAD}{}  databases: [a]\n", GOOD.replace(side, &named)));
            assert!(text.contains("spec: databases and an endpoint's database are both set"), "{named}: {text}");
        }
        let spec = parse_manifest(&format!("{HEAD}{GOOD}  databases: [\"*\"]\n")).unwrap().spec;
        assert_eq!(spec.databases, ["*"]);
    }

    #[test]
    fn collections_by_pattern() {
        let place = "spec.collections[0]";
        for (entry, why) in [
            ("{}", "write exactly one of name"),
            ("{name: one, match: \"o*\"}", "write exactly one of name"),
            ("{name: one, exclude: [\"*-tmp\"]}", "exclude is for match"),
            ("{name: one, targetName: \"two-*\"}", "the * of targetName stands for"),
            ("{match: one, targetName: \"two-*\"}", "the * of targetName stands for"),
        ] {
            let text = refused_line(&format!("collections: [{entry}]"));
            assert!(text.contains(&format!("{place}: {why}")), "{entry}: {text}");
        }
        for name in ["*-*", "a..*", "a *", "ü*"] {
            let text = refused_line(&format!("collections: [{{match: \"a*\", targetName: \"{name}\"}}]"));
            assert!(text.contains("spec.collections[0].targetName: write a collection name"), "{name}: {text}");
        }
        let lists = "[{match: \"user-*\", targetName: \"prod-*\", exclude: [\"*-tmp\"]}, {match: \"*\"}, {name: x y}]";
        let refused = parse_manifest(&format!("{HEAD}{GOOD}  collections: {lists}\n")).unwrap_err().to_string();
        assert!(refused.contains("no Chroma server takes the name \"x y\""), "{refused}");
        let lists = lists.replace(", {name: x y}", "");
        let spec = parse_manifest(&format!("{HEAD}{GOOD}  collections: {lists}\n")).unwrap().spec;
        assert_eq!(spec.collections[0].exclude, ["*-tmp"]);
    }

    #[test]
    fn references_to_secrets() {
        let with = |remote: &str| refused_with("{service: {name: chroma}}", remote);
        let text = with(
            "{url: \"https://c\", tls: {ca: {secretKeyRef: {name: a, key: b}, configMapKeyRef: {name: a, key: b}}}}",
        );
        says(&text, "spec.target.remote.tls.ca: write exactly one of secretKeyRef and configMapKeyRef");
        let text = with("{url: \"https://c\", auth: {bearer: {secretKeyRef: {name: a}}}}");
        says(&text, "spec.target.remote.auth.bearer.secretKeyRef.key: is missing");
        for key in ["..", "a/b", "ü"] {
            let text = with(&format!(
                "{{url: \"https://c\", auth: {{bearer: {{secretKeyRef: {{name: a, key: \"{key}\"}}}}}}}}"
            ));
            assert!(
                text.contains("spec.target.remote.auth.bearer.secretKeyRef.key: write the name of a key"),
                "{text}"
            );
        }
        let text = with("{url: \"https://c\", tls: {serverName: 10.0.0.1}}");
        assert!(text.contains("spec.target.remote.tls.serverName: write a host name"), "{text}");
        let text = with("{url: \"https://c\", tls: {serverName: c, insecureSkipVerify: true}}");
        assert!(text.contains("spec.target.remote.tls: write serverName or insecureSkipVerify"), "{text}");
    }

    #[test]
    fn a_pod_template_has_no_image_and_no_volume() {
        for (line, place) in [
            ("{podTemplate: {spec: {volumes: []}}}", "spec.runner.podTemplate.spec.volumes"),
            ("{podTemplate: {spec: {initContainers: []}}}", "spec.runner.podTemplate.spec.initContainers"),
            (
                "{podTemplate: {spec: {containers: [{name: mover, image: x}]}}}",
                "spec.runner.podTemplate.spec.containers[0].image",
            ),
            (
                "{podTemplate: {spec: {containers: [{name: mover, command: [x]}]}}}",
                "spec.runner.podTemplate.spec.containers[0].command",
            ),
        ] {
            let text = refused_line(&format!("runner: {line}"));
            assert!(text.contains(&format!("{place}: unknown field")), "{text}");
        }
        let text = refused_line("runner: {podTemplate: {spec: {containers: [{name: more}]}}}");
        says(&text, "spec.runner.podTemplate.spec.containers[0].name: \"more\" is not one of preflight, mover, chroma");
    }

    #[test]
    fn the_same_store_as_source_and_target() {
        let text = refused_with("{remote: {service: {name: chroma}}}", "{local: {claimName: dev, path: chroma_db}}");
        says(&text, "spec: source and target are the same store: write another claimName or path in one of them");
        for path in ["chroma_db/", "./chroma_db", "chroma_db/inner", "\"\""] {
            let text = refused_with(
                "{remote: {service: {name: chroma}}}",
                &format!("{{local: {{claimName: dev, path: {path}}}}}"),
            );
            assert!(text.contains("the same folder of claim dev, or one holds the other"), "{text}");
        }
        let beside = GOOD.replace("{remote: {service: {name: chroma}}}", "{local: {claimName: dev, path: chroma_db2}}");
        parse_manifest(&format!("{HEAD}{beside}")).unwrap();
    }

    #[test]
    fn the_same_database_as_source_and_target() {
        let from = "{local: {claimName: dev, path: chroma_db}}";
        let text = refused_with(from, "{remote: {service: {name: chroma}}}");
        assert!(text.contains("spec: source and target are the same database of the same server"), "{text}");
        let urls = "spec: {source: {remote: {url: \"http://c:80/\"}}, target: {remote: {url: \"http://C\"}}}";
        let text = refused(&format!("{HEAD}{urls}"));
        assert!(text.contains("the same database of the same server"), "{text}");
        // the runner would find one store, whatever the names
        let renamed = "  collections: [{name: one, targetName: two}]\n";
        let same = GOOD.replace(from, "{remote: {service: {name: chroma}}}");
        assert!(refused(&format!("{HEAD}{same}{renamed}")).contains("the same database of the same server"));
        let other = GOOD.replace(from, "{remote: {service: {name: chroma}, database: other}}");
        parse_manifest(&format!("{HEAD}{other}{renamed}")).unwrap();
    }

    #[test]
    fn a_collection_that_is_listed_twice() {
        let text = refused_line("collections: [{name: one}, {name: two}, {name: one, targetName: one}]");
        says(&text, "spec.collections[2]: one is listed twice: remove one entry");
    }

    #[test]
    fn a_star_that_could_stand_for_two() {
        let text = refused_line("collections: [{match: \"a-*-*\", targetName: \"b-*\"}]");
        says(
            &text,
            "spec.collections[0]: match \"a-*-*\" has 2 stars, so it is not clear which one the * of targetName stands for: write match with exactly one *",
        );
    }

    #[test]
    fn a_collection_name_that_no_server_takes() {
        for name in ["a", "-ab", "ab-", "a..b", "a b", "ü23"] {
            let text = refused_line(&format!("collections: [{{name: one, targetName: \"{name}\"}}]"));
            assert!(
                text.contains("spec.collections[0].targetName: write a collection name that Chroma takes"),
                "{text}"
            );
        }
        let text = refused_line("collections: [{name: 10.0.0.1}]");
        assert!(text.contains("no Chroma server takes the name \"10.0.0.1\""), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        says(
            &refused_line("pacing: {sise: 5}"),
            "spec.pacing.sise: unknown field; the fields of spec.pacing are batchSize, delay, maxSlowdown, mode",
        );
        let text = refused_line("runner: {podTemplate: {spec: {tolerations: [{kee: x}]}}}");
        assert!(text.contains("spec.runner.podTemplate.spec.tolerations[0].kee: unknown field"), "{text}");
        let text = refused(&format!("{HEAD}{GOOD}spce: 1\n"));
        says(&text, "spce: unknown field; a MemoryMigration has apiVersion, kind, metadata and spec");
    }

    #[test]
    fn a_word_that_is_not_in_the_list() {
        says(&refused_line("onConflict: skip"), "spec.onConflict: \"skip\" is not one of Skip, Overwrite, Fail");
        says(&refused_line("dryRun: \"yes\""), "spec.dryRun: write true or false, not the text \"yes\"");
    }

    #[test]
    fn several_mistakes_are_said_at_once() {
        let text = refused_line("dryRun: 1\n  onConflict: skip");
        assert!(text.contains("spec.dryRun") && text.contains("spec.onConflict"), "{text}");
    }

    #[test]
    fn another_kind_of_object() {
        let yaml = format!("{HEAD}{GOOD}").replace("v1alpha1", "v1beta9");
        assert_eq!(
            refused(&yaml),
            "the manifest says apiVersion memory-migration.dev/v1beta9 and kind MemoryMigration: write apiVersion: \
             memory-migration.dev/v1alpha1 and kind: MemoryMigration"
        );
        assert!(refused("a: 1").contains("says apiVersion (none) and kind (none)"));
        assert!(refused("- 1").contains("says apiVersion (none)"));
    }

    #[test]
    fn more_or_less_than_one_document() {
        let one = format!("{HEAD}{GOOD}");
        assert!(refused(&format!("{one}---\n{one}")).starts_with("the manifest holds 2 objects"));
        assert!(refused("").starts_with("the manifest holds 0 objects"));
        parse_manifest(&format!("---\n{one}---\n")).unwrap();
    }

    #[test]
    fn no_yaml_and_a_key_twice_say_the_line() {
        assert!(refused("a: [").starts_with("the manifest cannot be read as YAML"));
        let text = refused(&format!("{HEAD}{GOOD}spec: {{}}\n"));
        assert!(text.contains("cannot be read as YAML") && text.contains("spec"), "{text}");
    }

    #[test]
    fn a_name_and_a_spec_are_needed() {
        let text = refused("apiVersion: memory-migration.dev/v1alpha1\nkind: MemoryMigration\n");
        assert!(text.contains("spec: is missing") && text.contains("metadata.name: is missing"), "{text}");
    }

    #[test]
    fn what_a_cluster_prints_can_be_read_back() {
        let mut migration = parse_manifest(&format!("{HEAD}{GOOD}")).unwrap();
        migration.status = Some(crate::api::MemoryMigrationStatus::default());
        let yaml = serde_saphyr::to_string(&migration).unwrap();
        assert_eq!(parse_manifest(&yaml).unwrap().spec, migration.spec);
    }

    /// A newer API server can hand fields to an older operator: they are ignored there, and only there.
    #[test]
    fn an_object_of_another_version_is_read_without_its_unknown_fields() {
        let object = serde_json::json!({
            "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "m"},
            "spec": {"source": {"local": {"claimName": "a", "future": 1}}, "target": {"remote": {"url": "http://c"}}, "next": {}},
            "status": {"phase": "Pending", "later": true}
        });
        let migration: MemoryMigration = serde_json::from_value(object).unwrap();
        assert_eq!(migration.problems(), Vec::<String>::new());
        assert_eq!(migration.status.unwrap().observed_generation, -1);
    }
}
