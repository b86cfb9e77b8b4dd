"""Real Chroma for the tests: the server alone, installed by tests/chroma/install.sh; CHROMA names its folder."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from typing import Any, Dict, Iterator, List

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "deploy", "quickstart"))
from agent import COLLECTION, answers, memory  # type: ignore[import-not-found]  # noqa: E402

PYTHON = os.path.join(os.environ["CHROMA"], "bin", "python")
CHROMA = os.path.join(os.environ["CHROMA"], "bin", "chroma")
#: As many as the default pace of 10 records a second writes in some seconds.
COUNT = 40


def new_store(folder: str) -> None:
    """A store with COUNT memories, as an agent leaves it."""
    demo = os.path.join(ROOT, "tests", "stores", "demo.py")
    subprocess.run([PYTHON, demo, folder, str(COUNT)], check=True)


@contextlib.contextmanager
def server(folder: str) -> Iterator[int]:
    """A server on the folder; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [CHROMA, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            answers(f"http://127.0.0.1:{port}", lambda: process.poll() is not None, 60)
            yield port
        finally:
            process.terminate()


def expected() -> Dict[str, Any]:
    """What the store of new_store holds: document and metadata by id."""
    return {key: (document, _rounded(metadata)) for key, document, metadata in map(memory, range(COUNT))}


def held(port: int, name: str = COLLECTION) -> Dict[str, Any]:
    """What a server holds, as it says itself."""
    collections = answers(f"http://127.0.0.1:{port}")
    found: List[Any] = _call(collections)
    records = f"{collections}/{next(each['id'] for each in found if each['name'] == name)}"
    got = _call(f"{records}/get", {"include": ["documents", "metadatas", "embeddings"]})
    assert all(len(vector) == 384 for vector in got["embeddings"])
    rows = zip(got["ids"], got["documents"], got["metadatas"])
    return {key: (document, _rounded(metadata)) for key, document, metadata in rows}


def _rounded(metadata: Dict[str, Any]) -> Dict[str, Any]:
    """Chroma itself moves a double by a few units in the last place."""
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in metadata.items()}


def edit(port: int, key: str, document: str) -> None:
    """Gives one record another document."""
    collections = answers(f"http://127.0.0.1:{port}")
    records = f"{collections}/{next(each['id'] for each in _call(collections) if each['name'] == COLLECTION)}"
    _call(f"{records}/update", {"ids": [key], "documents": [document]})


def _call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
