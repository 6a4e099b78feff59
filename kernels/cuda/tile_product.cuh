#pragma once

// Matrix products in fp32 by tiles, whatever the operands' layout: what dense layers and convolutions (as implicit
// matrix products, without unfolding their patches) have in common.
//
// A block makes a kM x kN tile of one matrix of the batch. It goes through the common dimension in steps of kK: all
// threads bring a kM x kK and a kK x kN piece to shared memory, then each multiplies its (kM / 16) x (kN / 16) part.
// With few tiles the common dimension is cut into slices, whose sums are added in order by a second kernel. How a shape
// is cut follows from one matrix alone, so that a fleet's replica equals a fleet of one.
//
// A Product says what is multiplied. product.at(z) is number z of the batch; its type Matrix has
//   rows(), cols(), depth()            the sizes m, n, k
//   Line a_line(i)   Depth a_depth(k)  what is worked out once for a row of A, and once for each step
//   float a(line, depth)               an element of A
//   b_line(j), b_depth(k), b(...)      the same for B, by columns
//   void store(i, j, value)            takes an element of the result
//   kRowsOfADense, kColsOfBDense       true if neighbours in i (in j) are neighbours in memory; otherwise those in k
//   are

#include "kernels/cuda/launch.cuh"

namespace agon::cuda {

constexpr int kK = 16;

/// To the nearest bfloat16, ties to even, as a float.
AGON_DEVICE_INLINE float round_to_bfloat16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return value;  // NaN stays NaN
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  return std::bit_cast<float>(bits);
}

/// Which elements of a kLines x kK piece a thread brings, so that neighbouring threads read neighbouring memory.
template <int kLines, bool kDenseLines>
struct Share {
  static constexpr int kEach = kLines * kK / static_cast<int>(kThreads);
  static AGON_DEVICE_INLINE int line(int thread, int n) {
    return kDenseLines ? (thread + n * static_cast<int>(kThreads)) % kLines
                       : thread / kK + n * (static_cast<int>(kThreads) / kK);
  }
  static AGON_DEVICE_INLINE int depth(int thread, int n) {
    return kDenseLines ? (thread + n * static_cast<int>(kThreads)) / kLines : thread % kK;
  }
};

struct Slices {
  int64_t count, depth;  // of slices, and how far each goes; a multiple of kK
  float* partial;        // [batch, count, m, n]; null with one slice
  int64_t rows, cols;    // of the largest matrix of the batch
};

template <int kM, int kN, class Product>
__global__ void __launch_bounds__(kThreads)
    tile_product(Product product, int64_t first, int64_t row_tiles, bool round, Slices slices) {
  __shared__ float tile_a[kK][kM + 4], tile_b[kK][kN + 4];
  constexpr int kRows = kM / 16, kCols = kN / 16;
  const int64_t z = first + blockIdx.z, slice = blockIdx.y;
  const auto matrix = product.at(z);
  using Matrix = decltype(product.at(z));
  using ShareA = Share<kM, Matrix::kRowsOfADense>;
  using ShareB = Share<kN, Matrix::kColsOfBDense>;
  const int64_t row0 = blockIdx.x % row_tiles * kM, col0 = blockIdx.x / row_tiles * kN;
  if (row0 >= matrix.rows() || col0 >= matrix.cols()) return;  // a smaller matrix than others of its batch
  const int thread = static_cast<int>(threadIdx.x), ty = thread / 16, tx = thread % 16;
  const int64_t begin = slice * slices.depth, limit = begin + slices.depth;
  const int64_t end = limit < matrix.depth() ? limit : matrix.depth();

  float sum[kRows][kCols] = {};
  for (int64_t k0 = begin; k0 < end; k0 += kK) {
    for (int n = 0; n < ShareA::kEach; ++n) {
      const int i = ShareA::line(thread, n), k = ShareA::depth(thread, n);
      const bool inside = row0 + i < matrix.rows() && k0 + k < end;
      const float value = inside ? matrix.a(matrix.a_line(row0 + i), matrix.a_depth(k0 + k)) : 0.f;
      tile_a[k][i] = round ? round_to_bfloat16(value) : value;
    }
    for (int n = 0; n < ShareB::kEach; ++n) {
      const int j = ShareB::line(thread, n), k = ShareB::depth(thread, n);
      const bool inside = col0 + j < matrix.cols() && k0 + k < end;
      const float value = inside ? matrix.b(matrix.b_line(col0 + j), matrix.b_depth(k0 + k)) : 0.f;
      tile_b[k][j] = round ? round_to_bfloat16(value) : value;
    }
    __syncthreads();
    for (int k = 0; k < kK; ++k) {
      float a[kRows], b[kCols];
      for (int i = 0; i < kRows; ++i) a[i] = tile_a[k][ty * kRows + i];
      for (int j = 0; j < kCols; ++j) b[j] = tile_b[k][tx * kCols + j];
      for (int i = 0; i < kRows; ++i)
        for (int j = 0; j < kCols; ++j) sum[i][j] = std::fma(a[i], b[j], sum[i][j]);
    }
    __syncthreads();
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kCols; ++j) {
      const int64_t row = row0 + ty * kRows + i, col = col0 + tx * kCols + j;
      if (row >= matrix.rows() || col >= matrix.cols()) continue;
      if (slices.partial)
        slices.partial[(((z - first) * slices.count + slice) * slices.rows + row) * slices.cols + col] = sum[i][j];
      else
        matrix.store(row, col, sum[i][j]);
    }
}

