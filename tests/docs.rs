//! What the documents say exists: files, headings, manifests, metrics, reasons, exit codes, alerts. Reads files only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::api::{KIND, Phase, SCHEDULE_KIND, parse_manifest, parse_schedule};
use memory_migration_operator::exit::Exit;
use memory_migration_operator::metrics::{Metrics, Shown, ShownSchedule};
use memory_migration_operator::report::{Counts, Direction, Verdict};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

use super::support::chroma::crate_path;

const RULES: &str = "charts/memory-migration-operator/rules/memory-migration.yaml";
const DASHBOARD: &str = "charts/memory-migration-operator/dashboards/memory-migration.json";

/// A Markdown file in parts.
struct Document {
    path: PathBuf,
    links: Vec<String>,
    headings: Vec<String>,
    /// Language and text of each fenced block.
    blocks: Vec<(String, String)>,
}

impl Document {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut document = Self { path: path.into(), links: Vec::new(), headings: Vec::new(), blocks: Vec::new() };
        let (mut in_heading, mut in_block) = (false, false);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => {
                    in_heading = true;
                    document.headings.push(String::new());
                }
                Event::End(TagEnd::Heading(_)) => in_heading = false,
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    in_block = true;
                    document.blocks.push((language.into_string(), String::new()));
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Text(text) | Event::Code(text) if in_heading => {
                    document.headings.last_mut().unwrap().push_str(&text);
                }
                Event::Text(text) if in_block => document.blocks.last_mut().unwrap().1.push_str(&text),
                _ => {}
            }
        }
        document
    }
}

/// The anchor that GitHub gives a heading.
pub(crate) fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Files below a folder with this ending; nothing that git ignores, and no hidden folder.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_symlink() || name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    files(&crate_path(""), ".md", &mut found);
    assert!(found.iter().any(|path| path.ends_with("README.md")), "{found:?}");
    found.iter().map(|path| Document::read(path)).collect()
}

