//! The text that Python makes of a value of `SQLite`'s, for Chroma up to 0.6 answers with it. Pure.

use std::fmt::Write as _;

use rusqlite::types::ValueRef;

/// As `str(value)` in Python. `is_bool`: the column is one of bools.
///
/// # Errors
/// Why a text cannot be read.
pub(super) fn text(held: ValueRef<'_>, is_bool: bool) -> Result<String, String> {
    Ok(match held {
        _ if is_bool => if held == ValueRef::Integer(1) { "True" } else { "False" }.to_owned(),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|e| format!("is no UTF-8 ({e})"))?.to_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) => number(x),
        ValueRef::Blob(bytes) => blob(bytes),
        ValueRef::Null => "None".to_owned(),
    })
}

/// `repr` of a float: Rust's shortest form, with an exponent of a sign and two digits.
fn number(x: f64) -> String {
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// `repr` of bytes.
fn blob(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' if char::from(*byte) == quote => text.extend(['\\', quote]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => drop(write!(text, "\\x{other:02x}")),
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python 3.11.
    #[test]
    fn the_text_is_python_s() {
        for (x, expected) in [
            (1.5, "1.5"),
            (2.0, "2.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (1e-300, "1e-300"),
            (1e-4, "0.0001"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(text(ValueRef::Real(x), false).unwrap(), expected);
        }
        for (bytes, expected) in [
            (b"abc".as_slice(), "b'abc'"),
            (b"a'b", "b\"a'b\""),
            (b"'\"", "b'\\'\"'"),
            (b"\\\n\xff\0", "b'\\\\\\n\\xff\\x00'"),
        ] {
            assert_eq!(text(ValueRef::Blob(bytes), false).unwrap(), expected);
        }
        assert_eq!(text(ValueRef::Integer(-3), false).unwrap(), "-3");
        assert_eq!(text(ValueRef::Integer(7), true).unwrap(), "False");
    }
}
