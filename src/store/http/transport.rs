//! Sends requests: timeouts, retries by `decision`, and what a failure means as a store's error.
//! Knows no collection and no JSON.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, redirect};
use tokio::time::Instant;
use url::Url;

use super::auth::Auth;
use super::config::ServerConfig;
use super::decision::{
    Decision, Failed, Failure, Kind, Outcome, Reason, decide, is_own_error, pause, pauses, true_status,
};
use super::paths::Path;
use super::payload::Payload;
use super::tls;
use super::words::{chain, ends_early, explained, is_tls, shortened};
use crate::model::{Error, Result};

/// Bytes of an error's answer that are read.
const READ_OF_ERROR: usize = 64 * 1024;
/// Characters of a foreign text that are shown: of an error's answer, and of one that is no Chroma's.
const SHOWN_OF_ERROR: usize = 300;
const SHOWN_OF_FOREIGN: usize = 100;

/// One server, with everything needed to send it a request.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    base: Url,
    /// The base under the name that the server is asked by.
    asked: Url,
    auth: Auth,
    /// For one read with all its retries.
    pub(super) retry: Duration,
    /// For the answer to one query of a distance.
    pub(super) query: Duration,
    /// From one try of a record that fails to the next.
    pub(super) apart: Duration,
    pushed_back: AtomicU64,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: Kind,
    pub(super) method: Method,
    pub(super) url: Url,
    /// The JSON to send.
    pub(super) body: Option<Payload<'a>>,
    /// What is missing when the answer is 404, as "collection \"x\"".
    pub(super) subject: String,
}

/// What the last attempt of a request came to. Its text shows no secret.
#[derive(Debug)]
pub(super) struct Refusal {
    /// 0 where there was no whole answer.
    pub(super) status: u16,
    wanted_pause: Option<Duration>,
    /// The server's own words, or what broke.
    pub(super) text: String,
    /// Whether the server itself says with these words that it failed.
    is_own_error: bool,
    /// Where a redirect leads.
    pub(super) location: Option<Url>,
}

impl Refusal {
    fn without_answer(text: String) -> Self {
        Self { status: 0, wanted_pause: None, text, is_own_error: false, location: None }
    }
}

/// A request that was given up.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) reason: Reason,
    pub(super) refusal: Refusal,
}

impl Stopped {
    /// Why, as "status 500: boom".
    pub(super) fn words(&self) -> String {
        let Refusal { status, text, .. } = &self.refusal;
        if *status == 0 { text.clone() } else { format!("status {status}: {text}") }
    }
}

impl Transport {
    /// Prepares a client; nothing is sent.
    pub(super) fn new(config: &ServerConfig) -> Result<Self> {
        let base = checked(&config.url)?;
        let unusable = |why: String, remedy: &str| Error::Unsupported {
            store: format!("server {base}"),
            why,
            remedy: remedy.to_owned(),
        };
        let mut headers = HeaderMap::new();
        // without it a server may choose any coding, and an answer's bound is one of bytes
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // an answer that a cache kept says nothing of now
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some((name, value)) = config.auth.header().map_err(|why| unusable(why, "correct the credentials"))? {
            headers.insert(name, value);
        }
        let client = client(config, headers).map_err(|why| {
            unusable(
                format!("no HTTP client can be made: {why}"),
                "see that the CA's file or Secret holds certificates in PEM",
            )
        })?;
        let asked = tls::asked(config, &base).map_err(|why| unusable(why, "correct tls.serverName"))?;
        Ok(Self {
            client,
            base,
            asked,
            auth: config.auth.clone(),
            retry: config.timeouts.retry,
            query: config.timeouts.request / 2,
            apart: config.timeouts.apart,
            pushed_back: AtomicU64::new(0),
        })
    }

    /// The server's own URL.
    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    /// Whether a text holds the credentials.
    pub(super) fn is_secret_in(&self, text: &str) -> bool {
        self.auth.is_in(text)
    }

    /// How often the server has told to come back later.
    pub(super) fn pushed_back(&self) -> u64 {
        self.pushed_back.load(Ordering::Relaxed)
    }

    fn as_asked(&self, url: &Url) -> Url {
        let mut asked = url.clone();
        if self.asked != self.base && url.origin() == self.base.origin() {
            // Both are https URLs with a host, which can be exchanged.
            let _ = asked.set_host(self.asked.host_str());
        }
        asked
    }

    /// The server in a person's words.
    pub(super) fn name(&self) -> String {
        format!("server {}", self.base.as_str().trim_end_matches('/'))
    }

