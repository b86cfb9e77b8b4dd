#!/usr/bin/env bash
# Makes the committed stores again: make.sh VERSION... ; each becomes chroma-VERSION.tar.gz (the folder) and
# chroma-VERSION.jsonl.gz (what that version's own client reads from a copy of it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
[ $# -gt 0 ] || { echo "usage: make.sh VERSION..." >&2; exit 1; }
for version in "$@"; do
  folder=$(../chroma/install.sh "$version" | cut -d' ' -f2-)
  scratch=$(mktemp -d)
  "$folder/bin/python" make.py "$scratch/store"
  "$folder/bin/python" ../chroma/dump.py --path "$scratch/store" | gzip -9n >"chroma-$version.jsonl.gz"
  # Sparse: HNSW files are mostly holes, 90 MB of them in 1.0.
  tar --sparse --sort=name --owner=0 --group=0 --numeric-owner -C "$scratch" -c store | gzip -9n >"chroma-$version.tar.gz"
  rm -rf "$scratch"
done
