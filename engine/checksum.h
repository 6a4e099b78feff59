#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace agon {

/// Incremental XXH64 (Collet's xxHash, seed 0): a fast checksum against corruption and a fingerprint of data. Not
/// cryptographic. The value depends only on the bytes, not on how they were divided over calls of add().
class Checksum {
 public:
  void add(const void* data, size_t bytes);
  uint64_t value() const;

 private:
  std::array<uint64_t, 4> lanes_ = {0x60ea27eeadc0b5d6u, 0xc2b2ae3d27d4eb4fu, 0, 0x61c8864e7a143579u};
  std::array<unsigned char, 32> pending_{};  // the tail that does not fill a 32-byte stripe yet
  uint64_t total_ = 0;
};

/// XXH64 of one buffer.
uint64_t checksum64(const void* data, size_t bytes);

/// A checksum as files and summaries show it: 16 hexadecimal digits.
std::string checksum_text(uint64_t value);

}  // namespace agon
