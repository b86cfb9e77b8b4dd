//! What a release is made with, without its long builds: `make release-check` makes the parts. The fragments of the changelog,
//! the version, what the workflows may run, and the scripts of `deploy` that nothing else here runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::support::chroma::crate_path;

const GOOD: &str = "A flag `--x`.\n\nImpact: who uses y.\nMigration: write x.\n";

fn changelog(root: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command.arg(crate_path("deploy/changelog.py")).args(args).arg("--root").arg(root).output().unwrap()
}

fn tree(fragments: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("changelog.d")).unwrap();
    fs::write(root.path().join("CHANGELOG.md"), "# Changelog\n\n## Unreleased\n\n- Older.\n\n## 0.0.1\n\n- Oldest.\n")
        .unwrap();
    for (name, text) in fragments {
        fs::write(root.path().join("changelog.d").join(name), text).unwrap();
    }
    root
}

#[test]
fn every_fragment_of_the_changelog_is_whole() {
    let output = changelog(&crate_path("."), &["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_fragment_that_is_not_whole_is_refused_by_name() {
    assert!(changelog(tree(&[("x.added.md", GOOD)]).path(), &["check"]).status.success());
    for (name, text, reason) in [
        ("x.md", GOOD, "name it WHAT.KIND.md"),
        ("x.broken.md", GOOD, "name it WHAT.KIND.md"),
        ("x.added.txt", GOOD, "name it WHAT.KIND.md"),
        ("x.added.md", "A flag.\n", "line Impact:"),
        ("x.added.md", "A flag.\n\nImpact: all.\n", "line Migration:"),
        ("x.added.md", "\n\nImpact: all.\nMigration: none.\n", "first paragraph"),
        ("x.added.md", "# A flag.\n\nImpact: all.\nMigration: none.\n", "no heading"),
        ("x.added.md", "A flag.\n\nImpact: all.\nMigration: none.\n\nMore.\n", "one paragraph"),
        ("x.removed.md", "A flag is gone.\n\nImpact: all.\nMigration: none.\n", "says what to do"),
    ] {
        let output = changelog(tree(&[(name, text)]).path(), &["check"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(name) && error.contains(reason), "{name} {text:?}: {error}");
    }
}

#[test]
fn a_release_takes_the_fragments_into_the_changelog() {
    let root = tree(&[("b.fixed.md", "A hang.\n\nImpact: none.\nMigration: none.\n"), ("a.added.md", GOOD)]);
    let output = changelog(root.path(), &["release", "0.1.0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(root.path().join("CHANGELOG.md")).unwrap();
    let expected = "# Changelog\n\n## Unreleased\n\n## 0.1.0\n\n- Older.\n\n### Added\n\n\
        - A flag `--x`. Impact: who uses y. Migration: write x.\n\n### Fixed\n\n- A hang.\n\n## 0.0.1\n\n- Oldest.\n";
    assert_eq!(text, expected);
    assert_eq!(fs::read_dir(root.path().join("changelog.d")).unwrap().count(), 0);
    let said = |args: &[&str]| String::from_utf8(changelog(root.path(), args).stdout).unwrap();
    assert!(expected.contains(&said(&["notes", "0.1.0"])));
    assert!(said(&["notes", "0.1.0"]).starts_with("- Older.") && said(&["notes"]).trim().is_empty());
    let changes = r#"[{"kind": "added", "description": "A flag `--x`."}, {"kind": "fixed", "description": "A hang."}]"#;
    assert_eq!(said(&["changes", "0.1.0"]).trim(), changes);
    let again = changelog(root.path(), &["release", "0.1.0"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("has 0.1.0 already"));
}

/// A first reader got 127 entries, and nothing that says what it is.
#[test]
fn the_notes_of_the_first_release_begin_with_what_this_is() {
    let root = tree(&[("b.fixed.md", "A hang.\n\nImpact: none.\nMigration: none.\n")]);
    let file = root.path().join("CHANGELOG.md");
    fs::write(&file, "# Changelog\n\n## Unreleased\n\n- Older.\n").unwrap();
    let said = |args: &[&str]| String::from_utf8(changelog(root.path(), args).stdout).unwrap();
    for is_released in [false, true] {
        let notes = said(&["notes", "0.1.0"]);
        assert!(notes.starts_with("The first release") && notes.contains("](README.md)"), "{is_released}: {notes}");
        assert!(notes.ends_with("\n\n- Older.\n\n### Fixed\n\n- A hang.\n"), "{is_released}: {notes}");
        assert!(changelog(root.path(), &["release", "0.1.0"]).status.success() != is_released);
    }
    assert!(fs::read_to_string(&file).unwrap().contains("## 0.1.0\n\n- Older.\n\n### Fixed\n\n- A hang.\n"));
    fs::write(root.path().join("changelog.d/c.fixed.md"), "A leak.\n\nImpact: none.\nMigration: none.\n").unwrap();
    assert_eq!(said(&["notes", "0.2.0"]).trim(), "### Fixed\n\n- A leak.");
}

/// The archive of the command has the README alone.
#[test]
fn a_document_outside_the_checkout_links_to_the_release() {
    let linked = |text: &str| {
        let mut command = Command::new("bash");
        let script = crate_path("deploy/links.py");
        command.arg("-c").arg(r#"printf '%s' "$2" | python3 "$1" https://h/v1/"#).arg("_").arg(script).arg(text);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    for (text, expected) in [
        ("[a](docs/api.md#x)", "[a](https://h/v1/docs/api.md#x)"),
        ("[a](#x) [b](https://x/y)", "[a](#x) [b](https://x/y)"),
        ("<img src=\"docs/pictures/demo.svg\">", "<img src=\"https://h/v1/docs/pictures/demo.svg?raw=true\">"),
    ] {
        assert_eq!(linked(text), (true, expected.to_owned()));
    }
    assert!(!linked("[a](docs/nowhere.md)").0);
    let (is_good, readme) = linked(&read("README.md"));
    assert!(is_good && readme.contains("srcset=\"https://h/v1/docs/pictures/"));
    for part in readme.split("](").skip(1).chain(readme.split("src=\"").skip(1)) {
        assert!(part.starts_with("https://") || part.starts_with('#'), "{}", part.lines().next().unwrap_or_default());
    }
}

/// A tag on a commit with failing tests was published, and a release candidate was the latest release.
#[test]
fn a_release_waits_for_the_tests_of_its_commit() {
    let (ci, release) = (workflow("ci"), workflow("release"));
    assert!(ci["on"].as_object().unwrap().contains_key("workflow_call"));
    let jobs = &release["jobs"];
    assert_eq!(jobs["ci"]["uses"], "./.github/workflows/ci.yml");
    for tests in ["ci", "faults"] {
        assert!(jobs["assemble"]["needs"].as_array().unwrap().iter().any(|job| job == tests), "{tests}");
    }
    assert!(jobs["faults"].to_string().contains("make faults QUICK=1"));
    for job in ["image", "charts", "publish", "pypi"] {
        assert!(jobs[job]["needs"].to_string().contains(if job == "pypi" { "publish" } else { "assemble" }), "{job}");
    }
    for (name, workflow) in [("ci", &ci), ("release", &release)] {
        assert_eq!(workflow["defaults"]["run"]["shell"], "bash", "{name}.yml: a failure on the left of a pipe is lost");
    }
    assert!(jobs["charts"].to_string().contains("test -n"));
    assert!(jobs["publish"].to_string().contains("--prerelease"));
    assert!(jobs["assemble"].to_string().contains("dist/support.sh"));
    for python in ["3.14", "3.9", "3.11"] {
        let is_set_up = |text: String| text.contains(&format!("{python}\\n"));
        assert!(is_set_up(ci["jobs"]["test"].to_string()) && is_set_up(jobs["programs"].to_string()), "{python}");
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(crate_path(file)).unwrap()
}

fn workflow(name: &str) -> Value {
    serde_saphyr::from_str(&read(&format!(".github/workflows/{name}.yml"))).unwrap()
}

/// Actions that do one thing with what is handed to them.
const OF_PUBLISHERS: [&str; 6] = [
    "actions/checkout",
    "actions/setup-go",
    "actions/download-artifact",
    "actions/attest-build-provenance",
    "docker/login-action",
    "sigstore/cosign-installer",
];
/// What brings in code whose hash nobody checks, or builds this project.
const MAKERS: [&str; 11] =
    ["make ", "cargo ", "rustup ", "pipx ", "brew ", "apt", "curl ", "wget ", "npm ", "go install", "docker build"];

/// A package of a registry that ran beside a token could publish what it likes in our name.
#[test]
fn what_may_publish_runs_nothing_that_is_not_pinned_and_what_makes_something_has_no_right_and_no_secret() {
    let mut publishers = Vec::new();
    for name in ["ci", "release"] {
        let jobs = workflow(name)["jobs"].clone();
        for (job, body) in jobs.as_object().unwrap() {
            let may_write = body["permissions"].as_object().unwrap().values().any(|right| right == "write");
            if !may_write {
                assert!(!body.to_string().contains("secrets."), "{name}.yml: {job} has a secret, and makes something");
                continue;
            }
            publishers.push(job.clone());
            for step in body["steps"].as_array().unwrap() {
                let action = step["uses"].as_str().and_then(|uses| uses.split('@').next());
                assert!(action.is_none_or(|action| OF_PUBLISHERS.contains(&action)), "{name}.yml: {job}: {action:?}");
                for line in step["run"].as_str().unwrap_or_default().lines() {
                    let is_free = MAKERS.iter().any(|maker| line.contains(maker))
                        || (line.contains("pip install") && !line.contains("--require-hashes"));
                    assert!(!is_free, "{name}.yml: {job} may publish, and runs: {line}");
                }
            }
        }
    }
    assert_eq!(publishers, ["image", "charts", "publish", "pypi"]);
}

#[test]
fn what_a_release_is_made_with_is_pinned_by_hash_and_in_one_version() {
    let locked = ["deploy/requirements/sbom.txt", "deploy/requirements/publish.txt", "tests/charts/requirements.txt"];
    for file in locked.into_iter().chain(["python/requirements.txt", "tests/chroma/requirements-server.txt"]) {
        let text = read(file).replace("\\\n", " ");
        let packages: Vec<_> = text.lines().filter(|line| line.contains("==")).collect();
        assert!(!packages.is_empty(), "{file}");
        for package in packages {
            assert!(package.contains("--hash=sha256:"), "{file}: no hash of {package}");
        }
    }
    for script in ["deploy/release.sh", "python/install.sh", "tests/charts/install.sh"] {
        for line in read(script).lines().filter(|line| line.contains("pip\" install") || line.contains("pip install")) {
            assert!(line.contains("--require-hashes"), "{script}: {line}");
        }
    }
    let release = read(".github/workflows/release.yml");
    let modules = read("deploy/signing/go.mod");
    let cosign = modules.lines().find_map(|line| line.trim().strip_prefix("github.com/sigstore/cosign/v3 ")).unwrap();
    let cosign = cosign.split(' ').next().unwrap();
    let asked: Vec<_> = release.lines().filter_map(|line| line.trim().strip_prefix("cosign-release: ")).collect();
    assert_eq!(asked, [cosign; 3], "the cosign that is tested here is the one that signs");
    let docker = read("Dockerfile");
    let compiler = docker.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).unwrap();
    let ci = read(".github/workflows/ci.yml");
    for (name, text) in [("release", &release), ("ci", &ci)] {
        let is_same = text.contains(&format!("RUST: \"{compiler}\""));
        assert!(is_same, "Dockerfile has Rust {compiler}, {name}.yml another one");
    }
    // what the machines of CI happen to have changes without a commit
    for (job, tools) in [
        ("lint", &["setup-python", "3.11", "rustup default", "setup-go"][..]),
        ("test", &["setup-python", "3.11", "rustup default"]),
        ("kind", &["sigs.k8s.io/kind@$KIND", "tests/charts/helm.sh", "command -v kubectl", "setup-go"]),
    ] {
        let text = workflow("ci")["jobs"][job].to_string();
        for tool in tools {
            assert!(text.contains(tool), "ci.yml: {job} does not set up {tool}");
        }
    }
    assert!(workflow("ci")["env"]["KIND"].as_str().is_some_and(|version| version.starts_with('v')));
}

#[test]
fn the_version_is_the_same_everywhere_and_one_command_sets_it() {
    let version = |args: &[&str]| {
        let output = Command::new("python3").arg(crate_path("deploy/version.py")).args(args).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(version(&["check"]), (true, String::new()));
    let copy = tempfile::tempdir().unwrap();
    for part in ["Cargo.toml", "Cargo.lock", "README.md", "docs", "deploy", "charts"] {
        let done = Command::new("cp").arg("-r").arg(crate_path(part)).arg(copy.path()).status().unwrap();
        assert!(done.success());
    }
    let root = ["--root", copy.path().to_str().unwrap()];
    let set = |to: &str| version(&[&["set", to], root.as_slice()].concat());
    assert!(!set("next").0);
    assert_eq!(set("9.8.7-rc.1"), (true, String::new()));
    assert_eq!(set("9.8.7"), (true, String::new()));
    let text = |file: &str| fs::read_to_string(copy.path().join(file)).unwrap();
    assert!(text("README.md").contains("memory-migration-operator:9.8.7 "));
    assert!(text("deploy/flux/operator.yaml").contains("tag: v9.8.7\n"));
    assert!(text("Cargo.lock").contains("name = \"memory-migration-operator\"\nversion = \"9.8.7\""));
    // a place that it does not know, and one that somebody changed by hand
    fs::write(copy.path().join("docs/new.md"), "Take 9.8.7.\n").unwrap();
    fs::write(copy.path().join("docs/old.md"), "docker pull r/memory-migration-operator:9.8.6\n").unwrap();
    let (is_good, said) = version(&[&["check"], root.as_slice()].concat());
    assert!(!is_good && said.contains("docs/new.md:1: ") && said.contains("docs/old.md: has 9.8.6"), "{said}");
}

/// A folder with programs that note how they were called, one line each.
fn fakes(programs: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, body) in programs {
        let file = folder.path().join(name);
        fs::write(&file, format!("#!/bin/sh\necho \"{name} $*\" >>\"$(dirname \"$0\")/called\"\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn with_fakes(script: &str, args: &[&str], fakes: &Path, environment: &[(&str, &str)]) -> String {
    let path = std::env::join_paths([fakes, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut command = Command::new("bash");
    command.arg(crate_path(script)).args(args).env("PATH", path).envs(environment.iter().copied()).current_dir(fakes);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(fakes.join("called")).unwrap()
}

/// Docker, kind and a cluster are put in: they are not to be had everywhere. What is looked at is what the script asks of them.
#[test]
fn the_kind_demo_rolls_the_operator_if_the_program_changed() {
    let quiet = "true";
    let docker = "case \"$*\" in *inspect*) echo sha256:$PROGRAM ;; esac";
    let programs = [("docker", docker), ("kind", quiet), ("kubectl", quiet), ("helm", quiet)];
    let mut tags = Vec::new();
    for program in ["aaaaaaaaaaaa1111", "bbbbbbbbbbbb2222"] {
        let fakes = fakes(&programs);
        let called = with_fakes("deploy/kind-demo.sh", &[], fakes.path(), &[("PROGRAM", program)]);
        let line = |start: &str| called.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        let helm = line("helm upgrade");
        let tag = helm.split("image.tag=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        assert!(line("kind load").contains(&format!(":{tag} ")), "{called}");
        let new = called.find("delete namespace memory-quickstart").unwrap();
        assert!(new < called.find("apply -k deploy/quickstart").unwrap(), "{called}");
        tags.push(tag);
    }
    assert_eq!(tags, ["demo-aaaaaaaaaaaa", "demo-bbbbbbbbbbbb"]);
}

/// What a cluster answers: all that could be in what is asked for, with secrets wherever one can stand.
const CLUSTER: &str = r#"
case "$*" in
  *'{.status.report.configMap}') echo promote-report ;;
  *'{.metadata.uid}') echo u-1 ;;
  *'{.spec.source.local.claimName} '*) echo dev-memories ;;
  *'get jobs'*'-o name') echo job.batch/promote-job ;;
  *'deployments --all-namespaces'*) echo tools tools ;;
  *'-n tools get pods'*'-o name') echo pod/mm-operator-1 ;;
  *'-o name') echo pod/promote-1 ;;
  *lastState.terminated}*) echo '{"exitCode":137}' ;;
  *'get configmap promote-report'*)
    printf '%s\n' '{"reason":"Verified","token":"hunter2, hunter2","x":[{"name":"MY_TOKEN","value":"hunter2"}],"after":"kept",'\
'"differences":[{"id":"a","field":"document","detail":"\"hunter2, \" != \"hunter2\""},{"id":"b","detail":"","field":"kept field"}]}' ;;
  *describe* | *'-o yaml'* | *'-o json' | *'.env}'* | *value*) echo 'LITERAL: hunter2' ;;
  *container=mover*previous*)
    echo '{"timestamp":"T","level":"ERROR","fields":{"message":"killed; Authorization: Bearer hunter2, hunter2"},"after":"kept too"}' ;;
  *logs*container=fill*) echo '{"timestamp":"T","level":"INFO","fields":{"message":"a line of fill"}}' ;;
  *logs*container=mover*)
    cat <<'END'
{"timestamp":"T","level":"INFO","fields":{"message":"a line of the mover"}}
{"timestamp":"T","level":"TRACE","fields":{"message":"hunter2"}}
{"timestamp":"T","level":"WARN","fields":{"message":"{'token': 'hunter2', 'a': 'hunter2'} b'x-chroma-token': b'hunter2'"}}
{"timestamp":"T","level":"WARN","fields":{"message":"{\"token\":\"hunter2\"} {\"name\":\"A\",\"value\":\"hunter2\"}"}}
{"timestamp":"T","level":"WARN","fields":{"message":"--token hunter2 x"},"X-Chroma-Token": ["hunter2"]}
{"timestamp":"T","level":"WARN","fields":{"message":"curl -u admin:hunter2 http://me:hunter2@h/?q=hunter2"}}
{"timestamp":"T","level":"WARN","fields":{"message":"DB_PWD=hunter2} PASSPHRASE: hunter2"}}
{"timestamp":"T","level":"WARN","fields":{"message":"Digest username=\"me\", response=\"hunter2\", uri=\"/kept\""}}
{"timestamp":"T","level":"WARN","fields":{"message":"http://me:hun/ter2@x:hunter2@h/kept-path"}}
{"memmig":"report","number":1,"of":2,"part":"\"hunter2"}
2026-11-27T00:00:00Z  WARN Digest response=hunter2, to http://me:a/hunter2@h
2026-11-27T00:00:00Z  WARN {"name":"MY_TOKEN","value":"hunter2"}
2026-11-27T00:00:00Z  WARN X_PAT=hunter2 "x" hunter2
2026-11-27T00:00:00Z  WARN JWT: {'a': 'hunter2'}
error: PROXY_PASS=hunter2, hunter2
{"X-Chroma-Token": ["hunter2"]}
-----BEGIN PRIVATE KEY-----
hunter2
END
    ;;
  *logs*container=controller*) echo "2026-11-27T00:00:00Z  INFO log of $*" ;;
  *logs*) echo hunter2 ;;
