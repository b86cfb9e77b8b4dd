"""The second node of the cluster of tests: opened to pods, frozen, left without its kubelet, switched off and on again.

It is cordoned otherwise, so that the controller and the shared server stay on the first one.
"""

import contextlib
import functools
import os
import pathlib
import signal

from .cluster import OWN_CLUSTER, Failed, api, equal, kubectl, process, until

FIRST, SECOND = "node-1", "node-2"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
_STATE = pathlib.Path(os.environ.get("STATE", "."))
_FREEZER = pathlib.Path("/sys/fs/cgroup/freezer", os.environ.get("CGROUP", ""), SECOND, "freezer.state")


@functools.cache
def has_two_nodes():
    return OWN_CLUSTER and api().get(f"/api/v1/nodes/{SECOND}") is not None


def folder(node, name):
    """Where a local volume of this name lies on a node."""
    return _STATE / node / "volumes" / name


def volume_path(name):
    """What it is called there: on each node the same, and another folder."""
    return str(_STATE / "volumes" / name)


def ready(node):
    conditions = api().get(f"/api/v1/nodes/{node}")["status"]["conditions"]
    return next(c["status"] for c in conditions if c["type"] == "Ready") == "True"


@contextlib.contextmanager
def open_second():
    """While it lasts, pods may run on the second node. Afterwards that is as it was, whatever was done to it."""
    kubectl("uncordon", SECOND)
    try:
        yield
    finally:
        _freeze("THAWED")
        switch_on()
        until(f"{SECOND} is ready", lambda: ready(SECOND))
        kubectl("taint", "node", SECOND, "node.kubernetes.io/out-of-service-", check=False)
        kubectl("taint", "node", SECOND, "tests-", check=False)
        kubectl("cordon", SECOND)


@contextlib.contextmanager
def only_second():
    """While it lasts, new pods go to the second node."""
    kubectl("cordon", FIRST)
    try:
        yield
    finally:
        kubectl("uncordon", FIRST)


def _freeze(state):
    _FREEZER.write_text(state)
    until(f"{SECOND} is {state}", lambda: _FREEZER.read_text().strip() == state)


@contextlib.contextmanager
def frozen():
    """The whole machine stands still, its pods too, and goes on where it was: a hypervisor that pauses it."""
    _freeze("FROZEN")
    try:
        yield
    finally:
        _freeze("THAWED")


@contextlib.contextmanager
def headless():
    """Its kubelet and containerd hang, and its pods go on."""
    stopped = [process(["kubelet", "--hostname-override", SECOND]), process(["containerd", f"{SECOND}/containerd.toml"])]
    for number in stopped:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in stopped:
            os.kill(number, signal.SIGCONT)


def switch_off():
    """As if somebody pulled the plug: no process of it is left."""
    (_STATE / SECOND / "off").touch()
    first = int((_STATE / SECOND / "pid").read_text())
    os.kill(first, signal.SIGKILL)
    until(f"no process of {SECOND} is left", lambda: not pathlib.Path(f"/proc/{first}").exists())


def switch_on():
    (_STATE / SECOND / "off").unlink(missing_ok=True)


def runners():
    """The pods in which a mover's process is alive on either node, by their cgroups: what the API server knows may be old."""
    pods = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().split(b"\0")
            if line[0].endswith(b"memory-migration") and line[1:2] == [b"run"]:
                groups = (folder / "cgroup").read_text()
                pods.add(next((part for part in groups.split("/") if part.startswith("pod")), groups))
    return pods


def node_of(pod):
    found = pod["spec"].get("nodeName")
    if not found:
        raise Failed(f"pod {pod['metadata']['name']} is on no node")
    return found


def on(pod, node):
    equal(f"the node of pod {pod['metadata']['name']}", node_of(pod), node)
