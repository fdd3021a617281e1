#!/usr/bin/env bash
# How runs of the programs end, and that nothing is lost then: signals, readers that go away, full and closed outputs, no
# gnuplot, two runs in one folder. Usage: endings.sh <folder of the programs> <scratch folder>
set -u
programs=$(cd "$1" && pwd) || exit 1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/bin"
cd "$scratch" || exit 1
. "$checks_sh"

small=(--smoke --limit 24 --batch 4 --threads 1)
train() { "$programs/train_score_model" "${small[@]}" "$@"; }
endless=("$programs/train_score_model" "${small[@]}" --steps 1000000 --checkpoint-every 1000000)
steps_of() { head -c 100000 "$1/checkpoint.safetensors" | grep -ao '"step":"[0-9]*"' | head -n 1 | grep -o '[0-9]*'; }
kept() { # kept <folder>: a checkpoint of at least one step, and the log up to that step
  local steps
  steps=$(steps_of "$1")
  check "$1: the training is kept (step $steps)" test "${steps:-0}" -ge 1
  check "$1: the log goes as far" test "$(tail -n 1 "$1/loss.csv" | cut -d, -f1)" = "$steps"
  check "$1: and it goes on" train --steps $((${steps:-0} + 1)) --out "$1" --resume
}

# --- signals: after the step, whichever it is ----------------------------------------------------------------------------
check "12 steps" train --steps 12 --out whole
for signal in HUP TERM INT; do
  start $signal.log "${endless[@]}" --out $signal
  wait_for $signal/loss.csv
  sleep 0.3
  kill -$signal $pid
  ended "$signal" $((128 + $(kill -l $signal))) $signal.log $pid
  kept $signal
done

# A step of many batches takes seconds. A second Ctrl-C means the first; a third ends at once.
start twice.log "${endless[@]}" --accumulate 100 --out twice
wait_for twice/loss.csv
sleep 0.2
kill -INT $pid
sleep 0.1
kill -INT $pid
ended "Ctrl-C twice" 130 twice.log $pid
said "a third Ctrl-C ends at once" twice.log
check "Ctrl-C twice: the step is kept" test "$(steps_of twice)" -ge 1
start thrice.log "${endless[@]}" --accumulate 3000 --out thrice
wait_for thrice/loss.csv
for _ in 1 2 3; do
  kill -INT $pid
  sleep 0.1
done
ended "Ctrl-C three times" 130 thrice.log $pid
check "Ctrl-C three times: at once" test ! -e thrice/checkpoint.safetensors
rm -f thrice/.lock  # as after a kill

# What the caller ignores stays ignored: nohup, jobs in the background of a script.
(
  trap '' HUP INT
  exec "$programs/train_score_model" "${small[@]}" --steps 40 --out ignored
) > ignored.log 2>&1 &
pid=$!
wait_for ignored/loss.csv
kill -HUP $pid
kill -INT $pid
ended "signals that are ignored" 0 ignored.log $pid
check "it went on to the end" test "$(steps_of ignored)" = 40

# --- the output: nobody reads it, it is full, it is closed -------------------------------------------------------------
train --steps 12 --out unread 2>&1 | head -n 1 > /dev/null
check "head: exit code 0" test "${PIPESTATUS[0]}" -eq 0
train --steps 12 --out unread_at_all 2>&1 | true
check "a reader that is gone: exit code 0" test "${PIPESTATUS[0]}" -eq 0
checks=$((checks + 1))
if ! train --steps 12 --out full > /dev/full 2> full.err || [ "$(grep -vc '^training ' full.err)" -ne 1 ]; then
  failures=$((failures + 1))
  echo "FAILED: a full output: expected exit code 0 and one line, got:"
  cat full.err
fi
said "; the files are whole" full.err
check "all of them closed" train --steps 12 --out closed <&- >&- 2>&-
train --steps 12 --out closed_output >&- 2> closed.err
check "only the output closed: exit code 0" test $? -eq 0
for folder in unread unread_at_all full closed closed_output; do
  check "$folder: the checkpoint is whole" cmp whole/checkpoint.safetensors $folder/checkpoint.safetensors
  check "$folder: nothing else is in the log" cmp whole/loss.csv $folder/loss.csv
done
model=(--checkpoint whole/checkpoint.safetensors)
"$programs/sample_score_model" --smoke "${model[@]}" --out samples_unread 2>&1 | true
check "samples for nobody: exit code 0" test "${PIPESTATUS[0]}" -eq 0
check "samples for nobody" test -s samples_unread/samples.npy -a -s samples_unread/samples.gif
checks=$((checks + 1))
if "$programs/train_score_model" --help > /dev/full 2> full.err; then
  failures=$((failures + 1))
  echo "FAILED: help that did not arrive: expected exit code 2"
fi