esac"#;

/// A cluster is put in: a restarted pod, a report, an operator with another name and namespace, and secrets wherever one can
/// stand. Its objects are asked for by named fields; what is answered here is all that could be in them.
#[test]
fn the_support_file_has_the_report_the_logs_before_a_restart_and_any_operator() {
    let fakes = fakes(&[("kubectl", CLUSTER)]);
    let called = with_fakes("deploy/support.sh", &["team", "promote", "out.txt"], fakes.path(), &[]);
    let text = fs::read_to_string(fakes.path().join("out.txt")).unwrap();
    for expected in [
        "\"reason\":\"Verified\"",
        "\"after\":\"kept\"",
        "log of -n tools logs pod/mm-operator-1 --container=controller",
        "logs pod/promote-1 --container=mover --previous",
        "killed",
        "kept too",
        "a line of the mover",
        "a line of fill",
        "kept field",
        "uri=\\\"/kept",
        "://…@h/kept-path",
        "Logs of other containers are not collected",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("ter2"), "{text}");
    // of a shared namespace only what belongs to it
    for asked in ["pods", "deployment", "leases", "jobs", "pvc"] {
        let listed = |line: &&str| line.contains(&format!(" get {asked}")) && !line.contains("--all-namespaces");
        let lines: Vec<_> = called.lines().filter(listed).collect();
        assert!(!lines.is_empty(), "{asked}: {called}");
        for line in lines {
            let is_named =
                line.ends_with("get leases memory-migration-operator-leader") || line.ends_with("get pvc dev-memories");
            assert!(is_named || line.contains(" -l "), "{line}");
        }
    }
    let writes = ["apply", "create ", "delete ", "patch", "exec", "secrets", "describe", "--all-containers"];
    assert!(!writes.iter().any(|write| called.contains(write)), "{called}");
}

