"""What the scenarios are written with: a namespace, claims, Chroma servers, migrations, and conditions to wait for.

Talks to the API server through `kubectl proxy`, and to Chroma through the API server, so that it works the same on any
cluster. Waits for conditions only, each with a deadline; when one passes it says what was seen. Standard library only.
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "stores"))
import demo  # noqa: E402

OPERATOR_IMAGE = os.environ.get("OPERATOR_IMAGE", "localhost/memory-migration:test")
CHROMA = os.environ.get("CHROMA_IMAGE", "localhost/chroma:1.5.9")
OLD_CHROMA = os.environ.get("OLD_CHROMA_IMAGE", "localhost/chroma:0.5.23")
PYTHON = os.environ.get("PYTHON_IMAGE", "localhost/python:3.11")
BOX = os.environ.get("BOX_IMAGE", "localhost/box:1")
# Set by cluster.sh for the cluster of tests: processes of its containers can be killed from here.
OWN_CLUSTER = "STATE" in os.environ
SECONDS = int(os.environ.get("SCENARIO_SECONDS", "300"))
COLLECTION = demo.COLLECTION
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
GROUP = "/apis/memory-migration.dev/v1alpha1"
SYSTEM, OPERATOR = "memory-migration-system", "memory-migration-operator"
CHART = HERE.parent.parent / "charts" / "memory-migration-operator"
ALLOWED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class Failed(Exception):
    """A scenario's expectation that was not met."""


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
            raise Failed(f"{method} {path}: {answer.status} {text[:500]}")
        return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text

    def get(self, path):
        return self.call("GET", path, missing_is_fine=True)


API = None


def api():
    global API
    API = API or Api()
    return API


def kubectl(*args, stdin=None, check=True):
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=not isinstance(stdin, bytes))
    if check and done.returncode:
        raise Failed(f"kubectl {' '.join(args)}: {done.stderr}")
    return done.stdout


def helm(*args):
    done = subprocess.run(["helm", *args], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"helm {' '.join(args)}: {done.stderr}")
    return done.stdout


def install(namespace=SYSTEM, **values):
    """Installs or upgrades the chart, and waits until its controller is ready."""
    repository, tag = OPERATOR_IMAGE.rsplit(":", 1)
    values = {"image.repository": repository, "image.tag": tag, "chroma.image": CHROMA, "test.image": BOX} | values
    sets = [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
    helm("upgrade", "--install", OPERATOR, str(CHART), "-n", namespace, *sets, "--wait", f"--timeout={SECONDS}s")


def apply(*objects, namespace=None):
    where = ["-n", namespace] if namespace else []
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return kubectl(*where, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))


def certify(folder, host):
    """Makes tls.key and tls.crt for a host, signed by a CA of its own, ca.crt."""
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    key = ["-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt"]
    subprocess.run([*new, "-x509", "-days", "2", "-subj", "/CN=ca of a test", *key], check=True, capture_output=True)
    key = ["-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.csr"]
    subprocess.run([*new, "-subj", "/CN=gateway", *key], check=True, capture_output=True)
    pathlib.Path(folder, "extensions").write_text(f"subjectAltName=DNS:{host}\n")
    sign = ["openssl", "x509", "-req", "-days", "2", "-in", f"{folder}/tls.csr", "-out", f"{folder}/tls.crt"]
    sign += ["-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key", "-extfile", f"{folder}/extensions"]
    subprocess.run(sign, check=True, capture_output=True)


_memories = {}
_memories_lock = threading.Lock()


def memories(count):
    """What a store of `demo.py` holds: id to (document, metadata, vector)."""
    with _memories_lock:
        for row in range(len(_memories), count):
            name, text, metadata = demo.memory(row)
            _memories[name] = (text, metadata, demo.embed(text))
        return dict(list(_memories.items())[:count])