/// Why a link leads nowhere.
fn broken(from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let base = from.parent().unwrap();
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { from.to_owned() } else { base.join(file) };
    if !target.exists() {
        return Some(format!("there is no {file}"));
    }
    let known = || Document::read(&target).headings.iter().any(|heading| slug(heading) == anchor);
    (!anchor.is_empty() && !known()).then(|| format!("{} has no heading #{anchor}", target.display()))
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        for link in &document.links {
            wrong.extend(broken(&document.path, link).map(|why| format!("{}: {link}: {why}", document.path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_document_has_two_headings_of_one_anchor() {
    for document in documents() {
        let mut seen = BTreeSet::new();
        for heading in &document.headings {
            assert!(seen.insert(slug(heading)), "{}: {heading} is there twice", document.path.display());
        }
    }
}

/// All objects of a YAML text.
fn yaml(text: &str, place: &Path) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{}: {error}:\n{text}", place.display()));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Checks a migration or schedule as the API server would, and more strictly; whether it is one.
fn check_migration(object: &Value, place: &Path) -> bool {
    let read = match object["kind"].as_str() {
        Some(KIND) => parse_manifest(&object.to_string()).map(drop),
        Some(SCHEDULE_KIND) => parse_schedule(&object.to_string()).map(drop),
        _ => return false,
    };
    if let Err(error) = read {
        panic!("{}: {error}\n{object:#}", place.display());
    }
    true
}

#[test]
fn every_yaml_block_is_good() {
    let mut migrations = 0;
    for document in documents() {
        for (_, text) in document.blocks.iter().filter(|(language, _)| language == "yaml") {
            migrations += yaml(text, &document.path).iter().filter(|o| check_migration(o, &document.path)).count();
        }
    }
    assert!(migrations >= 5, "{migrations}");
}

#[test]
fn every_example_is_good() {
    let mut found = Vec::new();
    files(&crate_path("deploy/examples"), ".yaml", &mut found);
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        let objects = yaml(&text, path);
        assert!(objects.len() == 1 && check_migration(&objects[0], path), "{}: one migration", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        let told = fs::read_to_string(crate_path("docs/README.md")).unwrap();
        assert!(told.contains(&format!("{name}.yaml")), "docs/README.md does not list {name}.yaml");
    }
    assert!(found.len() >= 6, "{found:?}");
}

/// What the manifests for Argo CD and Flux name is there: the chart, and this version's tag.
#[test]
fn gitops_manifests_name_what_exists() {
    let read = |file: &str| yaml(&fs::read_to_string(crate_path(file)).unwrap(), Path::new(file));
    let tag = format!("v{}", env!("CARGO_PKG_VERSION"));
    let application = &read("deploy/argocd/application.yaml")[0];
    assert_eq!(application["spec"]["source"]["targetRevision"], *tag);
    let flux = read("deploy/flux/operator.yaml");
    assert_eq!(flux[0]["spec"]["ref"]["tag"], *tag);
    let release = &flux[1]["spec"];
    assert_eq!(release["chart"]["spec"]["sourceRef"]["name"], flux[0]["metadata"]["name"]);
    for chart in [&application["spec"]["source"]["path"], &release["chart"]["spec"]["chart"]] {
        assert!(crate_path(chart.as_str().unwrap()).is_dir(), "{chart}");
    }
    assert_eq!(read("deploy/flux/migrations.yaml")[0]["spec"]["wait"], true);
}

#[test]
fn every_reason_exit_code_and_alert_has_its_section() {
    let document = Document::read(&crate_path("docs/troubleshooting.md"));
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str().to_owned());
    let exits = Exit::ALL.iter().map(|exit| format!("Exit {}", exit.code()));
    let alerts = rules().into_iter().map(|rule| format!("Alert {}", rule["alert"].as_str().unwrap()));
    let missing: Vec<String> = reasons.chain(exits).chain(alerts).filter(|s| !document.headings.contains(s)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no section {missing:?}");
}

/// The alert rules.
fn rules() -> Vec<Value> {
    let text = fs::read_to_string(crate_path(RULES)).unwrap();
    let file = yaml(&text, Path::new(RULES)).remove(0);
    file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn every_alert_leads_to_its_section() {
    for rule in rules() {
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        // a path in the release; the chart's prometheusRule.docsURL is put before it
        assert_eq!(broken(&crate_path("README.md"), url), None);
        let anchor = slug(&format!("Alert {}", rule["alert"].as_str().unwrap()));
        assert!(url.ends_with(&format!("#{anchor}")), "{url}");
    }
}

/// All queries of the dashboard and the alert rules.
fn queries() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let queries = map.iter().filter(|(key, _)| ["expr", "query", "definition"].contains(&key.as_str()));
                found.extend(queries.filter_map(|(_, value)| value.as_str().map(str::to_owned)));
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(crate_path(DASHBOARD)).unwrap()).unwrap();
    walk(&dashboard, &mut found);
    walk(&Value::Array(rules()), &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

/// The text of a controller in which everything has happened once.
fn exposed() -> String {
    let metrics = Metrics::new(&Reason::failures()).unwrap();
    metrics.reconciled(0.1);
    metrics.failed("api");
    for verdict in [Verdict::Succeeded, Verdict::Failed, Verdict::DryRun] {
        metrics.ended(Direction::LocalToRemote, verdict, "InternalError", 1.0, Some(&Counts::default()));
    }
    for (name, reason) in [("one", Reason::NoProgress), ("two", Reason::VolumeInUse)] {
        let waiting = Some(reason.as_str());
        let shown = Shown {
            waiting,
            counts: Some(Counts::default()),
            last_success: Some(1),
            stale: Some(true),
            recall: Some(1.0),
            ..Shown::default()
        };
        metrics.show("ns", name, &Phase::ALL.map(Phase::as_str), &shown);
    }
    let schedule = ShownSchedule {
        last_success: Some(1),
        missed: 0,
        generations: Some(1),
        prune_failures: Some(0),
        up_to_date: Some(true),
        stalled: false,
    };
    metrics.show_schedule("ns", "nightly", &schedule);
    metrics.text().unwrap()
}

/// Everything in a text that looks like a metric of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let places = text.match_indices("memory_migration_");
    places.map(|(at, _)| text[at..].split(end).next().unwrap().to_owned()).collect()
}

fn families(exposed: &str) -> BTreeSet<String> {
    exposed.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
}

#[test]
fn the_documents_list_every_metric_and_no_other() {
    let listed = metrics_in(&fs::read_to_string(crate_path("docs/monitoring.md")).unwrap());
    assert_eq!(listed, families(&exposed()));
    for document in documents() {
        let named = metrics_in(&fs::read_to_string(&document.path).unwrap());
        let unknown: Vec<_> = named.difference(&listed).collect();
        assert!(unknown.is_empty(), "{}: no such metric: {unknown:?}", document.path.display());
    }
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let text = exposed();
    let series: BTreeSet<&str> =
        text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(['{', ' ']).next()).collect();
    let named: BTreeSet<String> = queries().iter().flat_map(|query| metrics_in(query)).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !series.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "no such metric: {unknown:?}; there are {series:?}");
    let families = families(&text);
    let unused: Vec<_> = families.iter().filter(|family| !named.iter().any(|name| name.starts_with(*family))).collect();
    assert!(unused.is_empty(), "neither the dashboard nor an alert shows {unused:?}");
}

#[test]
fn dashboard_and_alerts_name_label_values_that_exist() {
    let text = exposed();
    for query in queries() {
        for label in ["phase", "state", "outcome", "result", "direction", "reason"] {
            for operator in ["=\"", "=~\"", "!~\""] {
                let place = format!("{label}{operator}");
                for (at, _) in query.match_indices(&place) {
                    let values = query[at + place.len()..].split('"').next().unwrap();
                    for value in values.split('|') {
                        let known = text.contains(&format!("{label}=\"{value}\""));
                        assert!(known, "{query}: no series has {label} {value}");
                    }
                }
            }
        }
    }
}
