#include "algorithms/swaps.h"

namespace agon {

Swaps::Swaps(const Settings& settings, const GamePlan& game, double mean_shard, int64_t steps)
    : every_(epoch_iterations(mean_shard, settings.number("algorithm.swap_epochs", 0, 1e9), game.batch) * steps),
      kind_(parse_swap(settings.text("algorithm.swap"))),
      moments_(parse_moments(settings.text("algorithm.swap_moments"))),
      seed_(game.seed),
      model_floats_(game.discriminator_floats(moments_ == Moments::kTravel)) {}

std::vector<Settings::Option> Swaps::options() {
  return {{"algorithm.swap_epochs", "1.0", "E: local epochs between swaps; 0: never"},
          {"algorithm.swap",
           "\"derangement\"",
           "whom a discriminator goes to",
           {"derangement", "pairwise", "ring", "uniform"}},
          {"algorithm.swap_moments", "\"stay\"", "Adam's moments on a swap", {"stay", "travel", "reset"}}};
}

Mixing Swaps::matrix(int64_t iteration, int64_t workers) const {
  HostRandom random(seed_, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(iteration));
  return Mixing::permutation(swap_sources(kind_, workers, random));
}

}  // namespace agon
