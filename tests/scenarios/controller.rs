//! A controller as a process, for the tests that talk to it: started, asked over HTTP, ended. What it does in a minute it
//! does: whatever hangs fails the test with what the process said, and never hangs it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::support::chroma::free_port;
use super::super::support::command::{Output, Running, TestCommand};
use super::api_server::{ApiServer, until};

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(5);
/// It promises to end within 25 s of a signal.
const ENDING: Duration = Duration::from_secs(60);

/// A controller that talks to this server.
pub(super) struct Controller {
    pub(super) process: Running,
    port: u16,
}

impl Controller {
    pub(super) fn start(server: &ApiServer, args: &[&str]) -> Self {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let common = ["controller", "--namespace", "operator", "--identity", "replica", "--runner-image", "runner:1"];
        let mut command = TestCommand::new().args(common).args(["--listen", &listen]).args(args);
        command = command.env("KUBECONFIG", server.config()).env("RUST_LOG", "info");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command = command.env(proxy, "");
        }
        Self { process: command.start(), port }
    }

    /// What a probe reads; None: nobody listens yet.
    pub(super) fn ask(&self, path: &str) -> Option<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
        // Whatever listens there need not be this controller.
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    #[track_caller]
    pub(super) fn says(&self, path: &str, parts: &[&str]) {
        let mut last = None;
        until(&format!("{path} to say {parts:?}"), || {
            last = self.ask(path);
            last.as_ref().is_some_and(|answer| parts.iter().all(|part| answer.contains(part)))
        });
    }

    /// Asks it to end, and what it printed.
    pub(super) fn end(mut self) -> String {
        self.process.signal(Signal::TERM);
        self.ended().code(0).stderr_text().to_owned()
    }

    /// It is gone at once, in the middle of whatever it does.
    pub(super) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        drop(self.process.wait());
    }

    /// Waits for its end. One that does not end is killed, and its output says what it was doing.
    pub(super) fn ended(mut self) -> Output {
        let start = Instant::now();
        while self.process.is_running() && start.elapsed() < ENDING {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process.signal(Signal::ABORT);
        self.process.wait()
    }
}
