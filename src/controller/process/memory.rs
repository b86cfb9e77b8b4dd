//! What this process remembers between two looks: pauses, what it wrote last, the last state of Jobs and pods that are
//! gone. A restart forgets it all, and nothing goes wrong by that. No client and no decisions.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use serde_json::Value;

use crate::api::LABEL_UID;
use crate::controller::Found;
use crate::controller::observe::facts;
use crate::controller::observe::world::{Cause, JobPhase, Pause};
use crate::controller::plan::PauseChange;
use crate::controller::plan::crd_gap;

/// Own writes whose echo is known: a watch may be some behind.
const ECHOES: usize = 8;
/// What the CRD lacks is looked at anew this often: it may have been upgraded.
const CRD_AGAIN: Duration = Duration::from_secs(600);
/// A log is read at most this often, whatever wakes the controller.
const LOG: Duration = Duration::from_secs(4);
/// An object is read from the API server at least this often, however well the watches know it.
const READ: Duration = Duration::from_secs(60);
/// Who uses a target's claim is asked for at most this often, whatever wakes the controller.
const USERS: Duration = Duration::from_secs(4);
/// A log that could not be read is left alone for so long: its kubelet may not answer.
const LOG_AFTER_FAILURE: Duration = Duration::from_secs(30);
/// The first pause before a lock is swept that the API server did not delete; each further one is twice as long.
const UNSWEPT: Duration = Duration::from_secs(60);
/// The longest one.
const LONGEST_UNSWEPT: Duration = Duration::from_secs(300);

/// Shared by all looks.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    objects: HashMap<String, Object>,
    /// By UID.
    jobs: HashMap<String, Job>,
    /// By UID.
    pods: HashMap<String, Pod>,
    /// When the log of a pod may be read again, and whether it was read.
    logs: HashMap<String, (Instant, bool)>,
    /// When the API server may be asked again to delete a lock that nobody holds, and how often it refused, by UID.
    unswept: HashMap<String, (Instant, u32)>,
    lacking: BTreeSet<String>,
    lacking_since: Option<Instant>,
}

/// Names of the locks whose end an object waits for.
#[derive(Debug, Default)]
pub struct Waits {
    /// On its target, and on what excludes it.
    pub target: Vec<String>,
    /// Of who writes its source.
    pub source: Vec<String>,
}

/// One migration.
#[derive(Debug, Default)]
struct Object {
    failures: u32,
    about: Option<u64>,
    status: Option<u64>,
    written: VecDeque<String>,
    /// The newest version that is known, from the API server's own mouth.
    version: Option<String>,
    /// Since when it has not been read from the API server.
    read: Option<Instant>,
    users: Option<Instant>,
    pause: Option<Pause>,
    /// By the UID of what is not deleted.
    deletions: BTreeMap<String, Pause>,
    waits: Waits,
    stubborn: BTreeSet<String>,
}

