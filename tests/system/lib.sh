# lib.sh: sourced by the tests of a whole system, tests/system/NAME.sh.
#
# The script runs twice: outside, where it waits for the end and tidies up, and inside namespaces
# of its own (mounts, processes), where everything happens: whatever was mounted or started there
# is gone when that ends, also when somebody kills it.
#
# Environment: TANGELO_BUILD, the build directory (build/check-gcc); TANGELO_KEEP=1 keeps the
# working directory of a failed run. What is worth keeping between runs is in build/system/.
# shellcheck shell=bash
set -euo pipefail

source_dir=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
build=$(cd "${TANGELO_BUILD:-$source_dir/build/check-gcc}" && pwd)
cache=$source_dir/build/system
began=${TANGELO_BEGAN:-$(date +%s)}

say() { printf '%4d s  %s\n' $(($(date +%s) - began)) "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }

need() { # programs without which there is nothing to test; packaging/packages.txt names them
  local program
  for program in "$@"; do
    command -v "$program" > /dev/null || die "needs $program (packaging/packages.txt, [system])"
  done
}

# Called first: $work is the working directory, and below this line the script is inside.
go_inside() {
  [ "$(id -u)" = 0 ] || die "needs root"
  if [ -z "${TANGELO_WORK:-}" ]; then
    local code=0 directory inside
    directory=$(mktemp -d "${TMPDIR:-/tmp}/tangelo-system.XXXXXX")
    mkdir -p "$cache"
    TANGELO_WORK=$directory TANGELO_BEGAN=$began unshare --mount --propagation private \
      --pid --fork --kill-child=KILL --mount-proc "$0" "$@" < /dev/null &
    inside=$!
    trap 'kill -KILL $inside' TERM INT HUP  # unshare ignores the others, and takes all along
    wait $inside || code=$?
    left_outside
    if [ "$code" = 0 ] || [ -z "${TANGELO_KEEP:-}" ]; then
      rm -rf --one-file-system "$directory"
    else
      say "kept: $directory"
    fi
    exit "$code"
  fi
  work=$TANGELO_WORK
}
left_outside() { :; }  # a test may have something to take away after the inside has ended

# ---- what goes into a system --------------------------------------------------------------------

install_programs() { # in $1/usr/bin, as a package does, without debug information
  meson install -C "$build" --no-rebuild --strip --destdir "$work/installed" \
    > "$work/install.log" 2>&1 || { cat "$work/install.log"; die "meson install"; }
  mkdir -p "$1/usr/bin"
  find "$work/installed" -path '*/bin/*' -type f -exec mv -t "$1/usr/bin" {} +
  install "$build/tests/system/witness" "$1/usr/bin/witness"
  strip "$1/usr/bin/witness"
}
programs=(fs/tangelo-fs client_core/tangelo-core watchdog/tangelo-watchdog
  server/tangelo-server cli/tangelo)

# The shared libraries that our programs need, one path a line.
libraries() {
  (cd "$build" && ldd "${programs[@]}") | awk '/=> \// { print $3 } /^\t\// { print $1 }' |
    sort -u
}

# Prints the lines of a growing file until process $2 has ended.
follow() {
  touch "$1"
  tail -n +1 -s 0.2 -f --pid="$2" "$1"
}
