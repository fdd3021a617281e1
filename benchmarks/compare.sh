#!/usr/bin/env bash
# Runs this library, PyTorch and ONNX Runtime in turn on this machine, and prints what each took and the ratios.
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

usage() {
  cat <<'TEXT'
Usage: benchmarks/compare.sh [options]

Runs the benchmarks of this library and the same work in PyTorch and ONNX Runtime in turn, several times in one run, and
prints a table: the medians, each peer's time divided by ours as median (min - max) over the turns, and the goals.
A peer that is not installed is left out, and the table says so.

  --turns N       rounds of all sides (5)
  --rows REGEX    only rows whose name or title the expression finds (all)
  --threads N     threads of every side (2)
  --repetitions N timed calls of each figure in a turn (9)
  --out FILE      also write the table: numbers to FILE.csv, markdown to any other name; may be given twice
  --install       first install the peers: PyTorch (Debian's python3-torch with libopenblas0-openmp), ONNX Runtime (npm's
                  onnxruntime-node, into the folder of the peers)
  --peers DIR     folder of the peers (build/peers)
  --build DIR     a build of this project (build/release, configured and built where it is missing)
  --list          print the names of the rows
  --help          print this
TEXT
}

turns=5 rows="" threads=2 repetitions=9 install="" list="" outs=()
peers="$repository/build/peers" build="$repository/build/release"
while [ $# -gt 0 ]; do
  case "$1" in
    --turns) turns="$(value "$1" $# "${2:-}")"; whole_number "$1" "$turns" 1; shift ;;
    --rows) rows="$(value "$1" $# "${2:-}")"; shift ;;
    --threads) threads="$(value "$1" $# "${2:-}")"; whole_number "$1" "$threads" 1; shift ;;
    --repetitions) repetitions="$(value "$1" $# "${2:-}")"; whole_number "$1" "$repetitions" 1; shift ;;
    --out) out="$(value "$1" $# "${2:-}")"; outs+=(--out="$out"); shift ;;
    --peers) peers="$(value "$1" $# "${2:-}")"; shift ;;
    --build) build="$(value "$1" $# "${2:-}")"; shift ;;
    --install) install=yes ;;
    --list) list=yes ;;
    --help | -h) usage; exit 0 ;;
    *) refuse "unknown option $1" ;;
  esac
  shift
done

support="$repository/benchmarks/support"
known="$(PYTHONPATH="$support" python3 - "$rows" <<'PYTHON'
import re
import sys

import comparison

try:
    print("\n".join(row.figure for row in comparison.wanted_rows(sys.argv[1])))
except re.error as error:
    sys.exit(str(error))
PYTHON
)" 2>/dev/null || refuse "--rows needs a regular expression, not '$rows'"
[ -n "$known" ] || refuse "--rows finds no row: '$rows'; --list prints them"
if [ -n "$list" ]; then
  say "$known"
  exit 0
fi

if [ -n "$install" ]; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  packages=(python3-torch libopenblas0-openmp)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
  step "installing ${packages[*]}" >&2
  "${root[@]}" apt-get update -qq >&2
  "${root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
  step "installing onnxruntime-node into $peers" >&2
  mkdir -p "$peers"
  npm install --prefix "$peers" --ignore-scripts --no-audit --no-fund onnxruntime-node@1.30 >&2
fi

[ -f "$build/CMakeCache.txt" ] || {
  step "configuring $build" >&2
  choose_compiler
  cmake -S "$repository" --preset release -B "$build" >&2
}
cmake --build "$build" --target bench_models bench_ops bench_paths >&2

mkdir -p -- "$peers"
exec python3 "$support/compare.py" --turns "$turns" --rows="$rows" --threads "$threads" --repetitions "$repetitions" \
  --build="$build" --peers "$(cd -- "$peers" && pwd)" "${outs[@]}"
