# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash

set -euo pipefail

name="$(basename "$0")"
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Threads that wait at the end of a parallel loop soon sleep: spinning for long, as OpenMP does by default, makes a
# machine that is busy with other things very slow.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}" KMP_BLOCKTIME="${KMP_BLOCKTIME:-0}"

say() { printf '%s\n' "$*"; }

# A step of the script, set off from what the programs print.
step() { printf '\n== %s\n' "$*"; }

# printable <text>: the text on one line, with control characters as escapes: an option may have any in it.
printable() {
  case "$1" in
    *[![:print:]]*) printf '%q' "$1" ;;
    *) printf '%s' "$1" ;;
  esac
}

fail() {
  printf '%s: %s\n' "$name" "$(printable "$*")" >&2
  exit 1
}

# A wrong option: one line, exit code 2.
refuse() {
  printf '%s: %s (%s --help tells more)\n' "$name" "$(printable "$*")" "$name" >&2
  exit 2
}

# value <option> <number of arguments left> <value>: the value of an option, or a refusal.
value() {
  [ "$2" -ge 2 ] || refuse "$1 needs a value"
  printf '%s' "$3"
}

# Names of folders go through $(...), which takes line breaks away at the end.
plain_name() { # <option> <name>
  [[ -n "$2" && "$2" != *[[:cntrl:]]* ]] || refuse "$1 needs the name of a folder without control characters, not '$2'"
}

whole_number() { # <option> <value> <least>
  if ! [[ "$2" =~ ^[0-9]{1,18}$ ]] || [ "$((10#$2))" -lt "$3" ]; then
    refuse "$1 needs a whole number of at least $3, not '$2'"
  fi
}

positive_number() { # <option> <value>
  [[ "$2" =~ ^[0-9]{1,9}(\.[0-9]{1,9})?$ && "$2" =~ [1-9] ]] || refuse "$1 needs a number above 0, not '$2'"
}

# Where the default compiler is too old but a newer one stands beside it, use that.
choose_compiler() {
  local version candidate
  if [ -n "${CXX:-}" ] || ! command -v g++ >/dev/null; then return 0; fi
  version="$(g++ -dumpversion)"
  [ "${version%%.*}" -lt 12 ] || return 0
  for candidate in g++-14 g++-13 g++-12; do
    if command -v "$candidate" >/dev/null; then
      export CXX="$candidate" CC="gcc-${candidate#g++-}"
      return 0
    fi
  done
}

# quietly <log> <command>...: the output goes to the log, and to the terminal only where the command fails.
quietly() {
  local log="$1"
  shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    fail "this failed: $*"
  fi
}

# build <preset> <jobs> [<target>...]: configured with the array `settings` besides
settings=()
build() {
  local preset="$1" jobs="$2"
  shift 2
  cd "$repository"
  quietly "build/$preset.configure.log" cmake --preset "$preset" "${settings[@]}"
  if [ $# -gt 0 ]; then
    cmake --build --preset "$preset" --parallel "$jobs" --target "$@"
  else
    cmake --build --preset "$preset" --parallel "$jobs"
  fi
}
