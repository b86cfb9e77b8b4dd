"""Runs that are stopped, killed or edited in the middle: nothing lost, nothing twice, never two writers."""

from kit import COLLECTION, api, equal, local, renamed, slow, until


def suspend_and_resume_ten_times(s):
    """Each of ten suspensions stops the run before its end; they use up no retries, and it ends verified."""
    s.claim("dev", 2000)
    m = s.migrate("paused", local("dev"), s.prod.endpoint(), collections=renamed("paused"), pacing=slow(), backoffLimit=1)
    with s.one_runner_at_a_time():
        m.copying()
        for turn in range(10):
            m.running_pod()
            m.patch(suspend=True)
            m.reaches("Suspended")
            if turn % 2:
                # In the other turns it is resumed while a pod may still end.
                until("no runner pod is left", lambda: not m.pods(alive=True))
            m.patch(suspend=False)
        equal("some memories were copied, not all", 0 < s.prod.count("paused") < 2000, True)
        m.patch(suspend=True)
        m.reaches("Suspended")
        m.patch(suspend=False, pacing={"batchSize": 500, "delay": "0s"})
        m.verified(2000)
    s.prod.holds("paused", 2000)


def edited_mid_run(s):
    """An edit of what a run is cancels it and runs again; never two runner pods."""
    s.claim("dev", 2000)
    with s.one_runner_at_a_time():
        m = s.migrate("edited", local("dev"), s.prod.endpoint(), collections=renamed("edited_first"), pacing=slow())
        m.copying()
        m.patch(collections=renamed("edited_second"), pacing={"batchSize": 500, "delay": "0s"})
        m.verified(2000)
    equal("the first run was ended on its way", 0 < s.prod.count("edited_first") < 2000, True)
    s.prod.holds("edited_second", 2000)


def deleted_mid_run(s):
    """Deleting the object ends its pod and frees the target."""
    s.claim("dev", 2000)
    m = s.migrate("gone", local("dev"), s.prod.endpoint(), collections=renamed("deleted"), pacing=slow())
    m.copying()
    m.delete()
    until("Jobs and pods are gone", lambda: not s.list("batch/v1", "jobs") and not s.list("v1", "pods"))
    equal("it was ended on its way", 0 < s.prod.count("deleted") < 2000, True)
    s.migrate("next", local("dev"), s.prod.endpoint(), collections=renamed("deleted")).verified(2000)
    s.prod.holds("deleted", 2000)


def runner_killed(s):
    """The mover dies, then its pod is deleted, then evicted: each time the run goes on where it stopped."""
    s.claim("dev", 2000)
    m = s.migrate("killed", local("dev"), s.prod.endpoint(), collections=renamed("runner_killed"), pacing=slow())
    for kill in (_by_signal, _by_delete, _by_eviction):
        m.copying((m.status.get("progress") or {}).get("records", 0) + 1)
        pod = m.running_pod()
        kill(s, pod)
        until("another pod", lambda: m.running_pod() != pod)
    m.patch(suspend=True)
    m.reaches("Suspended")
    m.patch(suspend=False, pacing={"batchSize": 500, "delay": "0s"})
    equal("it went on where it stopped", m.verified(2000)["counts"]["present"] > 0, True)
    s.prod.holds("runner_killed", 2000)


def _by_signal(s, pod):
    s.kill(pod, ["memory-migration", "run"])


def _by_delete(s, pod):
    s.delete("pod", pod, grace=0)


def _by_eviction(s, pod):
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": s.namespace}}
    api().call("POST", f"/api/v1/namespaces/{s.namespace}/pods/{pod}/eviction", eviction)


runner_killed.own_cluster = True


def sidecar_killed(s):
    """The Chroma server that writes the claim dies in the middle: it comes back, and nothing is lost or twice."""
    s.claim("dev", 2000)
    s.claim("into")
    m = s.migrate("sidecar", local("dev"), local("into"), pacing=slow(100))
    m.copying(200)
    s.kill(m.running_pod(), ["chroma", "--path"])
    m.verified(2000)
    s.chroma("look", claim="into", path="/data/chroma_db").holds(COLLECTION, 2000)


sidecar_killed.own_cluster = True


def target_killed(s):
    """The target's server dies in the middle and comes back."""
    server = s.chroma()
    s.claim("dev", 2000)
    m = s.migrate("target", local("dev"), server.endpoint(), pacing=slow(100))
    m.copying(200)
    s.kill("chroma-0", ["chroma", "--path"])
    m.verified(2000)
    server.holds(COLLECTION, 2000)


target_killed.own_cluster = True


def source_killed(s):
    """The source's server is deleted in the middle and comes back: it is waited for."""
    server = s.chroma()
    s.claim("dev", 2000)
    s.migrate("fill", local("dev"), server.endpoint(), pacing={"batchSize": 500, "delay": "0s"}).verified(2000)
    m = s.migrate("source", server.endpoint(), s.prod.endpoint(), collections=renamed("source_killed"), pacing=slow(100))
    m.copying(200)
    s.delete("pod", "chroma-0", grace=0)
    m.verified(2000)
    s.prod.holds("source_killed", 2000)
