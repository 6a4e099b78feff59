#include "engine/random.h"

#include <cmath>

#include "kernels/philox.h"

namespace agon {

HostRandom::HostRandom(uint64_t seed, RandomStream stream, uint32_t worker, uint64_t iteration, uint32_t draw)
    : seed_(seed), stream_(static_cast<uint32_t>(stream)), worker_(worker), draw_(draw), iteration_(iteration) {}

uint32_t HostRandom::bits() {
  const uint32_t word = element_ % 4;
  if (word == 0) {
    const PhiloxBlock block = RandomWords(seed_, stream_, worker_, iteration_, draw_).block(element_ / 4);
    for (int i = 0; i < 4; ++i) block_[i] = block.word[i];
  }
  ++element_;
  return block_[word];
}

double HostRandom::uniform() {
  const uint64_t high = bits();
  return static_cast<double>((high << 32 | bits()) >> 11) * 0x1p-53;
}

double HostRandom::normal() {  // Box-Muller
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * M_PI * uniform());
}

int64_t HostRandom::below(int64_t count) {
  return static_cast<int64_t>(static_cast<uint64_t>(bits()) * static_cast<uint64_t>(count) >> 32);
}

}  // namespace agon
