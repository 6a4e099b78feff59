#pragma once

#include "kernels/cuda/context.h"

namespace agon::cuda {

/// y[r, b, j, i] = x[r, b, i, j] for x [R, B, rows, cols], tile by tile, so that both sides are read and written
/// in whole lines.
void transpose(Context& context, int64_t replicas, int64_t batch, int64_t rows, int64_t cols, const ConstFloats& x,
               const Floats& y);

}  // namespace agon::cuda
