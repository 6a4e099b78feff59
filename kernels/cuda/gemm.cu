// Matrix products of dense layers: cuBLAS, or tiles where batches are so small that it has no good code.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/tile_product.cuh"

#include <cuda_bf16.h>

#include <bit>
#include <string>

namespace agon::cuda {
namespace {

/// op(A) op(B) of one replica.
template <bool kTransposeA, bool kTransposeB>
struct DenseProduct {
  ops::Gemm op;

  struct Matrix {
    static constexpr bool kRowsOfADense = kTransposeA, kColsOfBDense = !kTransposeB;
    int64_t m, n, k;
    const float *pa, *pb;
    float* c;
    bool accumulate;

    AGON_DEVICE_INLINE int64_t rows() const { return m; }
    AGON_DEVICE_INLINE int64_t cols() const { return n; }
    AGON_DEVICE_INLINE int64_t depth() const { return k; }
    AGON_DEVICE_INLINE int64_t a_line(int64_t i) const { return kTransposeA ? i : i * k; }
    AGON_DEVICE_INLINE int64_t a_depth(int64_t l) const { return kTransposeA ? l * m : l; }
    AGON_DEVICE_INLINE float a(int64_t line, int64_t depth) const { return pa[line + depth]; }
    AGON_DEVICE_INLINE int64_t b_line(int64_t j) const { return kTransposeB ? j * k : j; }
    AGON_DEVICE_INLINE int64_t b_depth(int64_t l) const { return kTransposeB ? l : l * n; }
    AGON_DEVICE_INLINE float b(int64_t line, int64_t depth) const { return pb[line + depth]; }
    AGON_DEVICE_INLINE void store(int64_t i, int64_t j, float value) const {
      float& to = c[i * n + j];
      to = accumulate ? to + value : value;
    }
  };
  AGON_DEVICE_INLINE Matrix at(int64_t r) const {
    return {op.m, op.n, op.k, op.a.at(r), op.b.at(r), op.c.at(r), op.accumulate};
  }
};

void by_tiles(Context& context, const ops::Gemm& op) {
  const ProductSize size{op.replicas, op.m, op.n, op.k};
  const bool round = op.precision == Precision::kBf16;
  if (op.transpose_a && op.transpose_b) return run_tiles(context, size, round, DenseProduct<true, true>{op});
  if (op.transpose_a) return run_tiles(context, size, round, DenseProduct<true, false>{op});
  if (op.transpose_b) return run_tiles(context, size, round, DenseProduct<false, true>{op});
  run_tiles(context, size, round, DenseProduct<false, false>{op});
}

void by_blas(Context& context, const ops::Gemm& op) {
  const int64_t a_count = op.m * op.k, b_count = op.k * op.n;
  constexpr int64_t kMostRounded = int64_t{1} << 28;  // numbers, of all replicas that are rounded at a time
  if (const int64_t most = kMostRounded / (a_count + b_count) + 1;
      op.precision == Precision::kBf16 && op.replicas > most) {
    for (int64_t first = 0; first < op.replicas; first += most) {
      ops::Gemm part = op;
      part.replicas = op.replicas - first < most ? op.replicas - first : most;
      part.a.data = op.a.at(first), part.b.data = op.b.at(first), part.c.data = op.c.at(first);
      by_blas(context, part);
    }
    return;
  }
  BlasProduct product{op.replicas, op.m,        op.n,        op.k, op.transpose_a, op.transpose_b, op.a.data,
                      op.b.data,   op.a.stride, op.b.stride, op.c, op.accumulate,  op.precision};
  if (op.precision == Precision::kBf16) {
    auto* rounded = context.scratch_of<__nv_bfloat16>(op.replicas * (a_count + b_count) + 128);
    __nv_bfloat16* const second = rounded + ceil_div(op.replicas * a_count, 128) * 128;
    to_bfloat16(context, op.replicas, a_count, op.a, rounded);
    to_bfloat16(context, op.replicas, b_count, op.b, second);
    product.a = rounded, product.stride_a = a_count, product.b = second, product.stride_b = b_count;
  }
  multiply(context, product);
}

struct Round {
  ConstFloats from;
  __nv_bfloat16* to;
  int64_t count;
  __device__ void operator()(int64_t r, uint32_t i) const { to[r * count + i] = __float2bfloat16_rn(from.at(r)[i]); }
};

std::string shape_of(const ops::Gemm& op) {
  const char* const precisions[] = {"fp32", "tf32", "bf16"};
  return "gemm R" + std::to_string(op.replicas) + " " + std::to_string(op.m) + "x" + std::to_string(op.n) + "x" +
         std::to_string(op.k) + (op.transpose_a ? " t" : " n") + (op.transpose_b ? "t " : "n ") +
         precisions[static_cast<int>(op.precision)] + (op.accumulate ? " added" : "");
}

}  // namespace

void to_bfloat16(Context& context, int64_t replicas, int64_t count, const ConstFloats& from, void* to) {
  start_each_index(context, replicas, count, Round{from, static_cast<__nv_bfloat16*>(to), count});
}

void launch(Context& context, const ops::Gemm& op) {
  const bool may_time = !context.capturing && !op.accumulate;  // to accumulate twice would be another result
  context.choices().run(shape_of(op),
                        {{"cublas", [&] { by_blas(context, op); }}, {"tiles", [&] { by_tiles(context, op); }}}, context,
                        may_time);
}

}  // namespace agon::cuda
