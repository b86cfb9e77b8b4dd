#!/usr/bin/env bash
# Checks .github/workflows: actionlint, and that each action is pinned by a commit. Needs Go; builds actionlint into the cache once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=v1.7.12
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
out=$cache/tools/actionlint-$version
fail() { echo "workflows.sh: $*" >&2; exit 1; }
if [ ! -x "$out/actionlint" ]; then
  command -v go >/dev/null || fail "needs Go: install it from https://go.dev/dl"
  GOBIN=$out CGO_ENABLED=0 GOFLAGS=-p=2 go install "github.com/rhysd/actionlint/cmd/actionlint@$version" >&2
fi
"$out/actionlint" -shellcheck= -pyflakes= .github/workflows/*.yml
if grep -nE '^ *-? *uses:' .github/workflows/*.yml | grep -vE 'uses: (\./[^ ]+|[^ ]+@[0-9a-f]{40} # v[0-9.]+)$'; then
  fail "these actions are not pinned by a commit, with the tag behind it"
fi
for workflow in .github/workflows/*.yml; do
  grep -qx 'permissions: {}' "$workflow" || fail "$workflow: gives rights to all jobs; write 'permissions: {}', and rights in each job"
done
# Each target that a workflow calls exists.
for target in $(sed -nE 's/.*run: make ([a-z-]+).*/\1/p' .github/workflows/*.yml | sort -u); do
  grep -q "^$target:" Makefile || fail "there is no make target $target"
done
# Each part of a release that a workflow makes exists, and so does the job that release.sh names for what it does not make.
release=.github/workflows/release.yml
for part in $(sed -nE 's/.*(PARTS|parts): ([a-z ]+)$/\2/p' $release | tr ' ' '\n' | sort -u); do
  grep -qE "^$part\(\) \{" deploy/release.sh || fail "$release: deploy/release.sh has no part $part"
done
for job in $(sed -n '/^Not made here/,/^END$/{/^  /p}' deploy/release.sh | awk '{print $NF}' | sort -u); do
  grep -qx "  $job:" $release || fail "deploy/release.sh: $release has no job $job"
done
echo "workflows: all checks passed"
