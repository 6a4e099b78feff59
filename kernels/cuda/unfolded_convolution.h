#pragma once

#include "kernels/cuda/context.h"

namespace agon::cuda {

/// Work space that the unfolded patches of all replicas need, in bytes.
int64_t unfolded_bytes(const ops::Convolution& op);

/// A convolution of a fleet as one strided batch of cuBLAS products over its unfolded patches [R, B H' W', K K Cin]:
/// the way to the tensor cores for tf32 and bf16, and to any replica stride.
void convolve_unfolded(Context& context, const ops::Convolution& op);

}  // namespace agon::cuda
