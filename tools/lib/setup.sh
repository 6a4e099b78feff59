# Set-up shared by tools/quickstart, tools/test and .ci/run: which packages agon needs, and how to get them.
# Source it, then call `install_packages GROUP...`; or run it: bash tools/lib/setup.sh GROUP...
# shellcheck shell=bash

# A new dependency is one more word here. Required groups stop the script when they cannot be had; the packages of
# `extra` and `peer` serve checks that skip themselves without them.
packages_of() {
  case "$1" in
    build) echo cmake ninja-build g++ libdnnl-dev libeigen3-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev \
      libfmt-dev libspdlog-dev libstb-dev zlib1g-dev libjpeg-dev libpng-dev libbenchmark-dev libopenmpi-dev openmpi-bin ;;
    test) echo libgtest-dev ;;
    ci) echo git clang-format-14 ;;
    extra) echo clang libclang-rt-14-dev libomp-14-dev shellcheck ;;
    # Without OpenBLAS, PyTorch multiplies with the reference BLAS, forty times slower: no fair peer.
    peer) echo libopenblas0-pthread python3-torch python3-numpy python3-matplotlib python3-safetensors ;;
    *) echo "setup: unknown package group '$1'; the groups are build, test, ci, extra, peer" >&2; return 2 ;;
  esac
}

package_installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Runs apt-get as root without questions.
apt_get() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: apt-get needs root, and there is no sudo" >&2; return 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" </dev/null
}

# Installs what the groups name and this machine lacks; touches neither apt nor the network when nothing is missing.
install_packages() {
  local group package packages missing=() optional=()
  for group in "$@"; do
    packages=$(packages_of "$group") || return 2
    for package in $packages; do
      package_installed "$package" && continue
      case "$group" in
        extra | peer) optional+=("$package") ;;
        *) missing+=("$package") ;;
      esac
    done
  done
  [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ] && return 0

  if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here (agon's scripts set up Debian and Ubuntu); assuming that you have the equivalents of:" \
      "${missing[*]} ${optional[*]}" >&2
    return 0
  fi
  local log
  log=$(mktemp)
  echo "setup: installing ${missing[*]} ${optional[*]}"
  apt_get update >"$log" 2>&1 || tail -n 3 "$log" >&2  # an old package list may still do
  if [ ${#missing[@]} -gt 0 ] && ! apt_get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -n 8 "$log" >&2
    echo "setup: could not install ${missing[*]}; check the network and the package sources (agon needs Debian 12," \
      "Ubuntu 24.04 or newer), or install them by hand" >&2
    rm -f "$log"
    return 1
  fi
  for package in "${optional[@]}"; do
    apt_get install -y --no-install-recommends "$package" >"$log" 2>&1 ||
      echo "setup: $package is not to be had here; what needs it is skipped"
  done
  rm -f "$log"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  install_packages "$@"
fi
