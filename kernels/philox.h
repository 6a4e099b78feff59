#pragma once

// Counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011). A number is a pure function of what it is for, so it does not matter who computes it, or when.

#include <cstdint>

#include "kernels/formulas.h"

namespace agon {

/// 128 bits: a counter that goes in, or the random words that come out.
struct PhiloxBlock {
  uint32_t word[4];
};

AGON_DEVICE_INLINE PhiloxBlock philox(PhiloxBlock counter, uint32_t key_low, uint32_t key_high) {
  uint32_t a = counter.word[0], b = counter.word[1], c = counter.word[2], d = counter.word[3];
#ifndef __CUDACC__  // nvcc unrolls by itself
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t{0xD2511F53u} * a, q = uint64_t{0xCD9E8D57u} * c;
    const uint32_t next_a = static_cast<uint32_t>(q >> 32) ^ b ^ key_low;
    const uint32_t next_c = static_cast<uint32_t>(p >> 32) ^ d ^ key_high;
    b = static_cast<uint32_t>(q);
    d = static_cast<uint32_t>(p);
    a = next_a;
    c = next_c;
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

/// The random words of one (seed, stream, worker, iteration, draw). Element e of the draw is word e % 4 of block e / 4.
///
/// The Philox key is the seed. The counter holds, so that no two draws can meet,
///   word 0  block                                    elements   < 2^34
///   word 1  iteration, low 32 bits
///   word 2  worker (24 bits), stream (8 bits)        workers    < 2^24, streams < 2^8
///   word 3  iteration, high 16 bits, draw (16 bits)  iterations < 2^48, draws   < 2^16
struct RandomWords {
  uint64_t seed;
  uint32_t words[3];

  AGON_DEVICE_INLINE RandomWords(uint64_t seed, uint32_t stream, uint32_t worker, uint64_t iteration, uint32_t draw)
      : seed(seed),
        words{static_cast<uint32_t>(iteration), worker << 8 | stream,
              static_cast<uint32_t>(iteration >> 32) << 16 | draw} {}

  /// What the key of an operation means for one of its replicas. Reads device memory: call it when the operation runs.
  AGON_DEVICE_INLINE RandomWords(const RandomKey& key, int64_t replica)
      : RandomWords(key.seed, key.stream, key.workers ? key.workers[replica] : static_cast<uint32_t>(replica),
                    key.iteration ? *key.iteration : 0, key.draw) {}

  AGON_DEVICE_INLINE PhiloxBlock block(uint32_t index) const {
    return philox({{index, words[0], words[1], words[2]}}, static_cast<uint32_t>(seed),
                  static_cast<uint32_t>(seed >> 32));
  }
};

}  // namespace agon
