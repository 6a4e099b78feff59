// Packing of operands for the tiles.
#include "kernels/cpu/pack.h"

#include <algorithm>

#if AGON_TILES

namespace agon::cpu {
namespace {

#if defined(__AVX512BF16__)
/// Words of 16 pairs: even[i] in the lower half, odd[i] in the upper half.
Vector pair(Vector even, Vector odd) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves));
}
#endif

template <class T>
T convert(float value) {
  if constexpr (kPerWord<T> == 2)
    return to_bfloat16(value);
  else
    return value;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // false: GCC bug 105593, in its own headers
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#if AGON_TILES == 512
/// Four steps of exchanging blocks of 1, 2, 4 and 8 lanes between rows.
template <class T>
void transpose_square(const float* from, int64_t from_ld, float* to, int64_t to_ld) {
  Vector a[16], b[16];
  AGON_UNROLL for (int i = 0; i < 16; ++i) a[i] = load_words<T>(from + i * from_ld);
  AGON_UNROLL for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  AGON_UNROLL for (int i = 0; i < 16; i += 4) {
    const auto lo = [](Vector x, Vector y) {
      return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
    };
    const auto hi = [](Vector x, Vector y) {
      return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
    };
    a[i] = lo(b[i], b[i + 2]);
    a[i + 1] = hi(b[i], b[i + 2]);
    a[i + 2] = lo(b[i + 1], b[i + 3]);
    a[i + 3] = hi(b[i + 1], b[i + 3]);
  }
  // a[4 q + c] holds columns c, c+4, c+8, c+12 of rows 4q .. 4q+3, one in each quarter.
  AGON_UNROLL for (int c = 0; c < 4; ++c) {
    const Vector even01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88),
                 odd01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
    const Vector even23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88),
                 odd23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    store(to + c * to_ld, _mm512_shuffle_f32x4(even01, even23, 0x88));
    store(to + (c + 4) * to_ld, _mm512_shuffle_f32x4(odd01, odd23, 0x88));
    store(to + (c + 8) * to_ld, _mm512_shuffle_f32x4(even01, even23, 0xdd));
    store(to + (c + 12) * to_ld, _mm512_shuffle_f32x4(odd01, odd23, 0xdd));
  }
}
#else
/// Three steps of exchanging blocks of 1, 2 and 4 lanes between rows.
template <class T>
void transpose_square(const float* from, int64_t from_ld, float* to, int64_t to_ld) {
  Vector a[8], b[8];
  AGON_UNROLL for (int i = 0; i < 8; ++i) a[i] = load_words<T>(from + i * from_ld);
  AGON_UNROLL for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  AGON_UNROLL for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
  // a[4 q + c] holds columns c and c+4 of rows 4q .. 4q+3, one in each half.
  AGON_UNROLL for (int c = 0; c < 4; ++c) {
    store(to + c * to_ld, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    store(to + (c + 4) * to_ld, _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}
#endif

#pragma GCC diagnostic pop

/// Calls row(image, padded row, source row) for each padded row; the source row is -1 in the border.
template <class Row>
void each_padded_row(const Padding& p, int64_t images, Row row) {
  for (int64_t b = 0; b < images; ++b)
    for (int64_t h = 0; h < p.padded_height; ++h) {
      const int64_t from = h - p.top;
      row(b, h, from >= 0 && from < p.height ? from : -1);
    }
}

}  // namespace

template <class T>
void interleave(const float* even, const float* odd, float* to, int64_t count, int64_t width) {
  for (int64_t i = 0; i < width; i += kVector) {
    const Lanes in = lanes(std::max<int64_t>(0, count - i)), out = lanes(width - i);
    Vector words = load(in, even + i);
#if defined(__AVX512BF16__)
    if constexpr (kPerWord<T> == 2) words = pair(words, odd ? load(in, odd + i) : zero());
#else
    (void)odd;
#endif
    store(to + i, out, words);
  }
}

template <class T>
void pack_panel(const float* from, int64_t rows, int64_t columns, int64_t ld, int64_t begin, int64_t vectors,
                float* to) {
  constexpr int64_t kAhead = 16;  // rows
  const int64_t width = vectors * kVector, count = std::min(width, columns - begin);
  for (int64_t row = 0; row < rows; row += kPerWord<T>, to += width) {
    const float* const even = from + row * ld + begin;
    // A panel reads a short piece of each row, which the processor does not foresee.
    for (int64_t ahead = 0; ahead < kPerWord<T>; ++ahead)
      for (int64_t i = 0; i < count; i += 16) _mm_prefetch(even + (kAhead + ahead) * ld + i, _MM_HINT_T0);
    interleave<T>(even, row + 1 < rows ? even + ld : nullptr, to, count, width);
  }
}

template <class T>
void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_ld, float* to, int64_t to_ld) {
  const int64_t words = words_for<T>(columns);
  for (int64_t i = 0; i < rows; i += kVector)
    for (int64_t j = 0; j < words; j += kVector) {
      const int64_t height = std::min(kVector, rows - i), width = std::min(kVector, words - j);
      if (height == kVector && (j + kVector) * kPerWord<T> <= columns) {
        transpose_square<T>(from + i * from_ld + j * kPerWord<T>, from_ld, to + j * to_ld + i, to_ld);
        continue;
      }
      for (int64_t h = i; h < i + height; ++h)
        for (int64_t w = j; w < j + width; ++w) {
          T word[kPerWord<T>] = {};
          for (int64_t e = 0; e < kPerWord<T> && w * kPerWord<T> + e < columns; ++e)
            word[e] = convert<T>(from[h * from_ld + w * kPerWord<T> + e]);
          std::memcpy(to + w * to_ld + h, word, sizeof(float));
        }
    }
}

template <class T>
void pad(const Padding& p, const float* from, T* to) {
  const int64_t before = p.left * p.channels, inside = p.width * p.channels, line = p.padded_width * p.channels;
  each_padded_row(p, p.batch, [&](int64_t b, int64_t h, int64_t row) {
    T* const target = to + (b * p.padded_height + h) * line;
    if (row < 0) {
      std::fill_n(target, line, T{});
      return;
    }
    const float* const source = from + (b * p.height + row) * inside;
    std::fill_n(target, before, T{});
    if constexpr (kPerWord<T> == 1)
      std::copy_n(source, inside, target + before);
    else
      to_bfloat16(source, target + before, inside);
    std::fill(target + before + inside, target + line, T{});
  });
  std::fill_n(to + p.count(), kPerWord<T>, T{});
}

template <class T>
void pad_pairs(const Padding& p, const float* from, float* to) {
  const int64_t inside = p.width * p.channels, line = p.line();
  // Pixels without gaps between them are moved a row at a time.
  const bool gaps = p.pitch != p.channels;
  const int64_t runs = gaps ? p.width : 1, length = gaps ? p.channels : inside;
  each_padded_row(p, words_for<T>(p.batch), [&](int64_t b, int64_t h, int64_t row) {
    float* const target = to + (b * p.padded_height + h) * line;
    if (row < 0) {
      std::fill_n(target, line, 0.f);
      return;
    }
    const int64_t image = b * kPerWord<T>;
    const float* const even = from + (image * p.height + row) * inside;
    const float* const odd = image + 1 < p.batch ? even + p.height * inside : nullptr;
    float* const first = target + p.left * p.pitch;
    std::fill(target, first, 0.f);
    for (int64_t i = 0; i < runs; ++i)
      interleave<T>(even + i * length, odd ? odd + i * length : nullptr, first + i * p.pitch, length, length);
    std::fill(first + p.width * p.pitch, target + line, 0.f);
  });
}

#define AGON_PACK(T)                                                                              \
  template void interleave<T>(const float*, const float*, float*, int64_t, int64_t);              \
  template void pack_panel<T>(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*); \
  template void transpose<T>(const float*, int64_t, int64_t, int64_t, float*, int64_t);           \
  template void pad<T>(const Padding&, const float*, T*);                                         \
  template void pad_pairs<T>(const Padding&, const float*, float*);
AGON_PACK(float)
#if defined(__AVX512BF16__)
AGON_PACK(Bfloat16)
#endif
#undef AGON_PACK

}  // namespace agon::cpu

#endif
