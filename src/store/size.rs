//! How large a record is in a body, before any server is there to encode it. Pure.

use super::record::{Record, Value};

/// Brackets, keys and commas around one record.
const FRAME: usize = 100;
/// The longest f32 as a decimal number, with its comma.
const DECIMAL: usize = 25;

/// Bytes that a record takes in the body of an add: never less than what is sent.
#[must_use]
pub fn largest_body(record: &Record, base64: bool) -> usize {
    let Record { id, embedding, document, uri, metadata } = record;
    let vector = if base64 { embedding.len().div_ceil(3) * 16 } else { embedding.len() * DECIMAL };
    let texts = [Some(id), document.as_ref(), uri.as_ref()];
    let texts: usize = texts.into_iter().flatten().map(|text| json(text)).sum();
    let metadata: usize = metadata.iter().map(|(key, item)| json(key) + 2 + value(item)).sum();
    FRAME + vector + texts + metadata
}

fn value(item: &Value) -> usize {
    match item {
        Value::Str(text) => json(text),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => DECIMAL,
        Value::List(items) => 2 + items.iter().map(|item| value(item) + 1).sum::<usize>(),
    }
}

/// As a JSON string: what must be escaped takes two bytes, or six.
fn json(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_less_than_the_real_json(id in ".{0,9}", document in proptest::option::of(".{0,50}"), key in ".{0,5}", x in any::<f64>(), n in any::<i64>()) {
            let metadata = [(key.clone(), Value::Float(x)), ("n".to_owned(), Value::List(vec![Value::Int(n), Value::Str(key)]))];
            let record = Record { id, embedding: vec![f32::MIN_POSITIVE, -f32::MAX, 0.1], document, uri: None, metadata: metadata.into() };
            let json = serde_json::json!({"ids": [record.id], "embeddings": [record.embedding], "documents": [record.document],
                "metadatas": [{"a": x, "n": [n, "b"]}], "uris": [null]});
            prop_assert!(largest_body(&record, false) + 20 >= json.to_string().len());
        }
    }

    #[test]
    fn a_long_text_counts_once_a_byte() {
        let text = "é".repeat(1000);
        let record = Record { id: "a".into(), embedding: vec![], document: Some(text), uri: None, metadata: [].into() };
        assert_eq!(largest_body(&record, true), FRAME + 3 + 2002);
    }
}
