"""The nearest records of a vector, as the official client answers: query.py PATH_OR_URL TENANT DATABASE COLLECTION VECTOR

One JSON object: the ids, nearest first, and their distances. VECTOR is a JSON array. A folder is opened as it is: give a copy.
"""

import json
import os
import sys
from urllib.parse import urlsplit

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
from chromadb.config import Settings  # noqa: E402


def main():
    place, tenant, database, name, vector = sys.argv[1:]
    settings = Settings(anonymized_telemetry=False)
    if place.startswith("http"):
        url = urlsplit(place)
        client = chromadb.HttpClient(
            host=url.hostname, port=url.port, settings=settings, tenant=tenant, database=database
        )
    else:
        client = chromadb.PersistentClient(place, settings=settings, tenant=tenant, database=database)
    collection = client.get_collection(name)
    found = collection.query(query_embeddings=[json.loads(vector)], n_results=collection.count(), include=["distances"])
    print(json.dumps({"ids": found["ids"][0], "distances": found["distances"][0]}))


if __name__ == "__main__":
    main()
