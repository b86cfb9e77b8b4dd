//! Leader election: of several replicas one works, and the process ends when it has lost the Lease. Knows no migration.
//!
//! # Guarantees
//! A leader that could not renew the Lease stops 13 s after its last success, and nobody follows it before
//! 15 s have passed. Each process measures with its own clock only, so that clocks that differ do no harm. A Lease
//! is only written over the version that was read.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::run_hash::short_hash;
use crate::controller::Error;

/// The Lease that the replicas compete for.
const NAME: &str = "memory-migration-operator-leader";
/// A Lease that has not changed for this long is anybody's.
const DURATION: Duration = Duration::from_secs(15);
/// A leader renews the Lease this often: 7.5 writes a minute, the only ones of an operator that has nothing to do.
const RENEW: Duration = Duration::from_secs(8);
/// A leader that could not renew for this long ends.
const GIVE_UP: Duration = Duration::from_secs(13);
/// How often the others look, and how long a leader waits after a renewal that failed.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(3);

/// Where a replica is in the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waits,
    Leads,
    Lost,
}

/// The place of this replica in the election.
pub struct Election {
    place: watch::Receiver<Place>,
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Election {
    /// Takes part in the election; goes on while the API server does not answer.
    #[must_use]
    pub fn join(client: &Client, namespace: &str, replica: &str) -> Self {
        let candidate = Candidate {
            leases: Api::namespaced(client.clone(), namespace),
            identity: identity(replica),
            seen: None,
            renewed: Instant::now(),
        };
        let (tell, place) = watch::channel(Place::Waits);
        let (leave, left) = watch::channel(false);
        Self { place, leave, task: tokio::spawn(candidate.take_part(tell, left)) }
    }

    /// Resolves when this replica leads.
    ///
    /// # Errors
    /// When the election itself has ended.
    pub async fn won(&mut self) -> Result<(), Error> {
        self.place.wait_for(|place| *place == Place::Leads).await.map(drop).map_err(|_| Error::LeaseLost)
    }

    /// Resolves when this replica does not lead any more.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let mut place = self.place.clone();
        async move {
            // A closed channel means that nobody renews the Lease: lost, too.
            let _ = place.wait_for(|place| *place == Place::Lost).await;
        }
    }

    /// Gives the Lease back, so that another replica need not wait for it to end.
    pub async fn leave(self) {
        let _ = self.leave.send(true);
        if timeout(ANSWER + ANSWER, self.task).await.is_err() {
            tracing::warn!("the leader's Lease could not be given back: the next leader waits until it ends");
        }
    }
}

/// Another one for each process: a container that starts again must not take its predecessor's Lease for its own.
fn identity(replica: &str) -> String {
    let process = format!("{}/{}", std::process::id(), Timestamp::now());
    format!("{replica}_{}", short_hash(process.as_bytes(), 8))
}

/// A replica that takes part.
struct Candidate {
    leases: Api<Lease>,
    identity: String,
    /// The Lease's version, and since when it has been this one.
    seen: Option<(String, Instant)>,
    /// When the last successful renewal was begun.
    renewed: Instant,
}

/// What a Lease lets this replica do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Take,
    Wait(Duration),
}

impl Candidate {
    async fn take_part(mut self, tell: watch::Sender<Place>, mut left: watch::Receiver<bool>) {
        let mut lease = tokio::select! {
            lease = self.win() => lease,
            _ = left.changed() => return,
        };
        let _ = tell.send(Place::Leads);
        loop {
            if timeout(RENEW, left.changed()).await.is_ok() {
                return self.give_back(lease).await;
            }
            let Ok(Some(renewed)) = timeout_at(self.renewed + GIVE_UP, self.renew(lease)).await else { break };
            lease = renewed;
        }
        let _ = tell.send(Place::Lost);
    }

    /// The Lease, once it is this replica's.
    async fn win(&mut self) -> Lease {
        loop {
            let pause = match answer(self.leases.get_opt(NAME)).await {
                Ok(found) => match self.step(found.as_ref(), Instant::now()) {
                    Step::Take => match self.write(found).await {
                        Ok(lease) => return lease,
                        // Another replica was faster.
                        Err(Failed::Conflict) => LOOK,
                        Err(Failed::Other(error)) => cannot("take", &error),
                    },
                    Step::Wait(pause) => pause,
                },
                Err(Failed::Conflict) => LOOK,
                Err(Failed::Other(error)) => cannot("read", &error),
            };
            sleep(pause).await;
        }
    }