/// A schedule that stalls, or cannot remove generations, could not be collected.
#[test]
fn the_support_file_of_a_schedule_has_its_state_its_migrations_and_the_log_of_its_prune_job() {
    let kubectl = r#"
case "$*" in
  *memmig*memsched* | *'get memmig nightly'*) exit 1 ;;
  *'{.metadata.uid}') echo u-1 ;;
  *'{.status}') echo '{"pruning":{"failures":3}}' ;;
  *'get memmig -o custom-columns'*) printf '%s\n' 'NAME READY OWNER' 'nightly-1 Verified u-1' 'another Verified u-2' ;;
  *'get jobs'*uid=u-1*'-o name') echo job.batch/nightly-prune-1 ;;
  *'get pods'*uid=u-1*'-o name') echo pod/nightly-prune-1-x ;;
  *logs*container=prune*) echo 'error: the claim is read-only' ;;
esac"#;
    let fakes = fakes(&[("kubectl", kubectl)]);
    let called = with_fakes("deploy/support.sh", &["team", "memsched/nightly"], fakes.path(), &[]);
    let text = fs::read_to_string(fakes.path().join("support-team-nightly.txt")).unwrap();
    for expected in ["MemoryMigrationSchedule team/nightly", "failures", "nightly-1", "the claim is read-only"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("another"), "{text}");
    for expected in
        ["{.spec.schedule}", "{.spec.generations}", "{.spec.template.spec.target}", "get job.batch/nightly-prune-1 "]
    {
        assert!(called.contains(expected), "{expected}: {called}");
    }
}

