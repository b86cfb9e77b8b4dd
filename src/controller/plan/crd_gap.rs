//! A controller and a CRD of different versions: what the CRD does not know of a status, and what this version does not
//! know of it. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value};

use crate::api::MemoryMigrationStatus;

/// Between a message and what the CRD lacks.
const SAID: &str = "; the cluster's CRD does not know status.";
/// More are not named.
const NAMED: usize = 5;

/// The message, with what the CRD lacks and what to do.
#[must_use]
pub fn named(message: String, lacking: &BTreeSet<String>) -> String {
    if lacking.is_empty() {
        return message;
    }
    format!("{message}{SAID}{}: upgrade the CRD (chart memory-migration-operator-crds)", list(lacking))
}

/// What the CRD lacks, in a line.
#[must_use]
pub fn list(lacking: &BTreeSet<String>) -> String {
    let named: Vec<&str> = lacking.iter().take(NAMED).map(String::as_str).collect();
    let more = if lacking.len() > NAMED { " and more" } else { "" };
    format!("{}{more}", named.join(", status."))
}

/// The messages without it, once the CRD was upgraded.
pub fn forget(conditions: &mut [Condition]) {
    for condition in conditions {
        if let Some((message, _)) = condition.message.split_once(SAID) {
            condition.message = message.to_owned();
        }
    }
}

/// Whether two statuses say the same, but for what the CRD does not know.
#[must_use]
pub fn is_same(old: &MemoryMigrationStatus, new: &MemoryMigrationStatus, lacking: &BTreeSet<String>) -> bool {
    if lacking.is_empty() {
        return old == new;
    }
    let known = |status: &MemoryMigrationStatus| {
        let mut value = serde_json::to_value(status).unwrap_or_default();
        for place in lacking {
            remove(&mut value, place);
        }
        value
    };
    known(old) == known(new)
}

fn remove(value: &mut Value, place: &str) {
    let (key, rest) = place.split_once('.').map_or((place, None), |(key, rest)| (key, Some(rest)));
    match (value, rest) {
        (Value::Object(map), None) => drop(map.remove(key)),
        (Value::Object(map), Some(rest)) => {
            if let Some(inner) = map.get_mut(key) {
                remove(inner, rest);
            }
        }
        (Value::Array(items), _) => items.iter_mut().for_each(|item| remove(item, place)),
        _ => {}
    }
}

/// The places of what was sent that the answer does not have: the API server drops what its CRD does not know.
#[must_use]
pub fn lacking(sent: &Value, answered: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    compare(sent, answered, "", &mut found);
    found
}

fn compare(sent: &Value, answered: &Value, place: &str, found: &mut BTreeSet<String>) {
    match (sent, answered) {
        (Value::Object(sent), Value::Object(answered)) => {
            for (key, value) in sent.iter().filter(|(_, value)| !value.is_null()) {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                match answered.get(key) {
                    Some(answer) => compare(value, answer, &inner, found),
                    None => drop(found.insert(inner)),
                }
            }
        }
        (Value::Array(sent), Value::Array(answered)) => {
            sent.iter().zip(answered).for_each(|(sent, answered)| compare(sent, answered, place, found));
        }
        _ => {}
    }
}

/// Whether a value has something at this place.
#[must_use]
pub fn holds(value: &Value, place: &str) -> bool {
    let (key, rest) = place.split_once('.').map_or((place, None), |(key, rest)| (key, Some(rest)));
    match (value, rest) {
        (Value::Object(map), None) => map.contains_key(key),
        (Value::Object(map), Some(rest)) => map.get(key).is_some_and(|inner| holds(inner, rest)),
        (Value::Array(items), _) => items.iter().any(|item| holds(item, place)),
        _ => false,
    }
}

/// The status as it is sent: what this version does not know of the status that was read stays as it is.
#[must_use]
pub fn with_unknown(read: &Value, known: &MemoryMigrationStatus, next: &MemoryMigrationStatus) -> Value {
    let mut next = serde_json::to_value(next).unwrap_or_default();
    let known = serde_json::to_value(known).unwrap_or_default();
    keep(read, &known, &mut next);
    next
}

