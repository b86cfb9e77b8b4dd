#!/usr/bin/env bash
# The whole way on this machine, by the manifests of deploy/examples: 500 memories go from a local store into a Chroma
# server, from there into a new local store, and each step is proved. Called by `make demo`, which builds the command.
# Usage: demo.sh COMMAND    DEMO_MEMORIES (500) says how many.
set -euo pipefail

command=$(realpath "${1:?usage: demo.sh COMMAND}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
memories=${DEMO_MEMORIES:-500}
scratch=$(mktemp -d)
server=

# Leaves neither a process nor a file, also after Ctrl-C.
clean_up() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }

step "Chroma's server"
chroma=$("$here/../tests/chroma/install.sh" server | cut -d' ' -f2-)
python=$chroma/bin/python
mkdir "$scratch/bin"
ln -s "$command" "$scratch/bin/memory-migration"
ln -s "$chroma/bin/chroma" "$scratch/bin/chroma"
PATH=$scratch/bin:$PATH
cd "$scratch"
echo "installed, and on PATH"

step "A local store as an agent left it: $memories memories"
"$python" "$here/../tests/stores/demo.py" dev/chroma_db "$memories"
show memory-migration inspect dev/chroma_db

step "A Chroma server to move them to"
# The port of the examples, unless something listens there.
port=$("$python" - <<'EOF'
import socket
for wanted in (8000, 0):
    try:
        with socket.create_server(("127.0.0.1", wanted)) as free:
            print(free.getsockname()[1])
        break
    except OSError:
        continue
EOF
)
url=http://127.0.0.1:$port
chroma run --path server --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!
for _ in $(seq 300); do
  "$python" -c "import urllib.request as r; r.urlopen('$url/api/v2/heartbeat')" 2>/dev/null && break
  kill -0 "$server" 2>/dev/null || { cat server.log >&2; echo "demo.sh: the server did not start" >&2; exit 1; }
  sleep 0.1
done
echo "$url"
for example in local-to-remote remote-to-local; do
  awk -v url="$url" '/^      service:/ { print "      url: " url; inside = 1 } !inside; /^        namespace:/ { inside = 0 }' \
    "$here/examples/$example.yaml" >"$example.yaml"
done

step "Local to remote: deploy/examples/local-to-remote.yaml"
show memory-migration run -f local-to-remote.yaml --volume dev-memories=dev

step "Remote to a new local store: deploy/examples/remote-to-local.yaml"
mkdir restored
show memory-migration run -f remote-to-local.yaml --volume restored-memories=restored

step "Proof: the first store against the last, record by record"
show memory-migration verify --source-config dev/chroma_db --target-config restored/chroma_db --collection memory_collection
printf '\nDone: %s memories went there and back, and every one was compared.\n' "$memories"
