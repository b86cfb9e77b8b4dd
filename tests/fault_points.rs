//! Fault points are the tests' alone: no binary that is built to be used has them, every call of a store has its own, and
//! scratch files have theirs. What a run makes of each is `campaign`'s part.

use std::fs;

use memory_migration_operator::faults::{CALLS, FILL, PLACE, SCRATCH, SPOILS, SPOILS_INDEX, SPOILS_SAMPLES, VARIABLE};

use super::scenarios::points::controller_points;
use super::support::chroma::crate_path;
use super::support::command::TestCommand;
use super::support::stores::generated;

/// The names of the methods that a trait of `store.rs` has.
fn methods(text: &str, of: &str) -> Vec<String> {
    let from = text.find(&format!("pub trait {of}:")).unwrap();
    let part = &text[from..];
    let part = &part[..part.find("\n}\n").unwrap()];
    let lines = part.lines().map(|line| line.trim_start().trim_start_matches("async "));
    let names = lines.filter_map(|line| line.strip_prefix("fn ")?.split(['(', '<']).next());
    names.map(str::to_owned).collect()
}

/// A method that a wrapper leaves out would have the trait's own answer there, and not the store's.
#[test]
fn what_stands_for_a_store_passes_every_call_on() {
    let traits = fs::read_to_string(crate_path("src/store.rs")).unwrap();
    // `add` is `prepare` and `add_prepared`, in the store as in what stands for it
    let wrappers: [(&str, &[&str], &[&str]); 3] = [
        ("src/endpoint/faulty.rs", &["Reader", "Searches", "Writer", "Target", "Filler"], &[]),
        ("src/endpoint/own_writer.rs", &["Reader", "Writer"], &["add"]),
        // no server can tell a generation
        ("src/store/http/writer.rs", &["Reader"], &["generation"]),
    ];
    for (file, all, free) in wrappers {
        let text = fs::read_to_string(crate_path(file)).unwrap();
        for name in all.iter().flat_map(|of| methods(&traits, of)).filter(|name| !free.contains(&name.as_str())) {
            assert!(text.contains(&format!("fn {name}(")), "{file} does not pass {name} on");
        }
    }
}

#[test]
fn no_binary_that_is_built_to_be_used_has_a_fault_point() {
    let manifest = fs::read_to_string(crate_path("Cargo.toml")).unwrap();
    let (before, tests) = manifest.split_once("[dev-dependencies]").unwrap();
    assert!(tests.contains(r#"features = ["faults"]"#) && before.contains("\nfaults = []\n"));
    assert!(!before.contains("default = ["), "a default feature would bring the fault points into every build");
    let mut checked = 0;
    for binary in ["target/release/memory-migration", "target/x86_64-unknown-linux-musl/release/memory-migration"] {
        let Ok(bytes) = fs::read(crate_path(binary)) else { continue };
        let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has("MEMORY_MIGRATION_SOURCE_TOKEN"), "{binary} is not what it seems");
        let names = CALLS.iter().chain(SCRATCH).chain(FILL).chain(PLACE).chain([
            &VARIABLE,
            &SPOILS,
            &SPOILS_INDEX,
            &SPOILS_SAMPLES,
            &"fault point ",
        ]);
        let found: Vec<_> = names.filter(|name| has(name)).collect();
        assert!(found.is_empty(), "{binary} has fault points: {found:?}");
        checked += 1;
    }
    if checked == 0 {
        println!("no binary was searched: none is built for release here; make build searches the one that it makes");
    }
    let own = fs::read(env!("CARGO_BIN_EXE_memory-migration")).unwrap();
    assert!(own.windows(VARIABLE.len()).any(|part| part == VARIABLE.as_bytes()), "the search finds nothing anywhere");
}

#[test]
fn the_page_names_every_fault_point() {
    let page = fs::read_to_string(crate_path("docs/reliability.md")).unwrap();
    for name in CALLS.iter().chain(SCRATCH).chain(FILL).chain(PLACE).chain(controller_points()) {
        assert!(page.contains(&format!("`{name}`")), "docs/reliability.md does not name {name}");
    }
}

#[test]
fn scratch_files_that_fail_end_a_comparison_and_a_rerun_finishes() {
    let (source, target) = (generated("1.5.9", 20_000, 2, "l2"), generated("1.5.9", 20_000, 2, "l2"));
    let compare =
        || TestCommand::new().args(["verify", "--source-config", source.path(), "--target-config", target.path()]);
    for place in SCRATCH {
        for kind in ["retry", "fatal"] {
            // at each visit: a file that fails once is made again with the next look at a store
            let output = compare().env(VARIABLE, format!("{place}:{kind}:0")).run();
            assert!(output.stderr_text().contains("fault point "), "{place} is not visited: {output:?}");
            output.code(4).stdout("scratch");
        }
    }
    compare().run().code(0).stdout("Verified");
}
