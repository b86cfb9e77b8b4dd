//! Records of every kind that a store can hold, to see that engine and importer make the same of them. Pure.

use crate::model::{Metadata, Record, Value};

/// Components of their vectors.
pub const DIMENSION: usize = 3;

/// The records; with arrays if the store can hold them.
#[must_use]
pub fn records(arrays: bool) -> Vec<Record> {
    let text = |text: &str| Some(text.to_owned());
    let string = |text: &str| Value::Str(text.to_owned());
    let odd = "a\0b \u{1F600} \u{5E9}\u{5DC}\u{5D5}\u{5DD} \"q\" \\ % _ é";
    let mut all = vec![
        record(None, None, &[]),
        record(text("a plain document"), None, &[]),
        record(text(""), None, &[("s", string(""))]),
        record(text(odd), text(odd), &[("odd", string(odd))]),
        record(None, text("file:///x"), &[]),
        record(text("ab"), None, &[("i", Value::Int(i64::MAX)), ("j", Value::Int(i64::MIN)), ("k", Value::Int(0))]),
        record(None, None, &[("f", Value::Float(0.1)), ("g", Value::Float(1e300)), ("h", Value::Float(2.0))]),
        record(None, None, &[("t", Value::Bool(true)), ("u", Value::Bool(false))]),
        record(text(&"long text, ".repeat(500)), None, &[("i", string("of another kind")), ("f", Value::Int(2))]),
        record(text("the same document"), text("u"), &[("s", string("x")), ("i", Value::Int(1))]),
        record(text("the same document"), text("u"), &[("s", string("x")), ("i", Value::Int(1))]),
    ];
    if arrays {
        let list = |values: &[Value]| Value::List(values.to_vec());
        all.push(record(
            text("with arrays"),
            None,
            &[
                ("l", list(&[Value::Int(2), Value::Int(1), Value::Int(2)])),
                ("m", list(&[string("y"), string("x"), string("")])),
                ("n", list(&[Value::Float(1.5), Value::Float(-2.0)])),
                ("o", list(&[Value::Bool(true), Value::Bool(false)])),
                ("s", string("beside them")),
            ],
        ));
        all.push(record(None, None, &[("s", list(&[Value::Int(7)]))]));
    }
    for (n, record) in (0_u8..).zip(&mut all) {
        record.id = format!("sample {n:02} é");
        record.embedding = vec![f32::from(n) - 4.5, 0.25 * f32::from(n), 1.0];
    }
    all
}

/// Further records, so many, for what comes after a fill.
#[must_use]
pub fn further(count: u8) -> Vec<Record> {
    let one = |n: u8| Record {
        id: format!("later {n:02}"),
        embedding: vec![1.0, f32::from(n), -1.0],
        ..record(Some(format!("later {n}")), None, &[("i", Value::Int(n.into())), ("later", Value::Bool(true))])
    };
    (0..count).map(one).collect()
}

fn record(document: Option<String>, uri: Option<String>, pairs: &[(&str, Value)]) -> Record {
    let metadata: Metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Record { id: String::new(), embedding: Vec::new(), document, uri, metadata }
}
