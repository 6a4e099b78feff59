#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace agon::cpu {

/// c [m, n] (+)= a [m, k] b^T, b [n, k], for few rows of a: the input gradient of a dense layer. Rows of b are read
/// once and in place, where a general product would first transpose them. ldc: elements between rows of c.
/// Returns false, having done nothing, where the processor or the shape make a general product the better choice.
bool multiply_rows(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c, int64_t ldc,
                   bool accumulate, Precision precision);

}  // namespace agon::cpu
