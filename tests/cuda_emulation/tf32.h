#pragma once

#include <bit>
#include <cstdint>

namespace cuda_emulation {

/// A number as the emulated libraries take it where tf32 is allowed: rounded to ten bits behind the point, ties to
/// even.
inline float as_tf32(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  bits = (bits + 0xfff + (bits >> 13 & 1)) & ~uint32_t{0x1fff};
  return std::bit_cast<float>(bits);
}

}  // namespace cuda_emulation
