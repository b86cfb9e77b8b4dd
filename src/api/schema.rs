//! A manifest's value against the CRD's schema: unknown keys, types, lists of words, bounds. Pure.
//! The API server does the same for what `kubectl apply` sends; this is for manifests that never reach one.

use serde_json::{Map, Value};

/// Everything in `value` that `schema` does not allow, each with its place, as "spec.pacing.batchSise: ...".
#[must_use]
pub fn problems(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, place, &mut found);
    found
}

/// The value without nulls in objects: the API server reads a null as an absent field.
#[must_use]
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn check(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        if !(value.is_string() || value.is_number()) {
            found.push(format!("{place}: write a number or text, not {}", kind(value)));
        }
        return;
    }
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(map)) => check_object(schema, map, place, found),
        (Some("array"), Value::Array(items)) => check_array(schema, items, place, found),
        (Some("string"), Value::String(text)) => check_text(schema, text, place, found),
        (Some("integer"), Value::Number(n)) if n.is_i64() || n.is_u64() => {}
        (Some("number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(wanted), other) => found.push(format!("{place}: write {}, not {}", wanted_words(wanted), kind(other))),
    }
}

fn check_object(schema: &Value, map: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
    let properties = schema["properties"].as_object();
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    for (key, value) in map {
        let inner = format!("{place}.{key}");
        match (properties.and_then(|p| p.get(key)), additional, properties) {
            (Some(property), _, _) | (None, Some(property), _) => check(property, value, &inner, found),
            (None, None, Some(known)) => {
                let known: Vec<&str> = known.keys().map(String::as_str).collect();
                found.push(format!("{inner}: unknown field; the fields of {place} are {}", known.join(", ")));
            }
            (None, None, None) => {}
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|key| !map.contains_key(*key)).map(|key| format!("{place}.{key}: is missing")));
}

fn check_array(schema: &Value, items: &[Value], place: &str, found: &mut Vec<String>) {
    if schema["maxItems"].as_u64().is_some_and(|max| items.len() as u64 > max) {
        found.push(format!("{place}: {} entries are too many, the most is {}", items.len(), schema["maxItems"]));
    }
    for (n, item) in items.iter().enumerate() {
        check(&schema["items"], item, &format!("{place}[{n}]"), found);
    }
}

fn check_text(schema: &Value, text: &str, place: &str, found: &mut Vec<String>) {
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().any(|word| word == text)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        found.push(format!("{place}: \"{text}\" is not one of {}", words.join(", ")));
    }
    let length = text.chars().count() as u64;
    if schema["minLength"].as_u64().is_some_and(|min| length < min) {
        found.push(format!("{place}: write at least {} characters", schema["minLength"]));
    }
    if schema["maxLength"].as_u64().is_some_and(|max| length > max) {
        found.push(format!("{place}: {length} characters are too many, the most is {}", schema["maxLength"]));
    }
}

fn wanted_words(word: &str) -> &str {
    match word {
        "object" => "an object with fields",
        "array" => "a list",
        "string" => "text (in quotes, if it looks like a number or a truth value)",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "a number",
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object with fields".into(),
    }
}
