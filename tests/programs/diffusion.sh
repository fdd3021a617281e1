#!/usr/bin/env bash
# train_ddpm, sample_ddpm and bound_ddpm as a person uses them. Usage: diffusion.sh <folder of the programs> <scratch folder>
set -u
programs=$(cd "$1" && pwd) || exit 1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
. "$checks_sh"

train() { "$programs/train_ddpm" --smoke --limit 96 --batch 16 "$@"; }
sample() { "$programs/sample_ddpm" --smoke "$@"; }

# --- the same checkpoint, however it was reached: 12 steps; 5, 7 more; with pictures and snapshots on the way -----------
all=(--decay-steps 8 --settle-steps 4 --timestep-sampler importance --timesteps 4 --accumulate 2)
check "12 steps" train "${all[@]}" --threads 1 --steps 12 --out whole
check "5 steps" train "${all[@]}" --threads 2 --steps 5 --out cut
check "7 more" train "${all[@]}" --threads 1 --steps 12 --out cut --resume
check "resumed equals whole" cmp whole/checkpoint.safetensors cut/checkpoint.safetensors
check "logs are equal" cmp whole/loss.csv cut/loss.csv
check "12 steps, watched" train "${all[@]}" --threads 2 --steps 12 --sample-every 5 --snapshot-every 6 --out watched
check "watching changes nothing" cmp whole/checkpoint.safetensors watched/checkpoint.safetensors
check "pictures on the way" test -s watched/samples_00000005.png -a -s watched/samples_00000010.png
check "the last snapshot is the checkpoint" cmp watched/snapshot_00000012.safetensors watched/checkpoint.safetensors
mkdir -p earlier
cp watched/snapshot_00000006.safetensors earlier/checkpoint.safetensors
check "go on from a snapshot" train "${all[@]}" --steps 12 --out earlier --resume
check "it leads to the same" cmp whole/checkpoint.safetensors earlier/checkpoint.safetensors

start stopped.log "$programs/train_ddpm" --smoke --limit 96 --batch 16 --decay-steps 50 --steps 100000 --checkpoint-every 100000 --out stopped
wait_for stopped/loss.csv
sleep 0.5
interrupted stopped.log $pid
made=$(tail -n 1 stopped/loss.csv | cut -d, -f1)
[[ $made =~ ^[0-9]+$ ]] || made=0
check "go on after Ctrl-C (step $made)" train --decay-steps 50 --steps $((made + 3)) --out stopped --resume
check "the same without Ctrl-C" train --decay-steps 50 --steps $((made + 3)) --out unstopped
check "Ctrl-C left no trace" cmp stopped/checkpoint.safetensors unstopped/checkpoint.safetensors

# --- a kill while snapshots are written: the last checkpoint loads ------------------------------------------------------
"$programs/train_ddpm" --smoke --limit 96 --batch 16 --decay-steps 50 --steps 100000 --checkpoint-every 1 --snapshot-every 1 --out killed > killed.log 2>&1 &
pid=$!
wait_for killed/snapshot_00000003.safetensors
sleep 0.$((RANDOM % 100 + 100))  # whatever it is writing
kill -KILL $pid
wait $pid 2> /dev/null
find killed -name '*.tmp*' -delete -o -name '*.partial*' -delete
check "a checkpoint survives kill -9" sample --checkpoint killed/checkpoint.safetensors --out killed_samples
check "a snapshot survives kill -9" sample --checkpoint killed/snapshot_00000003.safetensors --out killed_samples
check "go on after kill -9" train --decay-steps 50 --minutes 0.001 --out killed --resume
cp -r whole full
on_full_disk full/checkpoint.safetensors train "${all[@]}" --steps 20 --out full --resume

