//! The report that outlives its pod: what is kept, what is not and who is told, every call that it takes, and a controller
//! that is killed between any two writes.

use k8s_openapi::api::core::v1::ConfigMap;
use memory_migration_operator::api::MemoryMigration;
use memory_migration_operator::api::conditions::Reason;
use memory_migration_operator::controller::observe::facts;
use memory_migration_operator::controller::plan::look::Look;
use memory_migration_operator::controller::plan::{self, Plan, Write};
use memory_migration_operator::report::evidence::{Digest, lines};
use memory_migration_operator::report::{self, Summary};
use serde_json::{Value, json};

use super::fixtures::*;
use super::mock::*;

const MAPS: &str = "/api/v1/namespaces/team/configmaps";
const MAP: &str = "/api/v1/namespaces/team/configmaps/move-report";

fn text() -> String {
    json!({"schema": 2, "message": "é \"quoted\" \\ ".repeat(900)}).to_string()
}

fn ended() -> Case {
    Case::to_server().running().done().succeeded_with(&text())
}

fn kept(plan: &Plan) -> Option<&ConfigMap> {
    plan.writes.iter().find_map(|write| if let Write::Report(map) = write { Some(map.as_ref()) } else { None })
}

/// What people are told of a report that is not kept.
fn warned(plan: &Plan) -> Option<String> {
    plan.notices()
        .into_iter()
        .find(|notice| notice.reason == "ReportNotKept" && notice.warning)
        .map(|notice| notice.note)
}

fn config_map(plan: &Plan) -> Option<String> {
    plan.status().unwrap().report.map(|report| report.config_map).filter(|name| !name.is_empty())
}

#[test]
fn the_report_is_kept_before_the_status_that_names_it() {
    let plan = ended().plan();
    let map = kept(&plan).unwrap();
    assert_eq!(map.data.as_ref().unwrap()["report.json"], text());
    let owner = &map.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.uid.as_str(), owner.kind.as_str(), owner.controller), (UID, "MemoryMigration", Some(true)));
    assert_eq!((map.metadata.name.as_deref(), map.metadata.namespace.as_deref()), (Some("move-report"), Some("team")));
    assert_eq!(map.metadata.labels.as_ref().unwrap()["memory-migration.dev/run"], ended().hash());
    let at = |is: fn(&Write) -> bool| plan.writes.iter().position(is).unwrap();
    assert!(at(|w| matches!(w, Write::Report(_))) < at(|w| matches!(w, Write::Status(_))));
    assert_eq!((reason(&plan), config_map(&plan)), (Reason::Verified, Some("move-report".into())));
    assert_eq!(warned(&plan), None);
    let done = ended().done();
    assert!(done.plan().writes.is_empty(), "once");
    let again = done.see(|o| (o.jobs, o.pods, o.log) = (vec![], vec![], None)).edit(|m| m.spec.run_id = "2".into());
    assert_eq!(config_map(&again.plan()), None, "it was the run's before");
}

#[test]
fn a_name_that_is_too_long_is_cut() {
    let named = |name: String| {
        let mut case = ended();
        case.migration.metadata.name = Some(name);
        let (settings, now) = (settings(), at(0));
        let plan = plan::plan(&Look::new(&case.migration, &case.world, &settings, &now));
        kept(&plan).map(|map| map.metadata.name.clone().unwrap())
    };
    // the Job's name holds the object's, so the Job that is there is named by the status
    assert_eq!(named("move".into()), Some("move-report".into()));
    let long = named(format!("{}.{}", "a".repeat(245), "b".repeat(7))).unwrap();
    assert_eq!((long.len(), long.as_str()), (252, format!("{}-report", "a".repeat(245)).as_str()));
}