    /// The URL of a path below the server's, each part percent-encoded.
    pub(super) fn url(&self, path: &Path) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&path.segments);
        }
        if !path.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&path.query);
        }
        url
    }

    /// Sends a request until it is answered, cannot be, or the retry deadline has passed; `take` reads a success.
    pub(super) async fn call<T, F>(&self, request: &Request<'_>, take: impl Fn(Response) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        self.try_call(self.retry, request, take).await.map_err(|stopped| self.error(request, &stopped))
    }

    /// As `call`, with another deadline, and why it was given up.
    pub(super) async fn try_call<T, F>(
        &self,
        deadline: Duration,
        request: &Request<'_>,
        take: impl Fn(Response) -> F,
    ) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let started = Instant::now();
        let mut attempts = 0_u32;
        for jittered in pauses() {
            attempts += 1;
            let (outcome, refusal) = match self.attempt(request, &take).await {
                Ok(taken) => return Ok(taken),
                Err(failure) => failure,
            };
            let reason = match decide(request.kind, outcome) {
                Decision::Retry(reason) => reason,
                Decision::Stop(reason) => return Err(Stopped { reason, refusal }),
                // A success never comes here; were it to, it would not be one.
                Decision::Done => return Err(Stopped { reason: Reason::Foreign, refusal }),
            };
            if reason == Reason::Busy {
                self.pushed_back.fetch_add(1, Ordering::Relaxed);
            }
            let left = deadline.saturating_sub(started.elapsed());
            let Some(pause) = pause(reason, attempts, jittered, refusal.wanted_pause, left) else {
                let seconds = Some(started.elapsed().as_secs()).filter(|seconds| *seconds > 0);
                let within = seconds.map_or_else(String::new, |seconds| format!(" in {seconds} s"));
                let text = format!("{} (tried {attempts}x{within})", refusal.text);
                return Err(Stopped { reason, refusal: Refusal { text, ..refusal } });
            };
            tracing::debug!(attempt = %self.label(request), attempts, ?reason, ?pause, "will try again");
            tokio::time::sleep(pause).await;
        }
        Err(Stopped { reason: Reason::Unreached, refusal: Refusal::without_answer(String::new()) })
    }

    async fn attempt<T, F>(&self, request: &Request<'_>, take: impl Fn(Response) -> F) -> Result<T, (Outcome, Refusal)>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let failed = |Failed { failure, detail, quoted }| {
            let quoted = quoted.map(|text| format!("; it begins with {:?}", self.shown(&text, SHOWN_OF_FOREIGN)));
            let text = self.shown(&detail, SHOWN_OF_ERROR) + &quoted.unwrap_or_default();
            (Outcome::Failed(failure), Refusal::without_answer(text))
        };
        let mut builder = self.client.request(request.method.clone(), self.as_asked(&request.url));
        if let Some(payload) = &request.body {
            let unsent = |e: Error| failed(Failed::new(Failure::Unreached, e.to_string()));
            builder = builder.header(CONTENT_TYPE, "application/json").body(payload.body().map_err(unsent)?);
        }
        let response = builder.send().await.map_err(|e| failed(Failed::from(e)))?;
        if response.status().is_success() {
            return take(response).await.map_err(failed);
        }
        let wanted_pause = wanted_pause(response.headers());
        let status = response.status().as_u16();
        let location = redirect_target(&request.url, &response);
        let text = match &location {
            // A query may carry a session or a token.
            Some(target) => format!("redirects to {}", bare(target)),
            None => beginning(response).await,
        };
        let status = true_status(status, &text);
        let is_own_error = is_own_error(request.kind, status, &text);
        let outcome = if is_own_error { Outcome::OwnError } else { Outcome::Status(status) };
        let text = self.shown(&text, SHOWN_OF_ERROR);
        Err((outcome, Refusal { status, wanted_pause, text, is_own_error, location }))
    }

    /// A foreign text as it may be shown: secrets are blanked first, for what is cut in the middle of one is not found.
    pub(super) fn shown(&self, text: &str, characters: usize) -> String {
        shortened(&self.auth.redact(text), characters)
    }

    /// "GET /api/v2/version".
    pub(super) fn label(&self, request: &Request<'_>) -> String {
        let path = request.url.path();
        format!("{} {}", request.method, path.strip_prefix(self.base.path().trim_end_matches('/')).unwrap_or(path))
    }

    /// What a request that was given up means for the store.
    pub(super) fn error(&self, request: &Request<'_>, stopped: &Stopped) -> Error {
        let Stopped { reason, refusal: Refusal { status, text, .. } } = stopped;
        let (store, attempt, status, why) = (self.name(), self.label(request), *status, stopped.words());
        let unsupported = |why: String, remedy: &str| Error::Unsupported {
            store: self.name(),
            why: format!("{}: {why}", self.label(request)),
            remedy: remedy.to_owned(),
        };
        match reason {
            Reason::Failing => Error::Failing { store, attempt, why },
            Reason::ServerError if stopped.refusal.is_own_error => Error::Failing { store, attempt, why },
            Reason::Unreached | Reason::Busy | Reason::ServerError | Reason::TimedOut | Reason::Broken => {
                Error::Unavailable { store, attempt, why }
            }
            Reason::Tls => Error::Unavailable {
                store,
                attempt,
                why: format!("{why}; check the host name, the CA certificate, and that the port speaks TLS"),
            },
            Reason::MaybeApplied => Error::Uncertain { store, attempt, why },
            Reason::Denied => {
                Error::Denied { store, attempt, status, words: text.clone(), hint: self.auth.hint(status) }
            }
            Reason::Missing => Error::NotFound {
                store,
                what: request.subject.clone(),
                remedy: format!("check its name, the tenant, the database and the URL (it answered: {text})"),
            },
            Reason::TooLarge => {
                let attempt = format!("{attempt} with a body of {} bytes", request.body_len());
                Error::Rejected { store, attempt, status, body: text.clone() }
            }
            Reason::Redirected => unsupported(why, "give the URL that it redirects to"),
            Reason::Contradictory => {
                unsupported(why, "check that nothing between here and the server changes its answers")
            }
            Reason::TooLong => unsupported(why, "check the URL, its port and its path: no Chroma answers like that"),
            Reason::Foreign => unsupported(why, "check the URL, its port and its path: no Chroma answers there"),
            Reason::Refused => Error::Rejected { store, attempt, status, body: text.clone() },
        }
    }
}

