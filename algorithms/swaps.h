#pragma once

#include <vector>

#include "algorithms/stage.h"

namespace agon {

/// SWAP() of Hardy et al. 2019, Algorithm 1: when discriminators move, to whom, and what becomes of Adam's moments, as
/// the keys algorithm.swap_epochs, swap and swap_moments say.
class Swaps {
 public:
  /// `steps`: global iterations in a local one.
  Swaps(const Settings& settings, const GamePlan& game, double mean_shard, int64_t steps = 1);
  static std::vector<Settings::Option> options();

  int64_t every() const { return every_; }  ///< iterations; 0: never
  Moments moments() const { return moments_; }
  bool due(int64_t iteration, int64_t workers) const { return every_ > 0 && workers > 1 && iteration % every_ == 0; }
  /// Who gets whose in `iteration`: the same at every participant.
  Mixing matrix(int64_t iteration, int64_t workers) const;
  /// AlgorithmPlan::period() of what swaps.
  int64_t period() const { return std::max<int64_t>(1, every_); }
  /// Floats of a discriminator that is swapped.
  int64_t model_floats() const { return model_floats_; }

 private:
  int64_t every_;
  SwapKind kind_;
  Moments moments_;
  uint64_t seed_;
  int64_t model_floats_;
};

}  // namespace agon
