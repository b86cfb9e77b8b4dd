"""Judges a trial of the fault campaign: prints every record of one collection as the official client reads it.

Requests come on standard input, one JSON object a line: {"at": URL or FOLDER, "collection": NAME}. Each answer is the
collection's line and its records' lines as dump.py prints them, and then {"end": null}, or {"end": WHY} if there is none.
Every request is read by a child of its own: no client keeps anything from one trial for the next.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from urllib.parse import urlsplit

import dump
from dump import Settings, chromadb

TENANT, DATABASE = "default_tenant", "default_database"


def client(at):
    settings = Settings(anonymized_telemetry=False)
    if at.startswith("http"):
        parts = urlsplit(at)
        return chromadb.HttpClient(host=parts.hostname, port=parts.port, settings=settings)
    return chromadb.PersistentClient(at, settings=settings)


def answer(at, name, out):
    collection = client(at).get_collection(name, embedding_function=None)
    header = {
        "collection": name,
        "id": str(collection.id),
        "tenant": TENANT,
        "database": DATABASE,
        "space": dump.space(collection),
        "metadata": dump.typed_metadata(collection.metadata),
        "configuration": None,
        "count": collection.count(),
    }
    print(json.dumps(header), file=out)
    for record in dump.records(collection):
        print(json.dumps(record), file=out)


def judged(at, name):
    why = None
    with tempfile.TemporaryFile("w+") as out:
        try:
            answer(at, name, out)
        # whatever it is, the campaign wants to read it; a panic of the engine is no Exception
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
        out.seek(0)
        shutil.copyfileobj(out, sys.stdout)
    print(json.dumps({"end": why}), flush=True)


def main():
    for line in sys.stdin:
        request = json.loads(line)
        at = request["at"]
        with tempfile.TemporaryDirectory() as scratch:
            if not at.startswith("http"):
                # the engine may change what it opens
                at = shutil.copytree(at, os.path.join(scratch, "store"))
            child = os.fork()
            if child == 0:
                # a store that is damaged may hold the client up for ever, or end it
                signal.alarm(120)
                try:
                    judged(at, request["collection"])
                finally:
                    os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                print(json.dumps({"end": f"the client's process ended with the status {status}"}), flush=True)


if __name__ == "__main__":
    main()
