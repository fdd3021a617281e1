#!/usr/bin/env bash
# make_emoji_dataset on small files of its own and, where Debian's are installed, on those. Usage: emoji.sh <program> <scratch folder>
set -u
program=$1
checks_sh=$(cd "$(dirname "$0")" && pwd)/checks.sh
scratch=$2
rm -rf "$scratch"
mkdir -p "$scratch/xml/annotations" "$scratch/xml/annotationsDerived"
cd "$scratch" || exit 1
. "$checks_sh"

emoji() { "$program" --out refused "$@"; }

# A list and annotations of our own: of the fruit, one has no name in Chinese; the flag and the skin tone are no single
# code points or not fully qualified; the heart has the selector of the emoji style.
cat > list.txt << 'TEXT'
# group: Food & Drink
1F347      ; fully-qualified     # grapes
1F34E      ; fully-qualified     # red apple
1F34F      ; fully-qualified     # green apple
# group: Symbols
2764 FE0F  ; fully-qualified     # red heart
2764       ; unqualified         # red heart
1F1E6 1F1E8 ; fully-qualified    # a flag
1F3FB      ; component           # a skin tone
TEXT
annotations() { # annotations <lines>
  printf '<?xml version="1.0" encoding="UTF-8" ?>\n<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">\n'
  printf '<ldml><identity><language type="x"/></identity><annotations>\n%s\n</annotations></ldml>\n' "$1"
}
annotations '<annotation cp="🍇">fruit | grape</annotation><annotation cp="🍇" type="tts">grapes</annotation>
<annotation cp="🍎" type="tts">red apple</annotation><annotation cp="🍎">apple | red</annotation>
<annotation cp="🍏" type="tts">green apple</annotation>
<annotation cp="❤️" type="tts">red heart</annotation><annotation cp="❤️">heart</annotation>' > xml/annotations/en.xml
annotations '<annotation cp="🍇" type="tts">葡萄</annotation><annotation cp="🍎" type="tts">红苹果</annotation>
<annotation cp="🍏">苹果</annotation>' > xml/annotations/zh.xml
annotations '<annotation cp="❤" type="tts">红心</annotation>' > xml/annotationsDerived/zh.xml
annotations '<annotation cp="🍇" type="tts">↑↑↑</annotation>' > xml/annotations/inherited.xml
annotations '<annotation cp="🥕" type="tts">carrot</annotation>' > xml/annotations/other.xml
own=(--emoji-test list.txt --annotations xml)

check "--help" "$program" --help
refused "--size" emoji "${own[@]}" --size 7
refused "--size" emoji "${own[@]}" --size 1e9
refused "expected all, Food & Drink, Symbols, got 'Fruit'" emoji "${own[@]}" --groups Fruit
refused "--groups" emoji "${own[@]}" --groups 'Symbols,,Food & Drink'
refused "--languages" emoji "${own[@]}" --languages ''
refused "xml/annotations/fr.xml: expected a file such as that of the package unicode-cldr-core, but there is none" emoji "${own[@]}" --languages en,fr
refused "none.txt: expected a file such as that of the package unicode-data, but there is none" emoji --annotations xml --emoji-test none.txt
refused "none.ttf: expected a file such as that of the package fonts-noto-color-emoji, but there is none" emoji "${own[@]}" --font none.ttf
refused "list.txt: expected a font" emoji "${own[@]}" --font list.txt
printf 'grapes ; fully-qualified\n' > bad.txt
refused "bad.txt:1: expected 'CODE CODE ... ; STATUS'" emoji --annotations xml --emoji-test bad.txt
printf '1F347 ; fully-qualified\n' > bad.txt
refused "bad.txt:1: expected '# group: NAME'" emoji --annotations xml --emoji-test bad.txt
printf '# group: Nothing\n' > bad.txt
refused "bad.txt: expected a list of emoji, got none" emoji --annotations xml --emoji-test bad.txt
mkdir -p broken/annotations
printf '<ldml><annotations><annotation cp="x">' > broken/annotations/en.xml
refused "broken/annotations/en.xml: not XML" emoji --emoji-test list.txt --annotations broken --languages en
annotations '' > broken/annotations/en.xml
refused "broken/annotations/en.xml: expected annotations" emoji --emoji-test list.txt --annotations broken --languages en
annotations '<annotation>x</annotation>' > broken/annotations/en.xml
refused "got one without cp" emoji --emoji-test list.txt --annotations broken --languages en
plain=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
if [ -f $plain ]; then
  refused "expected a font of colour bitmaps" emoji "${own[@]}" --font $plain
else
  skip "a font without colours: fonts-dejavu-core is not installed"
fi
check "nothing was written" test -z "$(find refused -type f 2> /dev/null)"

if [ -f /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ]; then
  "$program" "${own[@]}" --size 16 --sheet --out small > small.log 2>&1
  check "two fruit and a heart" grep -q "3  pictures of 16x16 with captions (en,zh)" small.log
  check "the set and a sheet" test -s small/emoji.safetensors -a -s small/emoji.png
  "$program" "${own[@]}" --groups 'Food & Drink' --out small > fruit.log 2>&1
  check "one without a name in Chinese" grep -q "1  left out: 1 without a name, 0 without a picture" fruit.log
  "$program" "${own[@]}" --groups Symbols --languages zh --out small > heart.log 2>&1
  check "the heart alone" grep -q "1  pictures of 32x32 with captions (zh)" heart.log
  printf '# group: \033[2Jx\n1F347 ; fully-qualified\n' > escape.txt
  "$program" --emoji-test escape.txt --annotations xml --size 16 --out small > escape.log 2>&1
  check "a group's name is shown, not obeyed" grep -qF '1  \u001b[2Jx' escape.log
  refused "no emoji of these groups" emoji "${own[@]}" --languages other
  refused "no emoji of these groups" emoji "${own[@]}" --languages inherited
else
  skip "pictures: fonts-noto-color-emoji is not installed"
fi

# The whole set, where its packages are installed (scripts/setup.sh --emoji).
if [ -f /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ] && [ -f /usr/share/unicode/emoji/emoji-test.txt ] &&
  [ -f /usr/share/unicode/cldr/common/annotations/zh.xml ]; then
  check "all" "$program" --size 8 --out all
  check "all again" "$program" --size 8 --out again
  check "the same bytes" cmp all/emoji.safetensors again/emoji.safetensors
  check "food and drink" "$program" --smoke --size 8 --out food
else
  skip "the whole set: fonts-noto-color-emoji, unicode-data or unicode-cldr-core is not installed"
fi
summary
