#!/usr/bin/env bash
# Options of the scripts, and what setup.sh would install: scripts.sh <repository>.
# The package tools are replaced by small stand-ins that write down how they were called.
set -uo pipefail

repository="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0 checks=0

run() {
  output="$("$@" 2>"$work/stderr" </dev/null)"
  code=$?
  errors="$(cat "$work/stderr")"
}

expect() { # <what> <condition as a command>...
  local what="$1"
  shift
  checks=$((checks + 1))
  if ! "$@"; then
    failures=$((failures + 1))
    printf 'FAILED: %s\n  exit code %s\n  stdout: %s\n  stderr: %s\n' "$what" "$code" "$output" "$errors"
  fi
}

code_is() { [ "$code" -eq "$1" ]; }
says() { [[ "$output" == *"$1"* ]]; }
complains() { [[ "$errors" == *"$1"* ]]; }
one_line() { [ "$(wc -l <"$work/stderr")" -eq 1 ] && [ -z "$output" ]; }

# refused <words> <script> <options>...: one line that has the words, exit code 2, nothing started
refused() {
  local words="$1" script="$2"
  shift 2
  run "$repository/scripts/$script" "$@"
  expect "$script $*: exit code 2" code_is 2
  expect "$script $*: one line" one_line
  expect "$script $*: says '$words'" complains "$words"
}

for script in setup.sh test.sh demo.sh; do
  run "$repository/scripts/$script" --help
  expect "$script --help" code_is 0
  expect "$script --help tells how to use it" says "Usage: scripts/$script"
  expect "$script --help tells of --no-install" says --no-install
  refused "unknown option --nonsense" $script --nonsense
  refused "unknown option stray" $script stray
done
refused "--jobs needs a value" test.sh --jobs
refused "--jobs needs a whole number of at least 1, not '0'" test.sh --jobs 0
refused "--jobs needs a whole number of at least 1, not 'two'" test.sh --jobs two
for option in --minutes --samples --steps --seed --threads --data --out; do
  refused "$option needs a value" demo.sh $option
done
refused "--minutes needs a number above 0, not '0'" demo.sh --minutes 0
refused "--minutes needs a number above 0, not '-1'" demo.sh --minutes -1
refused "--minutes needs a number above 0, not 'nan'" demo.sh --minutes nan
refused "--samples needs a whole number of at least 1, not '1.5'" demo.sh --samples 1.5
refused "--steps needs a whole number of at least 1, not '0'" demo.sh --steps 0
refused "--seed needs a whole number of at least 0, not '-3'" demo.sh --seed -3
refused "--threads needs a whole number of at least 1, not ''" demo.sh --threads ""
refused "--data: there is no folder nowhere" demo.sh --data nowhere
refused "--out: the folder" demo.sh --out "$work/stderr/below_a_file"
# Names that are more than names: one line, and nothing in it that a terminal obeys.
for hostile in $'a\nb' $'a\n' $'\e]0;x\a\e[2J' $'a\rb' $'a\x7f' ""; do
  for option in --out --data; do
    refused "$option needs the name of a folder without control characters" demo.sh "$option" "$hostile"
    expect "$option: nothing for a terminal to obey" test -z "$(tr -d '[:print:]\n' <"$work/stderr")"
  done
  refused "needs a" demo.sh --minutes "$hostile"
  [ -z "$hostile" ] || refused "unknown option" demo.sh "$hostile"
  expect "an option: nothing for a terminal to obey" test -z "$(tr -d '[:print:]\n' <"$work/stderr")"
done

# --- setup.sh with stand-ins ---
mkdir fake
cat >fake/dpkg-query <<'END'
#!/bin/sh
for last; do :; done
case " $INSTALLED " in *" all "* | *" $last "*) printf installed ;; *) exit 1 ;; esac
END
cat >fake/apt-get <<'END'
#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case " $* " in *" $FAILING "*) exit 100 ;; esac
END
cat >fake/apt-cache <<'END'
#!/bin/sh
for last; do :; done
case " $ABSENT " in
  *" $last "*) printf '%s:\n  Candidate: (none)\n' "$last" ;;
  *) printf '%s:\n  Candidate: %s\n' "$last" "$VERSION" ;;
