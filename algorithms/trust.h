#pragma once

#include <vector>

#include "algorithms/algorithm.h"
#include "engine/settings.h"
#include "engine/world.h"

namespace agon {

/// Workers that lie about their feedback: the same ones for the whole run, drawn from the seed. Their discriminators
/// are as good as anyone's; what they send is not.
class Liars {
 public:
  enum class Lie {
    kSignFlip,   ///< -scale F_n
    kRandom,     ///< scale N(0, 1)
    kConstant,   ///< scale, everywhere
    kFreeRider,  ///< 0: computes no feedback at all
  };
  /// Reads algorithm.liars, algorithm.lie and algorithm.lie_scale.
  Liars(const Settings& settings, int64_t workers, uint64_t seed);

  bool lies(int64_t worker) const;
  bool works(int64_t worker) const { return kind_ != Lie::kFreeRider || !lies(worker); }
  /// Replaces what the liars among the hosts say in F [N, b, ...].
  void speak(const World& world, const Tensor& feedback) const;

 private:
  std::vector<int64_t> liars_;  // ascending
  Lie kind_;
  float scale_;
};

/// The keys algorithm.liars, lie, lie_scale, aggregation and tolerate.
std::vector<Settings::Option> trust_options();
/// How a server merges feedback on the same batch. Throws Error(kUsage) if `judges` of a batch are too few for
/// algorithm.tolerate liars among them.
Aggregation read_aggregation(const Settings& settings, int64_t judges);

}  // namespace agon
