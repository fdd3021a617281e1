#!/usr/bin/env bash
# The programs among names that are more than names: of folders, of classes in a checkpoint, of results. None is obeyed by a
# shell, by gnuplot or by a terminal. And options that are no sensible options: each is refused in a line that says what is
# wrong. Usage: hostile.sh <folder of the programs> <scratch folder>
set -u
programs=$(cd "$1" && pwd) || exit 1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch" || exit 1
. "$checks_sh"

# shown <log> <words>: the words stand in what a program printed, which has nothing in it that a terminal obeys
shown() {
  checks=$((checks + 1))
  if LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$1" ||
    ! iconv -f UTF-8 -t UTF-8 "$1" > /dev/null 2>&1 || ! grep -qF -- "$2" "$1"; then
    failures=$((failures + 1))
    echo "FAILED: expected a text that moves no cursor, with '$2', in $1:"
    cat -v "$1"
  fi
}

# --- classes with such names, from folders of pictures through a checkpoint to whatever shows them ---------------------
names=(
  $'x\nsystem "touch pwned"\n'
  $'`touch pwned`'
  $'\'"$(touch pwned); touch pwned #'
  $'\e]0;title\a\e[2J\e[31m red'
  $'=1+1,"quoted" 100% {Bold b}_x^y @z \\'
  $'\u202egpj.exe \u009b31m'
)
for split in train test; do
  for name in "${names[@]}"; do
    mkdir -p "pictures/$split/$name"
    for i in 1 2 3 4; do
      { printf 'P5 28 28 255\n'; yes "$split $name $i" | head -c 784; } > "pictures/$split/$name/$i.pgm"
    done
  done
done
out=$'o\'u"t\nsystem "touch pwned"\n`touch pwned`\e[2J'
data=(--data pictures --channels 1 --size 28)
program() { # program <name> <options>...: its output goes to <name>.log
  local name=$1
  shift
  check "$name" bash -c 'log=$1; shift; "$@" > "$log" 2>&1' bash "$name.log" "$programs/$name" --smoke "$@"
}
program train_score_model --model unet_transformer "${data[@]}" --batch 8 --steps 2 "--out=$out/score"
shown train_score_model.log 'o'\''u"t\nsystem'
program sample_score_model --checkpoint "$out/score/checkpoint.safetensors" --similarity "--out=$out/samples"
shown sample_score_model.log 'o'\''u"t\nsystem'
program train_classifier "${data[@]}" --batch 8 --steps 2 "--out=$out/classifier"
shown train_classifier.log 'o'\''u"t\nsystem'
program train_classifier "${data[@]}" "--out=$out/classifier" --judge "$out/samples/samples.npy" --judge-labels "$out/samples/labels.npy"
shown train_classifier.log '\u001b]0;title\u0007\u001b[2J'
shown train_classifier.log 'x\nsystem "touch pwned"\n'
if [ -x "$programs/train_ddpm" ]; then
  program train_ddpm "${data[@]}" --batch 8 --steps 2 "--out=$out/ddpm"
  shown train_ddpm.log 'o'\''u"t\nsystem'
  program sample_ddpm --checkpoint "$out/ddpm/checkpoint.safetensors" "--out=$out/painted"
  shown sample_ddpm.log 'o'\''u"t\nsystem'
fi
if command -v gnuplot > /dev/null; then
  check "the similarity of classes is drawn" test -s "$out/samples/class_similarity.png"
  check "the loss is drawn" test -s "$out/score/loss.png"
else
  skip "plots: gnuplot is not installed"
fi
check "a line for each pair in the table" test "$(wc -l < "$out/samples/class_similarity.csv")" -eq 37
check "nothing was obeyed" test -z "$(find . -name pwned)"

# --- names and numbers that are none -----------------------------------------------------------------------------------
run() { "$programs/$1" --smoke "${@:2}"; }
long=$(printf 'x%.0s' {1..300})
printf 'x' > file
ln -s loop loop
for program in train_score_model train_classifier; do
  refused "--data: expected a text, got ''" run $program --data "" --out bad
  refused "file/pictures: expected a folder" run $program --data file/pictures --out bad
  refused "'file' is a file and no folder" run $program --data file/pictures --out bad
  refused "name too long" run $program --data "$long" --out bad
  refused "symbolic links" run $program --data loop --out bad
  refused "but there is none" run $program --data none --out bad
  refused "--out: expected a folder, got ''" run $program --out ""
  refused "'file' is a file and no folder" run $program --out file/a/b
  refused "name too long" run $program --out "$long"
  for number in nan inf "" 1e999 -1; do refused "--learning-rate: expected a number from" run $program --learning-rate "$number" --out bad; done
  for number in nan inf "" 1e99 1.5 -1; do refused "--seed: expected a whole number from 0 to 18446744073709551615" run $program --seed "$number" --out bad; done
done
refused "--checkpoint: expected a text, got ''" run sample_score_model --checkpoint "" --out bad
refused "file/x: cannot open: Not a directory" run sample_score_model --checkpoint file/x --out bad
refused "--classes: expected a text" run sample_score_model --checkpoint "$out/score/checkpoint.safetensors" --classes "" --out bad
refused '--classes: expected all' run sample_score_model --checkpoint "$out/score/checkpoint.safetensors" --classes $'0\e[2J' --out bad
shown refused.err "got '0\\u001b[2J'"
refused "--last-time: expected a number from 1e-05 to 0.9, got 'nan'" run sample_score_model --checkpoint x --last-time nan --out bad
refused "--from: expected a text" run train_score_model --from "" --out bad
refused 'no\nsuch\u001b[2J.safetensors' run train_score_model --from $'no\nsuch\e[2J.safetensors' "${data[@]}" --out bad
shown refused.err 'no\nsuch'
refused '\u001b[2J' run train_score_model $'--\e[2J'
refused '\xff' run train_score_model --data $'\xff'
check "nothing was made of refused runs" test -z "$(find bad -type f 2> /dev/null)"

summary
