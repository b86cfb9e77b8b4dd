//! Errors in words: what failed, in one line, and what may put it right. Pure.

/// A name that does not resolve says so, and how it may be put right. A look-up that takes too long looks like a server that
/// does not answer: both are named then.
pub(super) fn explained(detail: String, late: bool) -> String {
    const CHECK: &str = "check the Service's name and the cluster's DNS";
    if detail.contains("dns error") {
        format!("its name cannot be resolved: {CHECK} ({detail})")
    } else if late {
        format!("no connection in time ({detail}); if its name does not resolve, {CHECK}")
    } else {
        detail
    }
}

/// A text in one line, cut after so many characters. What would move a terminal's cursor is escaped.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    let one = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().map(one).collect();
    match line.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "an empty answer".to_owned(),
        None => line,
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Whether a body ended before it was whole, though nobody reset the connection.
pub(super) fn ends_early(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_end = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
    error.downcast_ref::<std::io::Error>().map_or_else(|| error.source().is_some_and(ends_early), is_end)
}

/// Whether TLS itself failed, as opposed to the connection under it.
pub(super) fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An I/O error carries another one that its `source` passes over.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || carried.map_or_else(|| error.source().is_some_and(is_tls), |carried| is_tls(carried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_moves_no_cursor() {
        for (text, expected) in [
            ("a\n  b\tc", "a b c"),
            ("\u{1b}[2Jgone\u{7}", "\\u{1b}[2Jgone\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("nul\0", "nul\\0"),
            (" \n", "an empty answer"),
        ] {
            assert_eq!(shortened(text, 300), expected);
        }
        assert_eq!(shortened("\u{1b}abc", 4), "\\u{1…");
    }
}
