"""Migrations that cannot go on: the condition says why and what to do, and they go on by themselves once it is done."""

from kit import COLLECTION, Failed, equal, local, renamed, resources, slow, until


def wrong_address(s):
    """A url where nothing answers is retried and, with no retries left, stalls with the remedy; an edit mends it."""
    s.claim("dev", 300)
    nowhere = {"remote": {"url": "http://nowhere.prod.svc:8000", "database": s.namespace}}
    m = s.migrate("lost", local("dev"), nowhere, collections=renamed("wrong_address"), backoffLimit=1)
    said = m.reaches("BackoffLimitExceeded")
    equal("tries that failed", m.status["failures"], 2)
    equal("the message names the server", "nowhere.prod.svc" in said, True)
    equal("Stalled", m.condition("Stalled")["status"], "True")
    m.patch(target={"remote": {"url": "http://chroma.prod.svc:8000"}})
    m.verified(300)
    s.prod.holds("wrong_address", 300)


def missing_secret(s):
    """A Secret that is not there is waited for."""
    s.claim("dev", 300)
    auth = {"bearer": {"secretKeyRef": {"name": "token", "key": "token"}}}
    m = s.migrate("locked", local("dev"), s.prod.endpoint(auth=auth), collections=renamed("missing_secret"))
    equal("the Secret is named", '"token" not found' in m.reaches("SecretNotReady"), True)
    s.secret("token", token="any: this server asks for none")
    m.verified(300)
    s.prod.holds("missing_secret", 300)


def image_that_cannot_be_pulled(s):
    """The server's image is wrong: the condition says which; an edit mends it."""
    s.claim("dev", 300)
    s.claim("into")
    m = s.migrate("typo", local("dev"), local("into", image="localhost/no-such-image:1"))
    equal("the image is named", "no-such-image" in m.reaches("ImagePullFailed"), True)
    m.patch(target=local("into", image=None))
    m.verified(300)
    s.chroma("look", claim="into", path="/data/chroma_db").holds(COLLECTION, 300)


def no_node_takes_it(s):
    """A runner that fits no node says so; lower requests let it run after it was suspended and resumed."""
    s.claim("dev", 300)
    huge = resources({"requests": {"memory": "900Ti"}, "limits": {"memory": "900Ti"}})
    m = s.migrate("huge", local("dev"), s.prod.endpoint(), collections=renamed("no_node"), runner=huge)
    m.reaches("PodUnschedulable")
    m.patch(suspend=True)
    m.reaches("Suspended")
    m.patch(suspend=False, runner={"podTemplate": None})
    m.verified(300)
    s.prod.holds("no_node", 300)


def quota(s):
    """A quota that has no room for the Job's pod: said, and mended by raising it."""
    s.claim("dev", 300)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    s.apply(quota | {"spec": {"hard": {"pods": "0"}}})
    m = s.migrate("crowded", local("dev"), s.prod.endpoint(), collections=renamed("quota"))
    equal("the quota is named", "small" in m.reaches("NotAdmitted"), True)
    s.apply(quota | {"spec": {"hard": {"pods": "5"}}})
    m.verified(300)
    s.prod.holds("quota", 300)


def target_in_use(s):
    """A target claim that a pod uses is waited for; the pod is named."""
    s.claim("dev", 300)
    s.claim("busy", keep=True)
    m = s.migrate("waits", local("dev"), local("busy"))
    equal("the pod is named", "uses-busy" in m.reaches("VolumeInUse"), True)
    s.free("busy")
    m.verified(300)
    s.chroma("look", claim="busy", path="/data/chroma_db").holds(COLLECTION, 300)


def server_comes_mid_run(s):
    """A server that is started on the target claim while a run writes it ends the run; it goes on when the server is gone."""
    s.claim("dev", 2000)
    s.claim("into")
    m = s.migrate("shared", local("dev"), local("into"), pacing=slow())
    m.copying()
    s.chroma("intruder", claim="into", path="/data/chroma_db", wait=False)
    equal("the run is ended", "the run was stopped" in m.reaches("VolumeInUse"), True)
    until("no runner pod is left", lambda: not m.pods(alive=True))
    s.k("scale", "statefulset/intruder", "--replicas=0")
    m.patch(pacing={"batchSize": 100, "delay": "0s"})
    m.verified(2000)
    s.k("scale", "statefulset/intruder", "--replicas=1")
    s.chroma("intruder", claim="into", path="/data/chroma_db").holds(COLLECTION, 2000)


def two_into_one_target(s):
    """Of two migrations into one collection the second waits until the first has ended."""
    s.claim("dev", 300)
    first = s.migrate("first", local("dev"), s.prod.endpoint(), collections=renamed("two_into_one"), pacing=slow(10))
    first.copying()
    second = s.migrate("second", local("dev"), s.prod.endpoint(), collections=renamed("two_into_one"))
    equal("the other is named", f"{s.namespace}/first" in second.reaches("TargetBusy"), True)
    first.verified(300)
    equal("present for the second", second.verified(300)["counts"]["present"], 300)
    s.prod.holds("two_into_one", 300)


def refused_by_the_api_server(s):
    """What can be refused early is refused by `kubectl apply`, with a sentence."""
    bad = {
        "exactly one of local": {"source": {}, "target": s.prod.endpoint()},
        "http": {"source": local("a"), "target": {"remote": {"url": "ftp://x"}}},
        "path": {"source": local("a", "../up"), "target": s.prod.endpoint()},
        "batchSize": {"source": local("a"), "target": s.prod.endpoint(), "pacing": {"batchSize": 0}},
        "delay": {"source": local("a"), "target": s.prod.endpoint(), "pacing": {"delay": "fast"}},
        "same": {"source": local("a"), "target": local("a")},
    }
    for word, spec in bad.items():
        try:
            s.migrate("bad", **spec, **({} if "pacing" in spec else {"pacing": {"batchSize": 10}}))
        except Failed as refusal:
            equal(f"the refusal speaks of {word}: {refusal}", word in str(refusal), True)
        else:
            raise Failed(f"accepted: {spec}")
