#!/usr/bin/env bash
# What the programs decide for whoever uses them is printed, and what cannot be done as asked is refused: which pictures are
# taken, which classes painted, in which size. Usage: decisions.sh <folder of the programs> <scratch folder>
set -u
programs=$(cd "$1" && pwd) || exit 1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
. "$checks_sh"

train() { "$programs/train_score_model" --smoke --batch 4 --steps "${steps:-2}" --threads 1 "$@"; }
told() { train --model unet_transformer "$@"; }
sample() { "$programs/sample_score_model" --smoke --steps 2 "$@"; }
labels() { od -An -v -t d8 -j 128 "$1/labels.npy" | tr -s ' \n' ' '; }

picture() { # picture <file> <seed> <height> <width>: in colour
  { printf 'P6 %d %d 255\n' "$4" "$3"; yes "$2" | head -c $((3 * $3 * $4)); } > "$1"
}
grey() { # grey <file> <height> <width> <byte, octal>
  { printf 'P5 %d %d 255\n' "$3" "$2"; head -c $(($2 * $3)) /dev/zero | tr '\0' "\\$4"; } > "$1"
}
big_endian() { printf "\\x$(printf %02x $(($1 >> 24)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"; }
idx() { # idx <folder> <train or t10k> <side> <label>...: a picture for each label
  local folder=$1 stem=$2 side=$3 label
  shift 3
  mkdir -p "$folder"
  { printf '\x00\x00\x08\x03'; big_endian $#; big_endian "$side"; big_endian "$side"; yes "$stem" | head -c $(($# * side * side)); } > "$folder/$stem-images-idx3-ubyte"
  { printf '\x00\x00\x08\x01'; big_endian $#; for label in "$@"; do printf "\\x$(printf %02x "$label")"; done; } > "$folder/$stem-labels-idx1-ubyte"
}

# --- which pictures: of a folder of classes a part of each -----------------------------------------------------------------
for split in train test; do
  mkdir -p classes/$split/round classes/$split/square
  for i in 1 2 3 4 5 6; do
    picture classes/$split/round/$i.ppm "round $i $split" 40 36
    picture classes/$split/square/$i.ppm "square $i $split" 40 36
  done
done
told --data classes --limit 2 --out few > few.log 2>&1
said "12 pictures, cropped to squares and resized to 32x32, in colour; 2 of them are taken, of each class as many as of another" few.log
check "both classes are painted" sample --checkpoint few/checkpoint.safetensors --out few_samples
check "both of them" test "$(labels few_samples)" = " 0 1 "
told --data classes --limit 1 --out one > one.log 2>&1
check "one picture: one class has none" grep -q "classes: 2, of which these have no picture and are not painted: [01]" one.log
check "the other is painted" sample --checkpoint one/checkpoint.safetensors --out one_samples
check "alone" test "$(labels one_samples | wc -w)" -eq 1
told --data classes --framing fit --channels 1 --out fitted > fitted.log 2>&1
said "fitted into squares and resized to 32x32, grey" fitted.log
said "ends after 2 steps in all; learning rate 0.001, times 0.9 after every epoch" fitted.log

# --- which classes: labels that begin at 1, or leave some out --------------------------------------------------------------
idx from_one train 28 1 2 3 1 2 3
idx from_one t10k 28 1 2 3
told --data from_one --out from_one > from_one.log 2>&1
said "classes: 4, of which these have no picture and are not painted: 0" from_one.log
check "samples" sample --checkpoint from_one/checkpoint.safetensors --out from_one_samples
check "of the classes from 1 on" test "$(labels from_one_samples)" = " 1 2 3 "
check "and no other in the similarity" sample --checkpoint from_one/checkpoint.safetensors --similarity --out from_one_similar
check "three rows and columns" test "$(wc -l < from_one_similar/class_similarity.csv)" -eq 10
refused "--classes: the model has never seen a picture of class 0" sample --checkpoint from_one/checkpoint.safetensors --classes 0,1 --out bad
steps=3 check "it goes on" told --data from_one --out from_one --resume
classify() { "$programs/train_classifier" --smoke --batch 4 --steps 2 "$@"; }
idx more_to_test train 28 0 1 0 1
idx more_to_test t10k 28 0 1 2
refused "expected the same classes for training and for testing, got 0, 1 and 0, 1, 2" classify --data more_to_test --out bad
mkdir -p others/train others/test
cp -r classes/train/round others/train/round
cp -r classes/train/square others/train/square
cp -r classes/test/round others/test/circle
cp -r classes/test/square others/test/square
refused "expected the same classes for training and for testing, got round, square and circle, square" classify --data others --out bad
check "a classifier" classify --data classes --no-mirror --out classifier
classify --data classes --no-mirror --out classifier --judge few_samples/samples.npy > judged.log 2>&1
said "judges with classifier/checkpoint.safetensors, without training" judged.log

# --- which size: that of the training ------------------------------------------------------------------------------------
sample --checkpoint few/checkpoint.safetensors --out as_trained > as_trained.log 2>&1
said "pictures of 32x32" as_trained.log
sample --checkpoint few/checkpoint.safetensors --size 28 --out as_asked > as_asked.log 2>&1
said "the model was trained on pictures of 32x32" as_asked.log
if [ -x "$programs/score_likelihood" ]; then
  likelihood() { "$programs/score_likelihood" --smoke --tolerance 1 "$@"; }
  check "grey pictures of 28x28" train --data from_one --out grey
  idx wide t10k 32 0 1
  refused "expected pictures of 28x28, as the model was trained on, got 32x32" likelihood --checkpoint grey/checkpoint.safetensors --data wide --out bad
  check "a folder in the model's size" likelihood --checkpoint grey/checkpoint.safetensors --data classes --out likelihood
fi
told --data classes --from few/checkpoint.safetensors --size 24 --out smaller > smaller.log 2>&1
said "starts from few/checkpoint.safetensors, averaged weights after 2 steps" smaller.log
said "they were trained for other settings: picture is another" smaller.log

# --- options that would change nothing ---------------------------------------------------------------------------------
steps=0 refused "--steps" train --out bad
refused "--epochs" train --epochs 0 --out bad
refused "--minutes" train --minutes 0 --out bad
refused "framing: only a folder of pictures is converted" train --data from_one --framing fit --out bad
[ -x "$programs/run_model" ] && refused "--tokens: only of --describe" "$programs/run_model" --tokens 5

if [ -x "$programs/train_ddpm" ] && [ -x "$programs/sample_ddpm" ]; then
  ddpm() { "$programs/train_ddpm" --smoke --batch 4 --steps 2 "$@"; }
  paint() { "$programs/sample_ddpm" --smoke --steps 2 "$@"; }
  refused "--settle-rate: needs --settle-steps" ddpm --settle-rate 1e-6 --out bad
  refused "--final-rate: needs" "$programs/train_ddpm" --minutes 1 --final-rate 0.1 --out bad
  check "a diffusion model" ddpm --data from_one --sample-every 2 --out ddpm
  model=(--checkpoint ddpm/checkpoint.safetensors)
  check "samples" paint "${model[@]}" --out ddpm_samples
  check "of the classes from 1 on" test "$(labels ddpm_samples)" = " 1 2 3 "
  refused "--classes: the model has never seen a picture of class 0" paint "${model[@]}" --classes 0 --out bad

  # A picture and its mask are framed alike, or not at all.
  picture wide.ppm wide 30 40
  grey alike.pgm 60 80 377
  grey square.pgm 40 40 377
  grey black.pgm 30 40 000
  paint "${model[@]}" --init wide.ppm --strength 0.9 --out init > init.log 2>&1
  said "wide.ppm: 30x40 cropped to the square in its middle, resized to 28x28" init.log
  paint "${model[@]}" --init wide.ppm --inpaint alike.pgm --out filled > filled.log 2>&1
  said "100 % of the picture are painted anew" filled.log
  refused "square.pgm: expected a mask of the proportions of wide.ppm, 30x40, got 40x40" paint "${model[@]}" --init wide.ppm --inpaint square.pgm --out bad
  refused "black.pgm: expected a mask with a white part" paint "${model[@]}" --init wide.ppm --inpaint black.pgm --out bad
  if [ -x "$programs/bound_ddpm" ]; then
    bound() { "$programs/bound_ddpm" --smoke --steps 2 "$@"; }
    check "of two classes" ddpm --data classes --size 28 --out two
    bound --checkpoint two/checkpoint.safetensors --data classes --pictures 2 --out bound > bound.log 2>&1
    said "pictures are counted in turns of the classes" bound.log
    refused "its classes have other names" bound --checkpoint two/checkpoint.safetensors --data others --out bad
    idx from_zero t10k 28 0 1
    refused "its classes have other names than those that the model was trained on" bound "${model[@]}" --data from_zero --pictures 2 --out bad
  fi
fi

summary
