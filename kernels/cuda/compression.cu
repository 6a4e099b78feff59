// What arrives when floats are sent in fewer bits: a block takes a row.
#include <bit>
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/formulas.h"

namespace agon::cuda {
namespace {

/// A row as it is sent: x, or x and what was lost before.
struct Row {
  float *x, *error;
  int64_t cols;

  __device__ Row(const ops::Compress& op, int64_t r, int64_t row)
      : x(op.x.at(r) + row * op.cols), error(op.error ? op.error.at(r) + row * op.cols : nullptr), cols(op.cols) {}
  __device__ float sent(int64_t i) const { return error ? error[i] + x[i] : x[i]; }
  __device__ void arrives(int64_t i, float sent, float value) const {
    x[i] = value;
    if (error) error[i] = sent - value;
  }
};

/// Joins the values of all threads of a block; every thread gets the result.
template <class T, class Join>
__device__ T join_block(T value, Join join) {
  __shared__ T shared[kThreads];
  shared[threadIdx.x] = value;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] = join(shared[threadIdx.x], shared[threadIdx.x + half]);
  }
  __syncthreads();
  const T result = shared[0];
  __syncthreads();  // before the memory is used again
  return result;
}

__device__ float rounded_to_bf16(float value) {  // to nearest, ties to even
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t kept = (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  return std::bit_cast<float>(kept & 0xffff0000u);
}

__device__ void send_int8(const Row& row) {
  const auto larger = [](float a, float b) { return formulas::larger(a, b); };
  float largest = 0.f;
  for (int64_t i = threadIdx.x; i < row.cols; i += blockDim.x)
    largest = larger(largest, formulas::absolute(row.sent(i)));
  const float step = join_block(largest, larger) / 127.f;
  for (int64_t i = threadIdx.x; i < row.cols; i += blockDim.x) {
    const float sent = row.sent(i);
    row.arrives(i, sent, step > 0.f ? (rintf(sent / step) + 0.f) * step : 0.f * sent + 0.f);
  }
}

/// The bits of a magnitude, which are ordered as it is; what is not a number counts as infinite.
__device__ uint32_t magnitude(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  return bits > 0x7f800000u ? 0x7f800000u : bits;
}

/// How many values of the row have a magnitude of at least `least`.
__device__ int64_t count_from(const Row& row, uint32_t least) {
  int64_t count = 0;
  for (int64_t i = threadIdx.x; i < row.cols; i += blockDim.x) count += magnitude(row.sent(i)) >= least ? 1 : 0;
  return join_block(count, [](int64_t a, int64_t b) { return a + b; });
}

/// The sum of `value` over this thread and those before it.
__device__ int sum_up_to_here(int value) {
  __shared__ int shared[kThreads];
  shared[threadIdx.x] = value;
  for (unsigned distance = 1; distance < blockDim.x; distance *= 2) {
    __syncthreads();
    const int before = threadIdx.x >= distance ? shared[threadIdx.x - distance] : 0;
    __syncthreads();
    shared[threadIdx.x] += before;
  }
  const int sum = shared[threadIdx.x];
  __syncthreads();
  return sum;
}

__device__ void send_largest(const Row& row, int64_t keep) {
  // The keep-th largest magnitude, bit by bit from above.
  uint32_t threshold = 0;
  for (int bit = 30; bit >= 0; --bit)
    if (count_from(row, threshold | 1u << bit) >= keep) threshold |= 1u << bit;
  // Of those that have it, the first ones.
  int64_t equals = keep - count_from(row, threshold + 1);
  for (int64_t begin = 0; begin < row.cols; begin += blockDim.x) {
    const int64_t i = begin + threadIdx.x;
    const float sent = i < row.cols ? row.sent(i) : 0.f;
    const bool equal = i < row.cols && magnitude(sent) == threshold;
    const int number = sum_up_to_here(equal ? 1 : 0);
    const bool kept = magnitude(sent) > threshold || (equal && number <= equals);
    if (i < row.cols) row.arrives(i, sent, kept ? sent : 0.f);
    equals -= join_block(equal ? 1 : 0, [](int a, int b) { return a + b; });
  }
}

__global__ void __launch_bounds__(kThreads) compress(ops::Compress op) {
  using Codec = ops::Compress::Codec;
  for (int64_t r = blockIdx.y; r < op.replicas; r += gridDim.y) {
    const Row row(op, r, blockIdx.x);
    if (op.codec == Codec::kInt8)
      send_int8(row);
    else
      send_largest(row, op.keep);
  }
}

/// Nothing in a row depends on the others of it, so that long rows need not be one block's.
struct CompressBf16 {
  ops::Compress op;
  __device__ void operator()(int64_t r, uint32_t i) const {
    const Row row(op, r, 0);
    const float sent = row.sent(i);
    row.arrives(i, sent, rounded_to_bf16(sent));
  }
};

}  // namespace

void launch(Context& context, const ops::Compress& op) {
  if (op.codec == ops::Compress::Codec::kBf16)
    return start_each_index(context, op.replicas, op.rows * op.cols, CompressBf16{op});
  if (op.replicas * op.rows * op.cols == 0) return;
  start(context, compress, dim3(static_cast<unsigned>(op.rows), grid_rows(op.replicas)), dim3(kThreads), op);
}

}  // namespace agon::cuda
