#pragma once

#include "kernels/cpu/dnnl_conv.h"

namespace agon::cpu {

/// Any convolution, as a matrix product over its unfolded patches: x' [B H' W', K K Cin]. With Precision::kBf16 the
/// operands are rounded and the arithmetic is fp32.
///   x [B, H, W, Cin], w [K, K, Cin, Cout], y [B, H', W', Cout]; the direction says which one is overwritten.
void im2col_convolution(const ConvShape& shape, float* x, float* w, float* y);

}  // namespace agon::cpu
