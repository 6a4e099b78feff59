#pragma once

// The processor's widest vector registers under one set of names: 16 floats with AVX-512, 8 with AVX2. The tiles are
// written in these; AGON_TILES says whether there are any.

#include <cstdint>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define AGON_TILES 512
#elif defined(__AVX2__) && defined(__FMA__)
#define AGON_TILES 256
#endif

#if AGON_TILES
#include <immintrin.h>

namespace agon::cpu {

#if AGON_TILES == 512

using Vector = __m512;
constexpr int64_t kVector = 16;            // words in a vector register
constexpr int kTileVectors = 4;            // widest tile, in vectors
constexpr int kTileSums = 24;              // registers of a tile that hold sums; the others hold what is multiplied
constexpr int64_t kCacheFloats = 1 << 17;  // half of the second-level cache that such processors have
constexpr int64_t kNearFloats = 1 << 16;   // of a panel that a sum of outer products runs over without a break

/// Some lanes of a vector.
using Lanes = __mmask16;
/// The first `count` lanes.
inline Lanes lanes(int64_t count) { return static_cast<Lanes>(count >= kVector ? 0xffff : (1u << count) - 1); }

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector splat(float value) { return _mm512_set1_ps(value); }
inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
inline Vector load(Lanes some, const float* from) { return _mm512_maskz_loadu_ps(some, from); }  ///< others are 0
inline void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
inline void store(float* to, Lanes some, Vector v) { _mm512_mask_storeu_ps(to, some, v); }
inline Vector plus(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector fused(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // false: GCC bug 105593, in its own headers
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
/// Four lanes with the sum of all.
inline __m128 folded(Vector v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
#pragma GCC diagnostic pop

#else

using Vector = __m256;
constexpr int64_t kVector = 8;
constexpr int kTileVectors = 3;
constexpr int kTileSums = 12;
constexpr int64_t kCacheFloats = 1 << 16;
constexpr int64_t kNearFloats = 1 << 11;  // a quarter of the first-level cache, whose misses nothing hides

struct Lanes {
  __m256i bits;
  bool all;  ///< masked loads and stores are slow ones
};
inline Lanes lanes(int64_t count) {
  const __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count < kVector ? count : kVector)), numbers),
          count >= kVector};
}

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector splat(float value) { return _mm256_set1_ps(value); }
inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
inline Vector load(Lanes some, const float* from) {
  return some.all ? load(from) : _mm256_maskload_ps(from, some.bits);
}
inline void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
inline void store(float* to, Lanes some, Vector v) {
  if (some.all)
    store(to, v);
  else
    _mm256_maskstore_ps(to, some.bits, v);
}
inline Vector plus(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector fused(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
inline __m128 folded(Vector v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

#endif

}  // namespace agon::cpu

#endif