impl Request<'_> {
    /// Bytes of its body; 0 for none.
    pub(super) fn body_len(&self) -> usize {
        self.body.as_ref().map_or(0, Payload::len)
    }
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        let failure = match () {
            () if error.is_connect() && is_tls(&error) => Failure::Tls,
            () if error.is_connect() => Failure::Unreached,
            () if error.is_timeout() => Failure::TimedOut,
            () if ends_early(&error) => Failure::Short,
            () => Failure::Broken,
        };
        let late = error.is_connect() && error.is_timeout();
        let detail = chain(&error.without_url());
        Self::new(failure, explained(detail, late))
    }
}

/// The URL without what must not be printed; an error says what cannot be in one.
fn checked(url: &Url) -> Result<Url> {
    let shown = bare(url);
    let why = match () {
        () if !matches!(url.scheme(), "http" | "https") || !url.has_host() => "its URL is no http:// or https:// URL",
        () if !url.username().is_empty() || url.password().is_some() => "its URL holds credentials",
        () if url.query().is_some() || url.fragment().is_some() => "its URL holds a query or a fragment",
        () => return Ok(shown),
    };
    Err(Error::Unsupported {
        store: format!("server {shown}"),
        why: why.to_owned(),
        remedy:
            "give scheme, host, port and path only, and credentials by their own settings (variables, or spec's auth)"
                .to_owned(),
    })
}

/// A client for this server.
fn client(config: &ServerConfig, headers: HeaderMap) -> Result<Client, String> {
    // for programs that use the library and have not chosen a provider; an earlier choice stays
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder()
        .default_headers(headers)
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(config.timeouts.connect)
        .timeout(config.timeouts.request);
    tls::prepared(config, builder)?.build().map_err(|e| chain(&e))
}

/// `Retry-After` in seconds; its form as a date is not used by what stands before Chroma, and is ignored.
fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn redirect_target(from: &Url, response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// A URL without credentials, query and fragment.
fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    // neither can fail on a URL with a host; on one without, there is nothing to hide
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    bare.set_fragment(None);
    bare
}

async fn beginning(mut response: Response) -> String {
    let mut text = Vec::new();
    while text.len() < READ_OF_ERROR {
        // What arrived of an error's text is enough: its status already says what to do.
        let Ok(Some(chunk)) = response.chunk().await else { break };
        text.extend_from_slice(&chunk);
    }
    text.truncate(READ_OF_ERROR);
    String::from_utf8_lossy(&text).into_owned()
}
