#pragma once

#include "algorithms/algorithm.h"
#include "algorithms/stage.h"

namespace agon {

/// The steps of section II of Hardy et al. 2019 for whole fleets: what every algorithm's iteration is made of.

/// Discriminators D_n, one for each worker, with their data.
class Discriminators {
 public:
  explicit Discriminators(Stage& stage);

  /// DISCLEARNINGSTEP, L times: an Adam step on J_disc(X^r, X^d) for every D. X^r is drawn from the workers' shards:
  /// fresh for each of the L steps, or the same. X^d is what generated() holds.
  void learn(bool fresh_real = true);
  /// Where the generated batch X^d [N, b, ...] is to be put before learn().
  Batch generated();
  /// The error feedback F_n [N, b, ...]: for each sample of X^g, the gradient of the generator's objective with respect
  /// to it, per sample, not averaged over b. Computes no weight gradients.
  Tensor feedback(const Batch& fake);

  Fleet& fleet() { return fleet_; }
  double mean_loss();            ///< of J_disc since the last call, over workers
  double mean_generator_loss();  ///< of the generator's objective, as seen by feedback()

 private:
  double take_mean(Buffer<float>& sums, int64_t& count);

  Stage& stage_;
  Fleet fleet_;
  BatchBuffer both_;                     // [N, 2b]: X^r, then X^d
  Buffer<float> loss_, generator_loss_;  // [N], sums since the last reading
  int64_t learned_ = 0, judged_ = 0;
};

/// One generator (a server's) or one for each worker.
class Generators {
 public:
  enum class Place { kServer, kWorkers };
  /// `batch` samples per replica in a training pass, in `groups` batches with statistics (of batch norm) of their own.
  Generators(Stage& stage, Place place, int64_t batch, int64_t groups = 1);

  /// Noise (and labels) keyed by (iteration, draw), and a forward pass: [R, batch, ...].
  Batch generate(uint32_t draw = 0);
  /// An Adam step with the gradient sum over samples of feedback_i dx_i/dw, times `scale`, of the latest generate().
  void learn(const Tensor& feedback, double scale = 1.0);

  Fleet& fleet() { return fleet_; }
  int64_t replicas() const { return fleet_.replicas(); }
  GeneratorWeights weights(int64_t replica) const;

 private:
  Stage& stage_;
  Place place_;
  int64_t groups_;
  Fleet fleet_;
  BatchBuffer noise_;  // z and the class
};

/// Samples and labels from one place to another of the same shape.
void copy(Device& device, const Batch& from, const Batch& to);

/// What LocalGans compute; they send nothing, unless an algorithm adds to it.
class LocalPlan : public AlgorithmPlan {
 public:
  explicit LocalPlan(const GamePlan& game) : game_(game) {}
  std::vector<FleetUse> fleets() const override;
  std::vector<Pass> passes() const override;
  std::vector<Transfer> messages(int64_t, const std::vector<int64_t>&) const override { return {}; }
  std::vector<Transfer> join_messages(int64_t worker, int64_t like) const override;

 protected:
  /// Of one model that moves, with or without its moments.
  int64_t generator_floats(bool with_moments) const;
  int64_t discriminator_floats(bool with_moments) const;

  const GamePlan game_;
};

/// One whole GAN for each worker, trained on its shard alone: what standalone, local, FL-GAN and gossip have in common.
class LocalGans {
 public:
  explicit LocalGans(Stage& stage);
  /// Every worker: L steps of D on a batch of generated samples, one step of G on another.
  void learn();

  Generators& generators() { return generators_; }
  Discriminators& discriminators() { return discriminators_; }
  GeneratorWeights generator(int64_t replica) const { return generators_.weights(replica); }
  int64_t replicas() const { return generators_.replicas(); }
  Algorithm::Losses losses();
  std::map<std::string, Fleet*> fleets();
  void worker_lost(int64_t worker);
  void worker_joined(int64_t worker, int64_t like);

 private:
  Stage& stage_;
  Discriminators discriminators_;
  Generators generators_;
};

/// Fleets of workers' models follow the living: the replicas of `worker` leave, or enter as copies of those of `like`.
/// Both change the fleets only; the World is told by its caller afterwards.
void remove_worker(const World& world, Fleet& fleet, int64_t worker);
void insert_worker(const World& world, Fleet& fleet, int64_t worker, int64_t like);

}  // namespace agon
