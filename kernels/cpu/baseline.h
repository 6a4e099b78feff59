#pragma once

#include <functional>

#include "kernels/ops.h"

namespace agon::cpu {

/// Replica 0 of the same operation by oneDNN alone, on one thread: what benchmarks compare with. Empty where oneDNN has
/// only its reference code for a convolution's shape, or none for products in bf16.
std::function<void()> plain_dnnl(const ops::Convolution& operation);
std::function<void()> plain_dnnl(const ops::Gemm& operation);

}  // namespace agon::cpu
