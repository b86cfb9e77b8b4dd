//! The controller's fault points are its calls to the API server: each one is refused, fails, or is the last that the process
//! makes, before and after it was carried out. The migration ends as if nothing had been: verified, by one Job, without a lock.
//! Which calls there are is read off a run without a fault, and held against a list, so that a new one is not forgotten.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::api_server::{ApiServer, JOBS, LEASES, MIGRATIONS, Trap};
use super::controller::Controller;
use super::fleet::{reason, server};
use super::kubernetes::{Step, come_to, jobs};

/// Every call of a run, and at how many of its visits it fails.
const POINTS: &[(&str, usize)] = &[
    ("list memorymigrations", 2),
    ("list memorymigrationschedules", 1),
    ("watch memorymigrationschedules", 1),
    ("watch memorymigrations", 1),
    ("get memorymigrations", 3),
    ("patch memorymigrations/status", 3),
    ("list jobs", 3),
    ("watch jobs", 1),
    ("create jobs", 1),
    ("list pods", 4),
    ("watch pods", 1),
    ("get pods/log", 1),
    ("list events", 1),
    ("create events", 3),
    ("get persistentvolumeclaims", 1),
    ("get services", 1),
    ("list leases", 2),
    ("watch leases", 1),
    ("get leases", 1),
    ("create leases", 1),
    ("delete leases", 1),
    ("get leader", 1),
    ("create leader", 1),
];

/// Their names.
pub(crate) fn controller_points() -> impl Iterator<Item = &'static &'static str> {
    POINTS.iter().map(|(point, _)| point)
}

/// How long one story may take: a refused Job is tried again after a minute.
const LIMIT: Duration = Duration::from_secs(150);
/// Stories at once: they wait most of the time.
const AT_ONCE: usize = 12;

/// A migration from its first look to its verdict. The controller is started anew wherever it dies.
struct Story {
    server: ApiServer,
    controller: Option<Controller>,
    from: Instant,
    is_over: bool,
}

impl Story {
    fn begins(trap: Option<(String, usize, Trap)>) -> Self {
        let server = server(&["move".to_owned()]);
        server.cluster().trap = trap;
        let controller = Some(Controller::start(&server, &[]));
        Self { server, controller, from: Instant::now(), is_over: false }
    }

    /// Waits until it is so, and buries whoever dies meanwhile.
    fn awaits(&mut self, what: &str, is: impl Fn(&ApiServer) -> bool) -> Result<(), String> {
        while !is(&self.server) {
            if self.from.elapsed() > LIMIT {
                let status = self.server.get(&format!("{MIGRATIONS}/move"))["status"].clone();
                return Err(format!("waited for {what}: {status}"));
            }
            let deadly = self.server.cluster().trap.as_ref().is_some_and(|(_, _, trap)| trap.is_deadly());
            if deadly && !self.is_over && self.server.is_sprung() {
                self.is_over = true;
                let mut dead = self.controller.take().unwrap();
                dead.process.signal(Signal::KILL);
                drop(dead);
                self.server.leaderless();
                self.controller = Some(Controller::start(&self.server, &[]));
            }
            if jobs(&self.server).len() > 1 {
                return Err(format!("two runners: {:?}", jobs(&self.server)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn goes(&mut self) -> Result<(), String> {
        self.awaits("its Job", |server| !jobs(server).is_empty())?;
        let is_asked = |server: &ApiServer| server.cluster().visits.contains_key("list events");
        self.awaits("the question why it has no pod", is_asked)?;
        let job = jobs(&self.server).remove(0);
        for step in [Step::Scheduled, Step::Preflight, Step::Mover, Step::Copied(10)] {
            come_to(&self.server, &job, step);
        }
        self.awaits("it to copy", |server| reason(server, "move") == "Copying")?;
        come_to(&self.server, &job, Step::Ended(0));
        self.awaits("its verdict", |server| reason(server, "move") == "Verified")?;
        let is_lock = |path: &String| path.starts_with(LEASES) && !path.ends_with("-leader");
        self.awaits("its lock to be given back", |server| !server.cluster().objects.keys().any(is_lock))?;
        // what comes to a point after the verdict, it is still to do
        self.awaits("the fault", |server| server.cluster().trap.is_none() || server.is_sprung())?;
        let made = self.server.cluster().objects.keys().filter(|path| path.starts_with(JOBS)).count();
        let status = self.server.get(&format!("{MIGRATIONS}/move"))["status"].clone();
        let is_right = made == 1 && status["attempts"] == json!(1) && status["phase"] == "Succeeded";
        if is_right { Ok(()) } else { Err(format!("{made} Jobs: {status}")) }
    }
}

/// Each with every trap: what is read is not done, so that before and after are one.
fn all() -> Vec<(String, usize, Trap)> {
    let mut all = Vec::new();
    for (point, visits) in POINTS {
        let is_write = ["create", "patch", "delete"].iter().any(|verb| point.starts_with(verb));
        let mut traps = vec![Trap::Before(503), Trap::Before(403), Trap::DeathBefore];
        if is_write {
            traps.extend([Trap::After(503), Trap::After(403), Trap::DeathAfter]);
        }
        all.extend((1..=*visits).flat_map(|visit| traps.iter().map(move |trap| ((*point).to_owned(), visit, *trap))));
    }
    all
}

fn bad(waiting: Vec<(String, usize, Trap)>) -> Vec<String> {
    let (waiting, bad) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(trap) = waiting.lock().unwrap().pop() else { return };
                    let mut story = Story::begins(Some(trap.clone()));
                    let ended = story.goes();
                    println!("{:.1} s: {trap:?}: {ended:?}", story.from.elapsed().as_secs_f64());
                    if let Err(why) = ended {
                        bad.lock().unwrap().push(format!("{trap:?}: {why}"));
                    }
                }
            });
        }
    });
    bad.into_inner().unwrap()
}

#[test]
fn every_call_of_a_run_is_a_fault_point() {
    let mut story = Story::begins(None);
    story.goes().unwrap();
    let visits = story.server.cluster().visits.clone();
    println!("{visits:?}");
    // the Lease is renewed while the controller lives
    let found: Vec<&str> = visits.keys().map(String::as_str).filter(|point| *point != "update leader").collect();
    let mut listed: Vec<&str> = POINTS.iter().map(|(point, _)| *point).collect();
    listed.sort_unstable();
    assert_eq!(found, listed, "POINTS is the list of all calls");
}

/// One trap of each point here; `make faults` springs all.
#[test]
fn a_call_that_fails_or_is_the_last_changes_no_end() {
    let is_whole = std::env::var("FAULTS").as_deref() == Ok("all");
    let all = all();
    let mut some: Vec<(String, usize, Trap)> = Vec::new();
    for (n, (point, _)) in POINTS.iter().enumerate() {
        // what is refused when it makes or deletes is tried again after a minute, and a log after half of one
        let is_slow = ["create", "delete", "get pods/log"].iter().any(|slow| point.starts_with(slow));
        let of_point = all.iter().filter(|(other, visit, _)| other == point && *visit == 1);
        let quick: Vec<_> = of_point.filter(|(_, _, trap)| trap.is_deadly() || !is_slow).collect();
        some.push(quick[n % quick.len()].clone());
    }
    let bad = bad(if is_whole { all } else { some });
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
