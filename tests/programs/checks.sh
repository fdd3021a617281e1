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
  "$@" > refused.out 2> refused.err
  local code=$?
  if [ $code -ne 2 ] || [ "$(wc -l < refused.err)" -ne 1 ] || ! grep -qF -- "$text" refused.err; then
    failures=$((failures + 1))
    echo "FAILED: expected exit code 2 and one line with '$text', got $code and:"
    cat refused.err
    echo "  from: $*"
  fi
}

wait_for() { # wait_for <file>: until it is there, at most ten seconds
  for _ in $(seq 200); do
    sleep 0.05
    [ -f "$1" ] && break
  done
}

interrupted() { # interrupted <log> <pid>: Ctrl-C must end it with exit code 130
  checks=$((checks + 1))
  kill -INT "$2"
  wait "$2"
  local code=$?
  if [ $code -ne 130 ]; then
    failures=$((failures + 1))
    echo "FAILED: Ctrl-C: expected exit code 130, got $code"
    cat "$1"
  fi
}

on_full_disk() { # on_full_disk <file> <command...>: exit code 2, one line that names the file, which is as before
  local file=$1 before
  before=$(cksum < "$file")
  shift
  checks=$((checks + 1))
  (
    trap '' XFSZ
    ulimit -f 100
    "$@"
  ) > full.out 2> full.err
  local code=$?
  if [ $code -ne 2 ] || [ "$before" != "$(cksum < "$file")" ] || [ "$(wc -l < full.err)" -ne 1 ] ||
    ! grep -qF -- "$file" full.err; then
    failures=$((failures + 1))
    echo "FAILED: a full disk: exit code $code; expected 2, one line that names $file, and $file as before"
    cat full.err
  fi
}

summary() {
  check "nothing was half written" test -z "$(find . -name '*.tmp*' -o -name '*.partial*')"
  echo "$((checks - failures)) passed, $failures failed"
  [ $failures -eq 0 ]
}
