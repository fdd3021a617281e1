#!/usr/bin/env bash
# The training and sampling programs as a person uses them: interrupted and resumed, with other threads and batches, with
# wrong input. Usage: programs.sh <folder of the programs> <scratch folder>
set -u
programs=$(cd "$1" && pwd) || exit 1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
. "$checks_sh"

small=(--smoke --limit 96 --batch 16)
train() { "$programs/train_score_model" "${small[@]}" "$@"; }
sample() { "$programs/sample_score_model" --smoke "$@"; }

# --- the same checkpoint, however it was reached: 12 steps, 5 + 7, two threads, Ctrl-C -------------------------------
check "12 steps" train --threads 1 --steps 12 --out whole
check "5 steps" train --threads 2 --steps 5 --out cut
check "7 more" train --threads 1 --steps 12 --out cut --resume
check "12 steps, two threads" train --threads 2 --steps 12 --out two
check "resumed equals whole" cmp whole/checkpoint.safetensors cut/checkpoint.safetensors
check "two threads equal one" cmp whole/checkpoint.safetensors two/checkpoint.safetensors
check "logs are equal" cmp whole/loss.csv cut/loss.csv

start stopped.log "$programs/train_score_model" "${small[@]}" --threads 2 --steps 100000 --checkpoint-every 100000 --out stopped
wait_for stopped/loss.csv # a few steps, in the middle of an epoch
sleep 0.7
interrupted stopped.log $pid
made=$(tail -n 1 stopped/loss.csv | cut -d, -f1)
[[ $made =~ ^[0-9]+$ ]] || made=0
goal=$((made + 4))
check "go on after Ctrl-C (step $made)" train --threads 1 --steps "$goal" --out stopped --resume
check "the same without Ctrl-C" train --threads 2 --steps "$goal" --out unstopped
check "Ctrl-C left no trace" cmp stopped/checkpoint.safetensors unstopped/checkpoint.safetensors
check "nor in the log" cmp stopped/loss.csv unstopped/loss.csv

# --- a kill in the middle: the last checkpoint loads, the log is cut back to it ---------------------------------------
"$programs/train_score_model" "${small[@]}" --threads 2 --steps 100000 --checkpoint-every 3 --out killed > killed.log 2>&1 &
pid=$!
wait_for killed/checkpoint.safetensors
sleep 0.3
kill -KILL $pid
wait $pid 2> /dev/null
check "a checkpoint survives kill -9" sample --checkpoint killed/checkpoint.safetensors --out killed_samples
step=$(head -c 4096 killed/checkpoint.safetensors | grep -ao '"step":"[0-9]*"' | grep -o '[0-9]*')
check "go on after kill -9" train --steps $((step + 1)) --out killed --resume
check "the log has every step once" test "$(wc -l < killed/loss.csv)" -eq $((step + 2))

# --- no room on the disk: the checkpoint before survives ---------------------------------------------------------------
cp -r whole full
on_full_disk full/checkpoint.safetensors train --steps 20 --out full --resume

# --- samples: any threads, any batches, another seed ------------------------------------------------------------------
checkpoint=whole/checkpoint.safetensors
check "9 samples" sample --checkpoint $checkpoint --samples 9 --threads 1 --batch 9 --out s9
check "in twos" sample --checkpoint $checkpoint --samples 9 --threads 2 --batch 2 --out s2
check "one by one" sample --checkpoint $checkpoint --samples 9 --threads 2 --batch 1 --out s1
for file in samples.npy samples.png samples.gif; do
  check "batches of 2: $file" cmp s9/$file s2/$file
  check "batches of 1: $file" cmp s9/$file s1/$file
done
check "another seed" sample --checkpoint $checkpoint --samples 9 --seed 1 --out other
checks=$((checks + 1))
if cmp -s s9/samples.npy other/samples.npy; then
  failures=$((failures + 1))
  echo "FAILED: another seed gives the same pictures"
fi

# --- the classifier: trains, judges, refuses ---------------------------------------------------------------------------
classify() { "$programs/train_classifier" --smoke "$@"; }
check "a classifier" classify --out classifier
classify --out classifier --judge s9/samples.npy > judged.txt 2>&1
check "it judges samples and finds classes among them" grep -q "classes found: [1-9]" judged.txt
refused "setting seed is 0, asked for is 3" classify --out classifier --resume --seed 3
refused "none.npy" classify --out classifier --judge none.npy
refused "whole/checkpoint.safetensors" classify --out classifier --judge whole/checkpoint.safetensors
refused "classifier/checkpoint.safetensors" sample --checkpoint classifier/checkpoint.safetensors --out bad

# --- classes: a model that is told them, however it was reached; a row a class; what a classifier makes of it ------------
told() { train --model unet_transformer "$@"; }
check "conditional, 8 steps" told --threads 1 --steps 8 --out told
check "conditional, 3 steps" told --threads 2 --steps 3 --out told_cut
check "conditional, 5 more" told --threads 1 --steps 8 --out told_cut --resume
check "conditional: resumed equals whole" cmp told/checkpoint.safetensors told_cut/checkpoint.safetensors
refused "setting condition_dropout is 0.1, asked for is 0.5" told --condition-dropout 0.5 --steps 9 --out told --resume
classes=(--checkpoint told/checkpoint.safetensors --classes all --guidance 2)
check "two of each class" sample "${classes[@]}" --samples 20 --threads 1 --batch 20 --out c20
check "in batches of 7" sample "${classes[@]}" --samples 20 --threads 2 --batch 7 --out c7
for file in samples.npy labels.npy samples.png samples.gif; do
  check "classes in batches of 7: $file" cmp c20/$file c7/$file
