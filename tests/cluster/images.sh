#!/usr/bin/env bash
# Makes the images of the test cluster from local files, without a container engine; prints the path of each.
# Usage: images.sh base   the cluster's own, a shell (box) and a real Chroma server
#        images.sh more   those that few scenarios need: a whole Python, and Chroma 0.5.23 in it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}

image() { # FOLDER NAME:TAG ARGS...
  local out=$1/${2/:/-}.tar name=localhost/$2
  shift 2
  if [ ! -f "$out" ]; then
    python3 "$here/mkimage.py" "$name" "$out.new" "$@"
    mv "$out.new" "$out"
  fi
  echo "$out"
}

# The shared libraries of these programs, as SOURCE:DEST; none of a static one.
libraries() { { ldd "$@" 2>&1 || true; } | { grep -v ':$' | grep -o '/[^ ]*\.so[^ ]*' || true; } | grep -vF site-packages | sort -u | sed 's/.*/&:&/'; }

# The server is one shared library of its Python package: an interpreter that loads it is all it needs besides.
chroma() { # FOLDER
  local python=/usr/bin/python3.11 library=/usr/lib/python3.11 native module files=()
  # The launcher of the host's environment names its paths, so the image gets one of its own.
  native=$(echo "$("$here/../chroma/install.sh" server | cut -d' ' -f2-)"/lib/python3*/site-packages/chromadb_rust_bindings)
  printf '#!%s -SB\nimport sys, chromadb_rust_bindings as native\nnative.cli(["chroma", *sys.argv[1:]])\n' $python >"$1/chroma"
  chmod +x "$1/chroma"
  for module in codecs io abc os stat posixpath genericpath _collections_abc; do files+=("$library/$module.py:$library/$module.py"); done
  mapfile -t -O ${#files[@]} files < <(libraries $python "$native"/*.so)
  image "$1" chroma:1.5.9 --entrypoint /usr/bin/chroma --env PYTHONPATH=/chroma --dir /tmp:1777 \
    $python:$python $library/encodings:$library/encodings "${files[@]}" \
    "$native:/chroma/chromadb_rust_bindings" "$1/chroma:/usr/bin/chroma"
}

# Every module of the host's Python, with the libraries of those that are compiled; EXTRA files may be added.
python() { # FOLDER NAME:TAG ARGS...
  local folder=$1 name=$2 files
  shift 2
  mapfile -t files < <(libraries /usr/bin/python3.11 /usr/lib/python3.11/lib-dynload/*.so)
  image "$folder" "$name" --dir /tmp:1777 /usr/bin/python3.11:/usr/bin/python3.11 \
    /usr/lib/python3.11:/usr/lib/python3.11 "${files[@]}" "$@"
}

# An old server is Python through and through.
old_chroma() { # FOLDER
  local packages modules files
  packages=$(echo "$("$here/../chroma/install.sh" 0.5.23 | cut -d' ' -f2-)"/lib/python3*/site-packages)
  printf '#!/usr/bin/python3.11\nfrom chromadb.cli.cli import app\napp()\n' >"$1/old-chroma"
  chmod +x "$1/old-chroma"
  mapfile -t modules < <(find "$packages" -name '*.so')
  mapfile -t files < <(libraries "${modules[@]}")
  python "$1" chroma:0.5.23 --entrypoint /usr/bin/chroma --env PYTHONPATH=/packages --env ANONYMIZED_TELEMETRY=False \
    "${files[@]}" "$packages:/packages" "$1/old-chroma:/usr/bin/chroma"
}

folder() { # of the images of this version of what they are made of
  local folder
  folder=$("$here/build.sh")/images-$(cat "$here"/{images.sh,mkimage.py} "$here"/../chroma/requirements-{server,0.5.23}.txt | sha256sum | cut -c1-12)
  mkdir -p "$folder"
  echo "$folder"
}

base() {
  local bin folder libraries
  bin=$("$here/build.sh")/bin
  folder=$(folder)
  image "$folder" pause:1 --entrypoint /pause --user 65535:65535 "$bin/pause:/pause"
  image "$folder" coredns:1 --entrypoint /coredns "$bin/coredns:/coredns"
  image "$folder" local-path-provisioner:1 --entrypoint /local-path-provisioner "$bin/local-path-provisioner:/local-path-provisioner"
  # That of Debian's package `busybox` is dynamic.
  mapfile -t libraries < <(libraries /bin/busybox)
  image "$folder" box:1 --entrypoint /bin/busybox --dir /tmp:1777 /bin/busybox:/bin/busybox /bin/busybox:/bin/sh "${libraries[@]}"
  chroma "$folder"
}

more() {
  local folder
  folder=$(folder)
  python "$folder" python:3.11
  old_chroma "$folder"
}

case ${1:-} in
  base) base ;;
  more) more ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
