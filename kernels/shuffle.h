#pragma once

#include <bit>
#include <cstdint>

#include "kernels/philox.h"

namespace agon {

/// A pseudo-random order of 0 .. count-1 that needs no memory: a Feistel network on the smallest power of two that
/// holds `count`, applied again whenever it leaves the range ("cycle walking", Black & Rogaway 2002). Each round
/// changes one half by a keyed hash of the other, so it can be undone, so the whole is a bijection.
class Shuffle {
 public:
  static constexpr int kRounds = 24;  // with 16, the 5040 orders of seven elements are not yet equally frequent

  /// `keys`: the draw that the round keys are taken from.
  AGON_DEVICE_INLINE Shuffle(const RandomWords& keys, uint32_t count) : count_(count) {
    const int bits = std::bit_width(count - 1);
    low_bits_ = (bits + 1) / 2;
    low_mask_ = (1u << low_bits_) - 1;
    high_mask_ = (1u << (bits - low_bits_)) - 1;
    for (int i = 0; i < kRounds; i += 4) {
      const PhiloxBlock block = keys.block(static_cast<uint32_t>(i / 4));
      for (int j = 0; j < 4; ++j) keys_[i + j] = block.word[j];
    }
  }

  /// The element at `position` (< count).
  AGON_DEVICE_INLINE uint32_t operator()(uint32_t position) const {
    do {
      uint32_t low = position & low_mask_, high = position >> low_bits_;
      for (int i = 0; i < kRounds; i += 2) {
        low ^= hash(high + keys_[i]) & low_mask_;
        high ^= hash(low + keys_[i + 1]) & high_mask_;
      }
      position = high << low_bits_ | low;
    } while (position >= count_);
    return position;
  }

 private:
  /// An integer hash in which every input bit reaches every output bit (Wellons' "lowbias32").
  static AGON_DEVICE_INLINE uint32_t hash(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
  }

  uint32_t count_, low_mask_, high_mask_;
  int low_bits_;
  uint32_t keys_[kRounds];
};

/// The draw number reserved for the round keys of an epoch's order: the order belongs to the epoch, not to a draw.
inline constexpr uint32_t kShuffleDraw = 0xffff;

/// The order in which `worker` reads its `count` samples during an epoch.
AGON_DEVICE_INLINE Shuffle epoch_order(uint64_t seed, uint32_t stream, uint32_t worker, uint64_t epoch,
                                       uint32_t count) {
  return Shuffle(RandomWords(seed, stream, worker, epoch, kShuffleDraw), count);
}

}  // namespace agon