/// A log that was cut or forged shows: nothing is kept, people are told, and the verdict stands.
#[test]
fn what_the_digest_does_not_prove_is_not_kept() {
    let lost = |edit: &dyn Fn(&mut Case), words: &str| {
        let mut case = ended();
        edit(&mut case);
        let plan = case.plan();
        assert_eq!(reason(&plan), Reason::Verified, "a report proves nothing, and its loss disproves nothing");
        given_up(&plan, words);
        let done = case.done();
        assert!(done.plan().writes.is_empty() && done.plan().requeue.is_none(), "told once: {:?}", done.plan());
    };
    let parts = |case: &mut Case, edit: &dyn Fn(&mut std::collections::BTreeMap<u32, String>)| {
        edit(&mut case.world.log.as_mut().unwrap().parts);
    };
    lost(&|case| parts(case, &|parts| drop(parts.insert(2, "forged".into()))), "are not those of which");
    lost(
        &|case| {
            let summary = case.world.pods[0].summary.as_mut().unwrap();
            summary.report = Some(Digest { sha256: "0".repeat(64), ..Digest::of(&text()) });
        },
        "are not those of which",
    );
}

/// It is not kept, and will not be: status and event say why.
#[track_caller]
fn given_up(plan: &Plan, words: &str) {
    let told = warned(plan).unwrap();
    assert!(told.contains(words) && told.contains("change runId"), "{told}");
    let said = plan.status().unwrap().report.unwrap();
    assert!(kept(plan).is_none() && !said.is_owed() && said.config_map.is_empty(), "{said:?}");
    assert!(said.message.contains(words), "{said:?}");
}

/// It is not kept yet: nobody is told, the status says why, and until when it is tried.
#[track_caller]
fn owed(plan: &Plan, until: &str, words: &str) {
    let said = plan.status().unwrap().report.unwrap();
    assert!(kept(plan).is_none() && warned(plan).is_none() && said.is_owed(), "{plan:?}");
    assert_eq!(said.retry_until.unwrap().0.to_string(), until);
    assert!(said.message.contains(words), "{}", said.message);
}

const FIVE_MINUTES_LATER: &str = "2023-11-14T22:18:20Z";

type Edit = fn(&mut Case);

/// What is not in the log, or not yet, may be there a moment later.
const UNREAD: [(Edit, &str); 4] = [
    (|case| case.world.log = None, "the log cannot be read"),
    (|case| case.world.log.as_mut().unwrap().job_uid = "another".into(), "the log cannot be read"),
    (|case| drop(case.world.log.as_mut().unwrap().parts.remove(&1)), "1 of its "),
    (|case| case.world.log.as_mut().unwrap().parts.clear(), "lines are not in the log"),
];

#[test]
fn a_log_that_cannot_be_read_is_read_again_and_the_verdict_does_not_wait() {
    for (edit, words) in UNREAD {
        let whole = ended();
        let mut case = whole.clone().edit(|m| m.spec.job_ttl_seconds_after_finished = Some(7));
        edit(&mut case);
        owed(&case.plan(), FIVE_MINUTES_LATER, words);
        assert_eq!(reason(&case.plan()), Reason::Verified);
        let mut case = case.done();
        for _ in 0..4 {
            case = case.later(60);
            let plan = case.plan();
            assert!(plan.writes.is_empty(), "nothing is new, and the pod stays: {plan:?}");
            assert_eq!(plan.requeue, Some(std::time::Duration::from_secs(60)));
        }
        case.world.log.clone_from(&whole.world.log);
        let plan = case.plan();
        assert_eq!((config_map(&plan), warned(&plan)), (Some("move-report".into()), None));
        assert!(kept(&plan).is_some() && plan.outcome().is_none(), "a run is counted once: {plan:?}");
        assert_eq!(plan.ttl().unwrap().1, Some(7), "now its Job may go");
        let case = case.done();
        assert_eq!(case.report.as_deref(), Some(text().as_str()));
        let said = case.migration.status.as_ref().unwrap().report.clone().unwrap();
        assert!(
            !said.is_owed()
                && said.message.is_empty()
                && case.plan().writes.iter().all(|w| matches!(w, Write::Ttl(..)))
        );
    }
}