    /// Whether the Lease can be taken. One that somebody holds can be when it has not changed for its duration.
    fn step(&mut self, found: Option<&Lease>, now: Instant) -> Step {
        let spec = found.and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() {
            return Step::Take;
        }
        let version = found.and_then(ResourceExt::resource_version).unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
        let left = seconds.map_or(DURATION, Duration::from_secs).saturating_sub(now - since);
        if left.is_zero() { Step::Take } else { Step::Wait(left.min(LOOK)) }
    }

    /// The Lease renewed, tried again and again; None: it is somebody else's.
    async fn renew(&mut self, mut lease: Lease) -> Option<Lease> {
        loop {
            match self.write(Some(lease.clone())).await {
                Ok(renewed) => return Some(renewed),
                Err(Failed::Conflict) => {
                    let found = answer(self.leases.get_opt(NAME)).await;
                    match found {
                        Ok(found) => lease = found.filter(|lease| self.holds(lease))?,
                        Err(_) => sleep(LOOK).await,
                    }
                }
                Err(Failed::Other(error)) => {
                    sleep(cannot("renew", &error)).await;
                }
            }
        }
    }

    fn holds(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity)
    }

    /// Writes this replica's name over the version that was read.
    async fn write(&mut self, found: Option<Lease>) -> Result<Lease, Failed> {
        let begun = Instant::now();
        let time = Some(MicroTime(Timestamp::now()));
        let before = found.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours = before.holder_identity.as_ref() == Some(&self.identity);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if ours { before.acquire_time.clone() } else { time.clone() },
            renew_time: time,
            lease_transitions: Some(before.lease_transitions.unwrap_or_default().saturating_add(i32::from(!ours))),
            ..before
        };
        let params = PostParams::default();
        let written = if let Some(lease) = found {
            answer(self.leases.replace(NAME, &params, &Lease { spec: Some(spec), ..lease })).await
        } else {
            let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
            answer(self.leases.create(&params, &Lease { metadata, spec: Some(spec) })).await
        }?;
        self.renewed = begun;
        Ok(written)
    }

    async fn give_back(&self, mut lease: Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        if let Err(Failed::Other(error)) = answer(self.leases.replace(NAME, &PostParams::default(), &lease)).await {
            cannot("give back", &error);
        }
    }
}

/// Why a request did nothing.
enum Failed {
    /// Somebody else wrote in between.
    Conflict,
    Other(String),
}

async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(ANSWER, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(Failed::Conflict),
        Ok(Err(error)) => Err(Failed::Other(error.to_string())),
        Err(_) => Err(Failed::Other(format!("no answer within {ANSWER:?}"))),
    }
}

