// The products of dense layers with batches of few rows. The matrix of weights is read, and its gradient written, once
// and in place: a general product copies its operands first, which takes about as long as multiplying by ten rows.
#include "kernels/cpu/few_rows.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/conv_shape.h"
#include "kernels/cpu/panels.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/tile_conv.h"

namespace agon::cpu {

#if AGON_TILES
namespace {

constexpr int64_t kLine = 64 / sizeof(float);      // of the cache
constexpr int kTileRows = 5;                       // batches are of 10 or 20
constexpr int kTileWidth = kTileSums / kTileRows;  // in vectors: with AVX2 a line of the cache

/// Calls tile.operator()<M>(i) for rows i .. i + M - 1, in tiles of nearly the same height, at most kMost.
template <int kMost, class Tile>
void each_tile(int64_t rows, const Tile& tile) {
  each_part(rows, kMost, [&](int64_t begin, int64_t end) {
    with_width<kMost>(end - begin, [&]<int M>() { tile.template operator()<M>(begin); });
  });
}

/// Calls strip.operator()<N>(j, last lanes) for columns j .. j + N kVector - 1 of a matrix.
template <class Strip>
void each_strip(int64_t columns, const Strip& strip) {
  const int64_t all = (columns + kVector - 1) / kVector;
  for (int64_t begin = 0; begin < all; begin += kTileWidth) {
    const int64_t vectors = std::min<int64_t>(kTileWidth, all - begin);
    with_width<kTileWidth>(
        vectors, [&]<int N>() { strip.template operator()<N>(begin * kVector, last_lanes(columns, begin, N)); });
  }
}

/// to[i][c] (ld apart) (+)= sum over t < count of a[t][i] * strip[t][c], the strip's rows `step` apart. With each of
/// them one line is fetched of what comes next: from `ahead` on, `ahead_step` apart.
template <int M, int N>
void strip_tile(const float* a, int64_t count, const float* strip, int64_t step, float* to, int64_t ld, bool accumulate,
                Lanes last, const float* ahead, int64_t ahead_step) {
  Vector sum[M][N];
  float* row[M];
  AGON_UNROLL for (int i = 0; i < M; ++i) row[i] = to + i * ld;
  start(sum, row, accumulate, last);
  for (int64_t t = 0; t < count; ++t, a += M, strip += step, ahead += ahead_step) {
    _mm_prefetch(ahead, _MM_HINT_T0);
    add_outer<float>(sum, strip, [&](int i) { return splat(a[i]); });
  }
  store(sum, row, last);
}

/// Forward, c = a b: block by block of b's rows, each strip of its columns passes under all rows of a.
void forward(const Product& p) {
  float* const woven = scratch(kScratchC, p.m * p.k);  // tiles of a, [k, M] each
  each_tile<kTileRows>(p.m, [&]<int M>(int64_t i) {
    for (int64_t t = 0; t < p.k; ++t)
      for (int l = 0; l < M; ++l) woven[i * p.k + t * M + l] = p.a[(i + l) * p.lda + t];
  });
  // Two blocks of whole rows fit into the second-level cache: while one is used, the next is fetched as it lies in
  // memory. Of longer rows, and of parts of rows, it is the next strip that is fetched.
  constexpr int64_t kLeastDepth = 32, kMostDepth = 256;
  const int64_t fitting = kCacheFloats / 2 / p.n;
  const bool whole = p.n == p.ldb && fitting >= kLeastDepth;
  each_part(p.k, whole ? std::min(fitting, kMostDepth) : kMostDepth, [&](int64_t begin, int64_t end) {
    const int64_t depth = end - begin;
    const float *block = p.b + begin * p.ldb, *next = p.b + end * p.ldb;
    each_strip(p.n, [&]<int N>(int64_t j, Lanes last) {
      const float* strip = block + j;
      int64_t step = p.ldb;
      if (j + N * kVector > p.n) {  // in place, whole vectors would reach beyond the last row's end
        float* const copy = scratch(kScratchD, kMostDepth * N * kVector);
        pack_panel<float>(block, depth, p.n, p.ldb, j, N, copy);
        strip = copy, step = N * kVector;
      }
      each_tile<kTileRows>(p.m, [&]<int M>(int64_t i) {
        strip_tile<M, N>(woven + i * p.k + begin * M, depth, strip, step, p.c + i * p.ldc + j, p.ldc,
                         p.accumulate || begin > 0, last, whole ? next + j * depth : strip + N * kVector,
                         whole ? kLine : step);
      });
    });
  });
}

/// Weight gradient, c = a^T b: sums of k outer products, along the rows of c.
void weight_grad(const Product& p) {
  constexpr int64_t kWidth = kTileWidth * kVector;
  std::vector<int64_t> rows(static_cast<size_t>(p.k));  // where those of a begin
  for (int64_t t = 0; t < p.k; ++t) rows[static_cast<size_t>(t)] = t * p.lda;
  // As many columns at a time as stay in the second-level cache, in strips [k, kWidth].
  const int64_t most = std::max(kWidth, kCacheFloats / 2 / p.k / kWidth * kWidth);
  float* const strips = scratch(kScratchC, p.k * (std::min(most, p.n) + kWidth));
  for (int64_t begin = 0; begin < p.n; begin += most) {
    const int64_t columns = std::min(most, p.n - begin);
    each_strip(columns, [&]<int N>(int64_t j, Lanes) {
      pack_panel<float>(p.b + begin, p.k, columns, p.ldb, j, N, strips + j * p.k);
    });
    each_tile<kTileSums / kTileWidth>(p.m, [&]<int M>(int64_t i) {
      each_strip(columns, [&]<int N>(int64_t j, Lanes last) {
        float* const to = p.c + i * p.ldc + begin + j;
        for (int l = 0; l < M; ++l) __builtin_prefetch(to + (M + l) * p.ldc, 1);  // what the next tile overwrites
        outer_tile<float, M, N>(p.a + i, rows.data(), p.k, strips + j * p.k, to, p.ldc, p.accumulate, last);
      });
    });
  }
}

/// A vector of words of the first `count` elements, zero beyond.
template <class T>
Vector load_some_words(const float* from, int64_t count) {
  const Vector low = load(lanes(count), from);
#if defined(__AVX512BF16__)
  if constexpr (kPerWord<T> == 2) {
    const Vector high = load(lanes(std::max<int64_t>(0, count - kVector)), from + kVector);
    return reinterpret_cast<__m512>(_mm512_cvtne2ps_pbh(high, low));
  }
#endif
  return low;
}

/// The sums of the lanes of each of N vectors, N <= 4.
template <int N>
__m128 sums_of(const Vector (&v)[N]) {
  __m128 part[4] = {};
  AGON_UNROLL for (int j = 0; j < N; ++j) part[j] = folded(v[j]);
  _MM_TRANSPOSE4_PS(part[0], part[1], part[2], part[3]);
  return _mm_add_ps(_mm_add_ps(part[0], part[1]), _mm_add_ps(part[2], part[3]));
}

/// Dot products of M rows of a, woven vector by vector and padded with zeros, with N rows of b, k long. Meanwhile as
/// much is fetched from `ahead` on.
template <class T, int M, int N>
void dot_tile(const float* a, const float* const (&b)[N], int64_t k, const float* ahead, __m128 (&result)[M]) {
  constexpr int64_t kStep = kVector * kPerWord<T>;
  Vector sum[M][N];
  AGON_UNROLL for (int i = 0; i < M; ++i) AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = zero();
  const auto add = [&](int64_t at, auto load) {
    AGON_UNROLL for (int64_t e = 0; e < N * kStep / kLine; ++e, ahead += kLine) _mm_prefetch(ahead, _MM_HINT_T0);
    Vector factor[N];
    AGON_UNROLL for (int j = 0; j < N; ++j) factor[j] = load(b[j] + at);
    AGON_UNROLL for (int i = 0; i < M; ++i, a += kVector) {
      const Vector row = loaded(a);
      AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = multiply_add<T>(sum[i][j], row, factor[j]);
    }
  };
  int64_t at = 0;
  for (; at + kStep <= k; at += kStep) add(at, [](const float* from) { return load_words<T>(from); });
  if (at < k) add(at, [&](const float* from) { return load_some_words<T>(from, k - at); });
  AGON_UNROLL for (int i = 0; i < M; ++i) result[i] = sums_of(sum[i]);
}

/// Input gradient, c = a b^T: dot products of rows.
template <class T>
void input_grad(const Product& p) {
  constexpr int64_t kStep = kVector * kPerWord<T>;
  const int64_t vectors = (p.k + kStep - 1) / kStep;
  float* const woven = scratch(kScratchC, p.m * vectors * kVector);  // tiles of a, [vectors, M, kVector] words each
  each_tile<kTileRows>(p.m, [&]<int M>(int64_t i) {
    float* to = woven + i * vectors * kVector;
    for (int64_t at = 0; at < p.k; at += kStep)
      for (int l = 0; l < M; ++l, to += kVector) store(to, load_some_words<T>(p.a + (i + l) * p.lda + at, p.k - at));
  });
  // A tile of a stays in the first-level cache while a block of b, in the second-level one, passes by and the next
  // block is fetched.
  const int64_t most = std::max<int64_t>(1, kCacheFloats / 2 / p.k / kTileWidth) * kTileWidth;
  for (int64_t begin = 0; begin < p.n; begin += most)
    each_tile<kTileRows>(p.m, [&]<int M>(int64_t i) {
      for (int64_t j = begin; j < std::min(begin + most, p.n); j += kTileWidth) {
        const int64_t columns = std::min<int64_t>(kTileWidth, p.n - j);
        const float* rows[kTileWidth];
        for (int64_t l = 0; l < kTileWidth; ++l) rows[l] = p.b + (j + std::min(l, columns - 1)) * p.ldb;
        __m128 result[M];
        dot_tile<T>(woven + i * vectors * kVector, rows, p.k, rows[0] + most * p.ldb, result);
        for (int l = 0; l < M; ++l) {
          float sums[4];
          _mm_storeu_ps(sums, result[l]);
          float* const to = p.c + (i + l) * p.ldc + j;
          for (int64_t e = 0; e < columns; ++e) to[e] = p.accumulate ? to[e] + sums[e] : sums[e];
        }
      }
    });
}

/// Any of the three in bf16 by the matrix registers: a dense layer is a convolution of images of one pixel.
void multiply_pixels(const Product& p) {
  using Direction = ops::Convolution::Direction;
  const auto shape = [](Direction direction, int64_t batch, int64_t in, int64_t out) {
    return ConvShape{direction, batch, 1, 1, in, 1, 1, out, 1, 1, 0, Precision::kBf16};
  };
  const auto run = [](const ConvShape& s, const float* x, const float* w, const float* y) {
    tile_convolution(s, all_columns(s), const_cast<float*>(x), const_cast<float*>(w), const_cast<float*>(y));
  };
  if (p.transpose_a)
    run(shape(Direction::kWeightGrad, p.k, p.m, p.n), p.a, p.c, p.b);
  else if (p.transpose_b)
    run(shape(Direction::kInputGrad, p.m, p.n, p.k), p.c, p.b, p.a);
  else
    run(shape(Direction::kForward, p.m, p.k, p.n), p.a, p.b, p.c);
}

}  // namespace
#endif

bool has_few_rows([[maybe_unused]] const ops::Gemm& op) {
#if AGON_TILES
  constexpr int64_t kMostRows = 64;  // of a batch: more of them pay for copying the weights
  constexpr int64_t kLeastSum = 64;  // shorter ones do not pay for adding up the lanes
  // AVX-512's registers hold so large tiles that oneDNN is as fast, but for b^T; and only they multiply bf16.
  const bool fp32 = op.precision == Precision::kFp32, outer_products = AGON_TILES == 256 && fp32;
  if (op.k == 0) return false;
  if (!fp32 && has_amx()) return !op.split && !op.accumulate && !(op.transpose_a && op.transpose_b);
  if (op.transpose_b) return !op.transpose_a && op.m <= kMostRows && op.k >= kLeastSum && (fp32 || has_fast_pairs());
  if (op.transpose_a) return outer_products && op.k <= kMostRows;
  // All columns of a narrow matrix would be copied.
  return outer_products && op.m <= kMostRows && op.n >= kTileWidth * kVector;
#else
  return false;
#endif
}

void multiply_few_rows([[maybe_unused]] const Product& p, [[maybe_unused]] Precision precision) {
#if AGON_TILES
  if (precision == Precision::kBf16 && has_amx()) return multiply_pixels(p);
  if (p.transpose_a) return weight_grad(p);
  if (!p.transpose_b) return forward(p);
#if defined(__AVX512BF16__)
  if (precision == Precision::kBf16) return input_grad<Bfloat16>(p);
#endif
  input_grad<float>(p);
#endif
}

}  // namespace agon::cpu
