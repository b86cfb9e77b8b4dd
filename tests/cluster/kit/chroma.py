"""A Chroma server of the cluster, asked through the API server, and the memories that it must hold."""

import sys
import threading

from .cluster import HERE, Failed, api, equal, until

sys.path.insert(0, str(HERE.parent / "stores"))
import demo  # noqa: E402

COLLECTION = demo.COLLECTION


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
    """Equal ids, documents and metadata, and no uris; vectors and doubles but for what float32 and the engine's cosine leave."""
    equal(f"{what}: ids", sorted(seen), sorted(expected))
    for name, (text, metadata, vector) in expected.items():
        document, held, held_vector, uri = seen[name]
        equal(f"{what}: document and uri of {name}", (document, uri), (text, None))
        equal(f"{what}: metadata keys of {name}", sorted(held), sorted(metadata))
        if any(abs(a - b) > 1e-6 for a, b in zip(vector, held_vector, strict=True)):
            raise Failed(f"{what}: the vector of {name} differs")
        for key, value in metadata.items():
            near = isinstance(value, float) and abs(held[key] - value) < 1e-6
            if type(held[key]) is not type(value) or not (held[key] == value or near):
                raise Failed(f"{what}: {key} of {name}: {held[key]!r}, expected {value!r}")


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
        """Waits while the Service has no pod: it knows of a new one late, and of a busy one not always."""
        base = f"/api/v1/namespaces/{self.namespace}/services/{self.name}:8000/proxy/api/v2"

        def look():
            try:
                return [api().call(method, base + path, body, missing_is_fine=missing_is_fine)]
            except Failed as failure:
                return (None, failure) if failure.status == 503 else [failure]

        answer = until(f"{self.namespace}/{self.name} answers", look)[0]
        if isinstance(answer, Failed):
            raise answer
        return answer

    def collection(self, name):
        path = f"/tenants/{self.tenant}/databases/{self.database}/collections/{name}"
        return self.call("GET", path, missing_is_fine=True)

    def found(self, collection):
        found = self.collection(collection)
        if found is None:
            raise Failed(f"{self.namespace}/{self.name} has no collection {collection}")
        return found

    def path(self, collection):
        found = self.found(collection)
        return f"/tenants/{self.tenant}/databases/{self.database}/collections/{found['id']}"

    def count(self, collection):
        return self.call("GET", self.path(collection) + "/count")

    def records(self, collection):
        path = self.path(collection)
        count, records = self.call("GET", path + "/count"), {}
        for offset in range(0, count, 200):
            page = {"limit": 200, "offset": offset, "include": ["documents", "metadatas", "embeddings", "uris"]}
            got = self.call("POST", path + "/get", page)
            rows = zip(got["documents"], got["metadatas"], got["embeddings"], got["uris"])
            records |= dict(zip(got["ids"], rows))
        equal(f"records that {self.name} lists of {collection}", len(records), count)
        return records

    def holds(self, collection, count):
        """Exactly the first `count` memories of a demo store, in a collection like its own."""
        found = self.found(collection)
        # What passed a server before 1.0 has index settings among them: there is no other place for them there.
        metadata = {key: value for key, value in found["metadata"].items() if not key.startswith("hnsw:")}
        equal(f"metadata of {collection}", metadata, {"description": "memories of an assistant"})
        equal(f"distance of {collection}", found["configuration_json"]["hnsw"]["space"], "cosine")
        assert_same(self.records(collection), memories(count), f"{self.namespace}/{self.name} {collection}")
