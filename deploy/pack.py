"""Packs files into a .tar.gz; the same files give the same bytes on every system. Standard library only.

Usage: pack.py OUT.tar.gz FILE...    each under its own name, without its folder
"""

import gzip
import io
import os
import sys
import tarfile


def main():
    out, *files = sys.argv[1:]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(files, key=os.path.basename):
            with open(file, "rb") as content:
                data = content.read()
            entry = tarfile.TarInfo(os.path.basename(file))
            entry.size = len(data)
            entry.mode = 0o755 if os.access(file, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(data))
    # the time and the name would stand in the header
    with open(out, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed:
        compressed.write(packed.getvalue())


main()
