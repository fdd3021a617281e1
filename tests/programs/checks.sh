# What the scripts of this folder share; to be sourced by one that is in its scratch folder. `summary` ends them.
failures=0
checks=0

check() { # check <what> <command...>: the command must succeed
  local what=$1
  shift
  checks=$((checks + 1))
  if ! "$@" > check.log 2>&1; then
    failures=$((failures + 1))
    echo "FAILED: $what: $*"
    tail -n 5 check.log
  fi
}

refused() { # refused <text> <command...>: exit code 2 and one line on the standard error that contains the text
  local text=$1
  shift
  checks=$((checks + 1))
  "$@" > refused.out 2> refused.all
  local code=$?
  grep -v ' left$' refused.all > refused.err  # a slow machine has lines of progress too
  if [ $code -ne 2 ] || [ "$(wc -l < refused.err)" -ne 1 ] || ! grep -qF -- "$text" refused.err; then
    failures=$((failures + 1))
    echo "FAILED: expected exit code 2 and one line with '$text', got $code and:"
    cat refused.err
    echo "  from: $*"
  fi
}

wait_for() { # wait_for <file>: until it is there, at most half a minute
  for _ in $(seq 600); do
    sleep 0.05
    [ -e "$1" ] && break
  done
}

wait_for_text() { # wait_for_text <text> <file>: until it has been printed, at most half a minute
  for _ in $(seq 600); do
    sleep 0.05
    grep -qF -- "$1" "$2" 2> /dev/null && break
  done
}

start() { # start <log> <command...>: in the background; sets pid. Scripts start such programs with Ctrl-C ignored: not this one
  local log=$1
  shift
  env --default-signal=INT,QUIT "$@" > "$log" 2>&1 &
  pid=$!
}

ended() { # ended <what> <code> <log> <pid>: it ends with that exit code, within two minutes
  checks=$((checks + 1))
  local watcher code
  (sleep 120; kill -KILL "$4") > /dev/null 2>&1 &
  watcher=$!
  wait "$4"
  code=$?
  kill $watcher 2> /dev/null
  wait $watcher 2> /dev/null
  if [ $code -ne "$2" ]; then
    failures=$((failures + 1))
    echo "FAILED: $1: expected exit code $2, got $code"
    cat "$3"
  fi
}

interrupted() { # interrupted <log> <pid>: Ctrl-C must end it with exit code 130
  kill -INT "$2"
  ended "Ctrl-C" 130 "$1" "$2"
}

said() { # said <text> <file>: the text is in what a program has printed
  check "it says '$1'" grep -qF -- "$1" "$2"
}

on_full_disk() { # on_full_disk <file> <command...>: exit code 2, one line that names the file, which is as before
  local file=$1 before
  before=$(cksum < "$file")
  shift
  checks=$((checks + 1))
  (
    ulimit -f 100
    "$@"
  ) > full.out 2> full.all
  local code=$?
  grep -v ' left$' full.all > full.err  # a slow machine has lines of progress too
  if [ $code -ne 2 ] || [ "$before" != "$(cksum < "$file")" ] || [ "$(wc -l < full.err)" -ne 1 ] ||
    ! grep -qF -- "$file" full.err; then
    failures=$((failures + 1))
    echo "FAILED: a full disk: exit code $code; expected 2, one line that names $file, and $file as before"
    cat full.err
  fi
}

# Counted and shown by scripts/test.sh, as are those of the other tests.
skip() { echo "SKIP: $(basename "$0"): $*"; }

summary() {
  check "nothing was half written" test -z "$(find . -name '*.tmp*' -o -name '*.partial*' -o -name '.lock')"
  echo "$((checks - failures)) passed, $failures failed"
  [ $failures -eq 0 ]
}
