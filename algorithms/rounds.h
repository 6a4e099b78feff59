#pragma once

#include "algorithms/players.h"

namespace agon {

/// What FL-GAN, FedGAN and gossip have in common: every worker trains a GAN of its own, and every K iterations a round
/// of mixing theta' = M theta follows. An algorithm says what M is, and which way the models take.
class RoundPlan : public LocalPlan {
 public:
  /// Reads algorithm.round_iterations (K; 0: E = algorithm.swap_epochs epochs), algorithm.moments and algorithm.wave.
  /// Throws Error(kUsage) for settings that waves do not allow.
  RoundPlan(const Settings& settings, const GamePlan& game, double mean_shard, Route route);

  bool round_due(int64_t iteration) const { return round_ > 0 && iteration % round_ == 0; }
  /// M of a round among the workers `living`, for generators and for discriminators.
  struct Matrices {
    Mixing generators, discriminators;
  };
  virtual Matrices matrices(int64_t iteration, const std::vector<int64_t>& living) const = 0;

  std::vector<FleetUse> fleets() const override;
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>& living) const override;

  int64_t period() const override { return std::max<int64_t>(1, round_); }

  int64_t round() const { return round_; }
  int64_t wave() const { return wave_; }  ///< workers that train at the same time
  bool waves() const { return wave_ < game_.workers; }

  const Route route;
  const Moments moments;

 private:
  int64_t round_, wave_;
};

/// The GANs of a RoundPlan. With algorithm.wave = W, only W workers train at a time, each through a whole round, and
/// the others' turn comes after: gradients and moments are held for W workers (in each process), weights for all.
/// Nothing else changes: what a worker draws depends on its number and on the iteration, so the bits are those of all
/// workers at once. Scores see what the last round left; a run that ends within a round trains until there, and
/// restarts its optimisers if it is prolonged.
class RoundGans {
 public:
  RoundGans(Stage& stage, const RoundPlan& plan);

  /// An iteration of every worker, and when a round is due its mixing. True after a round.
  bool learn();

  GeneratorWeights generator(int64_t index) const;
  int64_t models() const;
  const Fleet& generators() const;  ///< of all workers here
  Algorithm::Losses losses() { return gans_.losses(); }
  std::map<std::string, Fleet*> fleets();
  std::vector<Fleet*> work_fleets();
  nlohmann::json state() const;
  void restore(const nlohmann::json& state);
  void worker_lost(int64_t worker);
  void worker_joined(int64_t worker, int64_t like);

 private:
  void train_in_waves();
  void exchange();

  Stage& stage_;
  const RoundPlan& plan_;
  const int64_t last_iteration_;
  LocalGans gans_;  // of all workers, or of a wave
  /// With waves: everybody's models between rounds.
  struct Rest {
    Fleet generators, discriminators;
  };
  std::optional<Rest> rest_;
  int64_t trained_ = 0;  // with waves: the iteration up to which everybody has trained
};

/// The options that all of them have.
std::vector<Settings::Option> round_options(const std::string& round_iterations, const std::string& swap_epochs);

}  // namespace agon