def assert_same(seen, expected, what):
    """Equal ids, documents and metadata; vectors but for what float32 and the engine's cosine leave."""
    equal(f"{what}: ids", sorted(seen), sorted(expected))
    for name, (text, metadata, vector) in expected.items():
        equal(f"{what}: document of {name}", seen[name][0], text)
        if any(abs(a - b) > 1e-6 for a, b in zip(vector, seen[name][2], strict=True)):
            raise Failed(f"{what}: the vector of {name} differs")
        for key, value in metadata.items():
            held = seen[name][1][key]
            if held != value and not (isinstance(value, float) and abs(held - value) < 1e-6):
                raise Failed(f"{what}: {key} of {name}: {held!r}, expected {value!r}")


class Server:
    """A Chroma server of the cluster, behind a Service."""

    def __init__(self, namespace, name, tenant="default_tenant", database="default_database"):
        self.namespace, self.name, self.tenant, self.database = namespace, name, tenant, database

    def within(self, tenant, database):
        return Server(self.namespace, self.name, tenant, database)

    def endpoint(self, **more):
        where = {"service": {"name": self.name, "namespace": self.namespace, "port": 8000}}
        return {"remote": where | {"tenant": self.tenant, "database": self.database} | more}

    def call(self, method, path, body=None, missing_is_fine=False):
        base = f"/api/v1/namespaces/{self.namespace}/services/{self.name}:8000/proxy/api/v2"
        return api().call(method, base + path, body, missing_is_fine=missing_is_fine)

    def collection(self, name):
        path = f"/tenants/{self.tenant}/databases/{self.database}/collections/{name}"
        return self.call("GET", path, missing_is_fine=True)

    def records(self, collection):
        found = self.collection(collection)
        if found is None:
            raise Failed(f"{self.namespace}/{self.name} has no collection {collection}")
        path = f"/tenants/{self.tenant}/databases/{self.database}/collections/{found['id']}"
        count, records = self.call("GET", path + "/count"), {}
        for offset in range(0, count, 200):
            page = {"limit": 200, "offset": offset, "include": ["documents", "metadatas", "embeddings"]}
            got = self.call("POST", path + "/get", page)
            records |= dict(zip(got["ids"], zip(got["documents"], got["metadatas"], got["embeddings"])))
        equal(f"records that {self.name} lists of {collection}", len(records), count)
        return records

    def holds(self, collection, count):
        """Exactly the first `count` memories of a demo store."""
        assert_same(self.records(collection), memories(count), f"{self.namespace}/{self.name} {collection}")


class Migration:
    """A MemoryMigration that was applied."""

    def __init__(self, scenario, name):
        self.scenario, self.namespace, self.name = scenario, scenario.namespace, name
        self.path = f"{GROUP}/namespaces/{self.namespace}/memorymigrations/{name}"

    def object(self):
        found = api().get(self.path)
        if found is None:
            raise Failed(f"MemoryMigration {self.namespace}/{self.name} is gone")
        return found

    @property
    def status(self):
        return self.object()["status"]

    def condition(self, kind="Ready"):
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), {})

    def say(self):
        ready = self.condition()
        return f"Ready={ready.get('status')} {ready.get('reason')}: {ready.get('message')}"

    def reaches(self, *reasons, seconds=SECONDS):
        """Waits until one of these is the reason, and returns its message. Another end than these fails at once."""

        def look():
            object = self.object()
            status = object["status"]
            conditions = {c["type"]: c for c in status.get("conditions", [])}
            ready = conditions.get("Ready", {})
            current = status.get("observedGeneration") == object["metadata"]["generation"]
            if current and ready.get("reason") in reasons:
                return (ready["message"], None)
            ended = ready.get("status") == "True" or conditions.get("Stalled", {}).get("status") == "True"
            if current and ended:
                raise Ended(f"{self.name} ended with {ready['reason']}, not {'/'.join(reasons)}: {ready['message']}")
            return (None, f"{ready.get('reason')}: {ready.get('message')}")

        return until(f"{self.name} is {'/'.join(reasons)}", look, seconds)

    def verified(self, count, reason="Verified"):
        """Waits for the end, and for a status that adds up."""
        self.reaches(reason)
        object = self.object()
        counts = object["status"]["counts"]
        equal(f"{self.name}: counts.source", counts["source"], count)
        equal(f"{self.name}: counts.verified", counts["verified"], count)
        for bad in ("different", "missing", "changed", "unreadable"):
            equal(f"{self.name}: counts.{bad}", counts[bad], 0)
        conditions = {c["type"]: c["status"] for c in object["status"]["conditions"]}
        equal(f"{self.name}: conditions", conditions, {"Ready": "True", "Reconciling": "False", "Stalled": "False"})
        return object["status"]

    def copying(self, at_least=1):
        """Waits until records were copied, as its status tells, while it still copies."""

        def look():
            status = self.status
            progress = status.get("progress") or {}
            busy = progress.get("stage") == "Copying" and progress.get("records", 0) >= at_least
            if status.get("phase") in ("Succeeded", "Failed"):
                raise Ended(f"{self.name} ended before it was seen copying: {self.say()}")
            return (busy, f"{status.get('phase')} {progress}")

        return until(f"{self.name} is copying", look)

    def patch(self, **spec):
        return api().call("PATCH", self.path, {"spec": spec}, "application/merge-patch+json")

    def delete(self):
        api().call("DELETE", self.path)

    def pods(self, alive=False):
        uid = self.object()["metadata"]["uid"]
        pods = self.scenario.list("v1", "pods", f"memory-migration.dev/uid={uid}")
        return [p for p in pods if not alive or p["status"].get("phase") in ("Pending", "Running")]

    def running_pod(self):
        def look():
            running = [p for p in self.pods() if p["status"].get("phase") == "Running"]
            return (running[0]["metadata"]["name"] if running else None, "no running pod")

        return until(f"{self.name} has a running pod", look)

    def events(self):
        events = self.scenario.list("events.k8s.io/v1", "events")
        return [(e["reason"], e["note"]) for e in events if e["regarding"].get("name") == self.name]


