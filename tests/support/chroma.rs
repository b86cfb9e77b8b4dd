//! Real Chroma of a named version: its Python environment, scripts with the official client, and servers.
//! Servers listen on loopback only and end with the value that started them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Versions that tests run against, newest first. Each has a lock file in `tests/chroma` and a store in `tests/stores`.
pub(crate) const VERSIONS: [&str; 5] = ["1.5.9", "1.0.20", "0.6.3", "0.5.23", "0.4.24"];

/// How long a server may take to answer its first heartbeat: the old ones import half of Python's ecosystem.
const START: Duration = Duration::from_secs(120);
/// How long a server may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// A folder of this crate, whatever the working directory is.
pub(crate) fn crate_path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// A Python environment with one version of Chroma, client and server.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// The interpreter that can `import chromadb`.
    pub(crate) fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// The `chroma` command of this version, for instance for `--chroma-bin`.
    pub(crate) fn chroma(&self) -> PathBuf {
        self.folder.join("bin/chroma")
    }

    /// The folder that this and other environments are in: outside the checkout, kept between runs.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.parent().unwrap().to_owned()
    }
}

/// The environment of a version, installed if it is not there; `server` is the newest version's server alone.
/// `CHROMA_ENVS` may name a folder with ready environments `chroma-VERSION`, and then nothing is installed.
pub(crate) fn env(version: &str) -> Environment {
    type Once = Arc<OnceLock<Environment>>;
    static KNOWN: LazyLock<Mutex<HashMap<String, Once>>> = LazyLock::new(Mutex::default);
    let once = Arc::clone(KNOWN.lock().unwrap().entry(version.to_owned()).or_default());
    once.get_or_init(|| install(version)).clone()
}

fn install(version: &str) -> Environment {
    if let Some(envs) = std::env::var_os("CHROMA_ENVS") {
        let folder = Path::new(&envs).join(format!("chroma-{version}"));
        assert!(folder.join("bin/python").exists(), "CHROMA_ENVS has no environment {}", folder.display());
        return Environment { folder };
    }
    let script = crate_path("tests/chroma/install.sh");
    let output = Command::new(&script).arg(version).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {version} failed:\n{stderr}", script.display());
    let folder = stdout.trim().split_once(' ').unwrap_or_else(|| panic!("unexpected answer: {stdout}")).1;
    Environment { folder: folder.into() }
}

/// Runs Python scripts with the official client of a version.
pub(crate) struct Python;

impl Python {
    /// Runs a script of this crate (`tests/chroma/dump.py`) and returns its standard output; panics if it fails.
    pub(crate) fn run(version: &str, script: &str, args: &[&str]) -> String {
        let output = Self::command(version, script, args).output().unwrap();
        assert!(
            output.status.success(),
            "{script} {args:?} with Chroma {version} failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a script that a test goes on beside, for instance a writer; it is killed when the value is dropped.
    pub(crate) fn spawn(version: &str, script: &str, args: &[&str]) -> Process {
        Process(Self::command(version, script, args).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Starts a script that answers on standard output what it is asked on standard input; the caller ends it.
    pub(crate) fn asked(version: &str, script: &str) -> Child {
        let mut command = Self::command(version, script, &[]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn command(version: &str, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env(version).python());
        command.arg(crate_path(script)).args(args).env("ANONYMIZED_TELEMETRY", "False").stdin(Stdio::null());
        keep_bytecode(&mut command);
        command
    }
}

/// Python compiles what it imports once, into the environment, also where it is told not to: that is half of a start.
pub(crate) fn keep_bytecode(command: &mut Command) {
    command.env_remove("PYTHONDONTWRITEBYTECODE");
}

/// A child process that does not outlive its value.
pub(crate) struct Process(pub Child);

impl Process {
    /// Sends a signal, for instance `Signal::TERM`.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Chroma server of one version on one folder; killed when dropped.
pub(crate) struct ChromaServer {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub(crate) url: String,
    /// The port on 127.0.0.1; kept over a restart.
    pub(crate) port: u16,
    version: String,
    folder: PathBuf,
    // Dropped in this order: the process ends before its scratch folder goes.
    process: Option<Process>,
    scratch: TempDir,
}

impl ChromaServer {
    /// Starts a server on a free port and waits until it answers; panics with the server's log if it does not.
    pub(crate) fn start(version: &str, folder: &Path) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut server = Self {
            url: String::new(),
            port: 0,
            version: version.to_owned(),
            folder: folder.to_owned(),
            process: None,
            scratch,
        };
        // Another process can take the port between our look and the server's bind, so one failure proves nothing.
        for _ in 0..3 {
            server.port = free_port();
            server.url = format!("http://127.0.0.1:{}", server.port);
            if server.try_start() {
                return server;
            }
        }
        panic!("Chroma {version} did not start on {}:\n{}", folder.display(), server.log());
    }

    /// Starts the stopped or killed server again, on the same port and folder.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "stop or kill the server first");
        assert!(self.try_start(), "Chroma {} did not start again:\n{}", self.version, self.log());
    }

    /// Ends the server as its host would, with SIGTERM, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while process.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server ignores SIGTERM:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Ends the server at once, as a crash or the kernel's OOM killer would (kill -9).
    pub(crate) fn kill(&mut self) {
        drop(self.process.take().expect("the server runs"));
    }

    /// Sends a signal to the server, for instance STOP, so that it holds its connections but does not answer.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the server runs").signal(signal);
    }

    /// Whether it was neither stopped nor killed.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// What the server has printed.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.scratch.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn try_start(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.scratch.path().join("log")).unwrap();
        // Of the newest version the server is native code: alone it starts ten times as fast as behind the client's imports.
        let environment = if self.version == VERSIONS[0] { "server" } else { &self.version };
        let mut command = Command::new(env(environment).chroma());
        keep_bytecode(&mut command);
        command.arg("run").arg("--path").arg(&self.folder).args(["--host", "127.0.0.1"]);
        command.arg("--port").arg(self.port.to_string());
        // The old servers write chroma.log where they stand.
        command.current_dir(self.scratch.path()).env("ANONYMIZED_TELEMETRY", "False").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = Process(command.spawn().unwrap());
        let ready = self.wait_until_ready(&mut process.0);
        self.process = ready.then_some(process);
        ready
    }

    fn wait_until_ready(&self, child: &mut Child) -> bool {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline && !ended(&child.try_wait()) {
            if ["/api/v2/heartbeat", "/api/v1/heartbeat"].iter().any(|path| answers(self.port, path)) {
                return true;
            }
            thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        if thread::panicking() {
            // A whole log would bury what the test says.
            let log = self.log();
            let from = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
            eprintln!("end of the log of Chroma {} on port {}:\n{}", self.version, self.port, &log[from..]);
        }
    }
}

/// A loopback port that nothing listens on now, and that nobody else gets: below the range that the system itself gives
/// out, each one once. An old server binds seconds after this look, and until then whoever had the port would answer.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(997)));
    loop {
        let port = u16::try_from(FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn ended(status: &std::io::Result<Option<ExitStatus>>) -> bool {
    !matches!(status, Ok(None))
}

fn answers(port: u16, path: &str) -> bool {
    get(port, path).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// One plain GET; a whole HTTP client would only add what can fail.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), START)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
