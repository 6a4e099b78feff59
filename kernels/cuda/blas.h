#pragma once

#include "kernels/cuda/context.h"

namespace agon::cuda {

/// C = op(A) op(B) (+ C) for a batch of row-major matrices in device memory; see ops::Gemm. With bf16 the operands are
/// arrays of bfloat16.
struct BlasProduct {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b;
  const void *a, *b;
  int64_t stride_a, stride_b;
  Floats c;
  bool accumulate;
  Precision precision;
};

/// By cuBLAS, as one strided batch: true fp32, tf32 or bf16 products, all summed in fp32.
void multiply(Context& context, const BlasProduct& product);

/// to [R][count] = from [R, count] rounded to nearest even, as bfloat16.
void to_bfloat16(Context& context, int64_t replicas, int64_t count, const ConstFloats& from, void* to);

}  // namespace agon::cuda
