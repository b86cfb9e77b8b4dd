//! The direction of dependencies, the size of files, and words that must not appear: read as text, so that a wrong import
//! fails here and not in a review.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::support::chroma::crate_path;

/// Modules of ours that a module may use, beside itself. The longest prefix that matches a file counts.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "lib",
        &[
            "api",
            "chroma",
            "cli",
            "controller",
            "endpoint",
            "engine",
            "exit",
            "faults",
            "fill",
            "metrics",
            "model",
            "page",
            "report",
            "scratch",
            "serve",
            "store",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "api",
            "controller",
            "endpoint",
            "engine",
            "exit",
            "model",
            "page",
            "report",
            "scratch",
            "store",
            "telemetry",
        ],
    ),
    ("endpoint", &["chroma", "engine", "exit", "faults", "fill", "model", "report", "scratch", "store"]),
    ("engine", &["chroma", "exit", "model", "report", "scratch", "store"]),
    ("fill", &["chroma", "faults", "model", "store"]),
    ("store", &["chroma", "model", "scratch"]),
    ("chroma", &["model"]),
    ("scratch", &["faults", "model"]),
    ("faults", &[]),
    ("model", &[]),
    ("controller", &["api", "exit", "metrics", "report", "serve", "telemetry"]),
    ("api", &["report"]),
    ("serve", &["metrics"]),
    ("metrics", &["report"]),
    ("telemetry", &[]),
    ("page", &["report"]),
    ("report", &[]),
    ("exit", &[]),
];

