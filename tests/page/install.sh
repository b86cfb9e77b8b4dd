#!/usr/bin/env bash
# Installs Chromium for the test of the report's page: Debian's package, as root. Without it that test says that it was
# skipped, and everything else runs.
set -euo pipefail

say() { echo "install.sh: $*" >&2; }

for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
  if [ -n "$name" ] && command -v "$name" >/dev/null; then exit 0; fi
done
apt() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120 chromium fonts-dejavu-core; }
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  say "apt-get install chromium"
  { apt || { apt-get update -q && apt; }; } >&2 || true
fi
command -v chromium >/dev/null || { say "no Chromium: on Debian, as root: apt-get install chromium"; exit 1; }