/// Who may not list Deployments everywhere got an empty file and no word.
#[test]
fn the_support_file_is_made_for_who_may_only_read_one_namespace() {
    let fakes = fakes(&[("kubectl", "case \"$*\" in *--all-namespaces*) echo forbidden >&2; exit 1 ;; esac")]);
    let args = ["team", "promote", "out.txt"];
    let called = with_fakes("deploy/support.sh", &args, fakes.path(), &[]);
    let text = fs::read_to_string(fakes.path().join("out.txt")).unwrap();
    assert!(
        text.contains("set OPERATOR_NAMESPACE") && called.contains("-n memory-migration-system get leases"),
        "{text}"
    );
    let called = with_fakes("deploy/support.sh", &args, fakes.path(), &[("OPERATOR_NAMESPACE", "tools")]);
    assert!(called.contains("-n tools get leases"), "{called}");
}

/// `release.sh` with these arguments in this folder: whether it was refused, and what it said.
fn release(args: &[&str], folder: &Path, environment: &[(&str, &str)]) -> (bool, String) {
    // nothing is made here: the first part fails
    let fakes = fakes(&[("python3", "exit 1")]);
    let path = std::env::join_paths([fakes.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let mut command = Command::new("bash");
    command.arg(crate_path("deploy/release.sh")).args(args).env("PATH", path).current_dir(folder);
    for name in ["RELEASE_IMAGE", "RELEASE_DIGEST", "RELEASE_DOCS"] {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (!output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `release.sh . check` emptied the checkout, and `release.sh dist check` a folder of the checkout, not of the caller.
#[test]
fn a_release_check_empties_no_folder_but_its_own() {
    let desk = tempfile::tempdir().unwrap();
    let folder = |name: &str| desk.path().join(name);
    fs::create_dir(folder("theirs")).unwrap();
    fs::write(folder("theirs").join("thesis"), "three years").unwrap();
    for out in ["theirs", ".", "/"] {
        let (is_refused, said) = release(&[out, "check"], desk.path(), &[]);
        assert!(is_refused && said.contains("is not empty, and no release check made it"), "{out}: {said}");
    }
    assert!(folder("theirs").join("thesis").exists());
    fs::create_dir(folder("theirs").join("image")).unwrap();
    let (is_refused, said) = release(&["theirs", "index"], desk.path(), &[]);
    assert!(
        is_refused && said.contains("is no image that this made") && folder("theirs").join("image").exists(),
        "{said}"
    );
    // the first time it is new, then it is its own
    release(&["ours", "check"], desk.path(), &[]);
    fs::write(folder("ours").join("old.tgz"), "old").unwrap();
    let (_, said) = release(&["ours", "check"], desk.path(), &[]);
    assert!(!said.contains("is not empty") && !folder("ours").join("old.tgz").exists(), "{said}");
}

#[test]
fn an_image_of_a_release_has_its_digest() {
    let desk = tempfile::tempdir().unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    for (environment, expected) in [
        (vec![("RELEASE_IMAGE", "registry.example.com/x")], "set RELEASE_DIGEST"),
        (vec![("RELEASE_DIGEST", digest.as_str())], "set RELEASE_IMAGE"),
        (vec![("RELEASE_IMAGE", "r.example.com/x"), ("RELEASE_DIGEST", "v1")], "is no digest"),
        (vec![("RELEASE_IMAGE", "r.example.com/x:v1"), ("RELEASE_DIGEST", &digest)], "without a tag"),
    ] {
        let (is_refused, said) = release(&["out", "charts"], desk.path(), &environment);
        assert!(is_refused && said.contains(expected), "{environment:?}: {said}");
    }
}
