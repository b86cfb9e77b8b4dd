//! A Chroma server on a folder, as a child process: how a local store is written. Starts and ends it; sends no request.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, ChildStdin, Command};
use url::Url;

use crate::model::{Error, Result};
use crate::store::files::system::io_error;

/// How long a server may take to close after a termination signal.
const CLOSING: Duration = Duration::from_secs(60);
/// Environment variables of ours begin like this; some hold tokens and passwords.
const OURS: &str = "MEMORY_MIGRATION_";
/// How much of its log's end is quoted.
const QUOTED: u64 = 2000;

/// Runs a command until its own end or until standard input closes, which happens also when the process that started it
/// is killed: a server must never outlive the migration that it was started for. The shell's own background jobs read
/// from /dev/null, so the pipe is handed on as descriptor 3.
const GUARD: &str = r#"exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{ cat <&3 >/dev/null; kill -TERM "$child" 2>/dev/null; } &
guard=$!
exec 3<&-
wait "$child"
code=$?
kill "$guard" 2>/dev/null
exit "$code""#;

/// The `chroma` program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The program at this path, or `chroma` on PATH.
    ///
    /// # Errors
    /// [`Error::NotFound`] with how to install it.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let remedy =
            "a local target is written by Chroma itself: `pip install chromadb`, or name the program with --chroma-bin";
        let missing = |name: &Path, place: String| {
            let what = format!("the program {}", name.display());
            Error::NotFound { store: place, what, remedy: remedy.to_owned() }
        };
        if let Some(path) = given {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let place = folder.map_or_else(|| "the current folder".to_owned(), |folder| folder.display().to_string());
            let name = path.file_name().map_or(path, Path::new);
            let path = path.canonicalize().map_err(|_| missing(name, place))?;
            return Ok(Self { path });
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders).map(|folder| folder.join("chroma")).find(|path| path.is_file());
        found.map(|path| Self { path }).ok_or_else(|| missing(Path::new("chroma"), "the folders of PATH".to_owned()))
    }

    /// Starts a server on a folder, on a free port of the loopback interface. It is not ready yet.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Forbidden`] when it cannot be started.
    pub fn start(&self, folder: &Path) -> Result<Server> {
        let scratch = tempfile::Builder::new().prefix("memory-migration-chroma-").tempdir();
        let scratch = scratch.map_err(|e| io_error("create a folder for the log in", &std::env::temp_dir(), e))?;
        let log = scratch.path().join("chroma.log");
        let out = File::create(&log).map_err(|e| io_error("create", &log, e))?;
        let err = out.try_clone().map_err(|e| io_error("create", &log, e))?;
        let port = free_port().map_err(|e| io_error("find a free port for", &self.path, e))?;
        let mut command = Command::new("sh");
        // what proves who we are to servers is no affair of a program that somebody named
        for name in std::env::vars_os().map(|(name, _)| name) {
            if name.to_string_lossy().starts_with(OURS) {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["-c", GUARD, "sh"])
            .arg(&self.path)
            .args(["run", "--host", "127.0.0.1", "--port", &port.to_string(), "--path"])
            .arg(folder)
            // older versions write a log of their own to the working folder
            .current_dir(scratch.path())
            .env("ANONYMIZED_TELEMETRY", "False")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            // a Ctrl-C at the terminal is for us: the server ends when we have ended with it
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| io_error("start", &self.path, e))?;
        // waiting for a child closes its input, and that would end the server
        let life = child.stdin.take();
        Ok(Server { child, life, port, log, scratch, folder: folder.to_owned() })
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running server. Dropped, it ends too, without waiting for it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    life: Option<ChildStdin>,
    port: u16,
    log: PathBuf,
    scratch: TempDir,
    folder: PathBuf,
}

impl Server {
    /// Where it answers, or will.
    ///
    /// # Errors
    /// Never in practice: the text is fixed but for the port.
    pub fn url(&self) -> Result<Url> {
        let text = format!("http://127.0.0.1:{}", self.port);
        Url::parse(&text).map_err(|e| self.failed(&format!("has the address {text}, which is none ({e})")))
    }

    /// Its port on the loopback interface.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process that all of its processes come from; None once it has ended.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_up(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself, which it should not, and tells why.
    pub async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => self.failed(&format!("ended with {status}")),
            Err(e) => self.failed(&format!("cannot be watched: {e}")),
        }
    }

    /// The server's failure, with the end of its log.
    #[must_use]
    pub fn failed(&self, what: &str) -> Error {
        let log = tail(&self.log).unwrap_or_default();
        let quoted = if log.is_empty() { "its log is empty".to_owned() } else { format!("the end of its log:\n{log}") };
        Error::Unavailable {
            store: format!("the Chroma server on {}", self.folder.display()),
            attempt: "its start".to_owned(),
            why: format!("it {what}; {quoted}"),
        }
    }

    /// Ends it, with time to close.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it had to be killed; its log is kept and named.
    pub async fn stop(mut self) -> Result<()> {
        drop(self.life.take());
        if tokio::time::timeout(CLOSING, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        if let Some(group) =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            // it may have ended in this very moment, which is as good
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        drop(self.child.wait().await);
        let error = self.failed(&format!("did not close within {} s and was killed", CLOSING.as_secs()));
        let kept = self.scratch.keep();
        tracing::error!(log = %kept.display(), "the server's log is kept");
        Err(error)
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = fs::metadata(log)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(QUOTED)))?;
    let mut end = Vec::new();
    file.take(QUOTED).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that stands for Chroma where only its process matters.
    fn program(dir: &Path, script: &str) -> Program {
        let path = dir.join("chroma");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Program::find(Some(&path)).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_ends_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = program(dir.path(), "echo \"no such table\" >&2; exit 7").start(dir.path()).unwrap();
        let error = server.ended().await.to_string();
        assert!(error.contains("exit status: 7") && error.contains("no such table"), "{error}");
    }

    #[tokio::test]
    async fn a_watched_server_lives_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut server =
            program(dir.path(), "trap 'exit 0' TERM; while :; do sleep 0.02; done").start(dir.path()).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(200), server.ended()).await.is_err());
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn stop_gives_time_to_close() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            "trap 'echo closed > \"$5.closed\"; exit 0' TERM; echo ready > \"$5.ready\"; while :; do sleep 0.05; done";
        let folder = dir.path().join("store");
        let server = program(dir.path(), &script.replace("$5", "$7")).start(&folder).unwrap();
        let ready = dir.path().join("store.ready");
        while !ready.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.stop().await.unwrap();
        assert!(dir.path().join("store.closed").exists());
    }

    #[test]
    fn a_missing_program_says_how_to_get_one() {
        let error = Program::find(Some(Path::new("/nowhere/chroma"))).unwrap_err().to_string();
        assert!(error.contains("pip install chromadb") && error.contains("--chroma-bin"), "{error}");
    }
}
