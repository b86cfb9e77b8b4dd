//! A proxy before a real Chroma server that makes the faults which a server cannot be made to show: a reset, an error or
//! silence before or after a write was applied, a cut body. What it passes on is real.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lies::{Lie, told};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: it is passed on.
    Pass,
    /// The connection is closed, and the server sees nothing.
    ResetBefore,
    /// The server answers, and the connection is closed.
    ResetAfter,
    /// This status, and the server sees nothing.
    StatusBefore(u16),
    /// The server answers, and this status is told instead.
    StatusAfter(u16),
    /// This status with these words as the message, and the server sees nothing.
    Says(u16, &'static str),
    /// This status with this body, whatever it is, and the server sees nothing.
    Tells(u16, &'static str),
    /// No answer, and the server sees nothing.
    SilenceBefore,
    /// The server answers, and nothing is told.
    SilenceAfter,
    /// Passed on after so many milliseconds.
    Delay(u64),
    /// What the server answered when the same was asked for the first time.
    Stale,
    /// Half of the server's answer, then the connection is closed.
    Cut,
    /// The server's answer with another body: valid JSON, and not true.
    Lie(Lie),
}

/// A request as the proxy saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// As `POST /api/v2/tenants/…/add`.
    pub(crate) line: String,
    /// How many requests with the same last path segment came before.
    pub(crate) before: usize,
    /// Its body, or the beginning of a large one; empty for none.
    pub(crate) body: String,
    /// Bytes of the whole body.
    pub(crate) length: usize,
}

impl Seen {
    /// The last path segment: `add`, `get`, `update`, `delete`, `collections`.
    pub(crate) fn verb(&self) -> &str {
        let path = self.line.split(' ').nth(1).unwrap_or_default();
        path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default()
    }

    /// Where the request would go on this server.
    pub(crate) fn url(&self, server: &str) -> String {
        format!("{server}{}", self.line.split(' ').nth(1).unwrap_or_default())
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Fault + Send>;
/// Line, body and answer's body in; what is told instead, or None for the truth.
type Told = Box<dyn Fn(&str, &[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Answers by line and body of the request.
type Answers = HashMap<(String, Vec<u8>), Vec<u8>>;

struct Shared {
    upstream: String,
    rule: Mutex<Rule>,
    told: Told,
    seen: Mutex<Vec<Seen>>,
    /// Adds that the server works on, and the most that there were at once.
    adds: Mutex<(usize, usize)>,
    /// The first good answer to each request that reads: what `Stale` tells.
    first: Mutex<Answers>,
}

/// A running proxy; ends with the runtime.
pub(crate) struct Proxy {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts a proxy before the server at this URL, which does to each request what `rule` says.
    pub(crate) async fn start(upstream: &str, rule: impl FnMut(&Seen) -> Fault + Send + 'static) -> Self {
        Self::at("127.0.0.1:0", upstream, rule).await
    }

    /// As `start`, at an address of its own: that of a proxy which was dropped, for instance.
    pub(crate) async fn at(address: &str, upstream: &str, rule: impl FnMut(&Seen) -> Fault + Send + 'static) -> Self {
        Self::with(address, upstream, Box::new(rule), Box::new(|_, _, _| None)).await
    }

    /// Starts a proxy before the server at this URL that tells another answer where `told` gives one: from a request's
    /// line, its body and the true answer's body.
    pub(crate) async fn telling(
        upstream: &str,
        told: impl Fn(&str, &[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self::with("127.0.0.1:0", upstream, Box::new(|_| Fault::Pass), Box::new(told)).await
    }

    async fn with(address: &str, upstream: &str, rule: Rule, told: Told) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let rule = Mutex::new(rule);
        let (seen, adds, first) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { upstream, rule, told, seen, adds, first });
        let served = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, served.clone()));
            }
        });
        Self { url, shared }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many adds the server had to work on at once, at most.
    pub(crate) fn adds_at_once(&self) -> usize {
        self.shared.adds.lock().unwrap().1
    }
}