#[test]
fn it_is_given_up_after_five_minutes_or_when_the_pod_is_gone() {
    for (edit, words) in UNREAD {
        let mut case = ended();
        edit(&mut case);
        let late = case.done().later(300);
        given_up(&late.plan(), words);
        let late = late.done();
        assert!(late.plan().writes.is_empty() && late.plan().requeue.is_none(), "told once: {:?}", late.plan());
        // a controller that was away has tried as long as one that was not
        let mut case = ended().later(86_400);
        edit(&mut case);
        owed(&case.plan(), "2023-11-15T22:18:20Z", words);
        let gone = case.done().later(60).see(|o| (o.jobs, o.pods, o.log) = (vec![], vec![], None));
        given_up(&gone.plan(), "its pod is gone");
        assert!(gone.done().plan().writes.is_empty());
    }
}

#[test]
fn what_is_owed_ends_with_an_edit_and_where_no_reports_are_kept() {
    let mut case = ended();
    case.world.log = None;
    let case = case.done();
    let next = case.clone().edit(|m| m.spec.run_id = "2".into());
    assert_eq!(next.plan().status().and_then(|status| status.report), None);
    let settings = memory_migration_operator::controller::Settings { report_config_map: false, ..settings() };
    let now = at(60);
    let plan = plan::plan(&Look::new(&case.migration, &case.world, &settings, &now));
    assert!(plan.status().unwrap().report.is_none() && plan.requeue.is_none() && warned(&plan).is_none(), "{plan:?}");
}

#[test]
fn nothing_is_kept_or_said_unasked() {
    let quiet = |plan: &Plan| assert!(kept(plan).is_none() && warned(plan).is_none() && config_map(plan).is_none());
    quiet(&Case::to_server().running().succeeded(report::Reason::Verified).plan());
    let case = ended();
    let (settings, now) =
        (memory_migration_operator::controller::Settings { report_config_map: false, ..settings() }, at(0));
    quiet(&plan::plan(&Look::new(&case.migration, &case.world, &settings, &now)));
}

/// A run that failed has one, too: that is where people need it.
#[test]
fn a_run_that_failed_has_a_report() {
    let case = Case::to_server().running();
    let (summary, log) = with_report(summary(&case.hash(), report::Reason::VerificationFailed), &text());
    let failed = memory_migration_operator::controller::observe::world::JobPhase::Failed("PodFailurePolicy".into());
    let plan = case.ended(5, Some(summary), Some(failed)).see(|o| o.log = Some(log)).plan();
    assert_eq!((reason(&plan), config_map(&plan)), (Reason::VerificationFailed, Some("move-report".into())));
    assert!(kept(&plan).is_some());
}

/// Killed after any number of its writes, it comes to the same end.
#[test]
fn a_controller_that_is_killed_between_two_writes_keeps_it_all_the_same() {
    let whole = ended().plan();
    for died_after in 0..whole.writes.len() {
        let mut case = ended();
        let mut created = None;
        for write in &whole.writes[..died_after] {
            case.write(write, &mut created);
        }
        let case = case.later(30).done().later(30).done();
        let status = case.migration.status.clone().unwrap();
        assert_eq!(case.report.as_deref(), Some(text().as_str()), "killed after {died_after} writes");
        assert_eq!(status.report.unwrap().config_map, "move-report", "killed after {died_after} writes");
        assert!(case.plan().writes.is_empty() && case.world.held.is_empty());
    }
}

#[test]
fn a_log_is_read_as_the_kubelet_gives_it() {
    let stamped: Vec<String> = lines(&text())
        .iter()
        .rev()
        .map(|line| format!("2026-01-01T00:00:00.5Z {}", serde_json::to_string(line).unwrap()))
        .collect();
    let stamped = stamped.join("\n");
    let log = facts::log(&format!("2026-01-01T00:00:00Z noise\n{stamped}"));
    assert_eq!(Digest::of(&text()).proved(&log.parts), Ok(text()));
    let flood: String = (1..1000)
        .map(|number| json!({"memmig": "report", "number": number, "of": 1000, "part": "x"}).to_string() + "\n")
        .collect();
    assert!(facts::log(&flood).parts.len() <= 64, "what is held has a bound");
}

