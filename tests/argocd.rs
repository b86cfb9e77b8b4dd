//! deploy/argocd: the health that Argo CD shows for every reason of a migration and for a schedule, by the Lua that it runs
//! (5.1, as Argo CD's own), and the Application that installs the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use memory_migration_operator::api::conditions::{Reason, Situation, conditions};
use memory_migration_operator::api::schedule::status::{LAST_RUN_SUCCEEDED, READY, STALLED};
use mlua::{Lua, LuaOptions, StdLib, Table, Value};
use serde_json::{Value as Json, json};

use super::support::chroma::crate_path;

fn to_lua(lua: &Lua, json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::Number(number) => Value::Number(number.as_f64().unwrap()),
        Json::String(text) => Value::String(lua.create_string(text).unwrap()),
        Json::Array(items) => {
            Value::Table(lua.create_sequence_from(items.iter().map(|item| to_lua(lua, item))).unwrap())
        }
        Json::Object(map) => {
            let fields = map.iter().map(|(key, value)| (key.as_str(), to_lua(lua, value)));
            Value::Table(lua.create_table_from(fields).unwrap())
        }
    }
}

/// Status and message that Argo CD gets for this migration.
fn health(object: &Json) -> (String, String) {
    health_by("health.lua", object)
}

fn health_by(script: &str, object: &Json) -> (String, String) {
    // no files and no processes: what Argo CD gives a script
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING, LuaOptions::default()).unwrap();
    lua.globals().set("obj", to_lua(&lua, object)).unwrap();
    let script = std::fs::read_to_string(crate_path("deploy/argocd").join(script)).unwrap();
    let health: Table = lua.load(script).eval().unwrap();
    (health.get("status").unwrap(), health.get("message").unwrap())
}

fn object(reason: Reason) -> Json {
    let made = conditions(&[], reason, "what happened", 3, &Time(Timestamp::UNIX_EPOCH));
    json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "conditions": made}})
}

#[test]
fn every_reason_has_its_health() {
    for reason in Reason::ALL {
        let expected = match reason.situation() {
            Situation::Running | Situation::Waiting => "Progressing",
            Situation::NeedsPerson => "Degraded",
            Situation::Suspended => "Suspended",
            Situation::Done => "Healthy",
        };
        let (status, message) = health(&object(*reason));
        assert_eq!(status, expected, "{reason:?}");
        assert_eq!(message, format!("{}: what happened", reason.as_str()));
    }
}

/// Argo CD takes an unknown kind for healthy, so a schedule that can make no migration looked well.
#[test]
fn a_schedule_is_healthy_only_if_it_makes_migrations() {
    let health = |object: &Json| health_by("schedule-health.lua", object);
    let schedule = |ready: &str, stalled: &str, reason: &str| {
        let said =
            |kind, status: &str| json!({"type": kind, "status": status, "reason": reason, "message": "so it is"});
        let run =
            json!({"type": LAST_RUN_SUCCEEDED, "status": "False", "reason": "VerificationFailed", "message": "x"});
        let conditions = json!([said(READY, ready), said(STALLED, stalled), run]);
        json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "conditions": conditions}})
    };
    for (ready, stalled, reason, expected) in [
        ("True", "False", "Scheduled", "Healthy"),
        ("True", "False", "Replacing", "Healthy"),
        ("True", "False", "Suspended", "Suspended"),
        ("False", "False", "NotAdmitted", "Progressing"),
        ("False", "True", "InvalidSpec", "Degraded"),
    ] {
        let mut object = schedule(ready, stalled, reason);
        assert_eq!(health(&object), (expected.into(), format!("{reason}: so it is")));
        object["metadata"]["generation"] = json!(4);
        assert_eq!(health(&object), ("Progressing".into(), "waiting for the controller".into()));
        object["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
        assert_eq!(health(&object), ("Progressing".into(), "being deleted".into()));
    }
    for unseen in
        [json!({"metadata": {"generation": 1}}), json!({"metadata": {}, "status": {"observedGeneration": -1}})]
    {
        assert_eq!(health(&unseen), ("Progressing".into(), "waiting for the controller".into()));
    }
}

/// The guide's command names each script by the key that Argo CD looks for.
#[test]
fn every_kind_has_its_script_in_the_guide() {
    let guide = std::fs::read_to_string(crate_path("docs/gitops.md")).unwrap();
    for (kind, script) in [("MemoryMigration", "health.lua"), ("MemoryMigrationSchedule", "schedule-health.lua")] {
        let key = format!("resource.customizations.health.memory-migration.dev_{kind}");
        assert!(guide.contains(&format!("--from-file={key}=deploy/argocd/{script}")), "{kind}");
        let text = std::fs::read_to_string(crate_path("deploy/argocd").join(script)).unwrap();
        assert!(text.contains(&format!("{key}\n")), "{script}");
    }
}

#[test]
fn an_object_that_the_controller_has_not_seen_is_not_healthy() {
    let unseen = [
        json!({"metadata": {"generation": 1}}),
        json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}),
        json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}}),
    ];
    for object in unseen {
        assert_eq!(health(&object), ("Progressing".into(), "waiting for the controller".into()), "{object}");
    }
}

#[test]
fn what_was_said_of_an_older_generation_does_not_count() {
    for reason in [Reason::Verified, Reason::PreflightRefused] {
        let mut edited = object(reason);
        edited["metadata"]["generation"] = json!(4);
        assert_eq!(health(&edited), ("Progressing".into(), "waiting for the controller".into()));
    }
}

#[test]
fn a_deleted_object_is_on_its_way_out() {
    let mut deleted = object(Reason::VerificationFailed);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-24T00:00:00Z");
    assert_eq!(health(&deleted), ("Progressing".into(), "being deleted".into()));
}
