"""What a scenario is given: a namespace, claims, Chroma servers, a proxy, Secrets, migrations."""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from .chroma import COLLECTION, Server
from .cluster import BOX, CHROMA, HERE, OLD_CHROMA, PYTHON, SECONDS, Failed, api, apply, equal, kill, kubectl, until
from .migration import Migration, most_alive
from .nodes import FIRST, SECOND, folder, volume_path


def files_of(group):
    """All of a volume's files get this group at each mount: a claim here passes from one user's pod to another's."""
    return {"fsGroup": group, "seccompProfile": {"type": "RuntimeDefault"}}


ALLOWED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


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

    @contextlib.contextmanager
    def one_runner_at_a_time(self):
        """Fails if two pods of runs were alive at any time in between, by every change that the API server tells of."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        since = api().get(path)["metadata"]["resourceVersion"]
        with tempfile.TemporaryFile("w+") as told:
            watch = subprocess.Popen(["kubectl", "get", "--raw", f"{path}?watch=1&resourceVersion={since}"], stdout=told)
            try:
                yield
            finally:
                watch.terminate()
                watch.wait()
            told.seek(0)
            equal("runner pods at a time", most_alive(json.loads(line) for line in told), 1)

    def delete(self, kind, name, grace=None):
        args = ["--grace-period=0", "--force"] if grace == 0 else []
        self.k("delete", kind, name, "--wait=true", *args)

    def claim(self, name, count=None, user=1000, shell=None, keep=False, node=None, anywhere=False):
        """A bound claim, with a demo store of `count` memories in `chroma_db`, made by this user. `shell` runs there. A volume
        lies on `node`; one that is `anywhere` can be mounted on both, and has other content on each."""
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        if anywhere:
            claim |= {"storageClassName": "", "volumeName": self._volume(name)}
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim})
        self.use(name, user, node=node)
        if count:
            self.fill(name, count)
        if shell:
            self.k("exec", f"uses-{name}", "--", "sh", "-c", shell)
        if not keep:
            self.free(name)

    def fill(self, claim, count):
        """Puts a demo store into `chroma_db` of a claim that a pod of ours uses."""
        store = pathlib.Path(os.environ["STORES"]) / f"{count}.tar"
        self.k("exec", "-i", f"uses-{claim}", "--", "sh", "-c", "tar -x -C /data", stdin=store.read_bytes())

    def _volume(self, claim):
        """A ReadWriteOnce volume with a folder of its own on each node, as only storage that moves with its pod has it."""
        name = f"{self.namespace}-{claim}"
        for node in (FIRST, SECOND):
            folder(node, name).mkdir(mode=0o777, exist_ok=True)
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [FIRST, SECOND]}]}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": volume_path(name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        }
        apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
        return name

    def use(self, claim, user=1000, read_only=False, wait=True, node=None, **pod):
        """A pod that has the claim open and does nothing. `pod` are further fields of its spec."""
        security = {"runAsUser": user, "runAsGroup": user} | files_of(user)
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
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}],
        } | pod
        if node:
            spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"uses-{claim}"}, "spec": spec})
        if wait:
            self.k("wait", "--for=condition=Ready", f"pod/uses-{claim}", f"--timeout={SECONDS}s")

    def free(self, claim):
        self.delete("pod", f"uses-{claim}")

    def chroma(self, name="chroma", claim=None, path="/data", image=CHROMA, user=1000, wait=True, node=None):
        """A Chroma server with a Service, on a claim of its own or on this one."""
        port = {"containerPort": 8000}
        version = 1 if image == OLD_CHROMA else 2
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
        security = {"runAsUser": user, "runAsGroup": user} | files_of(user)
        pod = {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 20,
            "securityContext": security | ({"runAsNonRoot": True} if user else {}),
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
        if node:
            pod["nodeSelector"] = {"kubernetes.io/hostname": node}
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
            "command": ["python3.11", "/etc/gateway/gateway.py"],
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

    def quota(self, name, **hard):
        """A ResourceQuota, in force."""
        self.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}})
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas/{name}"
        until(f"the quota {name} is in force", lambda: api().get(path).get("status", {}).get("hard") == hard)

    def secret(self, name, **data):
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})

    def migrate(self, name, source, target, **spec):
        """Applies a MemoryMigration, as a user does."""
        spec = {"source": source, "target": target} | spec
        spec.setdefault("pacing", {"batchSize": 100, "delay": "0s"})
        kind = {"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigration"}
        self.apply(kind | {"metadata": {"name": name}, "spec": spec})
        return Migration(self, name)

    def judged(self, server, collection, count, foreign=0):
        """What Chroma's official client finds: memories lost, twice, and records of another client that changed."""
        return judge("look", server, collection, count, foreign)

    def foreign(self, server, collection, count=4):
        """Makes the collection with so many records of another client; a fourth one has the id of a memory."""
        judge("foreign", server, collection, count)

    def kill(self, pod, words):
        kill(self.namespace, pod, words)

    def pod(self, name):
        return api().get(f"/api/v1/namespaces/{self.namespace}/pods/{name}")


def judge(command, server, collection, *more):
    url = f"http://{server.name}.{server.namespace}.svc.cluster.local:8000"
    line = [os.environ["JUDGE"], str(HERE / "judge.py"), command, url, server.database, collection, *map(str, more)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(line)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout) if done.stdout else None


def listed(server, collection):
    """Id to document, as Chroma's official client reads them."""
    return judge("list", server, collection)


def local(claim, path="chroma_db", **more):
    return {"local": {"claimName": claim, "path": path} | more}


def slow(size=20, delay="500ms"):
    """Batches slow enough to be interrupted: 2,000 memories take 50 s, 300 take 7 s."""
    return {"batchSize": size, "delay": delay}


def resources(wanted):
    """A runner whose containers that check and migrate have these resources."""
    return {"podTemplate": {"spec": {"containers": [{"name": name, "resources": wanted} for name in ("preflight", "mover")]}}}


def renamed(target, name=COLLECTION):
    return [{"name": name, "targetName": target}]


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
