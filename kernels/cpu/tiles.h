#pragma once

// The inner loops of matrix products: a tile of the result stays in registers while its sum runs.
// Sums run over words of 32 bits, each one float, or two bfloat16 that are multiplied and added together.

#include <cstdint>
#include <cstring>

#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/vector.h"

#if AGON_TILES

namespace agon::cpu {

/// T = float or Bfloat16: how many of them make a word.
template <class T>
constexpr int64_t kPerWord = sizeof(float) / sizeof(T);

template <class T>
Vector multiply_add(Vector sum, Vector a, Vector b) {
  if constexpr (sizeof(T) == sizeof(float)) return fused(a, b, sum);
#if defined(__AVX512BF16__)
  else
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
#endif
}

inline Vector broadcast_word(const void* from) {
  float word;
  std::memcpy(&word, from, sizeof word);
  return splat(word);
}

/// A vector that is used several times: in a register, or the compiler would read it once for each product.
inline Vector loaded(const float* from) {
  Vector v = load(from);
  asm("" : "+v"(v));
  return v;
}

/// A vector of words from elements that follow each other.
template <class T>
Vector load_words(const float* from) {
#if defined(__AVX512BF16__)
  if constexpr (kPerWord<T> == 2)
    return reinterpret_cast<__m512>(_mm512_cvtne2ps_pbh(load(from + kVector), load(from)));
#endif
  return load(from);
}

#define AGON_UNROLL _Pragma("GCC unroll 32")

/// Sums start from zero, or from what is there.
template <int M, int N>
void start(Vector (&sum)[M][N], float* const (&to)[M], bool accumulate, Lanes last) {
  AGON_UNROLL for (int i = 0; i < M; ++i) AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = zero();
  if (!accumulate) return;
  AGON_UNROLL for (int i = 0; i < M; ++i) {
    AGON_UNROLL for (int j = 0; j + 1 < N; ++j) sum[i][j] = load(to[i] + j * kVector);
    sum[i][N - 1] = load(last, to[i] + (N - 1) * kVector);
  }
}

template <int M, int N>
void store(const Vector (&sum)[M][N], float* const (&to)[M], Lanes last) {
  AGON_UNROLL for (int i = 0; i < M; ++i) {
    AGON_UNROLL for (int j = 0; j + 1 < N; ++j) store(to[i] + j * kVector, sum[i][j]);
    store(to[i] + (N - 1) * kVector, last, sum[i][N - 1]);
  }
}

/// sum[i][j] += factor(i) * row[j]: an outer product.
template <class T, int M, int N, class Factor>
void add_outer(Vector (&sum)[M][N], const float* row, Factor factor) {
  Vector b[N];
  AGON_UNROLL for (int j = 0; j < N; ++j) b[j] = loaded(row + j * kVector);
  AGON_UNROLL for (int i = 0; i < M; ++i) {
    const Vector a = factor(i);
    AGON_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = multiply_add<T>(sum[i][j], a, b[j]);
  }
}

/// to[i][c] (+)= sum over u < rows, d < words of source[i][u * row_stride + d] * panel[u][d][c]:
/// M windows of `rows` rows each, times a panel of weights [rows, words, kVector N], its rows `panel_row` floats apart.
/// `last` masks the last vector's columns.
template <class T, int M, int N>
void window_tile(const T* const (&source)[M], int64_t rows, int64_t row_stride, int64_t words, const float* panel,
                 int64_t panel_row, float* const (&to)[M], bool accumulate, Lanes last) {
  Vector sum[M][N];
  start(sum, to, accumulate, last);
  for (int64_t u = 0; u < rows; ++u, panel += panel_row) {
    const T* a[M];
    AGON_UNROLL for (int i = 0; i < M; ++i) a[i] = source[i] + u * row_stride;
    const float* w = panel;
    for (int64_t d = 0; d < words; ++d, w += N * kVector)
      add_outer<T>(sum, w, [&](int i) { return broadcast_word(a[i] + d * kPerWord<T>); });
  }
  store(sum, to, last);
}

/// to[i][c] (ld apart) (+)= sum over t < count of x[offsets[t] + i] * y[t][c]:
/// the outer products of rows of x, M words each, with the rows of a panel [count, kVector N].
template <class T, int M, int N>
void outer_tile(const float* x, const int64_t* offsets, int64_t count, const float* y, float* to, int64_t ld,
                bool accumulate, Lanes last) {
  constexpr int64_t kAhead = 16;  // the next tiles' words: the processor does not foresee them
  Vector sum[M][N];
  float* row[M];
  AGON_UNROLL for (int i = 0; i < M; ++i) row[i] = to + i * ld;
  start(sum, row, accumulate, last);
  for (int64_t t = 0; t < count; ++t, y += N * kVector) {
    const float* const a = x + offsets[t];
    _mm_prefetch(a + kAhead, _MM_HINT_T0);
    add_outer<T>(sum, y, [&](int i) { return broadcast_word(a + i); });
  }
  store(sum, row, last);
}

}  // namespace agon::cpu

#endif
