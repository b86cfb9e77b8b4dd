#!/usr/bin/env bash
# Builds the command as a release has it, and prints where it is. On Linux it is static. Places of sources that stand in it
# are the same wherever checkout and build output are, so that the same source and compiler give the same bytes.
# Usage: program.sh [amd64 | arm64]         builds it for this architecture; by default, and with '', for this machine's
#        program.sh ARCHITECTURE COMMAND…   runs a command that builds it, with the same flags, for the target $PROGRAM_TARGET
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
architecture=${1:-}
[ $# -eq 0 ] || shift

fail() { echo "program.sh: $*" >&2; exit 1; }

# A target is named also for this machine's, so that build scripts and macros, which the compiler loads, stay dynamic.
host=$(rustc -vV | sed -n 's/^host: //p')
case $architecture in
  '') machine=${host%%-*} ;;
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) fail "$architecture is neither amd64 nor arm64" ;;
esac
target=$host
if [ "${host%%-*}" != "$machine" ]; then
  target=$machine-unknown-linux-gnu
  [ -d "$(rustc --print target-libdir --target "$target")" ] || fail "no standard library for $machine: 'rustup target add $target'"
  linker=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER
  export "$linker=${!linker:-$machine-linux-gnu-gcc}"
  command -v "${!linker}" >/dev/null || fail "no C compiler for $machine, or set $linker: on Debian" \
    "'apt-get install gcc-${machine/_/-}-linux-gnu libc6-dev-$architecture-cross'"
fi

folder=$(cargo metadata --manifest-path "$root/Cargo.toml" --locked --no-deps --format-version 1 |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
flags=(--remap-path-prefix "$root=/src" --remap-path-prefix "$folder=/target"
  --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}=/cargo")
case $target in *-linux-*) flags+=(-C target-feature=+crt-static) ;; esac
# shellcheck disable=SC2206 # several words, as cargo takes them
flags=(${RUSTFLAGS:-} "${flags[@]}")
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
PROGRAM_TARGET=$target
export CARGO_ENCODED_RUSTFLAGS PROGRAM_TARGET
if [ $# -gt 0 ]; then exec "$@"; fi

program=$(cargo build --manifest-path "$root/Cargo.toml" --locked --release --bin memory-migration --target "$target" \
  --message-format=json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
case $target in *-linux-*)
  headers=$(LC_ALL=C readelf --program-headers "$program")
  case $headers in *INTERP*) fail "$program is not static: it would not start in an image that holds nothing else" ;; esac
esac
echo "$program"
