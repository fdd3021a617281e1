#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while.
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

usage() {
  cat <<'END'
Usage: tests/fuzz/run.sh [options] [target]...

Builds the fuzz targets (preset fuzz: clang's libFuzzer, the address and undefined-behaviour sanitizers) and runs those
named, or all, on their seeds and what they find to be new. An input may have 4096 bytes, take 10 seconds and 1 GB.

  --runs N   inputs for each target (default: 1000000)
  --seed N   seed of the fuzzers (default: 1)
  --no-build take the targets as they are
  --help     this text

What ends a target lies in build/fuzz/found/<target>/ afterwards. Mend it, and keep the input under tests/fuzz/seeds/<target>/.

Exit code: 0 nothing was found, 1 something was or a run was interrupted, 2 wrong option.
END
}

runs=1000000 seed=1 make=yes targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --runs) runs="$(value "$1" $# "${2:-}")"; whole_number "$1" "$runs" 1; shift ;;
    --seed) seed="$(value "$1" $# "${2:-}")"; whole_number "$1" "$seed" 1; shift ;;
    --no-build) make=no ;;
    --help | -h) usage; exit 0 ;;
    -*) refuse "unknown option $1" ;;
    *)
      if ! [ -f "$repository/tests/fuzz/$1.cpp" ] || [ "$1" = seeds ]; then refuse "there is no target $1"; fi
      targets+=("$1")
      ;;
  esac
  shift
done
cd "$repository"
if [ ${#targets[@]} -eq 0 ]; then
  for source in tests/fuzz/*.cpp; do
    [ "$source" = tests/fuzz/seeds.cpp ] || targets+=("$(basename "$source" .cpp)")
  done
fi

if [ "$make" = yes ]; then
  cmake --preset fuzz >/dev/null
  for target in "${targets[@]}"; do cmake --build build/fuzz --parallel 1 --target "fuzz_$target"; done
fi

broken=0
for target in "${targets[@]}"; do
  corpus="build/fuzz/corpus/$target" found="build/fuzz/found/$target" log="build/fuzz/$target.log"
  mkdir -p "$corpus" "$found"
  started=$SECONDS
  result=0
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 "build/fuzz/tests/fuzz/fuzz_$target" -runs="$runs" -seed="$seed" \
    -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=1 -artifact_prefix="$found/" \
    "$corpus" "tests/fuzz/seeds/$target" >"$log" 2>&1 || result=$?
  done_runs="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  case "$result" in
    0) said="nothing found" ;;
    72) said="interrupted, nothing found until then" ;; # libFuzzer's code for a signal from outside
    *) said="FOUND, see $log" ;;
  esac
  say "$target: ${done_runs:-0} runs in $((SECONDS - started)) s: $said"
  [ "$result" -eq 0 ] || broken=$((broken + 1))
done
[ "$broken" -eq 0 ]
