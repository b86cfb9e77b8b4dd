"""What a person reads is what happens: a runner out of memory, a pod that another container keeps, a node that is lost."""

import os
import signal

from kit import BOX, COLLECTION, changed, equal, local, process, resources, slow


def out_of_memory(s):
    """A runner that is killed for its memory says so, with the field to raise; raised, it goes on."""
    s.claim("dev", 2000)
    tight = resources({"limits": {"memory": "12Mi"}, "requests": {"memory": "8Mi"}})
    m = s.migrate("tight", local("dev"), s.prod.endpoint(), runner=tight, backoffLimit=1)
    said = m.reaches("OutOfMemory")
    equal("it says what to raise", "12Mi" in said and "spec.runner.podTemplate" in said, True)
    m.patch(runner={"podTemplate": None}, runId="2")
    m.verified(2000)
    s.prod.holds(COLLECTION, 2000)


def sidecar_that_stays(s):
    """A proxy that was put into the pod and does not end with the mover is named; once it ends, the run is verified."""
    s.claim("dev", 300)
    kind = "Object.spec.containers"
    security = f"allowPrivilegeEscalation: false, capabilities: {kind}.securityContext.capabilities{{drop: ['ALL']}}"
    command = "['/bin/sh', '-c', 'until [ -e /tmp/quit ]; do sleep 1; done']"
    proxy = f"name: 'istio-proxy', image: '{BOX}', command: {command}, securityContext: {kind}.securityContext{{{security}}}"
    with changed(s, "pods", "/spec/containers/-", f"{kind}{{{proxy}}}", '"istio-proxy"') as there:
        if not there:
            return
        m = s.migrate("meshed", local("dev"), s.prod.endpoint())
        said = m.reaches("NoProgress")
    equal("the container and a way out are named", "istio-proxy" in said and "sidecar.istio.io/inject" in said, True)
    s.k("exec", m.running_pod(), "-c", "istio-proxy", "--", "sh", "-c", ": > /tmp/quit")
    m.verified(300)
    s.prod.holds(COLLECTION, 300)


def node_lost(s):
    """The node stops answering in the middle: said, with the way out, and nothing else is started; it goes on when it is back."""
    m = s.migrate("alone", local("dev"), s.prod.endpoint(), pacing=slow(100, "2s"))
    m.copying()
    kubelet = process(["kubelet", "--hostname-override", s.pod(m.running_pod())["spec"]["nodeName"]])
    os.kill(kubelet, signal.SIGSTOP)
    try:
        # Kubernetes takes 50 s to believe it.
        said = m.reaches("NodeLost")
        equal("the way out is said", "out-of-service" in said, True)
    finally:
        os.kill(kubelet, signal.SIGCONT)
    equal("attempts", m.verified(2000)["attempts"], 1)
    s.prod.holds(COLLECTION, 2000)


node_lost.alone = node_lost.own_cluster = True
