"""A mock of a Chroma server that takes everything and keeps nothing: to see what our side costs without an engine.

It answers what `migrate --verification counts` asks. Its speed is no measurement of anything real.
"""

import json
import socket
import threading


class Mock:
    """Listens while the block lasts."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.collection, self.records = None, 0
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        stream = client.makefile("rb")
        while line := stream.readline():
            method, path, _ = line.decode().split(" ", 2)
            length = 0
            while (header := stream.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = stream.read(length)
            status, answer = self._answer(method, path.split("?")[0], body)
            text = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
            client.sendall(head.encode() + text)

    def _answer(self, method, path, body):
        last = path.rsplit("/", 1)[-1]
        if last == "version":
            return 200, "1.0.0"
        if last == "pre-flight-checks":
            return 200, {"max_batch_size": 5461, "supports_base64_encoding": True}
        if path.endswith("/databases/default_database"):
            return 200, {"id": "00000000-0000-0000-0000-000000000000", "name": last, "tenant": "default_tenant"}
        if last == "collections_count":
            return 200, int(self.collection is not None)
        if last == "collections" and method == "GET":
            return 200, [self.collection] if self.collection else []
        if last == "collections":
            asked = json.loads(body)
            known = {"id": "00000000-0000-0000-0000-000000000001", "dimension": None, "tenant": "default_tenant"}
            configuration = asked.get("configuration")
            self.collection = {**known, "name": asked["name"], "metadata": None, "configuration_json": configuration}
            self.collection["schema"] = asked.get("schema")
            return 200, self.collection
        if last == "add":
            with self.lock:
                # each id is followed by a comma or the end of the first column
                self.records += body[: body.index(b"]")].count(b",") + 1
            return 201, {}
        if last == "count":
            return 200, self.records
        if last == "get":
            return 200, {"ids": [], "embeddings": [], "documents": [], "uris": [], "metadatas": []}
        return 404, {"error": "NotFoundError", "message": "not in the mock"}
