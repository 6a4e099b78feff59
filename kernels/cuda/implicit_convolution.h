#pragma once

#include "kernels/cuda/context.h"

namespace agon::cuda {

/// A convolution of a fleet as a matrix product whose operands are read from the images in place, in one launch (two
/// with few tiles): see tile_product.cuh. Any shape; fp32 sums of fp32 or bf16-rounded operands.
void convolve_implicitly(Context& context, const ops::Convolution& op);

}  // namespace agon::cuda
