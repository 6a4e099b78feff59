// Products of a few rows with many: sums along the rows, in tiles of 5 x 4 dot products.
#include "kernels/cpu/dot_tiles.h"

#include <algorithm>

#include "kernels/cpu/conv_shape.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/tile_conv.h"
#include "kernels/cpu/tiles.h"

namespace agon::cpu {

#if AGON_TILES == 512
namespace {

constexpr int kRowsA = 5, kRowsB = 4;

/// 16 words of the first `count` elements, zero beyond.
template <class T>
__m512 load_some_words(const float* from, int64_t count) {
  const __m512 low = _mm512_maskz_loadu_ps(lanes(count), from);
#if defined(__AVX512BF16__)
  if constexpr (kPerWord<T> == 2) {
    const __m512 high = _mm512_maskz_loadu_ps(lanes(std::max<int64_t>(0, count - kVector)), from + kVector);
    return reinterpret_cast<__m512>(_mm512_cvtne2ps_pbh(high, low));
  }
#endif
  return low;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false: GCC bug 105593, in its own headers
/// The sums of the lanes of four vectors.
__m128 sums_of(__m512 a, __m512 b, __m512 c, __m512 d) {
  const auto fold = [](__m512 v) {  // to 4 lanes
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  };
  __m128 r0 = fold(a), r1 = fold(b), r2 = fold(c), r3 = fold(d);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  return _mm_add_ps(_mm_add_ps(r0, r1), _mm_add_ps(r2, r3));
}

#pragma GCC diagnostic pop

/// Dot products of 5 rows of a, `words` long and padded with zeros to whole vectors, and 4 rows of b, k long.
template <class T>
void dot_tile(const float* const (&a)[kRowsA], const float* const (&b)[kRowsB], int64_t k, __m128 (&result)[kRowsA]) {
  constexpr int64_t kStep = kVector * kPerWord<T>;
  __m512 sum[kRowsA][kRowsB];
  AGON_UNROLL for (int i = 0; i < kRowsA; ++i) AGON_UNROLL for (int j = 0; j < kRowsB; ++j) sum[i][j] =
      _mm512_setzero_ps();
  const auto add = [&](int64_t at, auto load) {
    __m512 factor[kRowsB];
    AGON_UNROLL for (int j = 0; j < kRowsB; ++j) {
      factor[j] = load(b[j] + at);
      // The next rows: each is too short for the processor to see where they lead.
      AGON_UNROLL for (int64_t e = 0; e < kPerWord<T>; ++e)
          _mm_prefetch(b[j] + kRowsB * k + at + e * kVector, _MM_HINT_T0);
    }
    AGON_UNROLL for (int i = 0; i < kRowsA; ++i) {
      const __m512 row = loaded(a[i] + at / kPerWord<T>);
      AGON_UNROLL for (int j = 0; j < kRowsB; ++j) sum[i][j] = multiply_add<T>(sum[i][j], row, factor[j]);
    }
  };
  int64_t at = 0;
  for (; at + kStep <= k; at += kStep) add(at, [](const float* from) { return load_words<T>(from); });
  if (at < k) add(at, [&](const float* from) { return load_some_words<T>(from, k - at); });
  AGON_UNROLL for (int i = 0; i < kRowsA; ++i) result[i] = sums_of(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
}

template <class T>
void multiply(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  // a as whole vectors of words, and one more, so that rows do not compete for the same lines of the cache.
  const int64_t vectors = (k + kVector * kPerWord<T> - 1) / (kVector * kPerWord<T>), length = (vectors + 1) * kVector;
  float* const rows = scratch(kScratchA, m * length);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t at = v * kVector * kPerWord<T>;
      _mm512_store_ps(rows + i * length + v * kVector, load_some_words<T>(a + i * k + at, k - at));
    }
  for (int64_t j = 0; j < n; j += kRowsB) {
    const float* factors[kRowsB];
    for (int64_t l = 0; l < kRowsB; ++l) factors[l] = b + std::min(j + l, n - 1) * k;  // beyond the edge: not stored
    const __mmask8 columns = static_cast<__mmask8>(lanes(std::min<int64_t>(kRowsB, n - j)));
    for (int64_t i = 0; i < m; i += kRowsA) {
      const float* first[kRowsA];
      for (int64_t l = 0; l < kRowsA; ++l) first[l] = rows + std::min(i + l, m - 1) * length;
      __m128 result[kRowsA];
      dot_tile<T>(first, factors, k, result);
      for (int64_t l = 0; l < kRowsA && i + l < m; ++l) {
        float* const to = c + (i + l) * ldc + j;
        if (accumulate) result[l] = _mm_add_ps(result[l], _mm_maskz_loadu_ps(columns, to));
        _mm_mask_storeu_ps(to, columns, result[l]);
      }
    }
  }
}

}  // namespace
#endif

bool multiply_rows([[maybe_unused]] int64_t m, [[maybe_unused]] int64_t n, [[maybe_unused]] int64_t k,
                   [[maybe_unused]] const float* a, [[maybe_unused]] const float* b, [[maybe_unused]] float* c,
                   [[maybe_unused]] int64_t ldc, [[maybe_unused]] bool accumulate,
                   [[maybe_unused]] Precision precision) {
  // Short sums do not pay for adding up the lanes, and many rows of a do not stay in the first-level cache.
  constexpr int64_t kLeastSum = 64, kMostRows = 64;
  if (!has_tiles(precision) || k < kLeastSum || m > kMostRows) return false;
#if AGON_TILES == 512
  if (precision == Precision::kBf16) {
#if defined(__AVX512BF16__)
    multiply<Bfloat16>(m, n, k, a, b, c, ldc, accumulate);
    return true;
#else
    return false;
#endif
  }
  multiply<float>(m, n, k, a, b, c, ldc, accumulate);
  return true;
#else
  return false;  // 16 registers hold too few sums: oneDNN's product is faster
#endif
}

}  // namespace agon::cpu
