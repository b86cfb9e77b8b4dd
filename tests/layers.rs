//! The direction of dependencies, the size of files, and words that must not appear: read as text, so that a wrong import
//! fails here and not in a review.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::chroma::crate_path;

/// Modules of ours that a module may use, beside itself. The longest prefix that matches a file counts.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "lib",
        &["api", "cli", "controller", "endpoint", "engine", "exit", "metrics", "report", "serve", "store", "telemetry"],
    ),
    ("cli", &["api", "controller", "endpoint", "engine", "exit", "report", "store", "telemetry"]),
    ("endpoint", &["engine", "report", "store"]),
    ("engine", &["exit", "report", "store"]),
    ("store::http", &["store"]),
    ("store::local", &["store"]),
    ("store", &["store"]),
    ("controller", &["api", "exit", "metrics", "report", "serve", "telemetry"]),
    ("api", &["report"]),
    ("serve", &["metrics"]),
    ("metrics", &["report"]),
    ("telemetry", &[]),
    ("report", &[]),
    ("exit", &[]),
];

/// A crate, and the only modules that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("kube", &["api", "controller"]),
    ("k8s_openapi", &["api", "controller"]),
    ("reqwest", &["store::http"]),
    ("rusqlite", &["store::local"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("prometheus", &["metrics"]),
];

const LONGEST_FILE: usize = 400;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Module path and text of every source file.
fn modules() -> Vec<(String, String)> {
    let root = crate_path("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let named = |path: &PathBuf| {
        let relative = path.strip_prefix(&root).unwrap().with_extension("");
        let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        (parts.join("::"), fs::read_to_string(path).unwrap())
    };
    files.iter().map(named).collect()
}

/// The part before the first inline test module, without comments.
fn code(text: &str) -> String {
    let before = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    before.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_in(module: &str, of: &str) -> bool {
    module == of || module.starts_with(&format!("{of}::"))
}

/// The modules of ours that a text uses, by `crate::X`.
fn used(text: &str) -> Vec<String> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    text.split("crate::").skip(1).map(|rest| rest.split(ends).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (module, text) in modules() {
        let rule = MAY_USE.iter().filter(|(prefix, _)| is_in(&module, prefix)).max_by_key(|(prefix, _)| prefix.len());
        let (own, allowed) = rule.unwrap_or_else(|| panic!("src/{module}: no rule says what it may use"));
        let own = own.split("::").next().unwrap();
        for name in used(&code(&text)) {
            // macros and items of the crate's root are no module
            let known = MAY_USE.iter().any(|(prefix, _)| *prefix == name);
            if known && name != own && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{module} uses {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_two_stores_and_the_engine_do_not_know_each_other() {
    for (module, text) in modules() {
        let code = code(&text);
        let forbidden: &[&str] = match module.as_str() {
            m if is_in(m, "store::http") => &["store::local"],
            m if is_in(m, "store::local") => &["store::http"],
            m if is_in(m, "engine") => &["store::http", "store::local"],
            _ => &[],
        };
        for name in forbidden {
            assert!(!code.contains(&format!("crate::{name}")), "{module} uses {name}");
        }
    }
}

#[test]
fn each_crate_has_its_place() {
    for (module, text) in modules() {
        let code = code(&text);
        for (name, places) in CRATES {
            let uses = code.contains(&format!("use {name}::")) || code.contains(&format!(" {name}::"));
            let allowed = places.iter().any(|place| is_in(&module, place));
            assert!(!uses || allowed, "{module} names the crate {name}, which belongs to {places:?}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    for (module, text) in modules() {
        assert!(text.starts_with("//!"), "{module} does not open with //!: what it is and what it may not do");
        let before = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = before.lines().count();
        assert!(lines <= LONGEST_FILE, "{module} has {lines} lines before its tests; {LONGEST_FILE} is the bound");
        assert!(!module.ends_with("::mod"), "{module}: no mod.rs");
    }
}

#[test]
fn no_word_of_unfinished_work() {
    for (module, text) in modules() {
        for word in ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "dbg!", "allow(dead_code"] {
            assert!(!text.contains(word), "{module} holds {word}");
        }
    }
}
