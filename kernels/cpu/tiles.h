#pragma once

// The inner loops of matrix products: a tile of the result stays in registers while its sum runs.
// Sums run over words of 32 bits, each one float, or two bfloat16 that are multiplied and added together.

#include <cstdint>
#include <cstring>

#include "kernels/cpu/bfloat.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define AGON_TILES 1
#include <immintrin.h>

namespace agon::cpu {

constexpr int64_t kVector = 16;  // words in a vector register
constexpr int kTileVectors = 4;  // widest tile, in vectors

/// T = float or Bfloat16: how many of them make a word.
template <class T>
constexpr int64_t kPerWord = sizeof(float) / sizeof(T);

template <class T>
__m512 multiply_add(__m512 sum, __m512 a, __m512 b) {
  if constexpr (sizeof(T) == sizeof(float)) return _mm512_fmadd_ps(a, b, sum);
#if defined(__AVX512BF16__)
  else
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
#endif
}

inline __m512 broadcast_word(const void* from) {
  float word;
  std::memcpy(&word, from, sizeof word);
  return _mm512_set1_ps(word);
}

/// 16 words from elements that follow each other.
template <class T>
__m512 load_words(const float* from) {
#if defined(__AVX512BF16__)
  if constexpr (kPerWord<T> == 2)
    return reinterpret_cast<__m512>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + kVector), _mm512_loadu_ps(from)));
#endif
  return _mm512_loadu_ps(from);
}

/// The first `count` lanes.
inline __mmask16 lanes(int64_t count) { return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1); }

#define AGON_UNROLL _Pragma("GCC unroll 32")

/// Sums start from zero, or from what is there.
template <int M, int N>
void start(__m512 (&sum)[M][N], float* const (&to)[M], bool accumulate, __mmask16 last) {
  AGON_UNROLL for (int i = 0; i < M; ++i) AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = _mm512_setzero_ps();
  if (!accumulate) return;
  AGON_UNROLL for (int i = 0; i < M; ++i) {
    AGON_UNROLL for (int j = 0; j + 1 < N; ++j) sum[i][j] = _mm512_loadu_ps(to[i] + j * kVector);
    sum[i][N - 1] = _mm512_maskz_loadu_ps(last, to[i] + (N - 1) * kVector);
  }
}

template <int M, int N>
void store(const __m512 (&sum)[M][N], float* const (&to)[M], __mmask16 last) {
  AGON_UNROLL for (int i = 0; i < M; ++i) {
    AGON_UNROLL for (int j = 0; j + 1 < N; ++j) _mm512_storeu_ps(to[i] + j * kVector, sum[i][j]);
    _mm512_mask_storeu_ps(to[i] + (N - 1) * kVector, last, sum[i][N - 1]);
  }
}

/// to[i][c] (+)= sum over u < rows, d < words of source[i][u * row_stride + d] * panel[u][d][c]:
/// M windows of `rows` rows each, times a panel [rows, words, 16 N] of weights. `last` masks the last vector's columns.
template <class T, int M, int N>
void window_tile(const T* const (&source)[M], int64_t rows, int64_t row_stride, int64_t words, const float* panel,
                 float* const (&to)[M], bool accumulate, __mmask16 last) {
  __m512 sum[M][N];
  start(sum, to, accumulate, last);
  for (int64_t u = 0; u < rows; ++u) {
    const T* a[M];
    AGON_UNROLL for (int i = 0; i < M; ++i) a[i] = source[i] + u * row_stride;
    for (int64_t d = 0; d < words; ++d) {
      __m512 b[N];
      AGON_UNROLL for (int j = 0; j < N; ++j) b[j] = _mm512_loadu_ps(panel + j * kVector);
      panel += N * kVector;
      AGON_UNROLL for (int i = 0; i < M; ++i) {
        const __m512 factor = broadcast_word(a[i] + d * kPerWord<T>);
        AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = multiply_add<T>(sum[i][j], factor, b[j]);
      }
    }
  }
  store(sum, to, last);
}

/// to[i][c] (ld apart) (+)= sum over t < runs, j < length of x[offsets[t] + j * x_step + i] * y[t][j][c]:
/// the outer products of rows of x, M words each, with the rows of a panel [runs, length, 16 N].
template <class T, int M, int N>
void outer_tile(const float* x, const int64_t* offsets, int64_t runs, int64_t length, int64_t x_step, const float* y,
                float* to, int64_t ld, bool accumulate, __mmask16 last) {
  __m512 sum[M][N];
  float* row[M];
  AGON_UNROLL for (int i = 0; i < M; ++i) row[i] = to + i * ld;
  start(sum, row, accumulate, last);
  for (int64_t t = 0; t < runs; ++t) {
    const float* a = x + offsets[t];
    for (int64_t l = 0; l < length; ++l, a += x_step, y += N * kVector) {
      __m512 b[N];
      AGON_UNROLL for (int j = 0; j < N; ++j) b[j] = _mm512_loadu_ps(y + j * kVector);
      AGON_UNROLL for (int i = 0; i < M; ++i) {
        const __m512 factor = broadcast_word(a + i);
        AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = multiply_add<T>(sum[i][j], factor, b[j]);
      }
    }
  }
  store(sum, row, last);
}

}  // namespace agon::cpu

#endif
