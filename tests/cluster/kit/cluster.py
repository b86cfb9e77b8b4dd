"""The cluster as a user has it: kubectl, helm, the API server, conditions to wait for, and processes to kill.

Talks to the API server through `kubectl proxy`, so that it works the same on any cluster. Waits for conditions only, each
with a deadline; when one passes it says what was seen. Standard library only.
"""

import atexit
import contextlib
import functools
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
OPERATOR_IMAGE = os.environ.get("OPERATOR_IMAGE", "localhost/memory-migration:test")
CHROMA = os.environ.get("CHROMA_IMAGE", "localhost/chroma:1.5.9")
OLD_CHROMA = os.environ.get("OLD_CHROMA_IMAGE", "localhost/chroma:0.5.23")
PYTHON = os.environ.get("PYTHON_IMAGE", "localhost/python:3.11")
BOX = os.environ.get("BOX_IMAGE", "localhost/box:1")
# Set by cluster.sh for the cluster of tests: processes of its containers can be killed from here.
OWN_CLUSTER = "STATE" in os.environ
# The command, of the same source as the operator's image; None with a cluster that is somebody's.
PROGRAM = os.environ.get("PROGRAM")
SECONDS = int(os.environ.get("SCENARIO_SECONDS", "300"))
# What test.sh knows the namespaces of tests by, on a cluster that has others.
OF_TESTS = {"pod-security.kubernetes.io/enforce": "restricted", "memory-migration.dev/tests": "true"}
SYSTEM, OPERATOR = "memory-migration-system", "memory-migration-operator"
CHART = HERE.parent.parent / "charts" / "memory-migration-operator"


class Failed(Exception):
    """A scenario's expectation that was not met; `status` of an answer that is an error."""

    status = None


def equal(what, seen, expected):
    if seen != expected:
        raise Failed(f"{what}: {seen!r}, expected {expected!r}")


def until(what, look, seconds=SECONDS):
    """The first true answer of `look`; a pair (False, SEEN) says what was seen instead."""
    end, seen = time.monotonic() + seconds, None
    while True:
        try:
            answer = look()
            if isinstance(answer, tuple):
                answer, seen = answer
            if answer:
                return answer
        except (Failed, OSError, http.client.HTTPException) as error:
            seen = error
        if time.monotonic() > end:
            raise Failed(f"after {seconds} s still not: {what}; last seen: {seen}")
        time.sleep(0.25)


class Api:
    """The API server, by way of `kubectl proxy`."""

    def __init__(self):
        command = ["kubectl", "proxy", "--port=0", "--reject-methods=^$", "--reject-paths=^$"]
        self.proxy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        atexit.register(self.proxy.terminate)
        self.port = int(re.search(rb":(\d+)", self.proxy.stdout.readline()).group(1))

    def call(self, method, path, body=None, content="application/json", missing_is_fine=False):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": content, "Accept": "application/json, text/plain"})
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status == 404 and missing_is_fine:
            return None
        if answer.status >= 300:
            failure = Failed(f"{method} {path}: {answer.status} {text[:500]}")
            failure.status = answer.status
            raise failure
        return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text

    def get(self, path):
        return self.call("GET", path, missing_is_fine=True)


@functools.cache
def api():
    return Api()


def kubectl(*args, stdin=None, check=True, errors=False):
    """What it prints; with `errors` also what it says of a failure."""
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=not isinstance(stdin, bytes))
    if check and done.returncode:
        raise Failed(f"kubectl {' '.join(args)}: {done.stderr}")
    return done.stdout + done.stderr if errors else done.stdout


# Also over what kubectl has applied: the scenarios of an earlier run end so.
INSTALL = ("upgrade", "--install", "--take-ownership", "--force-conflicts")


def helm(*args):
    done = subprocess.run(["helm", *args], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"helm {' '.join(args)}: {done.stderr}")
    return done.stdout


def install(namespace=SYSTEM, **values):
    """Installs or upgrades the chart, and waits until its controller is ready."""
    repository, tag = OPERATOR_IMAGE.rsplit(":", 1)
    values = {"image.repository": repository, "image.tag": tag, "chroma.image": CHROMA, "test.image": BOX} | values
    # A cluster that stayed up may run an older image of this name.
    values |= {"podAnnotations.image": os.environ.get("IMAGE_DIGEST", OPERATOR_IMAGE)}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    wait = ["--wait", f"--timeout={SECONDS}s"]
    helm(*INSTALL, OPERATOR, str(CHART), "-n", namespace, *sets, *wait)


def install_into_its_namespace():
    api()  # one for all threads
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": OF_TESTS}})
    install()


def scale(replicas):
    """So many replicas of the controller."""
    kubectl("-n", SYSTEM, "scale", f"deployment/{OPERATOR}", f"--replicas={replicas}")
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")


def writes_by_name(namespace, seconds):
    """What the operator wrote within the last seconds, refused writes too, by the audit log: by the name of each migration of
    a namespace, and for all of them together by `lock`. Only in the cluster of tests."""
    user = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
    command = ["python3", str(HERE / "audit.py"), os.environ["STATE"] + "/log/audit.jsonl", user, str(seconds), namespace]
    counted = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: int(count) for count, name in (line.split() for line in counted.splitlines())}


def apply(*objects, namespace=None):
    where = ["-n", namespace] if namespace else []
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return kubectl(*where, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))


def process(words, group=""):
    """The number of a process by words of its command line and of its cgroups. Only in the cluster of tests."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            groups, line = (folder / "cgroup").read_text(), (folder / "cmdline").read_bytes().decode()
            if group in groups and all(word in line for word in words):
                return int(folder.name)
    raise Failed(f"there is no process with {words} in a cgroup with {group!r}")


def process_of(namespace, pod, words):
    """The number of a process of a pod's container."""
    return process(words, api().get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["metadata"]["uid"])


def kill(namespace, pod, words):
    """Kills a process of a pod's container, as a crash does."""
    os.kill(process_of(namespace, pod, words), signal.SIGKILL)
