"""Makes a local store as mcp-memory-service leaves it: demo.py NEW_FOLDER COUNT

Starts the `chroma` beside this interpreter on the folder, lets the quickstart's agent add COUNT memories and ends it: the
server alone is enough, no client. The same memories on each run.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "quickstart"))
from agent import COLLECTION, answers, embed, memory, remember  # noqa: E402, F401


@contextlib.contextmanager
def server(folder):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    chroma = os.path.join(os.path.dirname(sys.executable), "chroma")
    command = [chroma, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield answers(f"http://127.0.0.1:{port}", lambda: process.poll() is not None, seconds=60)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main():
    folder, count = sys.argv[1], int(sys.argv[2])
    if os.path.exists(folder):
        sys.exit(f"{folder} exists: name a new folder")
    with server(folder) as collections:
        remember(collections, COLLECTION, count)


if __name__ == "__main__":
    main()