/// How an object is called here.
#[must_use]
pub fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Memory {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Failures in a row of the object's looks, this one included: kube has no backoff for one object.
    pub fn failed(&self, key: &str) -> u32 {
        let mut kept = self.kept();
        let object = kept.objects.entry(key.into()).or_default();
        object.failures = object.failures.saturating_add(1);
        object.failures
    }

    /// A look went well.
    pub fn succeeded(&self, key: &str) {
        if let Some(object) = self.kept().objects.get_mut(key) {
            object.failures = 0;
        }
    }

    /// This process wrote the object's status; the answer has this version.
    pub fn wrote(&self, key: &str, version: Option<String>) {
        let Some(version) = version else { return };
        let mut kept = self.kept();
        let object = kept.objects.entry(key.into()).or_default();
        object.version = Some(version.clone());
        let written = &mut object.written;
        written.push_back(version);
        if written.len() > ECHOES {
            written.pop_front();
        }
    }

    /// The object was read from the API server, with all that belongs to it.
    pub fn read(&self, key: &str, version: Option<&str>) {
        let mut kept = self.kept();
        let object = kept.objects.entry(key.into()).or_default();
        (object.version, object.read) = (version.map(Into::into), Some(Instant::now()));
    }

    /// Whether the watch's version of the object is the newest one that is known, and it was read not long ago.
    #[must_use]
    pub fn may_follow(&self, key: &str, version: Option<&str>) -> bool {
        let kept = self.kept();
        let Some(object) = kept.objects.get(key) else { return false };
        let newest = version.is_some() && object.version.as_deref() == version;
        newest && object.read.is_some_and(|read| read.elapsed() < READ)
    }

    /// Whether the watch's version of the object is another one than this process read or wrote last.
    #[must_use]
    pub fn knows_another(&self, key: &str, version: Option<&str>) -> bool {
        let kept = self.kept();
        let known = kept.objects.get(key).and_then(|object| object.version.as_deref());
        version.is_none() || known.is_some_and(|known| Some(known) != version)
    }

    /// Whether it is time to ask who uses the claims of this object, which has a run that works.
    #[must_use]
    pub fn may_list_users(&self, key: &str) -> bool {
        let mut kept = self.kept();
        let object = kept.objects.entry(key.into()).or_default();
        let due = object.users.is_none_or(|asked| asked.elapsed() >= USERS);
        if due {
            object.users = Some(Instant::now());
        }
        due
    }

    /// Whether a change of the object is worth a look: its generation, labels, annotations or deletion changed, or its
    /// status, and not by this process.
    pub fn is_news(&self, found: &Found) -> bool {
        let Ok(migration) = &found.0 else { return true };
        let mut kept = self.kept();
        let object =
            kept.objects.entry(key(&migration.namespace().unwrap_or_default(), &migration.name_any())).or_default();
        let meta = migration.meta();
        let going = meta.deletion_timestamp.is_some();
        let about = hash(&(&meta.uid, meta.generation, &meta.labels, &meta.annotations, going));
        let status = hash(&serde_json::to_string(&migration.status).unwrap_or_default());
        let echo = meta.resource_version.as_ref().is_some_and(|version| object.written.contains(version));
        let edited = object.about.replace(about) != Some(about);
        let rewritten = object.status.replace(status) != Some(status) && !echo;
        edited || rewritten
    }

    /// The object's pause.
    pub fn pause(&self, key: &str) -> Option<Pause> {
        self.kept().objects.get(key).and_then(|object| object.pause.clone())
    }

    /// What the API server refused to delete for the object.
    #[must_use]
    pub fn deletions(&self, key: &str) -> BTreeMap<String, Pause> {
        self.kept().objects.get(key).map(|object| object.deletions.clone()).unwrap_or_default()
    }

    /// What a plan makes of it.
    pub fn change_pause(&self, key: &str, change: &PauseChange) {
        let mut kept = self.kept();
        match change {
            PauseChange::Keep => {}
            PauseChange::Set(pause) => {
                let object = kept.objects.entry(key.into()).or_default();
                if pause.cause == Cause::NotDeleted {
                    object.deletions.insert(pause.job.clone(), pause.clone());
                } else {
                    object.pause = Some(pause.clone());
                }
            }
            PauseChange::Clear => {
                if let Some(object) = kept.objects.get_mut(key) {
                    object.pause = None;
                }
            }
        }
    }

    /// The object is to be looked at when one of these locks goes.
    pub fn waits_for(&self, key: &str, waits: Waits) {
        self.kept().objects.entry(key.into()).or_default().waits = waits;
    }

    /// A lock went: who waits for it. Whoever waited for what the source's writer makes tries at once; the end of a lock on
    /// the target, which may be its own, shortens no pause.
    pub fn released(&self, lock: &str) -> Vec<String> {
        let mut woken = Vec::new();
        for (key, object) in &mut self.kept().objects {
            let names = |locks: &[String]| locks.iter().any(|name| name == lock);
            let is_of_source = names(&object.waits.source);
            if is_of_source
                && let Some(pause) = &mut object.pause
                && pause.cause == Cause::RunnerWaits
            {
                pause.until = 0;
            }
            if is_of_source || names(&object.waits.target) {
                woken.push(key.clone());
            }
        }
        woken
    }

    /// The watch saw this Job, perhaps for the last time.
    pub fn saw_job(&self, job: &Job) {
        let ending = job.metadata.deletion_timestamp.is_some() || facts::job_phase(job) != JobPhase::Active;
        if let Some(uid) = job.uid().filter(|_| ending) {
            self.kept().jobs.insert(uid, job.clone());
        }
    }

    /// The watch saw this pod, perhaps for the last time.
    pub fn saw_pod(&self, pod: &Pod) {
        if let Some(uid) = pod.uid().filter(|_| !facts::is_alive(pod)) {
            self.kept().pods.insert(uid, pod.clone());
        }
    }

    /// The last state of an object's ended Jobs and pods.
    #[must_use]
    pub fn ended(&self, uid: &str) -> (Vec<Job>, Vec<Pod>) {
        let kept = self.kept();
        let jobs = kept.jobs.values().filter(|job| belongs(*job, uid)).cloned().collect();
        let pods = kept.pods.values().filter(|pod| belongs(*pod, uid)).cloned().collect();
        (jobs, pods)
    }

    /// The object's status holds their verdict.
    pub fn forget_ended(&self, uid: &str) {
        let mut kept = self.kept();
        kept.jobs.retain(|_, job| !belongs(job, uid));
        kept.pods.retain(|_, pod| !belongs(pod, uid));
    }

    /// Whether the log of a pod can be read now. The last words of one that has ended only wait after a failure.
    #[must_use]
    pub fn may_read_log(&self, pod: &str, alive: bool, now: Instant) -> bool {
        let kept = self.kept();
        kept.logs.get(pod).is_none_or(|(next, well)| now >= *next || (*well && !alive))
    }

    /// The log of a pod was read, or could not be.
    pub fn read_log(&self, pod: &str, well: bool, now: Instant) {
        let pause = if well { LOG } else { LOG_AFTER_FAILURE };
        self.kept().logs.insert(pod.into(), (now + pause, well));
    }

    /// Whether the API server may be asked to delete this lock.
    #[must_use]
    pub fn may_sweep(&self, lock: &str, now: Instant) -> bool {
        self.kept().unswept.get(lock).is_none_or(|(next, _)| now >= *next)
    }

    /// It refused: it is asked again after 1 min, doubled to 5.
    pub fn was_not_swept(&self, lock: &str, now: Instant) {
        let mut kept = self.kept();
        let (next, times) = kept.unswept.entry(lock.into()).or_insert((now, 0));
        *next = now + UNSWEPT.saturating_mul(1 << *times).min(LONGEST_UNSWEPT);
        *times = times.saturating_add(1).min(8);
    }

    /// A Job whose ttl comes back: it is not removed again and again.
    pub fn is_stubborn(&self, key: &str, job: &str) {
        self.kept().objects.entry(key.into()).or_default().stubborn.insert(job.into());
    }

    /// The object's Jobs whose ttl comes back.
    #[must_use]
    pub fn stubborn(&self, key: &str) -> BTreeSet<String> {
        self.kept().objects.get(key).map(|object| object.stubborn.clone()).unwrap_or_default()
    }

    /// The answer to a status: what the CRD lacks of it. Every status is sent whole, so that the last one decides.
    pub fn answered(&self, sent: &Value, answer: &Value) {
        let mut kept = self.kept();
        let lacking = crd_gap::lacking(sent, answer);
        // What this status did not hold, and others did, is still unknown.
        let unsaid: BTreeSet<String> =
            kept.lacking.iter().filter(|place| !crd_gap::holds(sent, place)).cloned().collect();
        let lacking: BTreeSet<String> = lacking.into_iter().chain(unsaid).collect();
        if lacking != kept.lacking {
            tracing::warn!(lacking = crd_gap::list(&lacking), "fields of the status that the CRD does not know");
        }
        kept.lacking_since = (!lacking.is_empty()).then(Instant::now);
        kept.lacking = lacking;
    }

    /// What the CRD lacks. Once in a while nothing, so that a status is sent and the answer tells whether that is still so.
    #[must_use]
    pub fn lacking(&self) -> BTreeSet<String> {
        self.kept().lacking.clone()
    }

    /// Whether it is time to see whether the CRD still lacks it: true once in ten minutes.
    #[must_use]
    pub fn asks_the_crd_again(&self) -> bool {
        let mut kept = self.kept();
        let due = kept.lacking_since.is_some_and(|since| since.elapsed() >= CRD_AGAIN);
        if due {
            kept.lacking_since = Some(Instant::now());
        }
        due
    }

    /// Forgets what is about objects that are gone, and the ended Jobs and pods of those that have their verdict.
    pub fn keep_only(&self, existing: &HashSet<String>, unfinished: &BTreeSet<String>) {
        let mut kept = self.kept();
        kept.objects.retain(|key, _| existing.contains(key));
        let wanted = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get(LABEL_UID).is_some_and(|uid| unfinished.contains(uid))
        };
        kept.jobs.retain(|_, job| wanted(job.labels()));
        kept.pods.retain(|_, pod| wanted(pod.labels()));
        let now = Instant::now();
        kept.logs.retain(|_, (next, _)| *next > now);
        kept.unswept.retain(|_, (next, _)| *next + LONGEST_UNSWEPT > now);
    }
}

fn belongs(object: &impl ResourceExt, uid: &str) -> bool {
    object.labels().get(LABEL_UID).is_some_and(|label| label == uid)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