/// Adds the slices of each element, in order.
template <class Product>
struct AddSlices {
  Product product;
  int64_t first;
  Slices slices;
  Divisor cols;
  AGON_DEVICE_INLINE void operator()(int64_t z, uint32_t e) const {
    const auto matrix = product.at(first + z);
    const int64_t row = cols.quotient(e), col = cols.remainder(e), size = slices.rows * slices.cols;
    if (row >= matrix.rows() || col >= matrix.cols()) return;
    const float* from = slices.partial + z * slices.count * size + e;
    float sum = from[0];
    for (int64_t s = 1; s < slices.count; ++s) sum += from[s * size];
    matrix.store(row, col, sum);
  }
};

/// The largest sizes among the matrices of a batch.
struct ProductSize {
  int64_t batch, rows, cols, depth;
};

/// Slices of the common dimension: as many as give one matrix this many blocks, but none of less than kLeastDepth.
inline Slices slices_of(const ProductSize& size, int64_t tiles) {
  constexpr int64_t kBlocks = 64, kLeastDepth = 128;
  int64_t count = kBlocks / tiles;
  if (count > size.depth / kLeastDepth) count = size.depth / kLeastDepth;
  if (count < 1) count = 1;
  const int64_t depth = ceil_div(ceil_div(size.depth, count), kK) * kK;
  return {size.depth > 0 ? ceil_div(size.depth, depth) : 1, depth, nullptr, size.rows, size.cols};
}

template <int kM, int kN, class Product>
void start_tiles(Context& context, const ProductSize& size, bool round, const Product& product) {
  const int64_t row_tiles = ceil_div(size.rows, kM), tiles = row_tiles * ceil_div(size.cols, kN);
  Slices slices = slices_of(size, tiles);
  // Very many replicas go in parts, so that the slices' sums stay small beside the models.
  constexpr int64_t kMostPartial = int64_t{1} << 26;  // floats
  const int64_t sums = slices.count > 1 ? slices.count * size.rows * size.cols : 0;
  int64_t most = kMostRows;
  if (sums > 0 && kMostPartial / sums < most) most = kMostPartial / sums > 0 ? kMostPartial / sums : 1;
  for (int64_t first = 0; first < size.batch; first += most) {
    const int64_t batch = size.batch - first < most ? size.batch - first : most;
    if (sums > 0) slices.partial = context.scratch_of<float>((size.batch < most ? size.batch : most) * sums);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(slices.count), static_cast<unsigned>(batch));
    start(context, tile_product<kM, kN, Product>, grid, dim3(kThreads), product, first, row_tiles, round, slices);
    if (slices.count > 1)
      start_each_index(context, batch, size.rows * size.cols,
                       AddSlices<Product>{product, first, slices, Divisor(size.cols)});
  }
}

/// Runs a product with the tile that wastes least at its edges.
template <class Product>
void run_tiles(Context& context, const ProductSize& size, bool round, const Product& product) {
  if (size.batch == 0 || size.rows == 0 || size.cols == 0) return;
  if (size.cols <= 16) return start_tiles<128, 16>(context, size, round, product);
  if (size.rows <= 32) return start_tiles<32, 64>(context, size, round, product);
  if (size.cols <= 32) return start_tiles<64, 32>(context, size, round, product);
  return start_tiles<64, 64>(context, size, round, product);
}

}  // namespace agon::cuda