/// A cluster in which the run has just ended, with this answer about the `ConfigMap`.
fn server(map: Option<(u16, Value)>) -> (Case, Server) {
    let case = Case::to_server().running();
    let (verdict, _): (Summary, _) = with_report(summary(&case.hash(), report::Reason::Verified), &text());
    let ended = json!({"terminated": {"exitCode": 0, "message": verdict.to_json()}});
    let mut server = Server::with(&case.migration);
    let complete = json!([{"type": "Complete", "status": "True"}]);
    server.answer(&format!("GET {JOBS}"), 200, items(&[job_json(&case, complete)]));
    server.answer(&format!("GET {NS}/pods"), 200, items(&[pod_json(&case, "Succeeded", ended)]));
    server.answer(&format!("GET {LEASES}/{}", case.lock_name()), 200, held(&case));
    let log: String = lines(&text()).iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    server.answer(&format!("GET {NS}/pods/pod/log"), 200, Value::String(log));
    if let Some((code, map)) = map {
        server.answer(&format!("GET {MAP}"), code, map);
    }
    (case, server)
}

fn there(owner: &str, data: &str) -> Value {
    json!({"metadata": {"name": "move-report", "namespace": "team", "uid": "map-uid", "resourceVersion": "77",
                        "ownerReferences": [{"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration",
                                             "name": "move", "uid": owner}]},
           "data": {"report.json": data}})
}

/// Calls about `ConfigMap`s, the `ConfigMap` that the status names, and the warning's note.
fn about(calls: &[Call]) -> (Vec<String>, Option<String>, Option<String>) {
    let maps = calls.iter().filter(|call| call.line.contains("/configmaps")).map(|call| call.line.clone()).collect();
    let event = calls.iter().find(|call| call.body["reason"] == "ReportNotKept");
    let note = event.map(|event| {
        assert_eq!(event.body["type"], "Warning");
        event.body["note"].as_str().unwrap().to_owned()
    });
    let named = written_status(calls).report.map(|report| report.config_map).filter(|name| !name.is_empty());
    (maps, named, note)
}

#[tokio::test]
async fn one_that_is_not_there_is_created_and_ours_is_replaced_over_the_version_that_was_read() {
    let named = Some("move-report".to_owned());
    let (case, absent) = server(None);
    let (looked, calls) = absent.look(&case.migration).await;
    looked.unwrap();
    assert_eq!(about(&calls), (vec![format!("GET {MAP}"), format!("POST {MAPS}")], named.clone(), None));
    let made = calls.iter().find(|call| call.line == format!("POST {MAPS}")).unwrap();
    assert_eq!(made.body["data"]["report.json"], text());
    assert_eq!(made.body["metadata"]["ownerReferences"][0]["uid"], UID);

    let (case, older) = server(Some((200, there(UID, "of the run before"))));
    let (_, calls) = older.look(&case.migration).await;
    assert_eq!(about(&calls), (vec![format!("GET {MAP}"), format!("PUT {MAP}")], named.clone(), None));
    let put = calls.iter().find(|call| call.line == format!("PUT {MAP}")).unwrap();
    assert_eq!(
        (&put.body["metadata"]["resourceVersion"], &put.body["metadata"]["uid"]),
        (&json!("77"), &json!("map-uid"))
    );

    let (case, same) = server(Some((200, there(UID, &text()))));
    let (_, calls) = same.look(&case.migration).await;
    assert_eq!(about(&calls), (vec![format!("GET {MAP}")], named, None), "killed before the status: nothing to write");
}

#[tokio::test]
async fn somebody_elses_config_map_is_never_touched() {
    let mut nobodys = there(UID, "x");
    nobodys["metadata"]["ownerReferences"] = json!([]);
    for theirs in [there("another-uid", "x"), nobodys] {
        let (case, server) = server(Some((200, theirs)));
        let (looked, calls) = server.look(&case.migration).await;
        looked.unwrap();
        let (maps, named, note) = about(&calls);
        assert_eq!((maps, named), (vec![format!("GET {MAP}")], None));
        assert!(note.unwrap().contains("is there, and not this object's: delete that ConfigMap"));
        assert_eq!(reason_of(&written_status(&calls)), Reason::Verified);
    }
}

