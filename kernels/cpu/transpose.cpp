// Transposition, tile by tile, so that both sides are read and written in whole cache lines.
#include "kernels/cpu/operations.h"
#include "kernels/cpu/rows.h"

namespace agon::cpu {

void enqueue(Stream& stream, const ops::Transpose& op) {
  const int64_t size = op.rows * op.cols;
  each_row(stream, op.replicas, op.batch, size, op.split, [op, size](int64_t r, int64_t begin, int64_t end) {
    constexpr int64_t kTile = 16;
    for (int64_t b = begin; b < end; ++b) {
      const float* __restrict x = op.x.at(r) + b * size;
      float* __restrict y = op.y.at(r) + b * size;
      for (int64_t i0 = 0; i0 < op.rows; i0 += kTile)
        for (int64_t j0 = 0; j0 < op.cols; j0 += kTile)
          for (int64_t j = j0; j < std::min(op.cols, j0 + kTile); ++j)
            for (int64_t i = i0; i < std::min(op.rows, i0 + kTile); ++i) y[j * op.rows + i] = x[i * op.cols + j];
    }
  });
}

}  // namespace agon::cpu
