//! Nothing that a run shows holds a credential, in whole or in part: not its output, its log at its most verbose, its report
//! or its errors, whatever a server sends back. Nor does it reach another host.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::support::chroma::ChromaServer;
use super::support::command::{Output, TestCommand};
use super::support::gateway::Gateway;
use super::support::stores::generated;

const TOKEN: &str = "Tk-q7Zr3vN8xW1sLd5yHb2mKc9u-end";
/// base64 of `ada:` and the token.
const BASIC: &str = "YWRhOlRrLXE3WnIzdk44eFcxc0xkNXlIYjJtS2M5dS1lbmQ=";
/// So much of a secret in one piece is a leak.
const PIECE: usize = 8;

/// A server that answers every request with what it was sent, after so many characters of its own.
struct Echo {
    url: String,
    heard: Arc<Mutex<String>>,
}

impl Echo {
    fn start(status: u16, header: &str, before: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(String::new()));
        let (told, header) = (heard.clone(), header.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (told, header) = (told.clone(), header.clone());
                std::thread::spawn(move || echo(stream, status, &header, before, &told));
            }
        });
        Self { url, heard }
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn echo(mut stream: TcpStream, status: u16, header: &str, before: usize, told: &Mutex<String>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    told.lock().unwrap().push_str(&head);
    let body = format!("{}{head}", "z".repeat(before));
    let answer = format!(
        "HTTP/1.1 {status} Echo\r\n{header}x-seen: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        head.lines().find(|line| line.to_lowercase().starts_with("authorization")).unwrap_or_default(),
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

/// Every piece of both forms of the secret.
fn pieces() -> impl Iterator<Item = &'static str> {
    let of = |text: &'static str| (0..=text.len() - PIECE).map(move |at| &text[at..at + PIECE]);
    // the first characters are the user's name
    of(TOKEN).chain(of(&BASIC[6..]))
}

#[track_caller]
fn shows_nothing(what: &str, text: &str) {
    for piece in pieces() {
        assert!(!text.contains(piece), "{what} shows {piece}:\n{text}");
    }
}

/// A subcommand at its most verbose, with what it says and writes.
fn run(args: &[&str], variables: &[(&str, &str)], format: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let mut command = TestCommand::new().args(args).env("RUST_LOG", "trace");
    if args[0] != "inspect" {
        command = command.args(["--report", report.to_str().unwrap(), "--log-format", format]);
    }
    for (name, value) in variables {
        for side in ["SOURCE", "TARGET"] {
            command = command.env(&format!("MEMORY_MIGRATION_{side}_{name}"), value);
        }
    }
    let output = command.run();
    let report = std::fs::read_to_string(&report).unwrap_or_default();
    let all = format!("{output:?}{report}");
    (output, all)
}

const BEARER: &[(&str, &str)] = &[("TOKEN", TOKEN)];
const USER: &[(&str, &str)] = &[("TOKEN", TOKEN), ("USERNAME", "ada")];

#[test]
fn whatever_a_server_sends_back_no_piece_of_a_credential_is_shown() {
    let store = generated("1.5.9", 3, 4, "l2");
    std::thread::scope(|scope| {
        for status in [200, 400, 401, 403, 404, 409, 413, 422, 500] {
            let store = &store;
            scope.spawn(move || {
                // at each of these places the echo crosses where a text is cut
                for before in [0, 60, 270] {
                    let server = Echo::start(status, "", before);
                    let credentials = if before == 60 { USER } else { BEARER };
                    let format = if before == 0 { "json" } else { "text" };
                    let (_, shown) = run(&["inspect", &server.url], credentials, format);
                    shows_nothing(&format!("inspect, status {status}"), &shown);
                    let args = ["migrate", "--source-config", store.path(), "--target-config", &server.url];
                    let (output, shown) = run(&args, credentials, format);
                    assert_ne!(output.exit_code(), 0);
                    shows_nothing(&format!("migrate, status {status}"), &shown);
                    assert!(server.heard().contains(if before == 60 { BASIC } else { TOKEN }), "it was not even sent");
                }
            });
        }
    });
}

#[test]
fn a_redirect_to_another_host_takes_no_credential_along() {
    let store = generated("1.5.9", 3, 4, "l2");
    for status in [301, 302, 303, 307, 308] {
        let other = Echo::start(200, "", 0);
        // the same address under another name, so that the host differs and not only the port
        let elsewhere = other.url.replace("127.0.0.1", "localhost");
        let server = Echo::start(status, &format!("location: {elsewhere}/api/v2/version?token={TOKEN}\r\n"), 0);
        let args = ["verify", "--source-config", store.path(), "--target-config", &server.url];
        let (output, shown) = run(&args, BEARER, "text");
        assert_ne!(output.exit_code(), 0);
        shows_nothing(&format!("verify, status {status}"), &shown);
        assert_eq!(other.heard(), "", "status {status}: the other host was asked");
    }
}

#[test]
fn a_whole_migration_at_its_most_verbose_shows_no_credential() {
    let store = generated("1.5.9", 30, 4, "cosine");
    let folder = tempfile::tempdir().unwrap();
    let server = ChromaServer::start("1.5.9", folder.path());
    let gateway = Gateway::start(&server.url, ("authorization", &format!("Bearer {TOKEN}")), false);
    for (name, format) in [("as-text", "text"), ("as-json", "json")] {
        let collection = format!("generated={name}");
        let more = ["--source-config", store.path(), "--target-config", &gateway.url, "--collection", &collection];
        let args = [&["migrate", "--delay", "0"][..], &more].concat();
        let (output, shown) = run(&args, BEARER, format);
        output.code(0).stdout("Verified").stderr("TRACE");
        shows_nothing(name, &shown);
        let (output, shown) = run(&[&["verify"][..], &more].concat(), BEARER, format);
        output.code(0);
        shows_nothing(name, &shown);
    }
}
