//! The `memory-migration` command as a user runs it: arguments in; exit code, stdout and stderr out.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::chroma::{Process, keep_bytecode};

/// One run of the command, built as a chain. The environment is the test's, without our own variables.
#[must_use]
pub(crate) struct TestCommand {
    command: Command,
    stdin: Vec<u8>,
    line: String,
}

impl TestCommand {
    /// The command without arguments.
    pub(crate) fn new() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memory-migration"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MEMORY_MIGRATION_")) {
            command.env_remove(name);
        }
        keep_bytecode(&mut command);
        Self { command, stdin: Vec::new(), line: "memory-migration".to_owned() }
    }

    /// Appends arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        for arg in args {
            self.line.push(' ');
            self.line.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What the command reads on its standard input; without it, nothing.
    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it, for tests that interrupt it.
    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let text = self.stdin;
        // A command that ends without reading its input is no fault of the test.
        thread::spawn(move || stdin.write_all(&text));
        let (stdout, stderr) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
        Running { process: Process(child), stdout, stderr, line: self.line }
    }
}

/// Read beside the running command: it would stand still once a pipe is full.
fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A command that runs; killed when dropped.
pub(crate) struct Running {
    process: Process,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    line: String,
}

impl Running {
    /// Sends a signal: TERM for a polite stop, KILL for a crash. Harmless once the command has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            self.process.signal(signal);
        }
    }

    /// A size of the running process as its status has it, in KiB. None: it has ended.
    pub(crate) fn kib(&self, field: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).ok()?;
        text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"))?.parse().ok()
    }

    /// From now on it may have no more addresses than it has: these, in bytes. None: it has ended.
    pub(crate) fn may_grow_no_more(&self) -> Option<u64> {
        let most = self.kib("VmSize:")? * 1024;
        let pid = Pid::from_raw(self.process.0.id().try_into().ok()?)?;
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Some(pid), Resource::As, limit).ok().map(|_| most)
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// Waits for the end; also gives the most memory that it had resident, in MiB, as its process told until shortly before.
    pub(crate) fn measured(mut self) -> (Output, u64) {
        let mut peak = 0;
        while self.is_running() {
            peak = self.kib("VmHWM:").unwrap_or(peak);
            thread::sleep(std::time::Duration::from_millis(5));
        }
        (self.wait(), peak / 1024)
    }

    /// Waits for the end, but no longer than this: then it is killed, and there is no output.
    pub(crate) fn within(mut self, limit: std::time::Duration) -> Option<Output> {
        let from = std::time::Instant::now();
        while self.is_running() {
            if from.elapsed() > limit {
                return None;
            }
            thread::sleep(std::time::Duration::from_millis(3));
        }
        Some(self.wait())
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Output {
        let status = self.process.0.wait().unwrap();
        let text = |bytes: JoinHandle<Vec<u8>>| String::from_utf8_lossy(&bytes.join().unwrap()).into_owned();
        Output { code: status.code(), stdout: text(self.stdout), stderr: text(self.stderr), line: self.line }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    line: String,
}

impl Output {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert!(self.code == Some(expected), "expected exit code {expected}\n{}", self.describe());
        self
    }

    /// The exit code; panics if a signal ended it.
    #[track_caller]
    pub(crate) fn exit_code(&self) -> i32 {
        self.code.unwrap_or_else(|| panic!("a signal ended it\n{}", self.describe()))
    }

    /// The exit code; None if a signal ended it.
    pub(crate) fn code_if_any(&self) -> Option<i32> {
        self.code
    }

    /// Asserts that a signal ended it.
    #[track_caller]
    pub(crate) fn killed(self) -> Self {
        assert!(self.code.is_none(), "expected that a signal ended it\n{}", self.describe());
        self
    }

    /// Asserts that stdout contains this.
    #[track_caller]
    pub(crate) fn stdout(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "expected on stdout: {part}\n{}", self.describe());
        self
    }

    /// Asserts that stderr contains this.
    #[track_caller]
    pub(crate) fn stderr(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "expected on stderr: {part}\n{}", self.describe());
        self
    }

    /// Everything it printed on stdout.
    pub(crate) fn stdout_text(&self) -> &str {
        &self.stdout
    }

    /// Everything it printed on stderr.
    pub(crate) fn stderr_text(&self) -> &str {
        &self.stderr
    }

    fn describe(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!("$ {}\nended with {code}\nstdout:\n{}\nstderr:\n{}", self.line, self.stdout, self.stderr)
    }
}
