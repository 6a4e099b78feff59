#pragma once

#include <functional>

#include "algorithms/algorithm.h"
#include "algorithms/stage.h"

namespace agon {

/// The steps of section II of Hardy et al. 2019 for whole fleets: what every algorithm's iteration is made of.

/// Whose networks: one of a server, or one for each worker.
enum class Place { kServer, kWorkers };

/// What is done to a fleet's new gradients before its step (an all-reduce).
using Share = std::function<void(Fleet&)>;

/// Discriminators D_n, one for each worker, with their data; or a server's, which has none.
class Discriminators {
 public:
  /// `replicas` of them; 0: as many as workers.
  explicit Discriminators(Stage& stage, Place place = Place::kWorkers, int64_t replicas = 0);

  /// They move to other hosts, the d-th of World::hosts() to the d-th of `hosts`, with or without their moments.
  void move_to(std::vector<int64_t> hosts, bool with_moments);

  /// DISCLEARNINGSTEP, L times: an Adam step on J_disc(X^r, X^d) for every D. X^r is drawn from the workers' shards:
  /// fresh for each of the L steps, or the same. X^d is what generated() holds.
  void learn(bool fresh_real = true, const Share& share = {});
  /// The l-th of the L steps alone.
  void step(int64_t l, bool fresh_real = true, const Share& share = {});
  /// Where the generated batch X^d [N, b, ...] is to be put before learn().
  Batch generated();
  /// The error feedback F_n [N, b, ...]: for each sample of X^g, the gradient of the generator's objective with respect
  /// to it, per sample, not averaged over b. Computes no weight gradients. `draw` tells several of one iteration apart.
  Tensor feedback(const Batch& fake, int64_t draw = 0);

  Fleet& fleet() { return fleet_; }
  /// Replica 0 draws what the first-th living worker draws; of a part of the workers.
  void stand_for(int64_t first) { first_worker_ = first; }
  double mean_loss();            ///< of J_disc since the last call, over workers
  double mean_generator_loss();  ///< of the generator's objective, as seen by feedback()

 private:
  /// Of a loss, over replicas and passes.
  struct LossSum {
    Buffer<float> sums;  // [N], of the replicas here since the last drain()
    int64_t passes = 0;  // how many losses they sum up
    double total = 0;    // of all processes, until the last drain()
    int64_t count = 0;   // how many losses
  };
  void drain(LossSum& loss);
  double take_mean(LossSum& loss);
  RandomKey key(RandomStream stream, int64_t draw) const;

  Stage& stage_;
  Place place_;
  Fleet fleet_;
  int64_t first_worker_ = 0;
  BatchBuffer both_;  // [N, 2b]: X^r, then X^d
  LossSum loss_, generator_loss_;
};

/// One generator (a server's) or one for each worker.
class Generators {
 public:
  struct Options {
    int64_t batch;         ///< samples per replica in a training pass
    int64_t groups = 1;    ///< batches among them with statistics (of batch norm) of their own
    int64_t replicas = 0;  ///< 0: as many as workers
    bool trains = true;
    bool optimises = true;  ///< false: gradients are for another fleet's step
  };
  Generators(Stage& stage, Place place, const Options& options);

  /// Noise (and labels) keyed by (iteration, draw), and a forward pass: [R, batch, ...].
  Batch generate(uint32_t draw = 0);
  /// The same with the noise that a worker draws: a server that knows its seed.
  Batch generate_as(int64_t worker, uint32_t draw);
  /// An Adam step with the gradient sum over samples of feedback_i dx_i/dw, times `scale`, of the latest generate().
  void learn(const Tensor& feedback, double scale = 1.0, const Share& share = {});

  Fleet& fleet() { return fleet_; }
  const Fleet& fleet() const { return fleet_; }
  void stand_for(int64_t first) { first_worker_ = first; }
  /// Of the server, or of the index-th of the living workers: at the server's process, elsewhere nothing.
  GeneratorWeights weights(int64_t index) const;

 private:
  Batch generate(const std::function<RandomKey(RandomStream)>& key);

  Stage& stage_;
  Place place_;
  int64_t groups_;
  Fleet fleet_;
  int64_t first_worker_ = 0;
  BatchBuffer noise_;  // z and the class
};

/// Samples and labels from one place to another of the same shape.
void copy(Device& device, const Batch& from, const Batch& to);

/// What LocalGans compute; they send nothing, unless an algorithm adds to it.
class LocalPlan : public AlgorithmPlan {
 public:
  explicit LocalPlan(const GamePlan& game) : game_(game) {}
  std::vector<FleetUse> fleets() const override;
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>& living) const override;
  std::vector<Transfer> join_messages(int64_t worker, int64_t like) const override;

 protected:
  const GamePlan game_;
};

/// One whole GAN for each worker, trained on its shard alone: what standalone, local, FL-GAN and gossip have in common.
class LocalGans {
 public:
  /// `replicas` workers at a time; 0: all.
  explicit LocalGans(Stage& stage, int64_t replicas = 0);
  /// Every worker: L steps of D on a batch of generated samples, one step of G on another.
  void learn(const Share& share = {});

  Generators& generators() { return generators_; }
  const Generators& generators() const { return generators_; }
  Discriminators& discriminators() { return discriminators_; }
  GeneratorWeights generator(int64_t index) const { return generators_.weights(index); }
  int64_t models() const;  ///< how many GANs there are in all processes
  void stand_for(int64_t first);
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
