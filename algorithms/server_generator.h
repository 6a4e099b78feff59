#pragma once

#include "algorithms/players.h"

namespace agon {

/// MD-GAN's generator. With `overlaps`, its batches are made one iteration ahead, while the workers still judge the
/// present ones: a batch is then one update old. Its gradient is that of the weights that made it, which are kept until
/// its feedback comes (weight stashing: Narayanan et al. 2019, PipeDream), and moves the newest ones. Two fleets take
/// turns: the batches of one are with the workers while those of the other are made.
class ServerGenerator {
 public:
  ServerGenerator(Stage& stage, bool overlaps, const Generators::Options& options);

  /// The batches of this iteration, [1, batch, ...].
  Batch generate();
  /// Those of the next one; without `overlaps` nothing. To be called when all that workers wait for has been sent.
  void generate_ahead();
  /// Generators::learn() on what generate() returned.
  void learn(const Tensor& feedback);

  GeneratorWeights weights() const { return newest_.weights(0); }
  /// What training consists of, and what is overwritten before it is read again.
  std::map<std::string, Fleet*> fleets();
  std::vector<Fleet*> work_fleets();
  /// The same, foreseen.
  static std::vector<AlgorithmPlan::FleetUse> plan_fleets(const GamePlan& game, bool overlaps, int64_t batches);

 private:
  World& world_;
  Generators newest_;
  std::vector<std::unique_ptr<Generators>> ahead_;  // two, or none
  size_t next_ = 0;                                 // whose batches are, or will be, those of the next generate()
  std::optional<Batch> made_;                       // by it; nothing at first, after a restart, and after a loss
};

}  // namespace agon
