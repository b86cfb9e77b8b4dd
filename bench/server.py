"""A Chroma server on loopback for the benchmarks, and plain HTTP to it. Measures nothing."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from measure import cpu_seconds

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Connection:
    """One kept connection."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def call(self, method, path, body=None):
        self.http.request(method, path, body, {"content-type": "application/json"})
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return text

    def create(self, name):
        """A collection with Chroma's own settings; its id."""
        body = json.dumps({"name": name, "configuration": {"hnsw": {"space": "cosine"}}})
        return json.loads(self.call("POST", COLLECTIONS, body))["id"]

    def collection(self, name):
        return json.loads(self.call("GET", f"{COLLECTIONS}/{name}"))["id"]

    def delete(self, name):
        self.call("DELETE", f"{COLLECTIONS}/{name}")

    def add(self, collection, body):
        self.call("POST", f"{COLLECTIONS}/{collection}/add", body)

    def get(self, collection, **what):
        return self.call("POST", f"{COLLECTIONS}/{collection}/get", json.dumps(what))

    def count(self, collection):
        return int(self.call("GET", f"{COLLECTIONS}/{collection}/count"))


class Server:
    """A server on a folder of its own, or on a given one; ends with the block."""

    def __init__(self, chroma, folder=None):
        self.chroma, self.folder, self.own = chroma, folder, folder is None

    def __enter__(self):
        self.folder = self.folder or tempfile.mkdtemp(prefix="bench-server-")
        self.port = free_port()
        arguments = ["run", "--path", self.folder, "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen([self.chroma, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                Connection(self.port).call("GET", "/api/v2/heartbeat")
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the Chroma server did not start")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def cpu(self):
        """CPU seconds so far."""
        return cpu_seconds(self.process.pid)[0]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connection(self):
        return Connection(self.port)
