//! Values at the edges of what a field can hold, and what makes one of a JSON text. Pure: the same dice make the same.

use serde_json::{Value as Json, json};

use crate::support::dice::Dice;

/// Numbers at which a type, a file or a habit ends.
pub(crate) const LONGS: [i64; 18] = [
    0,
    1,
    -1,
    2,
    127,
    -128,
    255,
    256,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    (1 << 53) + 1,
    1_200_000_000_000_000_000,
    i64::MAX,
    i64::MIN,
];

/// Doubles at the edges of theirs.
pub(crate) const DOUBLES: [f64; 10] =
    [0.0, -0.0, 5e-324, 1e-45, 3.4e38, 3.5e38, f64::MAX, f64::MIN, f64::INFINITY, f64::NAN];

/// The longest text that is made. Small enough that what the bounds of memory measure is the parser, and not its input.
const LONG: usize = 1 << 16;

/// A text that somebody will not expect there.
pub(crate) fn text(dice: &mut Dice) -> String {
    let few = [
        "",
        " ",
        "\0",
        "'",
        "\"",
        "\\",
        "\n",
        "%s",
        "*",
        "a*b*",
        "../../x",
        "/",
        "\u{202e}",
        "\u{feff}",
        "\u{10ffff}",
        "NaN",
        "Infinity",
        "1e999",
        "-0",
        "null",
        "true",
        "{}",
        "[]",
        "0x10",
        "l2",
        "cosine",
        "chroma:document",
        "hnsw:space",
        "VECTOR",
        "METADATA",
        "default_database",
        "sha256:",
        "1970-01-01",
        "P1D",
        "99999999999h",
        "{\"a\":",
    ];
    match dice.below(24) {
        0 => "x".repeat(dice.below(LONG)),
        1 => "\u{1f600}".repeat(dice.below(1 << 12)),
        2 => LONGS[dice.below(LONGS.len())].to_string(),
        3 => DOUBLES[dice.below(DOUBLES.len())].to_string(),
        _ => dice.one_of(&few).to_owned(),
    }
}

/// Eight bytes, and as many as are wanted of them.
pub(crate) fn bytes(dice: &mut Dice, len: usize) -> Vec<u8> {
    let long = LONGS[dice.below(LONGS.len())].to_le_bytes();
    let fill = if dice.below(2) == 0 { 0 } else { 0xff };
    long.into_iter().chain(std::iter::repeat(fill)).take(len).collect()
}

fn value(dice: &mut Dice) -> Json {
    match dice.below(12) {
        0 => Json::Null,
        1 => json!(true),
        2 | 3 => json!(LONGS[dice.below(LONGS.len())]),
        4 => json!(u64::MAX),
        5 => json!(DOUBLES[dice.below(DOUBLES.len() - 2)]),
        6 => json!([]),
        7 => json!({}),
        8 => (0..dice.below(120))
            .fold(json!(1), |inner, n| if n.is_multiple_of(2) { json!([inner]) } else { json!({"a": inner}) }),
        9 => json!({"": text(dice)}),
        _ => json!(text(dice)),
    }
}

fn count(json: &Json) -> usize {
    1 + match json {
        Json::Array(all) => all.iter().map(count).sum(),
        Json::Object(all) => all.values().map(count).sum(),
        _ => 0,
    }
}

/// The node with this number, from the outside in.
fn nth<'a>(json: &'a mut Json, left: &mut usize) -> Option<&'a mut Json> {
    if *left == 0 {
        return Some(json);
    }
    *left -= 1;
    match json {
        Json::Array(all) => all.iter_mut().find_map(|one| nth(one, left)),
        Json::Object(all) => all.values_mut().find_map(|one| nth(one, left)),
        _ => None,
    }
}

/// Changes one node of a JSON value.
pub(crate) fn change(dice: &mut Dice, json: &mut Json) {
    let mut at = dice.below(count(json));
    let Some(node) = nth(json, &mut at) else { return };
    let new = value(dice);
    match node {
        Json::Array(all) if !all.is_empty() && dice.below(2) == 0 => {
            let place = dice.below(all.len());
            match dice.below(4) {
                0 => drop(all.remove(place)),
                1 => all.insert(place, new),
                2 => {
                    let one = all[place].clone();
                    all.extend(std::iter::repeat_n(one, dice.below(60)));
                }
                _ => all.truncate(place),
            }
        }
        Json::Object(all) if !all.is_empty() && dice.below(2) == 0 => {
            let key = all.keys().nth(dice.below(all.len())).cloned().unwrap_or_default();
            match dice.below(3) {
                0 => drop(all.remove(&key)),
                1 => drop(all.insert(text(dice), new)),
                _ => {
                    let one = all.remove(&key).unwrap_or_default();
                    all.insert(text(dice), one);
                }
            }
        }
        Json::Number(_) if dice.below(2) == 0 => *node = json!(node.to_string()),
        other => *other = new,
    }
}

/// The text of a JSON value after some changes, and sometimes no JSON at all.
pub(crate) fn spoilt(dice: &mut Dice, mut json: Json) -> Vec<u8> {
    for _ in 0..=dice.below(3) {
        change(dice, &mut json);
    }
    let mut text = json.to_string().into_bytes();
    spoil(dice, &mut text);
    text
}

/// What a text has that its parser does not: depth, bytes that are no text, an end too early.
pub(crate) fn spoil(dice: &mut Dice, text: &mut Vec<u8>) {
    let place = dice.below(text.len() + 1);
    let mut put = |new: &[u8]| drop(text.splice(place..place, new.iter().copied()));
    match dice.below(24) {
        0 => put(&b"[".repeat(dice.below(200_000))),
        1 => put(&b"{\"a\":".repeat(dice.below(50_000))),
        2 => put(&[0xff, 0xfe, 0xc0, 0x80]),
        3 => put(b"1e999"),
        4 => put(&b"9".repeat(dice.below(5000))),
        5 => put(b"\\ud800"),
        6 => put(&[0]),
        7 => text.truncate(place),
        _ => {}
    }
}
