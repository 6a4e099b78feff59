#pragma once

#include <memory>

#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/shards.h"
#include "engine/generator.h"
#include "engine/network_model.h"
#include "engine/settings.h"
#include "engine/world.h"
#include "kernels/ops.h"

namespace agon {

/// The architectures of a run and what the game between them is, derived from settings and the shape of the data.
struct GamePlan {
  GeneratorSpec generator;
  std::shared_ptr<const Network> discriminator;
  ops::GanLoss loss;  ///< kind, classes and auxiliary weight
  Precision precision;
  int64_t batch;        ///< b
  int64_t local_steps;  ///< L
  int64_t workers;      ///< N
  uint64_t seed;
  FleetOptions generator_options, discriminator_options;  ///< for one replica
  std::shared_ptr<const NetworkModel> network;            ///< where simulated time passes
  std::vector<int64_t> shard_sizes;                       ///< samples of each worker; empty before data are dealt

  bool conditional() const { return generator.classes > 0; }
  const Shape& sample() const { return generator.sample; }
  /// Floats of one model that moves, with or without its moments.
  int64_t generator_floats(bool with_moments) const {
    return Fleet::model_floats(*generator.network, generator_options.optimiser, with_moments);
  }
  int64_t discriminator_floats(bool with_moments) const {
    return Fleet::model_floats(*discriminator, discriminator_options.optimiser, with_moments);
  }
  /// What each of `workers` weighs by its data, up to a factor; all the same before data are dealt.
  std::vector<double> shares_of(const std::vector<int64_t>& workers) const;
};

/// Checks that generator, discriminator and data fit together. `classes` 0: unlabelled data. Throws Error(kUsage).
GamePlan make_game_plan(const Settings& settings, const Shape& sample, int64_t classes);

/// Deals the data to the workers. Throws Error(kUsage) when a shard is smaller than a batch.
Partition deal(const Settings& settings, const GamePlan& game, const Dataset& train);

/// What an algorithm plays on: the settings, the world of workers, their data, and the architectures.
class Stage {
 public:
  Stage(const Settings& settings, const DataSource& data, std::shared_ptr<Communicator> processes = communicator());

  const Settings& settings() const { return settings_; }
  const GamePlan& game() const { return game_; }
  World& world() { return *world_; }
  const World& world() const { return *world_; }
  const Shards& shards() const { return *shards_; }
  std::shared_ptr<Device> device() const { return device_; }

 private:
  Settings settings_;
  std::shared_ptr<Device> device_;
  GamePlan game_;
  std::unique_ptr<World> world_;
  std::unique_ptr<Shards> shards_;
};

/// E epochs over shards of m samples in iterations: floor(m E / b), at least 1; 0 for E = 0 (never).
int64_t epoch_iterations(double mean_shard, double epochs, int64_t batch);

}  // namespace agon