esac
END
cat >fake/sudo <<'END'
#!/bin/sh
echo "sudo" >>"$CALLS"
exec "$@"
END
cat >fake/id <<'END'
#!/bin/sh
echo "$USER_NUMBER"
END
chmod +x fake/*
export CALLS="$work/calls" PATH="$work/fake:$PATH"
with() { : >"$CALLS"; run env INSTALLED="" ABSENT="" FAILING=none VERSION=4:12.2.0-3 USER_NUMBER=0 "$@"; }
called() { grep -q -- "$1" "$CALLS"; }
not_called() { ! grep -q -- "$1" "$CALLS"; }
setup="$repository/scripts/setup.sh"

with INSTALLED=all "$setup"
expect "nothing is missing" code_is 0
expect "nothing is missing: nothing is called" test ! -s "$CALLS"

with "$setup" --no-install
expect "--no-install" code_is 0
expect "--no-install: nothing is called" test ! -s "$CALLS"

with INSTALLED="cmake ninja-build" "$setup"
expect "some are missing" code_is 0
expect "some are missing: says which" says "libeigen3-dev libxsimd-dev"
expect "some are missing: update" called "apt-get .*update"
expect "some are missing: install" called "apt-get .*install -y --no-install-recommends g++ .*libeigen3-dev"
expect "some are missing: only those" not_called "install.* cmake "
expect "some are missing: no sudo for root" not_called sudo
expect "clang only with --all" not_called clang
expect "the emoji only where asked for" not_called fonts-noto-color-emoji

with "$setup" --emoji
expect "--emoji brings libraries, font and names" called \
  "install.* libfreetype-dev libpugixml-dev fonts-noto-color-emoji unicode-cldr-core unicode-data"
expect "--emoji brings no clang" not_called clang

with "$setup" --all
expect "--all brings clang and its OpenMP" called "install.* clang libomp-dev"
expect "--all brings the emoji" called "install.* fonts-noto-color-emoji"
expect "--all brings the cross compiler and its emulator" called "install.*g++-aarch64-linux-gnu qemu-user"

with USER_NUMBER=1000 "$setup"
expect "sudo where not root" code_is 0
expect "sudo where not root: called" called sudo

with VERSION=4:11.2.0-1ubuntu1 "$setup"
expect "an old default compiler: a newer one beside it" called "install.* g++-12"

with ABSENT="libxsimd-dev dataset-fashion-mnist" "$setup"
expect "packages that are not there" code_is 0
expect "a library that is not there is left to CMake" says "no package libxsimd-dev here; CMake will download"
expect "the data set that is not there is named" says "no package dataset-fashion-mnist here; going on without"
expect "absent packages are not asked for" not_called "install.*libxsimd-dev"

with ABSENT="ninja-build" "$setup"
expect "a tool that is not there ends it" code_is 1
expect "a tool that is not there is named" complains "no package ninja-build here"

with FAILING=update "$setup"
expect "apt-get update fails" code_is 1
expect "apt-get update fails: says so" complains "apt-get update failed"

mkdir empty
for tool in bash env cat dirname basename id; do ln -s "$(PATH="${PATH#*:}" command -v $tool)" empty/; done
run env PATH="$work/empty" "$setup"
expect "no apt" code_is 1
expect "no apt: one clear line" one_line
expect "no apt: lists what is needed" complains "libeigen3-dev"

# --- test.sh counts what was skipped, with stand-ins for the build and for ctest ---
mkdir -p project/build/release/Testing/Temporary
cp -r "$repository/scripts" project/scripts
cat >fake/cmake <<'END'
#!/bin/sh
echo "cmake $*" >>"$CALLS"
END
cat >fake/ctest <<'END'
#!/bin/sh
while [ "$1" != --output-log ]; do shift; done
printf '%s\n' "90% tests passed, 1 tests failed out of 10" "The following tests did not run:" "	  5 - exchange (Skipped)" >"$2"
printf '%s\n' "SKIP: schedules: there is no reference" "4 passed" "SKIP: schedules: there is no reference" \
  "SKIP: exchange: no torch" "text of a test: SKIP: not this" >"${2%/*}/Testing/Temporary/LastTest.log"
exit 8
END
chmod +x fake/*
with project/scripts/test.sh --no-install --jobs 1
expect "failing tests: exit code 1" code_is 1
expect "the counts" test "$(tail -n 1 <<<"$output")" = "total: 8 passed, 1 failed, 2 skipped"
expect "what was skipped, and why" says "skipped: release: schedules: there is no reference"
expect "a whole test that was skipped" says "skipped: release: exchange: no torch"
expect "the usual tests alone" called "EASY_DIFFUSION_THOROUGH=OFF"
with project/scripts/test.sh --no-install --jobs 1 --all
expect "--all builds with the sanitizers too" called "preset asan-ubsan"
expect "--all: the thorough tests" called "EASY_DIFFUSION_THOROUGH=ON"

printf '%s passed, %s failed\n' $((checks - failures)) "$failures"
[ "$failures" -eq 0 ]