/// A crate, and the only modules that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("kube", &["api", "controller"]),
    ("k8s_openapi", &["api", "controller"]),
    ("reqwest", &["store::http"]),
    ("hickory_resolver", &["store::http::tls"]),
    ("pulp", &["fill"]),
    ("rusqlite", &["fill", "store::files"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("prometheus", &["metrics"]),
    ("maud", &["page"]),
    ("croner", &["api::schedule"]),
];

/// The rooms of a local store's files, from the lowest: each may use those before it.
const ROOMS: &[&str] = &[
    "store::files::system",
    "store::files::index",
    "store::files::log",
    "store::files::sqlite",
    "store::files::reader",
    "store::files::inspect",
];

/// Files of the controller, and what of the controller's other folders they may use. The longest prefix that matches counts;
/// what is in their own folder, and what `controller.rs` itself holds, they may use.
const IN_CONTROLLER: &[(&str, &[&str])] = &[
    ("observe", &["build", "plan::lock", "plan::look", "process::memory"]),
    ("observe::world", &[]),
    ("plan", &["build", "observe::world"]),
    ("build", &["observe::world"]),
    ("act", &["observe", "plan"]),
    ("schedule", &["act", "build", "observe", "plan::crd_gap", "plan::lock", "plan::notices", "process::memory"]),
    ("schedule::plan", &["plan::notices"]),
    ("schedule::pruning", &["build", "observe::world", "plan::lock", "plan::notices"]),
    ("schedule::said", &["plan::notices"]),
    ("schedule::history", &[]),
    ("schedule::child", &[]),
    ("schedule::world", &["build", "observe::facts", "observe::world"]),
    ("process", &["act", "build", "observe", "plan", "schedule"]),
];

/// Files that only calculate: they neither ask a cluster nor read a clock, and wait for nothing.
const PURE: &[&str] = &[
    "model",
    "chroma",
    "page",
    "controller::plan",
    "controller::build",
    "controller::observe::world",
    "controller::observe::facts",
    "controller::observe::trouble",
    "controller::observe::ending",
    "controller::schedule::child",
    "controller::schedule::history",
    "controller::schedule::plan",
    "controller::schedule::pruning",
    "controller::schedule::said",
    "controller::schedule::world",
    "api::schedule",
];

/// Words that a file that only calculates does not have.
const IMPURE: &[&str] =
    &["async", "await", "tokio", "Client", "Api", "Context", "Instant", "SystemTime", "Mutex", "fs"];

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

/// The modules of ours that a module's text uses, by whatever path.
fn used(module: &str, text: &str) -> Vec<String> {
    let own: Vec<&str> = if module == "lib" { Vec::new() } else { module.split("::").collect() };
    let first = |(_, path): (bool, String)| absolute(&own, &path).first().cloned();
    paths(text).into_iter().filter_map(first).collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (module, text) in modules() {
        let rule = MAY_USE.iter().filter(|(prefix, _)| is_in(&module, prefix)).max_by_key(|(prefix, _)| prefix.len());
        let (own, allowed) = rule.unwrap_or_else(|| panic!("src/{module}: no rule says what it may use"));
        let own = own.split("::").next().unwrap();
        for name in used(&module, &code(&text)) {
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
    for (file, used) in imports() {
        let forbidden: &[&str] = match file.as_str() {
            m if is_in(m, "store::http") => &["store::files"],
            m if is_in(m, "store::files") => &["store::http"],
            m if is_in(m, "engine") => &["store::http", "store::files"],
            _ => &[],
        };
        let wrong: Vec<_> = used.iter().filter(|used| forbidden.iter().any(|name| is_in(used, name))).collect();
        assert!(wrong.is_empty(), "{file} uses {wrong:?}");
    }
}

#[test]
fn a_room_of_the_files_knows_only_those_below_it() {
    for (file, used) in imports() {
        let Some(height) = ROOMS.iter().position(|room| is_in(&file, room)) else { continue };
        for above in &ROOMS[height + 1..] {
            let wrong: Vec<_> = used.iter().filter(|used| is_in(used, above)).collect();
            assert!(wrong.is_empty(), "{file} uses {wrong:?}");
        }
    }
}

#[test]
fn a_store_writes_no_file_and_starts_no_process() {
    for (module, text) in modules() {
        if !is_in(&module, "store") || is_in(&module, "store::files::sqlite::connection") || module.ends_with("tests") {
            continue;
        }
        for word in
            ["File::create", "OpenOptions", "fs::write", "fs::create_dir", "fs::remove", "fs::rename", "Command::"]
        {
            assert!(!code(&text).contains(word), "{module} holds {word}");
        }
    }
}

#[test]
fn the_folders_of_the_controller_have_a_direction() {
    let imports = imports();
    let inside = |file: &str| file.strip_prefix("controller::").map(ToOwned::to_owned);
    let mut wrong = Vec::new();
    for (file, used) in imports.iter().filter_map(|(file, used)| Some((inside(file)?, used))) {
        let rule =
            IN_CONTROLLER.iter().filter(|(prefix, _)| is_in(&file, prefix)).max_by_key(|(prefix, _)| prefix.len());
        let (_, allowed) = rule.unwrap_or_else(|| panic!("src/controller/{file}: no rule says what it may use"));
        let folder = file.split("::").next().unwrap();
        let others = used.iter().filter_map(|used| inside(used)).filter(|used| !is_in(used, folder));
        let forbidden = others.filter(|used| !allowed.iter().any(|allowed| is_in(used, allowed)));
        wrong.extend(forbidden.map(|used| format!("{file} uses {used}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_only_calculates_asks_nobody() {
    let is_pure = |module: &str| PURE.iter().any(|pure| is_in(module, pure));
    for (module, text) in modules().into_iter().filter(|(module, _)| is_pure(module)) {
        let code = code(&text);
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.find(|word| IMPURE.contains(word));
        assert!(named.is_none(), "{module} only calculates, but names {named:?}");
        assert!(!code.contains("::now"), "{module} only calculates, but reads a clock");
    }
    for pure in PURE {
        assert!(modules().iter().any(|(module, _)| module == pure), "there is no {pure} any more");
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

/// The paths that a `use` names: `a::{b, c::d as e}` is `a::b` and `a::c::d`.
fn named(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in rest[..rest.rfind('}').unwrap_or(rest.len())].chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    let inner = parts.iter().filter(|part| !part.trim().is_empty()).flat_map(|part| named(part));
    inner.map(|path| format!("{}{path}", before.trim())).collect()
}

/// Every path that a text names, in a `use` or in place; true: for others, too (`pub use`).
fn paths(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let words = line.trim_start();
        let (public, words) = match words.strip_prefix("pub") {
            Some(after) => (true, after.split_once("use ").map_or(after, |(_, tree)| tree)),
            None => (false, words.strip_prefix("use ").unwrap_or_default()),
        };
        if words.is_empty() || (public && !line.contains("use ")) {
            rest += line;
            rest.push('\n');
            continue;
        }
        let mut tree = words.to_owned();
        while !tree.contains(';') {
            tree += lines.next().unwrap_or(";");
        }
        found.extend(named(tree.split(';').next().unwrap_or_default()).into_iter().map(|path| (public, path)));
    }
    let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
    let words = rest.split(ends).map(|word| word.trim_matches(':'));
    let ours = |word: &&str| ["crate::", "super::", "self::"].iter().any(|head| word.starts_with(head));
    found.extend(words.filter(ours).map(|word| (false, word.to_owned())));
    found
}

/// A path from the crate's root.
fn absolute(module: &[&str], path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split("::").collect();
    let up = parts.iter().take_while(|part| **part == "super").count();
    let (base, rest) = match parts[0] {
        "crate" => (&[][..], &parts[1..]),
        "self" => (module, &parts[1..]),
        _ => (&module[..module.len().saturating_sub(up)], &parts[up..]),
    };
    base.iter().chain(rest).map(ToString::to_string).collect()
}

/// Which file each file uses. A file and those that hold it may know each other: `mod` and `super` are no imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeMap<String, String> = modules().into_iter().map(|(name, text)| (name, code(&text))).collect();
    let parts = |name: &str| -> Vec<String> { name.split("::").map(ToOwned::to_owned).collect() };
    let all = |name: &str, text: &str| -> Vec<(bool, Vec<String>)> {
        let own: Vec<String> = if name == "lib" { Vec::new() } else { parts(name) };
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        paths(text).into_iter().map(|(public, path)| (public, absolute(&own, &path))).collect()
    };
    // What a file passes on is of the file that it comes from.
    let mut passed_on = BTreeMap::new();
    for (name, text) in &modules {
        for (_, path) in all(name, text).into_iter().filter(|(public, _)| *public) {
            let (last, from) = path.split_last().unwrap();
            if modules.contains_key(&from.join("::")) {
                passed_on.insert(format!("{name}::{last}"), from.join("::"));
            }
        }
    }
    let file_of = |path: &[String]| -> Option<String> {
        (1..=path.len()).rev().find_map(|n| {
            let file = path[..n].join("::");
            let item = path.get(n).map(|item| format!("{file}::{item}"));
            let there = modules.contains_key(&file).then_some(file);
            there.map(|file| item.and_then(|item| passed_on.get(&item).cloned()).unwrap_or(file))
        })
    };
    let used = |name: &String, text: &String| {
        let files = all(name, text).into_iter().filter_map(|(_, path)| file_of(&path));
        files.filter(|file| !is_in(name, file)).collect()
    };
    modules.iter().filter(|(name, _)| *name != "lib").map(|(name, text)| (name.clone(), used(name, text))).collect()
}

/// All that a file uses, through whatever others.
fn reached_from<'i>(imports: &'i BTreeMap<String, BTreeSet<String>>, from: &'i String) -> BTreeSet<&'i String> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(imports.get(file).into_iter().flatten().filter(|file| seen.insert(*file)));
    }
    seen
}

#[test]
fn no_two_files_import_each_other() {
    let imports = imports();
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reached_from(&imports, file))).collect();
    let circle = |file: &String| -> Vec<&str> {
        let others = reach[file].iter().filter(|other| reach.get(**other).is_some_and(|back| back.contains(file)));
        others.map(|other| other.as_str()).collect()
    };
    let found: BTreeSet<Vec<&str>> = imports.keys().map(circle).filter(|circle| !circle.is_empty()).collect();
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn imports_are_understood_in_every_shape() {
    assert_eq!(named("crate::{a, b::{c as d, e}}"), ["crate::a", "crate::b::c", "crate::b::e"]);
    let text = "use super::{x,\n    y};\npub use child::Name;\nfn f() { super::super::z::g(crate::w::H) }";
    let found: Vec<String> = paths(text).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["super::x", "super::y", "child::Name", "super::super::z::g", "crate::w::H"]);
    assert_eq!(absolute(&["a", "b", "c"], "super::super::z"), ["a", "z"]);
    assert_eq!(absolute(&["a", "b"], "crate::w::H"), ["w", "H"]);
    assert_eq!(absolute(&["a"], "child::Name"), ["a", "child", "Name"]);
}
