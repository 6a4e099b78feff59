#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/bfloat.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace agon::cpu {

using agon::to_bfloat16;

/// Whether this processor multiplies a pair of bfloat16 as fast as a float: AMD's with AVX512-BF16. On Intel's a pair
/// takes as long as four floats; most of those have matrix registers for it (amx.h).
inline bool has_fast_pairs() {
#if defined(__AVX512BF16__)
  return !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

/// to[i] = from[i] rounded.
inline void to_bfloat16(const float* from, Bfloat16* to, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512BF16__) && defined(__AVX512F__)
  for (; i + 32 <= count; i += 32) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    std::memcpy(to + i, &rounded, sizeof rounded);
  }
#endif
  for (; i < count; ++i) to[i] = to_bfloat16(from[i]);
}

/// to[i] = from[i] with a bfloat16's precision, for processors without fast bfloat16 arithmetic.
inline void round_to_bfloat16(const float* from, float* to, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000)), half = _mm512_set1_epi32(0x7fff);
  for (; i + 16 <= count; i += 16) {  // to_bfloat16() by vectors: the processor's own conversion loses denormal numbers
    const __m512i bits = _mm512_loadu_si512(from + i);
    const __m512i odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(half, odd));
    const __m512 values = _mm512_castsi512_ps(bits);
    const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm512_storeu_si512(to + i, _mm512_and_si512(kept, upper));
  }
#endif
  for (; i < count; ++i) to[i] = to_float(to_bfloat16(from[i]));
}

}  // namespace agon::cpu
