"""Jobs that the API server refuses: said once, with its sentence; asked for seldom, and without holding a lock."""

import hashlib
import time

from kit import equal, local, refused, renamed, resources, until, writes_by_name


def job_quota(s):
    """A quota on Jobs: its sentence, no attempt counted, no lock held; the run starts by itself once it is raised."""
    s.claim("dev", 300)
    s.quota("few-jobs", **{"count/jobs.batch": "0"})
    m = s.migrate("counted", local("dev"), s.prod.endpoint(), collections=renamed("job_quota"))
    equal("the quota is named", "exceeded quota: few-jobs" in m.reaches("NotAdmitted"), True)
    equal("attempts", m.status.get("attempts", 0), 0)
    until("no lock is held", lambda: not m.locks())
    s.quota("few-jobs", **{"count/jobs.batch": "5"})
    equal("attempts", m.verified(300)["attempts"], 1)
    s.prod.holds("job_quota", 300)


def admission_policy(s):
    """A ValidatingAdmissionPolicy that refuses the Job: its sentence; the run starts by itself once it is gone."""
    s.claim("dev", 300)
    with refused(s, "jobs", "'team' in object.metadata.labels", "every Job needs the label team"):
        m = s.migrate("judged", local("dev"), s.prod.endpoint(), collections=renamed("admission_policy"))
        equal("the policy is quoted", "every Job needs the label team" in m.reaches("NotAdmitted"), True)
        equal("attempts", m.status.get("attempts", 0), 0)
        until("no lock is held", lambda: not m.locks())
    equal("attempts", m.verified(300)["attempts"], 1)
    s.prod.holds("admission_policy", 300)


def job_of_somebody_else(s):
    """A foreign Job of the runner's name: named, never taken for the runner's; once it is gone the run starts."""
    s.claim("dev", 300)
    m = s.migrate("named", local("dev"), s.prod.endpoint(), collections=renamed("foreign"), suspend=True)
    m.reaches("Suspended")
    first = f"{m.object()['metadata']['uid']}/{m.status['runHash']}/1"
    job = "named-" + hashlib.sha256(first.encode()).hexdigest()[:8]
    box = {"name": "box", "image": "nowhere.invalid/box:1"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [box]}}
    s.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job}, "spec": {"suspend": True, "template": pod}})
    m.patch(suspend=False)
    equal("the Job is named", job in m.reaches("NotAdmitted"), True)
    equal("attempts", m.status.get("attempts", 0), 0)
    s.delete("job", job)
    m.verified(300)
    s.prod.holds("foreign", 300)


def few_writes_whatever_refuses(s):
    """Migrations that wait, each for something else: at most 3 writes a minute for each of them, by the audit log."""
    s.claim("busy", keep=True)
    with refused(s, "jobs", "!object.metadata.name.startsWith('denied-')", "no Job of this name"):
        names = _waiting(s)
        # The one wait for time itself: what is written while nothing changes is measured. A refused Job is tried again
        # after 1, 2 and 4 minutes.
        time.sleep(30)
        minutes = 3
        time.sleep(60 * minutes)
        counted = writes_by_name(s.namespace, 60 * minutes)
    s.say(f"writes in {minutes} minutes: {counted}")
    for name in names:
        equal(f"writes for {name} are at most 3 a minute: {counted}", counted.get(name, 0) <= 3 * minutes, True)
    equal(f"those of locks are: {counted}", counted.get("lock", 0) <= 3 * minutes * len(names), True)


few_writes_whatever_refuses.alone = few_writes_whatever_refuses.own_cluster = few_writes_whatever_refuses.long = True


def _waiting(s):
    """Migrations that cannot start: their names. Each has a target of its own, so that none waits for another's lock."""
    into = lambda name, **more: s.prod.within("default_tenant", f"{s.namespace}-{name}").endpoint(**more)
    huge = resources({"requests": {"memory": "900Ti"}, "limits": {"memory": "900Ti"}})
    token = {"bearer": {"secretKeyRef": {"name": "none", "key": "token"}}}
    waiting = {
        "PodUnschedulable": s.migrate("huge", local("dev"), into("huge"), runner=huge),
        "VolumeInUse": s.migrate("used", local("dev"), local("busy")),
        "SourceNotFound": s.migrate("gone", local("gone"), into("gone")),
        "SecretNotReady": s.migrate("locked", local("dev"), into("locked", auth=token)),
        "ImagePullFailed": s.migrate("typo", local("dev"), local("free", image="localhost/no-such-image:1")),
        # Only the runner sees that, again and again: exit code 7.
        "TargetNotFound": s.migrate("nowhere", local("dev"), s.prod.within(f"{s.namespace}-none", "none").endpoint()),
    }
    s.claim("free")
    for reason, m in waiting.items():
        m.reaches(reason)
    unborn = [
        s.migrate("denied", local("dev"), into("denied")),
        s.migrate("label", local("dev"), into("label"), runner={"podTemplate": {"metadata": {"labels": {"not a label": "x"}}}}),
    ]
    for m in unborn:
        m.reaches("NotAdmitted")
    # No Job more than there are.
    s.quota("no-more-jobs", **{"count/jobs.batch": str(len(s.list("batch/v1", "jobs")))})
    unborn.append(s.migrate("counted", local("dev"), into("counted")))
    unborn[-1].reaches("NotAdmitted")
    return [m.name for m in [*waiting.values(), *unborn]]
