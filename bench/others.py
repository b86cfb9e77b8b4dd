"""What we are measured against: the engine's ceiling, a plain loop with the official client, and reading over HTTP."""

import json
import os
import shutil
import sys
import tempfile
import threading
import time

import records


def add_rate(server, name, bodies, connections, count):
    """Records a second of adds with these bodies over so many connections, until the last is answered."""
    first = server.connection()
    collection = first.create(name)
    queue, lock, failed = list(reversed(bodies)), threading.Lock(), []

    def work(connection):
        try:
            while True:
                with lock:
                    if not queue:
                        return
                    body = queue.pop()
                connection.add(collection, body)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(server.connection(),)) for _ in range(connections)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - started
    if failed or first.count(collection) != count:
        raise RuntimeError(f"the ceiling's adds went wrong: {failed[:1]}")
    first.delete(name)
    return count / seconds


class Probe:
    """Reads one record again and again, as another client of the server would."""

    def __init__(self, server, name, every=0.1):
        self.server, self.name, self.every = server, name, every
        self.took, self.stopped = [], threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def _work(self):
        connection = self.server.connection()
        collection = connection.collection(self.name)
        while not self.stopped.wait(self.every):
            started = time.monotonic()
            connection.get(collection, ids=["record-0000000"], include=["documents", "metadatas", "embeddings"])
            self.took.append(time.monotonic() - started)

    def p95_ms(self):
        ordered = sorted(self.took)
        return 1000 * ordered[int(len(ordered) * 0.95)] if ordered else None


def _settings():
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def _loop(source, target):
    """Pages of 1000, each added: what one would write in ten lines."""
    into = target.create_collection("loop", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    offset = 0
    while True:
        page = source.get(limit=1000, offset=offset, include=["embeddings", "documents", "metadatas"])
        if not page["ids"]:
            return
        into.add(
            ids=page["ids"], embeddings=page["embeddings"], documents=page["documents"], metadatas=page["metadatas"]
        )
        offset += 1000


def loop_to_remote(store, port):
    """A copy of the store is opened by the official client. Seconds of the loop alone."""
    import chromadb

    with tempfile.TemporaryDirectory(prefix="bench-loop-") as scratch:
        folder = shutil.copytree(store, os.path.join(scratch, "store"))
        source = chromadb.PersistentClient(folder, settings=_settings()).get_collection(records.NAME)
        target = chromadb.HttpClient(host="127.0.0.1", port=port, settings=_settings())
        started = time.monotonic()
        _loop(source, target)
        seconds = time.monotonic() - started
        target.delete_collection("loop")
        return seconds


def _into_a_store(source, scratch):
    import chromadb

    target = chromadb.PersistentClient(os.path.join(scratch, "store"), settings=_settings())
    started = time.monotonic()
    _loop(source, target)
    return time.monotonic() - started


def loop_to_local(name, port):
    import chromadb

    with tempfile.TemporaryDirectory(prefix="bench-loop-") as scratch:
        source = chromadb.HttpClient(host="127.0.0.1", port=port, settings=_settings()).get_collection(name)
        return _into_a_store(source, scratch)


def loop_among_stores(store, _):
    import chromadb

    with tempfile.TemporaryDirectory(prefix="bench-loop-") as scratch:
        folder = shutil.copytree(store, os.path.join(scratch, "source"))
        source = chromadb.PersistentClient(folder, settings=_settings()).get_collection(records.NAME)
        return _into_a_store(source, scratch)


INCLUDE = ["documents", "metadatas", "embeddings", "uris"]


def read_pages(server, name, page):
    """Seconds to read everything in pages; the answers are not even parsed."""
    connection = server.connection()
    collection = connection.collection(name)
    count, started = connection.count(collection), time.monotonic()
    for offset in range(0, count, page):
        connection.get(collection, limit=page, offset=offset, include=INCLUDE)
    return time.monotonic() - started


def read_by_id(server, name, page, connections):
    """Seconds to read everything by id, over several connections; the answers are not even parsed."""
    connection = server.connection()
    collection = connection.collection(name)
    started = time.monotonic()
    every = json.loads(connection.get(collection, include=[]))["ids"]
    pages, lock = [every[start : start + page] for start in range(0, len(every), page)], threading.Lock()

    def work(connection):
        while True:
            with lock:
                if not pages:
                    return
                wanted = pages.pop()
            connection.get(collection, ids=wanted, include=INCLUDE)

    workers = [threading.Thread(target=work, args=(server.connection(),)) for _ in range(connections)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.monotonic() - started


if __name__ == "__main__":
    loop, source, port = sys.argv[1:]
    loops = {"to-remote": loop_to_remote, "to-local": loop_to_local, "among-stores": loop_among_stores}
    print(loops[loop](source, int(port)))