/// The verdict waits for nobody.
#[tokio::test]
async fn a_config_map_that_is_refused_costs_the_report_and_not_the_verdict() {
    for (code, tries, words) in
        [(403, 1, "let it get, create and update ConfigMaps"), (422, 1, "refuses"), (500, 3, "does not take")]
    {
        let (case, mut server) = server(None);
        server.answer(&format!("POST {MAPS}"), code, status(code));
        let (looked, calls) = server.look(&case.migration).await;
        looked.unwrap();
        let (maps, named, note) = about(&calls);
        assert_eq!((maps.iter().filter(|line| line.starts_with("POST")).count(), named), (tries, None), "{code}");
        let said = written_status(&calls).report.unwrap();
        assert!(said.message.contains(words), "{code}: {said:?}");
        assert_eq!((note.is_none(), said.is_owed()), (code == 500, code == 500), "{code}: told once it is given up");
        assert_eq!(reason_of(&written_status(&calls)), Reason::Verified, "{code}");
    }
    // somebody made one in between
    let (case, mut late) = server(None);
    late.answer(&format!("POST {MAPS}"), 409, status(409));
    let (_, calls) = late.look(&case.migration).await;
    assert_eq!(about(&calls).0.len(), 6, "looked at again each time");
    assert!(about(&calls).1.is_none());
}

/// The end of the log did not hold all of it: more is read before it is called cut.
#[tokio::test]
async fn more_of_the_log_is_read_before_a_report_is_given_up() {
    let (case, mut server) = server(None);
    server.answer(&format!("GET {NS}/pods/pod/log"), 200, Value::String("nothing of it\n".into()));
    let (_, calls) = server.look(&case.migration).await;
    let tails: Vec<bool> =
        calls.iter().filter(|c| c.line.ends_with("/log")).map(|c| c.query.contains("tailLines=5000")).collect();
    assert_eq!(tails, [false, true]);
    let (maps, named, note) = about(&calls);
    assert_eq!((maps.len(), named, note), (0, None, None));
    assert!(written_status(&calls).report.unwrap().message.contains("lines are not in the log"));
}

/// The same object a minute later, as the API server has it after these calls.
fn a_minute_later(case: &Case, calls: &[Call]) -> MemoryMigration {
    let written = calls.iter().rfind(|call| call.line == format!("PATCH {OBJECT}/status")).unwrap();
    let mut status = serde_json::to_value(&case.migration.status).unwrap();
    merge(&mut status, &written.body["status"]);
    MemoryMigration { status: serde_json::from_value(status).unwrap(), ..case.migration.clone() }
}

/// One call that failed costs nothing but a minute: the log, or the write, is tried again.
#[tokio::test]
async fn a_hiccup_of_the_api_server_costs_no_report() {
    for (broken, words) in
        [(format!("GET {NS}/pods/pod/log"), "the log cannot be read"), (format!("POST {MAPS}"), "500")]
    {
        let (case, mut hiccup) = server(None);
        hiccup.answer(&broken, 500, status(500));
        let (looked, calls) = hiccup.look(&case.migration).await;
        looked.unwrap();
        let (_, named, note) = about(&calls);
        assert_eq!((named, note), (None, None), "{broken}");
        let said = written_status(&calls).report.unwrap();
        assert!(said.message.contains(words) && said.is_owed(), "{said:?}");
        assert_eq!(reason_of(&written_status(&calls)), Reason::Verified);

        let migration = a_minute_later(&case, &calls);
        let (_, mut still) = server(None);
        still.answer(&broken, 500, status(500));
        still.answer(&format!("GET {OBJECT}"), 200, serde_json::to_value(&migration).unwrap());
        let (requeue, calls) = still.look(&migration).await;
        let again = requeue.unwrap().is_some_and(|requeue| requeue.as_secs() <= 60);
        assert!(again, "it is looked at again: {calls:#?}");
        assert!(!calls.iter().any(|call| call.line.starts_with("PATCH")), "nothing is new: {calls:?}");

        let (_, mut well) = server(None);
        well.answer(&format!("GET {OBJECT}"), 200, serde_json::to_value(&migration).unwrap());
        let (looked, calls) = well.look(&migration).await;
        looked.unwrap();
        assert_eq!(
            about(&calls),
            (vec![format!("GET {MAP}"), format!("POST {MAPS}")], Some("move-report".into()), None)
        );
    }
}