done
check "the second ten by themselves" sample "${classes[@]}" --samples 10 --first 10 --out c10
check "are the second half" cmp <(tail -c 31360 c20/samples.npy) <(tail -c 31360 c10/samples.npy)
check "some classes" sample --checkpoint told/checkpoint.safetensors --classes 3,0 --out c2
if command -v gnuplot > /dev/null; then
  check "similarity of classes" sample --checkpoint told/checkpoint.safetensors --similarity --out similar
  check "similarity is drawn" test -s similar/class_similarity.png
else
  skip "similarity of classes: gnuplot is not installed"
fi
check "fine-tuning from a checkpoint" told --from told/checkpoint.safetensors --steps 2 --out tuned
classify --out classifier --judge c20/samples.npy --judge-labels c20/labels.npy > agreed.txt 2>&1
check "a classifier says how often it agrees" grep -q "agreement with the class asked for: .* % of 20" agreed.txt
refused "--judge-labels" classify --out classifier --judge-labels c20/labels.npy
refused "expected [20], got [10]" classify --out classifier --judge c20/samples.npy --judge-labels c10/labels.npy
refused "--classes" sample --checkpoint told/checkpoint.safetensors --classes 0,10 --out bad
refused "--classes" sample --checkpoint told/checkpoint.safetensors --classes 1,1 --out bad
refused "--guidance" sample --checkpoint told/checkpoint.safetensors --guidance -1 --out bad
refused "is told no classes" sample --checkpoint $checkpoint --classes all --out bad
refused "is told no class" train --condition-dropout 0.2 --out bad
refused "sequence of embeddings" train --model UNet_Tranformer_Arch_Embeding --out bad
refused "does not fit the model" train --from told/checkpoint.safetensors --out bad

# --- pictures of a folder, mirrored and moved; the classes are its folders ---------------------------------------------
mkdir -p pictures/round pictures/square
for i in 1 2 3 4 5 6; do # 40 x 36 in colour
  { printf 'P6 40 36 255\n'; yes "round $i" | head -c 4320; } > pictures/round/$i.ppm
  { printf 'P6 40 36 255\n'; yes "square $i" | head -c 4320; } > pictures/square/$i.ppm
done
folder() { train --data pictures --size 32 --mirror --shift 2 "$@"; }
check "a folder, 4 steps" folder --threads 1 --steps 4 --out folder
check "a folder, 2 steps" folder --threads 2 --steps 2 --out folder_cut
check "a folder, 2 more" folder --threads 1 --steps 4 --out folder_cut --resume
check "a folder: resumed equals whole" cmp folder/checkpoint.safetensors folder_cut/checkpoint.safetensors
refused ', mirrored, shifted by up to 2", asked for is "' train --data pictures --size 32 --mirror --steps 5 --out folder --resume
check "the folders are classes" told --data pictures --channels 1 --steps 2 --out folder_classes
refused "--framing" folder --framing round --out bad
refused "channels: expected 1 (grey) or 3" folder --channels 2 --out bad
refused "to become 128 x 128, got 36 x 40" train --data pictures --size 128 --out bad
refused "shift: expected 0 to 31, got 32" train --data pictures --shift 32 --out bad
refused "pictures: expected the folders train and test" classify --data pictures --out bad
refused "pictures with captions, version 1', got 'easy_diffusion checkpoint 1'" train --data whole/checkpoint.safetensors --out bad
printf 'P6 40 36 255\n' > pictures/round/7.ppm
refused "pictures/round/7.ppm" folder --out bad

# --- wrong input -----------------------------------------------------------------------------------------------------
before=$(cksum < whole/checkpoint.safetensors)
refused "--steps" train --steps -1 --out whole
refused "--batch" train --batch 0 --out bad
refused "--batch" train --batch 12x --out bad
refused "--learning-rate" train --learning-rate nan --out bad
refused "--threads" train --threads 0 --out bad
refused "--sigma" train --sigma 0.5 --out bad
refused "--no-such-option" train --no-such-option --out bad
refused "architecture" train --model NoNet --out bad
refused "--overwrite" train --resume --overwrite --out whole
refused "no/such/folder" train --data no/such/folder --out bad
refused "--resume" train --resume --out bad
refused "setting batch is 16, asked for is 8" "$programs/train_score_model" --smoke --limit 96 --batch 8 --resume --out whole
refused "is there already" "$programs/train_score_model" --limit 96 --steps 1 --out whole
refused "--out" train --out whole/checkpoint.safetensors
refused "--checkpoint" "$programs/sample_score_model" --out bad
refused "none.safetensors" sample --checkpoint none.safetensors --out bad
head -c 3000 whole/checkpoint.safetensors > cut.safetensors
refused "cut.safetensors" sample --checkpoint cut.safetensors --out bad
mkdir -p cut_run
cp cut.safetensors cut_run/checkpoint.safetensors
refused "cut_run/checkpoint.safetensors" train --resume --out cut_run
check "a checkpoint that cannot be read is left alone" cmp cut.safetensors cut_run/checkpoint.safetensors
printf 'not a checkpoint' > text.safetensors
refused "text.safetensors" sample --checkpoint text.safetensors --out bad
refused "--steps" sample --checkpoint $checkpoint --steps 0 --out bad
refused "--samples" sample --checkpoint $checkpoint --samples 1e99 --out bad
refused "17x17" sample --checkpoint $checkpoint --size 12 --out bad
mkdir -p idx
printf '\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x1c\x00\x00\x00\x1c' > idx/train-images-idx3-ubyte
refused "train-images-idx3-ubyte" train --data idx --out bad
check "nothing was written over" test "$before" = "$(cksum < whole/checkpoint.safetensors)"
check "no samples from refused runs" test -z "$(find bad -name 'samples*' 2> /dev/null)"

summary