/// One connection: requests one after another until a fault or the client ends it.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut client = BufReader::new(client);
    while let Some((head, body)) = message(&mut client).await {
        let fault = shared.fault(head.lines().next().unwrap_or_default(), &body);
        match fault {
            Fault::ResetBefore => return,
            Fault::SilenceBefore => return silence().await,
            Fault::Delay(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Fault::StatusBefore(status) | Fault::Says(status, _) | Fault::Tells(status, _) => {
                let told = match fault {
                    Fault::Tells(_, body) => client.write_all(told_as(status, body).as_bytes()).await.ok(),
                    Fault::Says(_, words) => tell(&mut client, status, words).await,
                    _ => tell(&mut client, status, MADE).await,
                };
                if told.is_none() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        let Some(mut answer) = shared.answer(&head, &body).await else { return };
        if !is_whole(&answer) {
            // a server that was killed closes its connections: so does this
            let _ = client.write_all(&answer).await;
            return;
        }
        let line = head.lines().next().unwrap_or_default();
        if fault == Fault::Stale {
            answer = shared.first(line, &body).unwrap_or(answer);
        } else if answer.starts_with(b"HTTP/1.1 2") && !is_write(line) {
            shared.first.lock().unwrap().entry((line.to_owned(), body.clone())).or_insert_with(|| answer.clone());
        }
        match fault {
            Fault::ResetAfter => return,
            Fault::SilenceAfter => return silence().await,
            Fault::Cut => {
                let _ = client.write_all(&answer[..answer.len() - answer.len() / 4]).await;
                return;
            }
            Fault::Lie(which) => {
                let changed = instead(&answer, |truth| told(which, truth));
                if client.write_all(&changed).await.is_err() {
                    return;
                }
            }
            Fault::StatusAfter(status) => {
                if tell(&mut client, status, MADE).await.is_none() {
                    return;
                }
            }
            _ => {
                let changed = instead(&answer, |truth| (shared.told)(line, &body, truth));
                if client.write_all(&changed).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Shared {
    /// The real server's answer.
    async fn answer(&self, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let is_add = head.lines().next().unwrap_or_default().ends_with("/add HTTP/1.1");
        if is_add {
            let mut adds = self.adds.lock().unwrap();
            adds.0 += 1;
            adds.1 = adds.1.max(adds.0);
        }
        let answer = ask(&self.upstream, head, body).await;
        if is_add {
            self.adds.lock().unwrap().0 -= 1;
        }
        answer
    }

    fn first(&self, line: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.first.lock().unwrap().get(&(line.to_owned(), body.to_vec())).cloned()
    }

    fn fault(&self, line: &str, body: &[u8]) -> Fault {
        let mut all = self.seen.lock().unwrap();
        // of a large body the beginning is enough
        let length = body.len();
        let body = String::from_utf8_lossy(&body[..length.min(4096)]).into_owned();
        let mut seen = Seen { line: line.trim_end_matches(" HTTP/1.1").to_owned(), before: 0, body, length };
        seen.before = all.iter().filter(|other| other.verb() == seen.verb()).count();
        all.push(seen.clone());
        drop(all);
        self.rule.lock().unwrap()(&seen)
    }
}

/// Whether an answer has its whole head, and as much of a body as it says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else { return false };
    let head = String::from_utf8_lossy(&answer[..at]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_none_or(|length: usize| answer.len() >= at + length)
}

/// Whether the request changes the server.
fn is_write(line: &str) -> bool {
    let is_read = ["/get HTTP/1.1", "/query HTTP/1.1"].iter().any(|end| line.ends_with(end));
    !(is_read || line.starts_with("GET "))
}

/// Longer than any client of the tests waits.
async fn silence() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}

/// What a status says where nothing else is given.
const MADE: &str = "made by a test";

/// An answer of this status with this body.
fn told_as(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Made By A Test\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn tell(client: &mut BufReader<TcpStream>, status: u16, words: &str) -> Option<()> {
    let body = serde_json::json!({"error": MADE, "message": words}).to_string();
    let retry = if status == 429 { "retry-after: 0\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Made By A Test\r\n{retry}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).await.ok()
}

/// The answer with another body; as it is where `other` gives none.
fn instead(answer: &[u8], other: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
        return answer.to_vec();
    };
    let head = String::from_utf8_lossy(&answer[..at]).to_string();
    let is_plain = head.to_lowercase().contains("content-length:") && head.starts_with("HTTP/1.1 2");
    let Some(body) = is_plain.then(|| other(&answer[at..])).flatten() else { return answer.to_vec() };
    let kept = head.lines().filter(|line| !line.to_lowercase().starts_with("content-length:") && !line.is_empty());
    let made: String = kept.flat_map(|line| [line, "\r\n"]).collect();
    let length = format!("content-length: {}\r\n\r\n", body.len());
    [made.into_bytes(), length.into_bytes(), body].concat()
}

/// One HTTP/1.1 message with a content-length (or without a body).
async fn message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// Asks the real server on a connection of its own, and gives its whole answer.
async fn ask(upstream: &str, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    let kept = head.lines().skip(1).filter(|line| !line.is_empty() && !line.to_lowercase().starts_with("connection:"));
    let mut request = format!("{}\r\nconnection: close\r\n", head.lines().next().unwrap_or_default());
    let lines = kept.chain([""]);
    request.extend(lines.flat_map(|line| [line, "\r\n"]));
    server.write_all(request.as_bytes()).await.ok()?;
    server.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    // the client keeps its connection though the server closed this one
    let text = String::from_utf8_lossy(&answer[..answer.len().min(2000)]).to_lowercase();
    let close = text.find("connection: close\r\n");
    if let Some(at) = close.filter(|at| *at < text.find("\r\n\r\n").unwrap_or(0)) {
        answer.drain(at..at + "connection: close\r\n".len());
    }
    Some(answer)
}