fn keep(read: &Value, known: &Value, next: &mut Value) {
    let (Some(read), Some(known), Some(next)) = (read.as_object(), known.as_object(), next.as_object_mut()) else {
        return;
    };
    for (key, value) in read {
        match (known.get(key), next.get_mut(key)) {
            (None, None) => drop(next.insert(key.clone(), value.clone())),
            (Some(known), Some(next)) => keep(value, known, next),
            _ => {}
        }
    }
}

/// A merge patch that makes the whole of `read` into `next`.
#[must_use]
pub fn merge_patch(read: &Value, next: &Value) -> Value {
    let (Some(old), Some(new)) = (read.as_object(), next.as_object()) else { return next.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let kept = new.iter().map(|(key, value)| (key.clone(), merge_patch(&read[key.as_str()], value)));
    Value::Object(kept.chain(gone).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(places: &[&str]) -> BTreeSet<String> {
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_an_answer_lacks_is_named_by_its_place() {
        let sent = json!({"a": 1, "b": {"c": 2, "d": 3, "n": null}, "l": [{"x": 1, "y": 2}], "s": []});
        assert_eq!(lacking(&sent, &sent), set(&[]));
        let answer = json!({"b": {"d": 3}, "l": [{"x": 1}], "other": 1});
        assert_eq!(lacking(&sent, &answer), set(&["a", "b.c", "l.y", "s"]));
        assert_eq!(lacking(&sent, &Value::Null), set(&[]), "no object, no verdict");
    }

    #[test]
    fn what_the_crd_lacks_is_no_difference() {
        let old = MemoryMigrationStatus { attempts: 1, ..MemoryMigrationStatus::default() };
        let new = MemoryMigrationStatus { job_uid: "u".into(), failures: 2, ..old.clone() };
        assert!(!is_same(&old, &new, &set(&["jobUID"])));
        assert!(is_same(&old, &new, &set(&["jobUID", "failures"])));
        assert!(!is_same(&old, &new, &set(&["failures"])));
    }

    #[test]
    fn what_this_version_does_not_know_is_kept() {
        let read =
            json!({"attempts": 1, "later": {"a": 1}, "progress": {"stage": "Copying", "bytes": 5}, "jobName": "x"});
        let known: MemoryMigrationStatus = serde_json::from_value(read.clone()).unwrap();
        let next = MemoryMigrationStatus { attempts: 2, job_name: String::new(), ..known.clone() };
        let sent = with_unknown(&read, &known, &next);
        assert_eq!((&sent["later"], &sent["progress"]["bytes"]), (&json!({"a": 1}), &json!(5)));
        assert_eq!((&sent["attempts"], sent.get("jobName")), (&json!(2), None), "{sent}");
        let without = MemoryMigrationStatus { progress: None, ..next };
        assert_eq!(with_unknown(&read, &known, &without).get("progress"), None);
    }

    #[test]
    fn a_merge_patch_makes_the_whole() {
        let read = json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [1]});
        let next = json!({"b": {"c": 4}, "l": [2], "n": {"x": 1}});
        assert_eq!(merge_patch(&read, &next), json!({"b": {"c": 4, "d": null}, "l": [2], "n": {"x": 1}, "a": null}));
        assert_eq!(merge_patch(&Value::Null, &next), next);
    }

    #[test]
    fn a_message_names_the_gap_and_forgets_it() {
        let said = named("waiting".into(), &set(&["jobUID", "counts.cameLater"]));
        assert!(said.starts_with("waiting; the cluster's CRD does not know status.counts.cameLater, status.jobUID"));
        assert!(said.contains("upgrade the CRD"));
        assert_eq!(named("waiting".into(), &set(&[])), "waiting");
        let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        assert!(list(&many.into_iter().collect()).ends_with("4 and more"));
    }
}
