#pragma once

#include <cstdint>
#include <utility>

#include "kernels/ops.h"

namespace agon {

/// What random numbers are for. Each stream is independent of the others, whatever their order of use.
enum class RandomStream : uint32_t {
  kInit = 1,        ///< initial weights
  kNoise = 2,       ///< generator input z during training
  kLabels = 3,      ///< generator input class during training
  kSamples = 4,     ///< order of the real data
  kDropout = 5,     ///< dropout masks
  kMixing = 6,      ///< who swaps, gossips or is averaged with whom
  kPartition = 7,   ///< how data are dealt to workers
  kEvaluation = 8,  ///< noise of evaluations
  kSampling = 9,    ///< noise of sample pictures and `agon sample`
  kFaults = 10,     ///< which worker crashes
  kAlgorithm = 11,  ///< choices an algorithm makes on the host
  kSynthetic = 12,  ///< items of the built-in data sets
  kNetwork = 13,    ///< the simulated network: places, fading, stragglers
};

/// The number under which the server draws; workers are 0, 1, 2, ...
constexpr uint32_t kServerDraws = (1u << 24) - 1;

/// Counter-based random numbers on the host, for decisions that every participant must take alike: a pure function of
/// (seed, stream, worker, iteration, element), so that any rank at any placement, and a resumed run, draws the same.
class HostRandom {
 public:
  HostRandom(uint64_t seed, RandomStream stream, uint32_t worker = 0, uint64_t iteration = 0, uint32_t draw = 0);

  uint32_t bits();               ///< the next 32 bits
  double uniform();              ///< [0, 1)
  double normal();               ///< N(0, 1)
  int64_t below(int64_t count);  ///< 0 .. count-1

  /// Fisher-Yates shuffle of any vector-like.
  template <class Sequence>
  void shuffle(Sequence& items) {
    for (int64_t i = static_cast<int64_t>(items.size()) - 1; i > 0; --i)
      std::swap(items[static_cast<size_t>(i)], items[static_cast<size_t>(below(i + 1))]);
  }

 private:
  uint64_t seed_;
  uint32_t stream_, worker_, draw_;
  uint64_t iteration_;
  uint32_t element_ = 0;
  uint32_t block_[4] = {};
};

}  // namespace agon
