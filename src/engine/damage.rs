//! What stores say of their own damage, in words: each sentence once, however many collections it is true of. Pure.

use super::pair::Pair;
use super::select::words;

/// How many sentences, and how many collections of one, are named.
const NAMED: usize = 5;

/// What is wrong with the source's collections.
pub(super) fn of_source(pairs: &[Pair]) -> Option<String> {
    let names = names(pairs, |pair| &pair.source.name);
    in_words(pairs.iter().zip(&names).flat_map(|(pair, name)| each(name, &pair.source_damage)))
}

/// What is wrong with the target's collections.
pub(super) fn of_target(pairs: &[Pair]) -> Option<String> {
    let names = names(pairs, |pair| &pair.target_name);
    in_words(pairs.iter().zip(&names).flat_map(|(pair, name)| each(name, &pair.target_damage)))
}

fn names(pairs: &[Pair], of: fn(&Pair) -> &String) -> Vec<String> {
    pairs.iter().map(|pair| words(pair.target_database.as_deref(), of(pair))).collect()
}

fn each<'a>(name: &'a str, damage: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    damage.iter().map(move |what| (name, what.as_str()))
}

/// What is wrong with these collections, each in words with one sentence about it; None where nothing is.
fn in_words<'a>(told: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut sentences: Vec<(&str, Vec<&str>)> = Vec::new();
    for (collection, what) in told {
        match sentences.iter_mut().find(|(said, _)| *said == what) {
            Some((_, collections)) => collections.push(collection),
            None => sentences.push((what, vec![collection])),
        }
    }
    let one = |(what, collections): &(&str, Vec<&str>)| {
        let word = if collections.len() == 1 { "collection" } else { "collections" };
        let named: Vec<&str> = collections.iter().take(NAMED).copied().collect();
        format!("{what} ({word} {}{})", named.join(", "), more(collections.len()))
    };
    let named: Vec<String> = sentences.iter().take(NAMED).map(one).collect();
    (!named.is_empty()).then(|| format!("{}{}", named.join("; "), more(sentences.len())))
}

fn more(of: usize) -> String {
    if of > NAMED { format!(" and {} more", of - NAMED) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_is_said_once_and_names_its_collections() {
        assert_eq!(in_words([]), None);
        let told = [(r#""a""#, "torn"), (r#""a""#, "short"), (r#""b""#, "torn"), (r#""c""#, "torn")];
        assert_eq!(in_words(told).unwrap(), r#"torn (collections "a", "b", "c"); short (collection "a")"#);
        let names: Vec<String> = (0..9).map(|n| words(None, &n.to_string())).collect();
        let text = in_words(names.iter().map(|name| (name.as_str(), "torn"))).unwrap();
        assert!(text.ends_with(r#""4" and 4 more)"#), "{text}");
        let text = in_words(names.iter().map(|name| (r#""a""#, name.as_str()))).unwrap();
        assert!(text.ends_with(r#""4" (collection "a") and 4 more"#), "{text}");
    }
}
