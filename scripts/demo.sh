#!/usr/bin/env bash
# Builds the project, runs its demos, trains a model and shows what it learned.
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/page.sh
source "$repository/scripts/page.sh"

usage() {
  cat <<'END'
Usage: scripts/demo.sh [options]

Installs the packages that are missing, builds the release, runs the two one-dimensional demos, trains a score
model on Fashion-MNIST, samples pictures from it, and writes a page that shows it all: out/index.html.

  --minutes M   train so long (default 3; fractions are fine)
  --samples N   paint so many pictures (default 64)
  --steps N     in so many Euler-Maruyama steps (default 250)
  --seed N      seed of all random numbers (default: that of each program)
  --threads N   threads of each program (default: all that this machine grants)
  --data DIR    folder with the four files of Fashion-MNIST, or of anything in the same format
  --out DIR     folder for everything that is made (default: out, in the repository)
  --fresh       make everything anew; otherwise what the same program made with the same options is kept
  --no-install  do not look for missing packages
  --help        this text

Ctrl-C stops; training leaves a checkpoint. Exit code: 0 all well, 1 something failed, 2 wrong option.
END
}

minutes=3 samples=64 steps=250 seed="" threads="" data="" out="" fresh=no install=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes) minutes="$(value "$1" $# "${2:-}")"; positive_number "$1" "$minutes"; shift ;;
    --samples) samples="$(value "$1" $# "${2:-}")"; whole_number "$1" "$samples" 1; shift ;;
    --steps) steps="$(value "$1" $# "${2:-}")"; whole_number "$1" "$steps" 1; shift ;;
    --seed) seed="$(value "$1" $# "${2:-}")"; whole_number "$1" "$seed" 0; shift ;;
    --threads) threads="$(value "$1" $# "${2:-}")"; whole_number "$1" "$threads" 1; shift ;;
    --data) data="$(value "$1" $# "${2:-}")"; plain_name "$1" "$2"; [ -d "$data" ] || refuse "--data: there is no folder $data"; shift ;;
    --out) out="$(value "$1" $# "${2:-}")"; plain_name "$1" "$2"; shift ;;
    --fresh) fresh=yes ;;
    --no-install) install=no ;;
    --help | -h) usage; exit 0 ;;
    *) refuse "unknown option $1" ;;
  esac
  shift
done

# Folders are as seen from where the script was called; commands are shown as seen from the repository.
if [ -n "$out" ]; then
  mkdir -p -- "$out" 2>/dev/null || refuse "--out: the folder $out cannot be made"
  out="$(cd -- "$out" && pwd)"
else
  out="$repository/out"
fi
if [ -n "$data" ]; then data="$(cd -- "$data" && pwd)"; fi
out="${out#"$repository"/}"
case "$out" in -*) out="./$out" ;; esac  # no program shall take it for an option

if [ "$install" = yes ]; then "$repository/scripts/setup.sh"; fi
choose_compiler

programs=(forward_1d reverse_1d train_score_model sample_score_model)
step "build"
build release "$(nproc)" "${programs[@]}"
cd "$repository" || exit 1
mkdir -p "$out" 2>/dev/null || fail "the folder $out cannot be made"

common=()
if [ -n "$seed" ]; then common+=(--seed "$seed"); fi
if [ -n "$threads" ]; then common+=(--threads "$threads"); fi
training=()
if [ -n "$data" ]; then training+=(--data "$data"); fi

model="$out/score_model"
binaries=build/release/examples
declare -A commands

# produce <name> "<files made>" <file read, or nothing> <program> <options>...
# Runs the program, unless the files are there, made by the same program from the same files with the same
# options. Its output goes straight to the terminal.
produce() {
  local key="$1" made="$2" read="$3" program="$4" file stamp
  shift 4
  printf -v "commands[$key]" '%q ' "$binaries/$program" "$@"
  commands[$key]="${commands[$key]% }"
  step "${commands[$key]}"
  stamp="${commands[$key]}"$'\n'"$(cd "$repository" && cksum "$binaries/$program" ${read:+"$read"})"
  if [ "$fresh" = no ] && [ "$(cat "$out/.made/$key" 2>/dev/null)" = "$stamp" ]; then
    local whole=yes
    for file in $made; do [ -s "$out/$file" ] || whole=no; done
    if [ "$whole" = yes ]; then
      say "already made by this very command (--fresh makes it anew)"
      return 0
    fi
  fi
  rm -f "$out/.made/$key"
  "$binaries/$program" "$@" "${again[@]}" || fail "$program ended with exit code $? (--fresh makes everything anew)"
  for file in $made; do
    [ -s "$out/$file" ] || fail "$program did not write $out/$file"
  done
  mkdir -p "$out/.made"
  printf '%s\n' "$stamp" >"$out/.made/$key"
}

again=()  # options of a second run, which are not part of what is made
produce forward "forward_1d_paths.png forward_1d_density.png" "" forward_1d --out "$out" "${common[@]}"
produce reverse "reverse_1d_paths.png reverse_1d_density.png" "" reverse_1d --out "$out" "${common[@]}"
# In three minutes many small steps learn more than few large ones.
# A training that was interrupted goes on; it is never lost but by --fresh.
again=()
if [ -e "$model/checkpoint.safetensors" ]; then
  if [ "$fresh" = yes ]; then again=(--overwrite); else again=(--resume); fi
fi
produce train "score_model/checkpoint.safetensors score_model/loss.csv score_model/loss.png" "" \
  train_score_model --minutes "$minutes" --batch 32 --out "$model" "${training[@]}" "${common[@]}"
again=()
produce sample "samples.png samples.gif" "$model/checkpoint.safetensors" \
  sample_score_model --checkpoint "$model/checkpoint.safetensors" --samples "$samples" --steps "$steps" \
  --out "$out" "${common[@]}"

# The page: a template with {{names}} in it.
fields=(minutes "$minutes" samples "$samples" steps "$steps")
for name_of_command in forward reverse train sample; do
  fields+=("command_$name_of_command" "${commands[$name_of_command]}")
done
fill_page "$(cat "$repository/scripts/demo_page.html")" "${fields[@]}" >"$out/index.html.new" || fail "the page cannot be made"
mv -- "$out/index.html.new" "$out/index.html"

step "done"
case "$out" in /*) shown="$out" ;; *) shown="$repository/$out" ;; esac
say "open $(printable "$shown/index.html")"