/// Says it, and how long to wait.
fn cannot(verb: &str, error: &str) -> Duration {
    tracing::warn!(error, "failed to {verb} the leader's Lease {NAME}");
    LOOK
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower_test::mock;

    use super::*;

    const WELL: u8 = 0;
    const FAILS: u8 = 1;
    const SILENT: u8 = 2;

    /// An API server that holds one Lease. The clock is the test's: it moves when everybody waits.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        mood: Arc<AtomicU8>,
        writes: Arc<AtomicU32>,
    }

    impl Server {
        /// A client of its own for each replica.
        fn client(&self) -> Client {
            let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
            let server = self.clone();
            tokio::spawn(async move {
                let mut unanswered = Vec::new();
                while let Some((request, send)) = handle.next_request().await {
                    match server.mood.load(Ordering::Relaxed) {
                        WELL => send.send_response(server.respond(request).await),
                        FAILS => send.send_response(refusal(500)),
                        _ => unanswered.push(send),
                    }
                }
            });
            Client::new(service, "operator")
        }

        async fn respond(&self, request: Request<Body>) -> Response<Body> {
            let (parts, body) = request.into_parts();
            let sent: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
            let mut lease = self.lease.lock().unwrap();
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            match (parts.method.as_str(), lease.as_ref()) {
                ("GET", None) => return refusal(404),
                ("GET", Some(_)) => {}
                ("POST", None) => *lease = Some(sent),
                ("PUT", Some(there)) if version(&sent) == version(there) => *lease = Some(sent),
                ("POST" | "PUT", Some(_)) => return refusal(409),
                other => panic!("{other:?}"),
            }
            if parts.method != "GET" {
                let written = self.writes.fetch_add(1, Ordering::Relaxed).to_string();
                lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!(written);
            }
            Response::new(Body::from(lease.as_ref().unwrap().to_string().into_bytes()))
        }

        fn join(&self, replica: &str) -> Election {
            Election::join(&self.client(), "operator", replica)
        }

        fn is(&self, mood: u8) {
            self.mood.store(mood, Ordering::Relaxed);
        }

        fn spec(&self) -> Value {
            self.lease.lock().unwrap().as_ref().unwrap()["spec"].clone()
        }
    }

    fn refusal(code: u16) -> Response<Body> {
        let reason = if code == 404 { "NotFound" } else { "Conflict" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                            "reason": reason});
        Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
    }

    /// A leader and one that waits, some time after the election.
    async fn two(server: &Server) -> (Election, Election) {
        let mut first = server.join("a");
        first.won().await.unwrap();
        let second = server.join("b");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(*second.place.borrow(), Place::Waits);
        assert!(server.spec()["holderIdentity"].as_str().unwrap().starts_with("a_"));
        (first, second)
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_died_is_followed_in_less_than_20_seconds() {
        let server = Server::default();
        let (first, mut second) = two(&server).await;
        let died = Instant::now();
        first.task.abort();
        second.won().await.unwrap();
        assert!(died.elapsed() < Duration::from_secs(20), "{:?}", died.elapsed());
        assert_eq!(server.spec()["leaseTransitions"], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_given_back_is_taken_at_once() {
        let server = Server::default();
        let (first, mut second) = two(&server).await;
        let left = Instant::now();
        first.leave().await;
        second.won().await.unwrap();
        assert!(left.elapsed() <= LOOK, "{:?}", left.elapsed());
    }

    /// Whether the API server refuses or does not answer at all: two never lead.
    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_ends_before_another_may_follow() {
        for mood in [FAILS, SILENT] {
            let server = Server::default();
            let (first, second) = two(&server).await;
            server.is(mood);
            let since = Instant::now();
            first.lost().await;
            assert!(since.elapsed() <= GIVE_UP && GIVE_UP < DURATION, "{:?}", since.elapsed());
            assert_eq!(*second.place.borrow(), Place::Waits);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_failure_costs_no_lead() {
        let server = Server::default();
        let (first, _second) = two(&server).await;
        server.is(FAILS);
        sleep(Duration::from_secs(4)).await;
        server.is(WELL);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(*first.place.borrow(), Place::Leads);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_somebody_else_took_is_lost() {
        let server = Server::default();
        let (first, _second) = two(&server).await;
        {
            let mut lease = server.lease.lock().unwrap();
            let lease = lease.as_mut().unwrap();
            lease["spec"]["holderIdentity"] = json!("c");
            lease["metadata"]["resourceVersion"] = json!("another");
        }
        let since = Instant::now();
        first.lost().await;
        assert!(since.elapsed() <= RENEW, "{:?}", since.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_comes_late_is_waited_for() {
        let server = Server::default();
        server.is(FAILS);
        let mut only = server.join("a");
        sleep(Duration::from_secs(60)).await;
        server.is(WELL);
        only.won().await.unwrap();
    }

    /// The only writes of an operator that has nothing to do.
    #[tokio::test(start_paused = true)]
    async fn an_idle_leader_renews_and_nothing_else() {
        let server = Server::default();
        let (_first, _second) = two(&server).await;
        let before = server.writes.load(Ordering::Relaxed);
        sleep(Duration::from_secs(600)).await;
        let written = server.writes.load(Ordering::Relaxed) - before;
        assert_eq!(u64::from(written), 600 / RENEW.as_secs());
    }

    #[test]
    fn no_two_processes_have_one_name() {
        assert_ne!(identity("a"), identity("a"));
    }
}