# --- samples: any threads, any batches -------------------------------------------------------------------------------
same() { # same <name> <options...>: the files do not depend on batches and threads
  local name=$1
  shift
  check "$name" sample "$@" --samples 5 --threads 1 --batch 5 --out "$name"
  check "$name in twos" sample "$@" --samples 5 --threads 2 --batch 2 --out "$name.2"
  local file
  for file in "$name"/*; do
    check "$name in twos: $file" cmp "$file" "$name.2/$(basename "$file")"
  done
}
check "a model" train --steps 12 --out model
model=(--checkpoint model/checkpoint.safetensors)
same ddim "${model[@]}"
same ddim_noise "${model[@]}" --eta 1 --guidance 2 --guidance-rescale 0.7 --classes 3,0 --trajectory
same dpmpp "${model[@]}" --sampler dpmpp_2m --spacing karras --clip dynamic --guidance 3
same unipc "${model[@]}" --sampler unipc_3 --spacing log_snr --end-with-noise
same large "${model[@]}" --sampler ddpm --variance fixed_large
same corrected "${model[@]}" --sampler predictor_corrector
same adaptive "${model[@]}" --sampler rk45 --tolerance 0.1 --steps 2
same raw "${model[@]}" --raw-weights
check "the averaged weights are others" test -n "$(cmp ddim/samples.npy raw/samples.npy)"
check "a trajectory" test -s ddim_noise/trajectory.png -a -s ddim_noise/trajectory.npy
check "the last two by themselves" sample "${model[@]}" --samples 2 --first 3 --out last
check "are the last two" cmp <(tail -c 6272 ddim/samples.npy) <(tail -c 6272 last/samples.npy)

# From a picture, and in a part of one: a grey ramp, and a mask whose right half is white.
{ printf 'P5 28 28 255\n'; for _ in $(seq 28); do printf ' 0@P`p~ 0@P`p~ 0@P`p~ 0@P`p~'; done; } > picture.pgm
{ printf 'P5 28 28 255\n'; for _ in $(seq 28); do printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377\377\377\377\377\377\377'; done; } > mask.pgm
same painted_over "${model[@]}" --init picture.pgm --strength 0.5
same filled_in "${model[@]}" --init picture.pgm --inpaint mask.pgm --resampling 2 --sampler euler_ancestral
refused "--strength" sample "${model[@]}" --strength 0.5 --out bad
refused "--inpaint" sample "${model[@]}" --inpaint mask.pgm --out bad
refused "none.png" sample "${model[@]}" --init none.png --out bad

start unfinished.log "$programs/sample_ddpm" "${model[@]}" --samples 100000 --steps 1000 --out unfinished
wait_for_text evaluations unfinished.log
interrupted unfinished.log $pid
check "nothing of an interrupted run" test -z "$(ls unfinished)"

# --- other models ------------------------------------------------------------------------------------------------------
check "a learned variance" train --variance learned_range --loss hybrid --steps 3 --out learned
same learned_variance --checkpoint learned/checkpoint.safetensors --sampler ddpm --guidance 1.5
check "velocity at pure noise" train --model unet --prediction v --zero-terminal-snr --schedule cosine --min-snr 5 --steps 3 --out velocity
same velocity_samples --checkpoint velocity/checkpoint.safetensors
check "told nothing" train --unconditional --steps 3 --out untold
same untold_samples --checkpoint untold/checkpoint.safetensors
check "EDM" train --method edm --data-deviation 0.7 --steps 3 --out edm
same edm_samples --checkpoint edm/checkpoint.safetensors --sampler edm --guidance 2 --trajectory
same edm_heun --checkpoint edm/checkpoint.safetensors --sampler heun --end-with-noise
check "rectified flow" train --method flow --steps 3 --sample-every 3 --out flow
same flow_euler --checkpoint flow/checkpoint.safetensors
same flow_heun --checkpoint flow/checkpoint.safetensors --sampler heun --guidance 2
same flow_from --checkpoint flow/checkpoint.safetensors --init picture.pgm
for method in edm flow; do
  check "$method: 4 steps" train --method $method --decay-steps 3 --threads 1 --steps 4 --out $method.whole
  check "$method: 3 steps" train --method $method --decay-steps 3 --threads 2 --steps 3 --out $method.cut
  check "$method: 1 more" train --method $method --decay-steps 3 --threads 2 --steps 4 --out $method.cut --resume
  check "$method: resumed equals whole" cmp $method.whole/checkpoint.safetensors $method.cut/checkpoint.safetensors
  check "$method: logs are equal" cmp $method.whole/loss.csv $method.cut/loss.csv
done

# The bound: the same numbers for any batches and threads; of a learned variance, of all steps, of other pictures.
bound() { "$programs/bound_ddpm" --smoke "$@"; }
total_of_rows() { # total_of_rows <folder of the bound of ${model[@]}>
  local printed
  printed=$(bound "${model[@]}" --out "$1" | sed -n 's/ bits per dimension.*//p')
  awk -F, -v printed="$printed" 'NR > 1 { sum += $2 } END { exit !(printed > 0 && (sum - printed)^2 < 1e-8) }' "$1/bound.csv"
}
check "the bound" bound "${model[@]}" --batch 4 --threads 1 --out bound
check "the bound in threes" bound "${model[@]}" --batch 3 --threads 2 --out bound.2
for file in bound.csv bound.png; do check "the bound in threes: $file" cmp bound/$file bound.2/$file; done
check "a row for each of 5 steps, and the prior" test "$(wc -l < bound/bound.csv)" -eq 7
check "its rows add up to the total" total_of_rows bound
check "of the whole chain" bound --checkpoint whole/checkpoint.safetensors --steps 0 --out bound_whole
check "a row for each of 4 steps, and the prior" test "$(wc -l < bound_whole/bound.csv)" -eq 6
start bound.log "$programs/bound_ddpm" "${model[@]}" --pictures 10000 --out bound_stopped
wait_for_text "held-out pictures" bound.log
interrupted bound.log $pid
check "no bound of an interrupted run" test -z "$(ls bound_stopped)"
check "an absolute variance" train --variance learned --loss hybrid --steps 3 --out absolute
refused "expected all 1000 of them, got 5" bound --checkpoint absolute/checkpoint.safetensors --out bad
check "with a learned variance" bound --checkpoint learned/checkpoint.safetensors --out bound_learned
check "told nothing" bound --checkpoint untold/checkpoint.safetensors --no-clip --raw-weights --out bound_untold

