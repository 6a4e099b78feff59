// Transposition through shared memory, in tiles of 32 x 32.
#include "kernels/cuda/transpose.h"

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {
namespace {

constexpr int64_t kTile = 32, kDepth = 8;

/// blockIdx.x: tile of the matrix; blockIdx.y: sample; blockIdx.z: replica.
__global__ void __launch_bounds__(kTile* kDepth)
    transpose_tile(int64_t replicas, int64_t batch, int64_t rows, int64_t cols, ConstFloats x, Floats y) {
  __shared__ float tile[kTile][kTile + 1];  // one column more: neighbours in a column lie in different banks
  const int64_t across = (cols + kTile - 1) / kTile;
  const int64_t row = blockIdx.x / across * kTile, col = blockIdx.x % across * kTile;
  for (int64_t r = blockIdx.z; r < replicas; r += gridDim.z)
    for (int64_t b = blockIdx.y; b < batch; b += gridDim.y) {
      const float* from = x.at(r) + b * rows * cols;
      float* to = y.at(r) + b * rows * cols;
      for (int64_t i = threadIdx.y; i < kTile; i += kDepth)
        if (row + i < rows && col + threadIdx.x < cols)
          tile[i][threadIdx.x] = from[(row + i) * cols + col + threadIdx.x];
      __syncthreads();
      for (int64_t j = threadIdx.y; j < kTile; j += kDepth)
        if (col + j < cols && row + threadIdx.x < rows) to[(col + j) * rows + row + threadIdx.x] = tile[threadIdx.x][j];
      __syncthreads();
    }
}

}  // namespace

void transpose(Context& context, int64_t replicas, int64_t batch, int64_t rows, int64_t cols, const ConstFloats& x,
               const Floats& y) {
  if (replicas * batch * rows * cols == 0) return;
  const dim3 grid(static_cast<unsigned>(ceil_div(rows, kTile) * ceil_div(cols, kTile)), grid_rows(batch),
                  grid_rows(replicas));
  start(context, transpose_tile, grid, dim3(kTile, kDepth), replicas, batch, rows, cols, x, y);
}

void launch(Context& context, const ops::Transpose& op) {
  transpose(context, op.replicas, op.batch, op.rows, op.cols, op.x, op.y);
}

}  // namespace agon::cuda
