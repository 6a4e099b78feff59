#pragma once

// Sums over the rows of [replicas, groups, rows, cols], in an order that follows from the shape alone: each thread adds
// a few rows in float, a block adds its threads up as a tree, and chunks of rows are added in order in double.

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {

struct RowShape {
  int64_t replicas, groups, rows, cols;
};

/// How a shape is cut: blocks of `width` columns x `depth` threads, each of which adds up to kRowsPerThread rows.
struct RowCut {
  static constexpr int64_t kRowsPerThread = 32;
  int64_t width = 1, depth, chunk_rows, chunks, tiles;

  explicit RowCut(const RowShape& shape) {
    while (width < shape.cols && width < 32) width *= 2;
    depth = kThreads / width;
    chunk_rows = depth * kRowsPerThread;
    chunks = shape.rows > chunk_rows ? ceil_div(shape.rows, chunk_rows) : 1;
    tiles = ceil_div(shape.cols, width);
  }
  dim3 grid(const RowShape& shape) const {
    return dim3(static_cast<unsigned>(tiles * chunks), grid_rows(shape.groups), grid_rows(shape.replicas));
  }
  dim3 block() const { return dim3(static_cast<unsigned>(width), static_cast<unsigned>(depth)); }
};

/// The sums of one replica: of a group, over its chunks in order.
template <int kSums>
struct RowTotals {
  const double* partial;  // [groups, chunks, kSums, cols]
  int64_t chunks, cols;

  AGON_DEVICE_INLINE double of(int64_t group, int64_t col, int sum) const {
    double total = 0;
    for (int64_t c = 0; c < chunks; ++c) total += partial[((group * chunks + c) * kSums + sum) * cols + col];
    return total;
  }
};

/// Adds the values of a block's threads with the same threadIdx.x, as a tree; the result is that of threadIdx.y == 0.
template <int kSums>
__device__ inline void add_up(float* sums) {
  __shared__ float shared[kSums][kThreads];
  const int self = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  for (int s = 0; s < kSums; ++s) shared[s][self] = sums[s];
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half)
      for (int s = 0; s < kSums; ++s) shared[s][self] += shared[s][self + static_cast<int>(half * blockDim.x)];
  }
  __syncthreads();
  for (int s = 0; s < kSums; ++s) sums[s] = shared[s][threadIdx.x];
  __syncthreads();  // before the memory is used again
}

template <class Add>
__global__ void __launch_bounds__(kThreads)
    sum_row_chunks(RowShape shape, int64_t tiles, int64_t chunk_rows, Add add, double* partial) {
  const int64_t tile = blockIdx.x % tiles, chunk = blockIdx.x / tiles, chunks = gridDim.x / tiles;
  const int64_t col = tile * blockDim.x + threadIdx.x, begin = chunk * chunk_rows;
  const int64_t end = begin + chunk_rows < shape.rows ? begin + chunk_rows : shape.rows;
  for (int64_t r = blockIdx.z; r < shape.replicas; r += gridDim.z)
    for (int64_t g = blockIdx.y; g < shape.groups; g += gridDim.y) {
      float sums[Add::kSums] = {};
      if (col < shape.cols)
        for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) add.add(r, g, row, col, sums);
      add_up<Add::kSums>(sums);
      if (threadIdx.y != 0 || col >= shape.cols) continue;
      double* to = partial + ((r * shape.groups + g) * chunks + chunk) * Add::kSums * shape.cols + col;
      for (int s = 0; s < Add::kSums; ++s) to[s * shape.cols] = static_cast<double>(sums[s]);
    }
}

template <int kSums, class Finish>
struct FinishRows {
  RowShape shape;
  int64_t chunks;
  const double* partial;
  Finish finish;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t col) const {
    finish(r, col, RowTotals<kSums>{partial + r * shape.groups * chunks * kSums * shape.cols, chunks, shape.cols});
  }
};

/// add.add(r, g, row, col, sums) adds one element to Add::kSums sums; then finish(r, col, totals) once for each column.
template <class Add, class Finish>
void sum_rows(Context& context, const RowShape& shape, const Add& add, const Finish& finish) {
  if (shape.replicas == 0 || shape.cols == 0) return;
  constexpr int kSums = Add::kSums;
  const RowCut cut(shape);
  double* partial = context.scratch_of<double>(shape.replicas * shape.groups * cut.chunks * kSums * shape.cols);
  start(context, sum_row_chunks<Add>, cut.grid(shape), cut.block(), shape, cut.tiles, cut.chunk_rows, add, partial);
  start_each_index(context, shape.replicas, shape.cols, FinishRows<kSums, Finish>{shape, cut.chunks, partial, finish});
}

}  // namespace agon::cuda