class Ended(Exception):
    """A migration that ended otherwise: waiting longer is of no use."""


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


class Scenario:
    """A namespace of its own, of the pod-security level restricted unless the scenario asks for less, and a database of
    its own in the server that all share."""

    def __init__(self, name, level="restricted"):
        self.name, self.namespace = name, "s-" + name.replace("_", "-")
        kubectl("delete", "namespace", self.namespace, "--ignore-not-found")
        labels = {"pod-security.kubernetes.io/enforce": level}
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
        self.prod = Server("prod", "chroma", database=self.namespace)
        until(f"the server has a new database {self.namespace}", self.renew)

    def say(self, text):
        print(f"        {self.name}: {text}", flush=True)

    def renew(self):
        # Chroma 1.5.9 answers 500 (database is locked) while another database is made.
        databases = "/tenants/default_tenant/databases"
        self.prod.call("DELETE", f"{databases}/{self.namespace}", missing_is_fine=True)
        self.prod.call("POST", databases, {"name": self.namespace})
        return True

    def apply(self, *objects):
        apply(*objects, namespace=self.namespace)

    def k(self, *args, **more):
        return kubectl("-n", self.namespace, *args, **more)

    def list(self, version, kind, labels=""):
        base = "/api/v1" if version == "v1" else f"/apis/{version}"
        query = "?labelSelector=" + labels.replace("=", "%3D").replace("/", "%2F") if labels else ""
        return api().get(f"{base}/namespaces/{self.namespace}/{kind}{query}")["items"]

    def delete(self, kind, name, grace=None):
        args = ["--grace-period=0", "--force"] if grace == 0 else []
        self.k("delete", kind, name, "--wait=true", *args)

    def claim(self, name, count=None, user=1000, shell=None, keep=False):
        """A bound claim, with a demo store of `count` memories in `chroma_db`, made by this user. `shell` runs there."""
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim})
        self.use(name, user)
        if count:
            store = pathlib.Path(os.environ["STORES"]) / f"{count}.tar"
            self.k("exec", "-i", f"uses-{name}", "--", "sh", "-c", "tar -x -C /data", stdin=store.read_bytes())
        if shell:
            self.k("exec", f"uses-{name}", "--", "sh", "-c", shell)
        if not keep:
            self.free(name)

    def use(self, claim, user=1000):
        """A pod that has the claim open and does nothing."""
        security = {"runAsUser": user, "runAsGroup": user, "fsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}}
        if user:
            security["runAsNonRoot"] = True
        box = {
            "name": "box",
            "image": BOX,
            "command": ["/bin/sh", "-c", "sleep 86400"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
        spec = {
            "automountServiceAccountToken": False,
            "securityContext": security,
            "terminationGracePeriodSeconds": 0,
            "containers": [box],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        }
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"uses-{claim}"}, "spec": spec})
        self.k("wait", "--for=condition=Ready", f"pod/uses-{claim}", f"--timeout={SECONDS}s")

    def free(self, claim):
        self.delete("pod", f"uses-{claim}")

    def chroma(self, name="chroma", claim=None, path="/data", image=CHROMA, user=1000, wait=True):
        """A Chroma server with a Service, on a claim of its own or on this one."""
        port = {"containerPort": 8000}
        version = 1 if "0.5" in image else 2
        container = {
            "name": "chroma",
            "image": image,
            "args": ["run", "--host", "0.0.0.0", "--port", "8000", "--path", path],
            # Where 0.5 writes chroma.log.
            "workingDir": "/tmp",
            "ports": [port],
            "env": [{"name": "HOME", "value": "/tmp"}],
            "readinessProbe": {"httpGet": {"path": f"/api/v{version}/heartbeat", "port": 8000}, "periodSeconds": 1},
            "securityContext": ALLOWED,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
        }
        security = {"runAsUser": user, "runAsGroup": user, "fsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 20,
            "securityContext": security | ({"runAsNonRoot": True} if user else {}),
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
        storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        stateful = {
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        }
        if claim:
            pod["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        else:
            stateful["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": storage}]
        service = {"selector": {"app": name}, "ports": [{"name": "http", "port": 8000}]}
        self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": stateful},
        )
        if wait:
            self.k("rollout", "status", f"statefulset/{name}", f"--timeout={SECONDS}s")
        return Server(self.namespace, name)

    def gateway(self, name, token, tls=False):
        """A proxy before the shared server that asks for this bearer token; with TLS by a CA made for it, returned."""
        host, folder = f"{name}.{self.namespace}.svc", tempfile.mkdtemp()
        mounted = {"gateway.py": (HERE / "gateway.py").read_text(), "token": token}
        if tls:
            certify(folder, host)
            mounted |= {file: pathlib.Path(folder, file).read_text() for file in ("tls.crt", "tls.key")}
        ca = pathlib.Path(folder, "ca.crt").read_text() if tls else None
        shutil.rmtree(folder)
        self.secret(name, **mounted)
        container = {
            "name": "gateway",
            "image": PYTHON,
            "command": ["/usr/bin/python3.11", "/etc/gateway/gateway.py"],
            "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
            "securityContext": ALLOWED,
            "volumeMounts": [{"name": "files", "mountPath": "/etc/gateway"}],
        }
        security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": security,
            "containers": [container],
            "volumes": [{"name": "files", "secret": {"secretName": name}}],
        }
        labels = {"app": name}
        service = {"selector": labels, "ports": [{"port": 8000}]}
        self.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": pod},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        )
        self.k("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={SECONDS}s")
        return ca

    def secret(self, name, **data):
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})

    def migrate(self, name, source, target, **spec):
        """Applies a MemoryMigration, as a user does."""
        spec = {"source": source, "target": target} | spec
        spec.setdefault("batch", {"size": 100, "delay": "0s"})
        kind = {"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration"}
        self.apply(kind | {"metadata": {"name": name}, "spec": spec})
        return Migration(self, name)

    def kill(self, pod, words):
        kill(self.namespace, pod, words)

    def pod(self, name):
        return api().get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")


def local(claim, path="chroma_db", **more):
    return {"local": {"claimName": claim, "path": path} | more}


def slow(size=20, delay="500ms"):
    """Batches slow enough to be interrupted: 2,000 memories take 50 s, 300 take 7 s."""
    return {"size": size, "delay": delay}


def renamed(target, name=COLLECTION):
    return [{"name": name, "targetName": target}]
