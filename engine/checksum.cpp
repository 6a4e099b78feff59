// XXH64 as specified at https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md (little-endian machines).
#include "engine/checksum.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace agon {
namespace {

constexpr uint64_t kPrime1 = 0x9e3779b185ebca87u, kPrime2 = 0xc2b2ae3d27d4eb4fu, kPrime3 = 0x165667b19e3779f9u,
                   kPrime4 = 0x85ebca77c2b2ae63u, kPrime5 = 0x27d4eb2f165667c5u;
static_assert(std::endian::native == std::endian::little, "checksums and data files are little-endian");

template <class T>
T load(const unsigned char* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

}  // namespace

void Checksum::add(const void* data, size_t bytes) {
  if (bytes == 0) return;
  const auto* p = static_cast<const unsigned char*>(data);
  const auto* end = p + bytes;
  auto consume_stripe = [&](const unsigned char* stripe) {
    for (size_t i = 0; i < 4; ++i) lanes_[i] = round(lanes_[i], load<uint64_t>(stripe + 8 * i));
  };

  const size_t held = total_ % pending_.size();
  total_ += bytes;
  if (held > 0) {
    const size_t taken = std::min(pending_.size() - held, bytes);
    std::memcpy(pending_.data() + held, p, taken);
    p += taken;
    if (held + taken < pending_.size()) return;
    consume_stripe(pending_.data());
  }
  for (; end - p >= 32; p += 32) consume_stripe(p);
  std::memcpy(pending_.data(), p, static_cast<size_t>(end - p));
}

uint64_t Checksum::value() const {
  uint64_t hash = kPrime5;
  if (total_ >= pending_.size()) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
  }
  hash += total_;

  const unsigned char* p = pending_.data();
  size_t left = total_ % pending_.size();
  for (; left >= 8; left -= 8, p += 8) hash = std::rotl(hash ^ round(0, load<uint64_t>(p)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; left -= 4, p += 4) hash = std::rotl(hash ^ load<uint32_t>(p) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; left > 0; --left, ++p) hash = std::rotl(hash ^ *p * kPrime5, 11) * kPrime1;

  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

uint64_t checksum64(const void* data, size_t bytes) {
  Checksum sum;
  sum.add(data, bytes);
  return sum.value();
}

std::string checksum_text(uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace agon