mkdir -p pictures
for i in 1 2 3 4 5 6; do
  { printf 'P6 40 36 255\n'; yes "colour $i" | head -c 4320; } > pictures/$i.ppm
done
colour() { "$programs/train_ddpm" --smoke --batch 4 --data pictures --size 32 --steps 2 "$@"; }
check "a folder in colour" colour --model UNetTransformerArchResBlock --unconditional --out colour
check "samples in colour" sample --checkpoint colour/checkpoint.safetensors --samples 2 --steps 2 --out colour_samples

# --- wrong input -------------------------------------------------------------------------------------------------------
again() { train "$@" --steps 13 --decay-steps 12 --out model --resume; }
refused 'setting diffusion.schedule is "linear", asked for is "cosine"' again --schedule cosine
refused 'setting diffusion.time_scale is 0.001, asked for is 0.02' again --timesteps 50
refused 'setting diffusion.prediction is "epsilon", asked for is "v"' again --prediction v
refused 'setting architecture is "UNet_Tranformer_Arch", asked for is "UNet"' again --model unet
refused 'setting loss is "mse", asked for is "kl"' again --loss kl
refused 'setting diffusion.channels is 1, asked for is 3' colour --unconditional --out untold --resume
refused 'setting diffusion.data_deviation is 0.7, asked for is 0.5' train --method edm --decay-steps 3 --steps 5 --out edm --resume
refused 'setting diffusion.method is "flow", asked for is "edm"' train --method edm --decay-steps 3 --steps 5 --out flow --resume
refused "--min-snr" train --min-snr 5 --loss kl --out bad
refused "--rho" sample "${model[@]}" --rho 5 --out bad
refused "--guidance-rescale" sample "${model[@]}" --guidance-rescale 0.5 --out bad
refused "heun: takes no eta" sample --checkpoint flow/checkpoint.safetensors --sampler heun --eta 1 --out bad
refused "method: expected one of ddpm, edm, flow" train --method score --out bad
refused "--schedule: only of --method ddpm" train --method flow --schedule cosine --out bad
refused "--flow-times: only of --method flow" train --flow-times uniform --out bad
refused "--flow-times: expected" train --method flow --flow-times some --out bad
refused "has only karras" sample --checkpoint edm/checkpoint.safetensors --spacing trailing --out bad
refused "ends at the clean picture" sample --checkpoint flow/checkpoint.safetensors --end-with-noise --out bad
refused "of the method ddpm" bound --checkpoint flow/checkpoint.safetensors --out bad
refused "the test set has 10000" bound "${model[@]}" --first 9999 --out bad
refused "steps: expected 1 to 4" bound --checkpoint whole/checkpoint.safetensors --out bad
refused "have no classes" colour --out bad
refused "--prediction" train --prediction score --out bad
refused "--prediction" train --zero-terminal-snr --out bad
refused "schedule: expected one of linear" train --schedule straight --out bad
refused "hybrid loss: expected a learned variance" train --loss hybrid --out bad
refused "timestep sampler: expected one of" train --timestep-sampler often --out bad
refused "--settle-steps" train --steps 5 --settle-steps 5 --out bad
refused "a network that is told the time" train --model SimpleAutoEncoder --out bad
refused "sequence of embeddings" train --model UNet_Tranformer_Arch_Embeding --out bad
refused "sampler: expected one of ddim" sample "${model[@]}" --sampler dimm --out bad
refused "dpmpp_2m: takes no eta" sample "${model[@]}" --sampler dpmpp_2m --eta 1 --out bad
refused "eta" sample "${model[@]}" --eta 1.5 --out bad
refused "steps: expected 1 to 1000, got 1001" sample "${model[@]}" --steps 1001 --out bad
refused "spacing: expected one of leading" sample "${model[@]}" --spacing even --out bad
refused "--clip" sample "${model[@]}" --clip some --out bad
refused "learned" sample "${model[@]}" --sampler ddpm --variance learned --out bad
refused "--classes" sample "${model[@]}" --classes 10 --out bad
refused "is told no classes" sample --checkpoint untold/checkpoint.safetensors --guidance 2 --out bad
refused "none.safetensors" sample --checkpoint none.safetensors --out bad
refused "got a diffusion model" "$programs/sample_score_model" --smoke "${model[@]}" --out bad
check "a score model" "$programs/train_score_model" --smoke --limit 96 --batch 16 --steps 2 --out score
refused "those of a diffusion model" sample --checkpoint score/checkpoint.safetensors --out bad
check "no samples from refused runs" test -z "$(find bad -name 'samples*' 2> /dev/null)"

summary
