#!/usr/bin/env bash
# Options of benchmarks/compare.sh: a wrong one gets one line and exit code 2, and nothing is started. <repository>
set -uo pipefail

script="$1/benchmarks/compare.sh"
failures=0

refused() { # <words> <options>...
  local words="$1" errors code
  shift
  errors="$("$script" "$@" 2>&1 >/dev/null </dev/null)"
  code=$?
  if [ "$code" -ne 2 ] || [[ "$errors" != *"$words"* ]]; then
    failures=$((failures + 1))
    printf 'FAILED: compare.sh %s: exit code %s, says: %s\n' "$*" "$code" "$errors"
  fi
}

refused "unknown option --nonsense" --nonsense
refused "unknown option stray" stray
for option in --turns --rows --threads --repetitions --out --peers --build; do refused "$option needs a value" $option; done
for option in --turns --threads --repetitions; do
  refused "$option needs a whole number of at least 1, not '0'" $option 0
  refused "$option needs a whole number of at least 1, not 'two'" $option two
done
refused "--rows needs a regular expression, not '('" --rows '('
refused "--rows finds no row" --rows 'no such row'

if [ "$("$script" --list --rows '^unet\.64\.' | wc -l)" -ne 3 ] || ! "$script" --help | grep -q 'Usage: benchmarks/compare.sh'; then
  failures=$((failures + 1))
  echo "FAILED: compare.sh --list or --help"
fi
exit $((failures > 0))
