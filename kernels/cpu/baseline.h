#pragma once

#include <functional>

#include "kernels/ops.h"

namespace agon::cpu {

/// Replica 0 of the same convolution by oneDNN alone, on one thread: what benchmarks compare with. Empty where
/// oneDNN has only its reference code for the shape.
std::function<void()> plain_dnnl(const ops::Convolution& operation);

}  // namespace agon::cpu
