#pragma once

#include "kernels/cpu/conv_shape.h"

namespace agon::cpu {

/// Whether this build has tiles: for a processor with AVX-512 or AVX2.
bool has_tiles();

/// A range of the columns of the result: output channels of the forward pass and the weight gradient, input channels
/// of the input gradient. In vectors of 16.
struct Columns {
  int64_t begin = 0, end = 0;
};
/// All columns of a shape's result.
Columns all_columns(const ConvShape& shape);

/// The convolution by register tiles, straight from and to the arena's layouts.
///   x [B, H, W, Cin], w [K, K, Cin, Cout], y [B, H', W', Cout]; the direction says which one is overwritten.
void tile_convolution(const ConvShape& shape, Columns columns, float* x, float* w, float* y);

}  // namespace agon::cpu
