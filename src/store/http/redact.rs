//! Blanks a secret in a text, in whatever way its characters are escaped there. Pure.

/// What stands in its place.
const BLANK: &str = "[secret]";
/// So many characters of a secret at the very end of a text, which may have been cut there, are blanked too.
const CUT: usize = 4;

/// The text without the secret: as it is, escaped as in JSON (once or more often), a URL or HTML, or cut off at the end.
pub(super) fn blank(text: &str, secret: &str) -> String {
    if secret.is_empty() {
        return text.to_owned();
    }
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = spelled(rest, secret) {
            blanked.push_str(BLANK);
            rest = &rest[length..];
        } else {
            blanked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    blanked
}

/// How many bytes at the beginning of the text spell the secret.
fn spelled(text: &str, secret: &str) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let mut rest = text;
    let mut before = None;
    for (n, wanted) in secret.chars().enumerate() {
        if rest.is_empty() && n >= CUT {
            return Some(text.len());
        }
        // escaping doubles backslashes: a run of them is matched as one
        if wanted == '\\' && before == Some('\\') {
            continue;
        }
        before = Some(wanted);
        match after(rest, wanted) {
            Some(next) => rest = next,
            None if n >= CUT && is_cut_escape(rest) => return Some(text.len()),
            None => return None,
        }
    }
    Some(text.len() - rest.len())
}

/// The text behind this character, which may be escaped.
fn after(text: &str, wanted: char) -> Option<&str> {
    let bare = text.trim_start_matches('\\');
    let escaped = bare.len() < text.len();
    if wanted == '\\' && escaped && unicode(bare, '\\').is_none() {
        return Some(bare);
    }
    // the escaped forms first: they begin with characters that a secret can have as well
    entity(text, wanted)
        .or_else(|| percent(text, wanted))
        .or_else(|| escaped.then(|| unicode(bare, wanted)).flatten())
        .or_else(|| bare.strip_prefix(wanted))
}

/// `u0022`, behind a backslash; two of them for a character beyond 16 bits.
fn unicode(text: &str, wanted: char) -> Option<&str> {
    let mut rest = text;
    for (n, unit) in wanted.encode_utf16(&mut [0; 2]).iter().enumerate() {
        rest = if n == 0 { rest } else { rest.trim_start_matches('\\') };
        let digits = rest.strip_prefix('u')?.get(..4)?;
        rest = (u16::from_str_radix(digits, 16) == Ok(*unit)).then(|| &rest[5..])?;
    }
    Some(rest)
}

/// `%22`.
fn percent(text: &str, wanted: char) -> Option<&str> {
    let mut rest = text;
    for byte in wanted.encode_utf8(&mut [0; 4]).bytes() {
        let digits = rest.strip_prefix('%')?.get(..2)?;
        rest = (u8::from_str_radix(digits, 16) == Ok(byte)).then(|| &rest[3..])?;
    }
    Some(rest)
}

/// `&quot;`, `&#34;` or `&#x22;`.
fn entity(text: &str, wanted: char) -> Option<&str> {
    let (name, rest) = text.strip_prefix('&')?.split_once(';')?;
    let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let meant = match (name, name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")), name.strip_prefix('#')) {
        ("quot", ..) => Some('"'),
        ("apos", ..) => Some('\''),
        ("amp", ..) => Some('&'),
        ("lt", ..) => Some('<'),
        ("gt", ..) => Some('>'),
        (_, Some(digits), _) => code(digits, 16),
        (_, None, Some(digits)) => code(digits, 10),
        _ => None,
    };
    (meant == Some(wanted)).then_some(rest)
}

/// Whether a text ends within an escaped character.
fn is_cut_escape(text: &str) -> bool {
    text.len() < 12 && text.starts_with(['\\', '%', '&'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let secret = "a\"b\\c/d=é🙂'<e&f";
        let json = serde_json::to_string(secret).unwrap();
        let json = json.trim_matches('"').to_owned();
        let twice = serde_json::to_string(&json).unwrap();
        let all = |escape: &dyn Fn(u16) -> String| secret.encode_utf16().map(escape).collect::<String>();
        let percent = |hex: String, byte: u8| hex + &format!("%{byte:02X}");
        let html = |hex: String, c: char| hex + &format!("&#x{:x};", u32::from(c));
        let spellings = [
            secret.to_owned(),
            json.clone(),
            twice.trim_matches('"').to_owned(),
            json.replace('/', "\\/"),
            format!("{secret:?}").trim_matches('"').to_owned(),
            all(&|unit| format!("\\u{unit:04x}")),
            all(&|unit| format!("\\u{unit:04X}")),
            secret.bytes().fold(String::new(), percent),
            secret.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;"),
            secret.chars().fold(String::new(), html),
        ];
        for spelling in spellings {
            assert_eq!(blank(&format!("x {spelling} y"), secret), "x [secret] y", "{spelling}");
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "\\", "100% & more; \\u00zz é", "sec", "secret to all", "the end: sec"] {
            assert_eq!(blank(text, "secret-token"), text, "{text}");
        }
        assert_eq!(blank("text", ""), "text");
    }

    proptest! {
        #[test]
        fn no_cut_shows_more_than_a_beginning(secret in "[!-~]{8,40}", before in ".{0,20}", cut in 0_usize..40) {
            let json = serde_json::to_string(&secret).unwrap();
            for spelling in [secret.as_str(), json.trim_matches('"')] {
                let text = format!("{before}{spelling}");
                let end = (text.len() - text.len().min(cut)).max(before.len());
                let Some(cut) = text.get(..end) else { continue };
                let shown = blank(cut, &secret);
                prop_assert!(!shown.contains(&secret[..=CUT]) || before.contains(&secret[..CUT]), "{shown}");
            }
        }

        #[test]
        fn nothing_panics(text in ".{0,80}", secret in ".{0,12}") {
            let _ = blank(&text, &secret);
            let _ = blank(&format!("{text}{secret}{text}"), &secret);
        }
    }
}
