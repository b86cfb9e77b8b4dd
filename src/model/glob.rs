//! Globs of `*` alone: which names a pattern matches, and what its only star took. Pure.

use std::fmt;

/// A pattern in which `*` stands for any characters, also for none. Every other character stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    /// What stands between the stars; one part has no star.
    parts: Vec<String>,
}

impl Glob {
    /// A pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self { parts: pattern.split('*').map(str::to_owned).collect() }
    }

    /// Exactly this name, whatever characters it has.
    #[must_use]
    pub fn exactly(name: &str) -> Self {
        Self { parts: vec![name.to_owned()] }
    }

    /// How many stars it has.
    #[must_use]
    pub const fn stars(&self) -> usize {
        self.parts.len().saturating_sub(1)
    }

    /// Whether it matches this name, from its first character to its last.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let [first, between @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| only == name);
        };
        let Some(mut rest) = inner(name, first, last) else { return false };
        for part in between {
            // the leftmost place leaves the most for the parts after it
            let Some((_, after)) = rest.split_once(part.as_str()) else { return false };
            rest = after;
        }
        true
    }

    /// What its star took of a name that it matches; None for a pattern with no star or with several.
    #[must_use]
    pub fn taken<'n>(&self, name: &'n str) -> Option<&'n str> {
        match self.parts.as_slice() {
            [first, last] => inner(name, first, last),
            _ => None,
        }
    }
}

/// What is between a name's beginning and its end, which must not overlap.
fn inner<'n>(name: &'n str, first: &str, last: &str) -> Option<&'n str> {
    name.strip_prefix(first)?.strip_suffix(last)
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, letter by letter.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => by_definition(rest, name),
            (Some((b'*', rest)), Some((_, left))) => by_definition(rest, name) || by_definition(pattern, left),
            (Some((p, rest)), Some((n, left))) => p == n && by_definition(rest, left),
            _ => false,
        }
    }

    #[test]
    fn a_star_is_any_characters_and_everything_else_is_itself() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "memories", true),
            ("user-*", "user-", true),
            ("user-*", "user-1", true),
            ("user-*", "a-user-1", false),
            ("*-tmp", "x-tmp", true),
            ("*-tmp", "-tmp-", false),
            ("aba*aba", "aba", false),
            ("aba*aba", "abaaba", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("*a*a*", "a", false),
            ("a?c", "abc", false),
            ("[ab]", "a", false),
            ("", "", true),
            ("", "a", false),
            ("user-*", "USER-1", false),
            ("größe-*", "größe-ß", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} {name}");
        }
        assert!(Glob::exactly("a*").matches("a*") && !Glob::exactly("a*").matches("ab"));
    }

    #[test]
    fn only_a_single_star_says_what_it_took() {
        for (pattern, name, expected) in [
            ("user-*", "user-7", Some("7")),
            ("user-*", "user-", Some("")),
            ("*-x-*", "a-x-b", None),
            ("memories", "memories", None),
            ("a*a", "a", None),
        ] {
            assert_eq!(Glob::new(pattern).taken(name), expected, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            let glob = Glob::new(&pattern);
            prop_assert_eq!(glob.matches(&name), by_definition(pattern.as_bytes(), name.as_bytes()));
            prop_assert_eq!(glob.to_string(), pattern);
        }

        #[test]
        fn what_the_star_took_makes_the_name_again(pattern in "[ab]{0,3}[*][ab]{0,3}", name in "[ab]{0,9}") {
            let taken = Glob::new(&pattern).taken(&name).map(|taken| pattern.replacen('*', taken, 1));
            prop_assert_eq!(taken.as_ref(), Glob::new(&pattern).matches(&name).then_some(&name));
        }
    }
}
