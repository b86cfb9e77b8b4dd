//! Local stores that real Chroma versions wrote: the committed ones, generated ones, and ones damaged on purpose.
//! Each test gets its own copy, in a scratch folder that goes with the value.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::chroma::{Python, crate_path, env};
use super::dump::Dump;

/// A local store of a test's own.
pub(crate) struct Store {
    /// The folder that holds `chroma.sqlite3`.
    pub(crate) path: PathBuf,
    _scratch: TempDir,
}

impl Store {
    /// A folder that does not exist yet, beside nothing else.
    pub(crate) fn absent() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        Self { path: scratch.path().join("store"), _scratch: scratch }
    }

    /// The path as text, for command lines.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// A copy of the committed store of a version; `tests/stores/README.md` says what is in it.
pub(crate) fn committed(version: &str) -> Store {
    let store = Store::absent();
    let archive = crate_path(&format!("tests/stores/chroma-{version}.tar.gz"));
    let into = store.path.parent().unwrap();
    run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into));
    store
}

/// What the version's own client read from its committed store.
pub(crate) fn oracle(version: &str) -> Dump {
    let packed = crate_path(&format!("tests/stores/chroma-{version}.jsonl.gz"));
    Dump::parse(&run(Command::new("gzip").arg("-dc").arg(packed)))
}

/// A store with one collection `generated` of `count` records, written by a version: see `tests/stores/generate.py`.
/// Those that take a minute to write are kept beside the environments, for the next run.
pub(crate) fn generated(version: &str, count: usize, dimension: usize, space: &str) -> Store {
    const SCRIPT: &str = "tests/stores/generate.py";
    let store = Store::absent();
    let (records, components) = (count.to_string(), dimension.to_string());
    let write = |to: &Path| Python::run(version, SCRIPT, &[to.to_str().unwrap(), &records, &components, space]);
    if count < 10_000 {
        write(&store.path);
        return store;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(crate_path(SCRIPT)).unwrap());
    let cache = env(version).cache();
    let kept = cache.join(format!("store-{version}-{count}-{dimension}-{space}-{:016x}", hasher.finish()));
    if !kept.exists() {
        let scratch = tempfile::tempdir_in(&cache).unwrap();
        let fresh = scratch.path().join("store");
        write(&fresh);
        // Another process may have been quicker: its store is as good.
        assert!(fs::rename(&fresh, &kept).is_ok() || kept.exists(), "cannot keep {}", kept.display());
    }
    run(Command::new("cp").arg("-a").arg(&kept).arg(&store.path));
    store
}

/// Damages the store at `path` in one of the ways of `tests/stores/damage.py`, and returns what that printed.
pub(crate) fn damage(path: &Path, how: &str, args: &[&str]) -> String {
    // Plain Python: any version's interpreter does, the smallest environment is quickest to have.
    let mut command = Command::new(env("server").python());
    run(command.arg(crate_path("tests/stores/damage.py")).arg(path).arg(how).args(args)).trim().to_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
