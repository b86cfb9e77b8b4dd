//! README.md's commands, in blocks and in its sentences: each is run, here or on the cluster of tests, or `tests/readme.txt` says
//! what stands in for it.

use std::fs;
use std::process::{Command, Stdio};

use super::support::chroma::{ChromaServer, Python, crate_path, env, keep_bytecode};

/// All that is put in for something else in a command that runs here.
const SERVER: &str = "http://localhost:8000";
/// As many memories as the default pace of 10 records a second writes in some seconds.
const MEMORIES: &str = "40";

/// A line of tests/readme.txt.
struct Row {
    start: String,
    how: String,
    instead: String,
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(crate_path("tests/readme.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.map(|line| {
        let mut cells = line.split('|').map(|cell| cell.trim().to_owned());
        let mut next = || cells.next().unwrap_or_default();
        Row { start: next(), how: next(), instead: next() }
    });
    rows.collect()
}

/// The commands of the `sh` blocks, in their order, without what continues a line.
fn commands() -> Vec<String> {
    in_sections().into_iter().map(|(_, command)| command).collect()
}

/// The same, each with the section that it is in.
fn in_sections() -> Vec<(String, String)> {
    let text = fs::read_to_string(crate_path("README.md")).unwrap().replace("\\\n", " ");
    let (mut section, mut is_shell, mut found) = (String::new(), false, Vec::new());
    for line in text.lines() {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if is_shell {
            found.push((section.clone(), line.split_whitespace().collect::<Vec<_>>().join(" ")));
        } else if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
    }
    found
}

/// Commands in the text: what stands between two backticks, and begins as a command of a block or as one of the Makefile.
fn in_sentences(blocks: &[String]) -> Vec<String> {
    let text = fs::read_to_string(crate_path("README.md")).unwrap();
    let prose: String = text.split("```").step_by(2).collect();
    let code = prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
    let starts: Vec<&str> = blocks.iter().filter_map(|command| command.split(' ').next()).chain(["make"]).collect();
    let is_command = |code: &String| code.split_once(' ').is_some_and(|(first, _)| starts.contains(&first));
    code.filter(is_command).collect()
}

fn row<'a>(table: &'a [Row], command: &str) -> &'a Row {
    row_of(table, command, |row| row.how != "sentence")
}

fn row_of<'a>(table: &'a [Row], command: &str, is_meant: fn(&Row) -> bool) -> &'a Row {
    let fits = table.iter().filter(|row| is_meant(row) && command.starts_with(&row.start));
    let row = fits.max_by_key(|row| row.start.len());
    row.unwrap_or_else(|| panic!("no line of tests/readme.txt says how to test `{command}` of README.md"))
}

#[test]
fn every_command_is_run_or_something_stands_in_for_it() {
    let (table, commands) = (table(), commands());
    assert!(commands.len() > 10, "{commands:?}");
    for command in &commands {
        let row = row(&table, command);
        let good = match row.how.as_str() {
            "here" | "cluster" => row.instead.is_empty(),
            "instead" => !row.instead.is_empty(),
            _ => false,
        };
        assert!(good, "tests/readme.txt: {} | {} | {}", row.start, row.how, row.instead);
    }
    // the scenario walks these two
    let mut elsewhere =
        in_sections().into_iter().filter(|(section, _)| !["Quickstart", "Install"].contains(&section.as_str()));
    let unrun = elsewhere.find(|(_, command)| row(&table, command).how == "cluster");
    assert_eq!(unrun, None, "the scenario does not walk this section");
    let sentences = in_sentences(&commands);
    let makefile = fs::read_to_string(crate_path("Makefile")).unwrap();
    for command in &sentences {
        let row = row_of(&table, command, |row| row.how == "sentence");
        assert!(!row.instead.is_empty(), "tests/readme.txt: nothing stands in for `{command}`");
        if let Some(target) = command.strip_prefix("make ") {
            assert!(makefile.contains(&format!("\n{target}:")), "README.md: Makefile has no target {target}");
        }
    }
    for target in ["make demo", "make kind-demo", "make image", "make wheel"] {
        assert!(sentences.iter().any(|command| command == target), "{target} was not found: {sentences:?}");
    }
    for row in &table {
        let of = if row.how == "sentence" { &sentences } else { &commands };
        let used = of.iter().any(|command| command.starts_with(&row.start));
        assert!(used, "tests/readme.txt: README.md has no command that starts with {}", row.start);
    }
}

/// From a store to a server, into another store, and the comparison: word for word, in a folder that has `./chroma_db`.
#[test]
fn the_commands_without_a_cluster_work() {
    let desk = tempfile::tempdir().unwrap();
    let bin = desk.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_memory-migration"), bin.join("memory-migration")).unwrap();
    std::os::unix::fs::symlink(env("server").chroma(), bin.join("chroma")).unwrap();
    Python::run("server", "tests/stores/demo.py", &[desk.path().join("chroma_db").to_str().unwrap(), MEMORIES]);
    let server = ChromaServer::start("1.5.9", &desk.path().join("server"));

    let (table, mut said) = (table(), Vec::new());
    for line in commands().iter().filter(|line| row(&table, line).how == "here") {
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MEMORY_MIGRATION_")) {
            shell.env_remove(name);
        }
        keep_bytecode(&mut shell);
        let path = std::env::join_paths([bin.clone(), "/usr/bin".into(), "/bin".into()]).unwrap();
        shell.arg("-c").arg(line.replace(SERVER, &server.url)).current_dir(desk.path()).env("PATH", path);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "$ {line}\n{text}");
        said.push(text);
    }
    let verified = said.iter().filter(|text| text.contains("Succeeded (Verified)")).count();
    assert_eq!(verified, 3, "{said:#?}");
}

/// `make demo`, which builds the program and then runs this.
#[test]
fn the_demo_works() {
    let mut demo = Command::new("bash");
    demo.arg(crate_path("deploy/demo.sh")).arg(env!("CARGO_BIN_EXE_memory-migration")).env("DEMO_MEMORIES", MEMORIES);
    let output = demo.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("Succeeded (Verified)").count(), 3, "{text}");
    assert_eq!(headers(&text), headers(&recorded()), "docs/pictures is of an older program: make pictures");
}

/// What the recording of the demo shows.
fn recorded() -> String {
    let cast = fs::read_to_string(crate_path("docs/pictures/demo.cast")).unwrap();
    let events = cast.lines().skip(1).map(|line| serde_json::from_str::<(f64, String, String)>(line).unwrap());
    events.map(|(_, _, text)| text).collect()
}

/// The heads of its tables, whatever their width.
fn headers(text: &str) -> Vec<Vec<&str>> {
    let heads = text.lines().filter(|line| line.trim_start().starts_with("COLLECTION "));
    heads.map(|line| line.split_whitespace().collect()).collect()
}

/// Pictures are HTML there, which the check of links does not read.
#[test]
fn its_pictures_exist() {
    let text = fs::read_to_string(crate_path("README.md")).unwrap();
    let mut found = 0;
    for attribute in ["src=\"", "srcset=\""] {
        for part in text.split(attribute).skip(1) {
            let file = part.split('"').next().unwrap();
            assert!(crate_path(file).is_file(), "README.md: there is no {file}");
            found += 1;
        }
    }
    assert!(found >= 2);
}
