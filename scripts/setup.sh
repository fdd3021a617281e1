#!/usr/bin/env bash
# Installs the packages that building and running this project needs, where they are missing.
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'END'
Usage: scripts/setup.sh [options]

Installs with apt-get the packages that this project needs and this machine lacks. As another user than root
it goes through sudo. Where nothing is missing, nothing is run.

  --all         also what scripts/test.sh --all needs: clang, its OpenMP and its sanitizers, a cross compiler with
                its emulator, and all of --emoji
  --emoji       also what tools/make_emoji_dataset needs: its libraries, a font of emoji, and Unicode's names of them
                (280 MB in all)
  --list        only print the names of the packages
  --no-install  do nothing
  --help        this text

Made for Debian 12 and Ubuntu 22.04 and later. A library whose package is missing or too old there (xsimd on
Ubuntu 22.04) is downloaded by CMake instead.
END
}

all=no emoji=no list=no install=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --all) all=yes emoji=yes ;;
    --emoji) emoji=yes ;;
    --list) list=yes ;;
    --no-install) install=no ;;
    --help | -h) usage; exit 0 ;;
    *) refuse "unknown option $1" ;;
  esac
  shift
done

# Without these nothing works.
tools=(g++ cmake ninja-build git ca-certificates python3 gnuplot-nox libpng-dev libjpeg-dev)
# Without these a build takes longer each time, or pictures must be brought along.
helpful=(ccache dataset-fashion-mnist fonts-dejavu-core)
# Without these CMake downloads a release.
libraries=(libeigen3-dev libxsimd-dev libstb-dev nlohmann-json3-dev zlib1g-dev libgif-dev libcli11-dev catch2)
if [ "$all" = yes ]; then
  tools+=(clang libomp-dev)
  helpful+=(libclang-rt-dev                     # a part of clang's own package on some systems
            g++-aarch64-linux-gnu qemu-user)    # the kernels' tests for NEON
fi
if [ "$emoji" = yes ]; then
  helpful+=(libfreetype-dev libpugixml-dev fonts-noto-color-emoji unicode-cldr-core unicode-data)
fi

wanted=("${tools[@]}" "${helpful[@]}" "${libraries[@]}")
if [ "$list" = yes ]; then
  printf '%s\n' "${wanted[@]}"
  exit 0
fi
[ "$install" = yes ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "there is no apt here; install the like of: ${wanted[*]} - then run again with --no-install"
fi

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
missing=()
for package in "${wanted[@]}"; do
  installed "$package" || missing+=("$package")
done
# Ubuntu 22.04: an installed g++ may be version 11.
if installed g++ && ! installed g++-12; then
  present="$(g++ -dumpversion 2>/dev/null || true)"
  if [[ "${present%%.*}" =~ ^[0-9]+$ ]] && [ "${present%%.*}" -lt 12 ]; then missing+=(g++-12); fi
fi
if [ ${#missing[@]} -eq 0 ]; then
  say "setup: all ${#wanted[@]} packages are installed"
  exit 0
fi

say "setup: these packages will be installed (--no-install leaves them out): ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "not root, and there is no sudo; as root: apt-get install ${missing[*]}"
  say "setup: through sudo, which may ask for your password"
  as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"; }

apt update || fail "apt-get update failed; is this machine online?"

# What this release of the system does not have is left to CMake, or named.
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p'; }
available=()
for package in "${missing[@]}"; do
  version="$(candidate "$package")"
  if [ -z "$version" ] || [ "$version" = "(none)" ]; then
    case " ${libraries[*]} " in
      *" $package "*) say "setup: there is no package $package here; CMake will download a release" ;;
      *) case " ${helpful[*]} " in
           *" $package "*) say "setup: there is no package $package here; going on without it" ;;
           *) fail "there is no package $package here, and nothing works without it" ;;
         esac ;;
    esac
    continue
  fi
  available+=("$package")
  if [ "$package" = g++ ]; then
    version="${version#*:}"
    if [ "${version%%.*}" -lt 12 ]; then available+=(g++-12); fi  # Ubuntu 22.04: g++ is version 11
  fi
done

if [ ${#available[@]} -gt 0 ]; then
  apt install -y --no-install-recommends "${available[@]}" || fail "apt-get install failed; nothing was built"
fi
say "setup: done"
