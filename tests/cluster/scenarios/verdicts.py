"""A verdict is read before anything is thrown away, and a finished run stays finished."""

import os
import signal

from kit import COLLECTION, changed, equal, local, process_of, scale, slow, until


def _job_ended(s, m):
    def look():
        jobs = {job["metadata"]["name"]: job.get("status", {}) for job in s.list("batch/v1", "jobs")}
        conditions = [c for c in jobs.get(m.status["jobName"], {}).get("conditions", []) if c["status"] == "True"]
        return any(c["type"] == "Complete" for c in conditions), f"{conditions}"

    until(f"the Job of {m.name} is complete", look)


def succeeded_pod_collected(s):
    """The pod that succeeded is deleted before its verdict is read, a failed try's stays: verified again, never Failed."""
    m = s.migrate("collected", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying(100)
    failed = m.running_pod()
    # Politely: it leaves a verdict of its own, which is not the run's.
    os.kill(process_of(s.namespace, failed, ["memory-migration", "run"]), signal.SIGTERM)
    until("another pod", lambda: m.running_pod() != failed)
    scale(0)
    try:
        _job_ended(s, m)
        s.k("delete", "pods", "--field-selector=status.phase=Succeeded")
    finally:
        scale(1)
    m.verified(2000)
    equal("nobody was told of a bug", [e for e in m.events() if e[0] == "InternalError"], [])
    before = m.status
    s.k("delete", "pods", "--field-selector=status.phase=Succeeded")
    m.patch(suspend=True)
    m.seen()
    equal("a finished run stays so", (m.condition()["reason"], m.status["attempts"]), ("Verified", before["attempts"]))
    s.prod.holds(COLLECTION, 2000)


succeeded_pod_collected.alone = succeeded_pod_collected.own_cluster = True


def suspended_in_the_last_second(s):
    """The Job ends, and only then the suspension is seen: the run is verified, and not run again."""
    m = s.migrate("late", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying()
    scale(0)
    try:
        _job_ended(s, m)
        m.patch(suspend=True)
    finally:
        scale(1)
    equal("attempts", m.verified(2000)["attempts"], 1)
    s.prod.holds(COLLECTION, 2000)


suspended_in_the_last_second.alone = True


def jobs_that_go_at_once(s):
    """A policy of the cluster gives every Job ttlSecondsAfterFinished 0: the verdict is read all the same, once."""
    s.claim("dev", 300)
    with changed(s, "jobs", "/spec/ttlSecondsAfterFinished", "0", '"ttlSecondsAfterFinished": 0') as there:
        if not there:
            return
        m = s.migrate("swept", local("dev"), s.prod.endpoint())
        equal("attempts", m.verified(300)["attempts"], 1)
    s.prod.holds(COLLECTION, 300)
