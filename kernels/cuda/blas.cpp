// cuBLAS, which thinks in columns: a row-major C = A B is its C^T = B^T A^T.
#include "kernels/cuda/blas.h"

#include <algorithm>

#include "kernels/error.h"

namespace agon::cuda {

void multiply(Context& context, const BlasProduct& p) {
  if (p.batch == 0 || p.m == 0 || p.n == 0) return;
  for (const int64_t size : {p.m, p.n, p.k})
    if (size > INT32_MAX) fail(Fault::kRun, "a matrix has {} rows or columns, expected at most {}", size, INT32_MAX);
  const float one = 1.f, beta = p.accumulate ? 1.f : 0.f;
  const cudaDataType operand = p.precision == Precision::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
  const cublasComputeType_t compute =
      p.precision == Precision::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  constexpr int64_t kMostBatch = 1 << 15;
  const auto bytes = [&](int64_t count) { return count * (p.precision == Precision::kBf16 ? 2 : 4); };
  for (int64_t first = 0; first < p.batch; first += kMostBatch)
    check(cublasGemmStridedBatchedEx(
              context.blas(), p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
              static_cast<int>(p.n), static_cast<int>(p.m), static_cast<int>(p.k), &one,
              static_cast<const char*>(p.b) + bytes(first * p.stride_b), operand,
              static_cast<int>(p.transpose_b ? p.k : p.n), p.stride_b,
              static_cast<const char*>(p.a) + bytes(first * p.stride_a), operand,
              static_cast<int>(p.transpose_a ? p.m : p.k), p.stride_a, &beta, p.c.at(first), CUDA_R_32F,
              static_cast<int>(p.n), p.c.stride, static_cast<int>(std::min(kMostBatch, p.batch - first)), compute,
              CUBLAS_GEMM_DEFAULT),
          "multiplying matrices");
}

}  // namespace agon::cuda
