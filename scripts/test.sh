#!/usr/bin/env bash
# Builds the project and runs its tests.
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/test.sh [options]

Installs the packages that are missing, builds the release and runs its tests.

  --all         also compile every header alone, test the kernels and layers for other instruction sets, and build and test with
                clang under the address and undefined-behaviour sanitizers
  --jobs N      compile and test so many things at a time (default: the number of processors)
  --no-install  do not look for missing packages
  --help        this text

Exit code: 0 all tests passed, 1 something failed, 2 wrong option.
END
}

all=no install=yes jobs="$(nproc)"
while [ $# -gt 0 ]; do
  case "$1" in
    --all) all=yes ;;
    --jobs) jobs="$(value "$1" $# "${2:-}")"; whole_number "$1" "$jobs" 1; shift ;;
    --no-install) install=no ;;
    --help | -h) usage; exit 0 ;;
    *) refuse "unknown option $1" ;;
  esac
  shift
done

presets=(release)
setup=()
settings=(-D EASY_DIFFUSION_THOROUGH=OFF)
if [ "$all" = yes ]; then
  presets+=(asan-ubsan)
  setup=(--all)
  settings=(-D EASY_DIFFUSION_THOROUGH=ON)
fi
if [ "$install" = yes ]; then "$repository/scripts/setup.sh" "${setup[@]}"; fi
choose_compiler
cd "$repository" || exit 1

passed=0 failed=0 skipped=() broken=()
for preset in "${presets[@]}"; do
  step "$preset: build"
  started=$SECONDS
  if ! (build "$preset" "$jobs"); then
    broken+=("$preset does not build")
    continue
  fi
  say "built in $((SECONDS - started)) s"

  step "$preset: tests"
  log="$repository/build/$preset/ctest.log"
  output="$repository/build/$preset/Testing/Temporary/LastTest.log"
  rm -f "$log" "$output"
  ctest --preset "$preset" --parallel "$jobs" --output-log "$log" || broken+=("$preset has failing tests")
  if [[ "$(cat "$log" 2>/dev/null)" =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]; then
    failed=$((failed + BASH_REMATCH[1]))
    passed=$((passed + BASH_REMATCH[2] - BASH_REMATCH[1]))
  fi
  # A test that ctest skipped has not passed; of others some cases may have been skipped. Both say why.
  passed=$((passed - $(grep -c '(Skipped)$' "$log" || true)))
  while read -r line; do skipped+=("$preset: ${line#SKIP: }"); done < <(grep '^SKIP: ' "$output" 2>/dev/null | sort -u)
done

printf '\n'
for line in "${broken[@]}"; do say "$name: $line" >&2; done
for line in "${skipped[@]}"; do say "skipped: $line"; done
say "total: $passed passed, $failed failed, ${#skipped[@]} skipped"
[ ${#broken[@]} -eq 0 ]
