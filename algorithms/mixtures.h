#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/evaluation.h"
#include "algorithms/lipizzaner_plan.h"

namespace agon {

/// What Lipizzaner's cells give away in the end: each a mixture of its neighbourhood's generators, whose weights a
/// (1+1) evolution strategy finds (Schmiedlechner et al. 2018, section 3).
class Mixtures {
 public:
  /// `generators` has a replica for each cell here; it must outlive this.
  Mixtures(Stage& stage, const LipizzanerOptions& options, const Fleet& generators);

  /// Who decides between two mixtures; without one that measures, they stay as they are.
  void judge_with(Evaluator& evaluator);
  /// One child of every cell's mixture. `draws` are the random numbers of the r-th cell here; samples are keyed by
  /// `moment`. Called in all processes.
  void evolve(uint64_t moment, const std::function<HostRandom(int64_t r)>& draws);
  /// Of each living cell, with members as numbers among the living.
  std::vector<GeneratorMixture> all() const;
  void forget(int64_t cell) { of_cells_.erase(cell); }

  nlohmann::json state() const;
  void restore(const nlohmann::json& state);

 private:
  using Weights = std::array<double, 5>;  // of a neighbourhood

  GeneratorMixture of(int64_t cell) const;
  GeneratorWeights own_generator(int64_t r) const;
  Weights evolved(const GeneratorMixture& parent, const std::vector<float>& samples, HostRandom random) const;

  const World& world_;
  const GamePlan& game_;
  const LipizzanerOptions& options_;
  const Fleet& generators_;
  std::optional<Generator> exhibit_;  // where there are cells
  Evaluator* evaluator_ = nullptr;
  std::map<int64_t, GeneratorMixture> of_cells_;
};

}  // namespace agon
