//! Whether the API server would allow a call: by the roles of deploy/operator.yaml, which is rendered from the chart. So each
//! call that a scenario makes is also a test of the chart's roles.

use std::sync::LazyLock;

use memory_migration_operator::api::GROUP;
use serde_json::Value;

/// Where the Leases are; everywhere else the `ClusterRole` holds alone.
const OWN_NAMESPACE: &str = "operator";

struct Rules {
    anywhere: Vec<Value>,
    at_home: Vec<Value>,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/operator.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let of = |kind: &str, name: &str| -> Vec<Value> {
        let wanted = [format!("\nkind: {kind}\n"), format!("\n  name: {name}\n")];
        let document =
            text.split("\n---\n").find(|document| wanted.iter().all(|line| document.contains(line))).unwrap();
        let document: Value = serde_saphyr::from_str(document).unwrap();
        document["rules"].as_array().unwrap().clone()
    };
    Rules {
        anywhere: of("ClusterRole", "memory-migration-operator"),
        at_home: of("Role", "memory-migration-operator-leases"),
    }
});

/// Fails when the controller's roles do not allow this call, given as method and path.
#[track_caller]
pub(crate) fn assert_allowed(call: &str, query: &str) {
    let (method, path) = call.split_once(' ').unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("{path} is no path of an API"),
    };
    let (namespace, resource, named) = match rest {
        ["namespaces", namespace, resource] => (*namespace, (*resource).to_owned(), false),
        ["namespaces", namespace, resource, _] => (*namespace, (*resource).to_owned(), true),
        ["namespaces", namespace, resource, _, sub] => (*namespace, format!("{resource}/{sub}"), true),
        _ => panic!("{path} is in no namespace"),
    };
    let verb = match method {
        "GET" if named => "get",
        "GET" if query.contains("watch=true") => "watch",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        other => panic!("{other} is no method of an API"),
    };
    let home = RULES.at_home.iter().filter(|_| namespace == OWN_NAMESPACE);
    let allowed = RULES.anywhere.iter().chain(home).any(|rule| {
        let lists = |field: &str, value: &str| rule[field].as_array().unwrap().iter().any(|item| item == value);
        lists("apiGroups", group) && lists("resources", &resource) && lists("verbs", verb)
    });
    assert!(allowed, "the chart's roles do not allow: {verb} {resource} of group '{group}' in {namespace} ({call})");
}

#[test]
fn roles_allow_what_they_list_and_nothing_else() {
    assert_allowed(&format!("GET /apis/{GROUP}/v1alpha1/namespaces/team/memorymigrations/move"), "");
    for call in [
        "GET /api/v1/namespaces/team/secrets/token",
        "DELETE /api/v1/namespaces/team/pods/chroma-0",
        "GET /apis/coordination.k8s.io/v1/namespaces/team/leases/lock",
        "PATCH /apis/memory-migration.dev/v1alpha1/namespaces/team/memorymigrations/move",
    ] {
        let refused = std::panic::catch_unwind(|| assert_allowed(call, ""));
        assert!(refused.is_err(), "{call} is allowed");
    }
}
