//! What is generated and committed is what the code makes today; a failure says the command that renews it.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use memory_migration_operator::api::crd::yaml;
use memory_migration_operator::api::{crd, schedule_crd};
use serde_json::Value;

const REFERENCE: &str = "docs/api.md";
/// Fields whose shape is Kubernetes' own, by the type's name in Kubernetes' reference; the first that fits counts.
const KUBERNETES: [(&str, &str); 11] = [
    ("affinity", "Affinity"),
    ("conditions", "[]Condition"),
    ("dnsConfig", "PodDNSConfig"),
    ("env", "[]EnvVar"),
    ("hostAliases", "[]HostAlias"),
    ("imagePullSecrets", "[]LocalObjectReference"),
    ("resources", "ResourceRequirements"),
    ("containers[].securityContext", "SecurityContext"),
    ("securityContext", "PodSecurityContext"),
    ("tolerations", "[]Toleration"),
    ("topologySpreadConstraints", "[]TopologySpreadConstraint"),
];

fn path(relative: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// With UPDATE set the file is written first.
fn assert_fresh(file: &str, generated: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(file), generated).unwrap();
    }
    let committed = std::fs::read_to_string(path(file)).unwrap_or_default();
    let command = "UPDATE=1 cargo test --locked --test suite generated::";
    assert!(committed == generated, "{file} is stale: run `{command}` and commit it");
}

#[test]
fn the_crd_files_are_fresh() {
    for crd in [crd(), schedule_crd()] {
        let file = format!("crds/{}.yaml", crd.metadata.name.as_deref().unwrap());
        assert_fresh(&file, &yaml(&crd).unwrap());
    }
}

/// `memory-migration crd` prints what `kubectl apply -f -` takes: both.
#[test]
fn the_command_prints_both_crds() {
    let printed = memory_migration_operator::api::crd_yaml().unwrap();
    let files = [crd(), schedule_crd()].map(|crd| yaml(&crd).unwrap());
    assert_eq!(printed, files.join("---\n"));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&printed).unwrap();
    assert_eq!(documents.len(), 2);
}

#[test]
fn the_reference_is_fresh() {
    assert_fresh(REFERENCE, &reference());
}

/// docs/api.md.
fn reference() -> String {
    let mut text = String::from(
        "<!-- Generated from the types in src/api: `UPDATE=1 cargo test --locked --test suite generated::`. Do not edit. -->\n\
         # API reference\n\n\
         What the words mean is in [concepts](concepts.md), what a reason asks of you in [troubleshooting](troubleshooting.md).\n",
    );
    let mut known = Vec::new();
    resource(&mut text, &crd(), "", &mut known);
    resource(&mut text, &schedule_crd(), "schedule.", &mut known);
    text
}

/// One resource. `prefix`: what its places begin with, so that the headings of two differ.
fn resource(text: &mut String, crd: &CustomResourceDefinition, prefix: &str, known: &mut Vec<(Value, String)>) {
    let version = &crd.spec.versions[0];
    let names: Vec<String> = crd.spec.names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect();
    let _ = write!(
        text,
        "\n## {kind}\n\n`apiVersion: {}/{}`, `kind: {kind}`, namespaced; short names {}; category `{}`.\n",
        crd.spec.group,
        version.name,
        names.join(", "),
        crd.spec.names.categories.iter().flatten().cloned().collect::<String>(),
        kind = crd.spec.names.kind,
    );
    let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    let rules = messages(&schema);
    if !rules.is_empty() {
        let _ = write!(text, "\n{}\n", rules.iter().map(|rule| format!("- {rule}")).collect::<Vec<_>>().join("\n"));
    }
    for part in ["spec", "status"] {
        section(text, &format!("{prefix}{part}"), &schema["properties"][part], known);
    }
    let short = crd.spec.names.short_names.as_ref().unwrap()[0].clone();
    let _ = write!(text, "\n## kubectl get {short}\n\n| column | is | shown |\n|---|---|---|\n");
    for column in version.additional_printer_columns.iter().flatten() {
        let shown = if column.priority.is_some_and(|p| p > 0) { "with `-o wide`" } else { "always" };
        let is = column.description.as_deref().unwrap_or("Time since the object was made");
        let json_path = column.json_path.replace('|', "\\|");
        let _ = writeln!(text, "| {} | {is} (`{json_path}`) | {shown} |", column.name);
    }
}

/// An object of ours with a table of its fields, then the objects in it. One that is described already is not repeated.
fn section(text: &mut String, place: &str, schema: &Value, known: &mut Vec<(Value, String)>) {
    let _ = write!(text, "\n## {place}\n\n");
    let description = sentence(schema);
    if !description.is_empty() {
        let _ = write!(text, "{description}\n\n");
    }
    let rules = messages(schema);
    if !rules.is_empty() {
        let _ = write!(text, "{}\n\n", rules.iter().map(|rule| format!("- {rule}")).collect::<Vec<_>>().join("\n"));
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().unwrap();
    let mut inner = Vec::new();
    text.push_str("| field | type | |\n|---|---|---|\n");
    for (name, field) in fields {
        let below = format!("{place}.{name}");
        let kind = kind(field, &below, &mut inner, known);
        let mut about = vec![sentence(field)];
        about.extend(required.contains(&name.as_str()).then(|| "Required.".to_owned()));
        // the rules of an object of ours are in its own section
        let rules = if field["properties"].is_object() { Vec::new() } else { messages(field) };
        about.extend(rules.into_iter().map(|rule| format!("Checked: {rule}.")));
        about.retain(|part| !part.is_empty());
        let _ = writeln!(text, "| `{name}` | {kind} | {} |", about.join(" ").replace('|', "\\|"));
    }
    for (below, schema) in inner {
        section(text, &below, &schema, known);
    }
}

/// A field's type; an object of ours is put on the list of what is still to be described.
fn kind(field: &Value, below: &str, inner: &mut Vec<(String, Value)>, known: &mut Vec<(Value, String)>) -> String {
    if let Some((_, theirs)) = KUBERNETES.iter().find(|(field, _)| below.ends_with(&format!(".{field}"))) {
        return format!("Kubernetes' {theirs}");
    }
    if let Some(words) = field["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    }
    if field["type"] == "array" {
        return format!("list of {}", kind(&field["items"], &format!("{below}[]"), inner, known));
    }
    if field["additionalProperties"].is_object() {
        return "map of text".into();
    }
    if !field["properties"].is_object() {
        let format = field["format"].as_str().map(|format| format!(" ({format})")).unwrap_or_default();
        return format!("{}{format}", field["type"].as_str().unwrap_or("any"));
    }
    let described = known.iter().find(|(shape, _)| *shape == field["properties"]);
    let place = described.map_or_else(|| below.to_owned(), |(_, place)| place.clone());
    if described.is_none() {
        known.push((field["properties"].clone(), below.to_owned()));
        inner.push((below.to_owned(), field.clone()));
    }
    format!("[{place}](#{})", super::docs::slug(&place))
}

fn sentence(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace("\n\n", " ").replace('\n', " ")
}

fn messages(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule["message"].as_str().map(str::to_owned)).collect()
}
