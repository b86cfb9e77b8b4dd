"""Changes the first record (by id) of a collection on a server, as another writer would.

usage: edit.py URL COLLECTION uri|document|vector|delete
"""

import sys
from urllib.parse import urlparse

import chromadb

url, collection, what = sys.argv[1:4]
server = urlparse(url)
records = chromadb.HttpClient(host=server.hostname, port=server.port).get_collection(collection)
first = min(records.get(include=[])["ids"])
if what == "uri":
    records.update(ids=[first], uris=["file:///somewhere"])
elif what == "document":
    records.update(ids=[first], documents=["another text"])
elif what == "vector":
    vector = records.get(ids=[first], include=["embeddings"])["embeddings"][0]
    records.update(ids=[first], embeddings=[[x + 1 for x in vector]])
elif what == "delete":
    records.delete(ids=[first])
else:
    sys.exit(f"edit.py: unknown change {what!r}")
