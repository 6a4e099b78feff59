#!/usr/bin/env bash
# The include check must catch each kind of violation and let a clean tree pass.
set -euo pipefail
check=$(cd "$(dirname "$0")/.." && pwd)/tools/check-includes
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

# expect pass|fail FILE 'INCLUDE LINE' [TEXT]: a tree whose only file holds the line; a failure must name the file and TEXT.
expect() {
  local outcome=pass said
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/$(dirname "$2")"
  printf '#pragma once\n%s\n' "$3" >"$tree/$2"
  said=$("$check" "$tree" 2>&1) || outcome=fail
  if [ "$outcome" != "$1" ] || { [ "$1" = fail ] && [[ $said != *"$2:2:"*"$4"* ]]; }; then
    echo "expected $1 for $3 in $2, got $outcome: $said"
    failures=$((failures + 1))
  fi
}

expect pass engine/fleet.h '#include "kernels/device.h"'
expect pass tools/agon/main.cpp '#include "algorithms/algorithm.h"'
expect pass kernels/cpu/gemm.cpp '#include <dnnl.hpp>'
expect pass kernels/cuda/gemm.cu '#include <cublas_v2.h>'
expect pass engine/comm/mpi.cpp '#include <mpi.h>'
expect pass tools/agon-bench/gemm.cpp '#include "kernels/cpu/baseline.h"'
expect fail kernels/ops.h '#include "engine/fleet.h"' 'kernels must not include engine'
expect fail engine/fleet.cpp '  #  include "datasets/dataset.h"' 'engine must not include datasets'
expect fail datasets/split.h '#include <algorithms/algorithm.h>' 'datasets must not include algorithms'
expect fail algorithms/md_gan.cpp '#include "tools/agon/cli.h"' 'algorithms must not include tools'
expect fail engine/fleet.cpp '#include <oneapi/dnnl/dnnl.hpp>' 'private to kernels/cpu'
expect fail kernels/cpu/device.cpp '#include <cuda_runtime.h>' 'private to kernels/cuda'
expect fail engine/world.cpp '#include <nccl.h>' 'private to engine/comm'
expect fail engine/world.cpp '#include "kernels/cpu/stream.h"' 'private to kernels'
expect fail tools/agon/info.cpp '#include "kernels/cpu/stream.h"' 'private to kernels'
expect fail engine/world.cpp '#include "../kernels/device.h"' 'relative to the root'

rm -rf "${tree:?}"/*
if "$check" "$tree" >/dev/null 2>&1; then echo "a folder without any room must not pass"; failures=$((failures + 1)); fi
[ "$failures" -eq 0 ] && echo "all violations caught"