# --- gnuplot: missing, failing, ended by the same Ctrl-C ----------------------------------------------------------------
PATH=/nowhere "$programs/train_score_model" "${small[@]}" --steps 12 --out undrawn > undrawn.log 2>&1
check "without gnuplot: exit code 0" test $? -eq 0
said "not drawn: gnuplot is missing" undrawn.log
check "without gnuplot: the checkpoint" cmp whole/checkpoint.safetensors undrawn/checkpoint.safetensors
check "without gnuplot: nothing half drawn" test "$(ls -A undrawn | tr '\n' ' ')" = "checkpoint.safetensors loss.csv "
printf '#!/bin/sh\nexit 1\n' > bin/gnuplot
chmod +x bin/gnuplot
PATH=$PWD/bin:$PATH train --steps 12 --out failing > failing.log 2>&1
check "a gnuplot that fails: exit code 0" test $? -eq 0
said "not drawn: " failing.log
printf '#!/bin/sh\ntouch drawing\nexec sleep 3\n' > bin/gnuplot
start drawing.log env PATH="$PWD/bin:$PATH" "$programs/train_score_model" "${small[@]}" --steps 12 --out drawing_stopped
wait_for drawing
kill -INT $pid
ended "Ctrl-C while the curve is drawn" 0 drawing.log $pid
check "the training is whole" cmp whole/checkpoint.safetensors drawing_stopped/checkpoint.safetensors
check "nothing half drawn" test "$(ls -A drawing_stopped | tr '\n' ' ')" = "checkpoint.safetensors loss.csv "

# --- within a step of an adaptive sampler, and in a picture on the way ---------------------------------------------------
if [ -x "$programs/train_ddpm" ] && [ -x "$programs/sample_ddpm" ]; then
  ddpm=("$programs/train_ddpm" "${small[@]}" --steps 1000000 --checkpoint-every 1000000)
  check "a diffusion model" "$programs/train_ddpm" "${small[@]}" --steps 3 --out ddpm
  start adaptive.log "$programs/sample_ddpm" --checkpoint ddpm/checkpoint.safetensors --sampler rk45 --tolerance 1e-6 --steps 2 \
    --samples 1 --out adaptive
  wait_for_text evaluations adaptive.log
  interrupted adaptive.log $pid
  said "interrupted; nothing was written" adaptive.log
  check "nothing of it" test -z "$(ls adaptive)"
  start painting.log "${ddpm[@]}" --sample-every 1 --out painting
  wait_for painting/samples_00000001.png
  interrupted painting.log $pid
  check "a picture on the way: the training is kept" test "$(steps_of painting)" -ge 1
  # A picture or snapshot that cannot be written must not take the steps with it.
  mkdir -p unpainted/samples_00000003.png unsaved/snapshot_00000003.safetensors
  refused "samples_00000003.png" "${ddpm[@]}" --sample-every 3 --out unpainted
  check "a picture that cannot be written: the training is kept" test "$(steps_of unpainted)" = 3
  refused "snapshot_00000003.safetensors" "${ddpm[@]}" --snapshot-every 3 --out unsaved
  check "a snapshot that cannot be written: the training is kept" test "$(steps_of unsaved)" = 3
fi

# --- a loss that is no number: the last good state stays, and can be gone on with -----------------------------------------
wild=("$programs/train_score_model" "${small[@]}" --model unet_transformer --learning-rate 1000)
refused "is not finite at step 2" "${wild[@]}" --steps 40 --checkpoint-every 1 --out diverged
refused "diverged/checkpoint.safetensors is as it was after step 1, and another run can start --from it" \
  "${wild[@]}" --steps 40 --resume --out diverged
check "diverged: step 1 is kept" test "$(steps_of diverged)" = 1
check "diverged: so is the log" test "$(wc -l < diverged/loss.csv)" -eq 2
check "diverged: the file can be gone on with" "${wild[@]}" --steps 1 --resume --out diverged
refused "there is no checkpoint yet" "${wild[@]}" --steps 40 --out diverged_at_once
check "diverged: no checkpoint of it" test ! -e diverged_at_once/checkpoint.safetensors

# --- two runs, one folder ----------------------------------------------------------------------------------------------
start owner.log "$programs/train_score_model" "${small[@]}" --steps 1000000 --checkpoint-every 3 --out owned
owner=$pid
wait_for owned/checkpoint.safetensors
ln -s owned alias
refused "train_score_model (process $owner) is writing into 'owned'" train --overwrite --steps 2 --out owned
refused "train_score_model (process $owner)" train --overwrite --steps 2 --out alias
refused "train_score_model (process $owner)" "$programs/sample_score_model" --smoke "${model[@]}" --out owned
[ -x "$programs/train_ddpm" ] && refused "train_score_model (process $owner)" "$programs/train_ddpm" --smoke --overwrite --steps 2 --out owned
check "its checkpoint can be read meanwhile" "$programs/sample_score_model" --smoke --checkpoint owned/checkpoint.safetensors --out from_owned
interrupted owner.log $owner
kept owned
check "the lock is gone with its run" test ! -e owned/.lock
start owner.log "${endless[@]}" --out killed
wait_for killed/loss.csv
kill -KILL $pid
wait $pid 2> /dev/null
check "a killed run owns nothing" train --overwrite --steps 2 --out killed
# Nor does a gnuplot that it has left behind.
rm -f drawing
start owner.log env PATH="$PWD/bin:$PATH" "$programs/train_score_model" "${small[@]}" --steps 3 --out left
wait_for drawing
kill -KILL $pid
wait $pid 2> /dev/null
check "nor does its gnuplot" train --overwrite --steps 2 --out left
find left -name '*.log' -delete -o -name '*.tmp*' -delete -o -name '*.partial*' -delete
if [ "$(id -u)" -ne 0 ]; then
  mkdir -p closed_folder
  chmod a-w closed_folder
  refused "--out: cannot write into the folder 'closed_folder'" train --steps 2 --out closed_folder
fi

summary
