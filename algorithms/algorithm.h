#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/generator.h"
#include "engine/ledger.h"
#include "engine/settings.h"

namespace agon {

class Evaluator;
class Stage;
struct GamePlan;

/// The rules of an algorithm, known before anything runs: what it computes and what it sends, and when. Holds no
/// weights.
class AlgorithmPlan {
 public:
  virtual ~AlgorithmPlan() = default;

  /// A fleet that the algorithm keeps.
  struct FleetUse {
    std::string name;
    const Network* network;
    int64_t replicas;
    bool trains = true;
    int64_t batch = 0, groups = 1;  ///< of its largest pass; 0: none
    bool differentiable = false;    ///< as in FleetOptions
    bool optimises = true;          ///< false: its gradients are for another fleet's step
  };
  virtual std::vector<FleetUse> fleets() const = 0;

  /// A pass of one participant: forward, and the gradients wanted, over `batch` samples, `times` times.
  struct Pass {
    const Network* network;
    int64_t batch;
    int64_t times = 1;
    std::optional<Grads> backward = std::nullopt;
    bool forward = true;  ///< false: only the way back of an earlier pass
    int64_t flops() const;
  };
  /// A part of an iteration. First the server and those of the workers that take part compute, each its passes; then
  /// messages are sent, all at the same time. Whoever receives one waits for it before its next phase.
  struct Phase {
    std::vector<Pass> server = {};
    std::vector<Pass> workers = {};
    std::vector<int64_t> who = {};  ///< the workers that compute
    std::vector<Transfer> messages = {};
    bool broadcast = false;  ///< the server's messages are the same to all, so that one transmission can reach them
  };
  /// Global iteration `iteration` (from 1) among the workers `living`, phase by phase, with the messages that the paper
  /// counts: what the ledger must equal, and what simulated time follows from.
  virtual std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>& living) const = 0;
  /// In so many iterations everything is sent that ever is: exchanges have taken place.
  virtual int64_t period() const { return 1; }
  /// An estimate goes on with this iteration, and need not know what was before it.
  virtual void skip_to(int64_t iteration) const { (void)iteration; }
  /// Whom an iteration ends for: simulated time is that of the last of them, and of the server.
  virtual std::vector<int64_t> awaited(const std::vector<int64_t>& living) const { return living; }
  /// Floating-point operations of one iteration.
  struct Work {
    int64_t all = 0, server = 0, worker = 0;
    int64_t generator_at_worker = 0;  ///< a worker's, in passes through its generator
    nlohmann::json to_json() const;   ///< {"per_iteration": .., "server_per_iteration": .., ...}
  };
  /// Of an ordinary iteration in which `living` take part.
  Work work(const std::vector<int64_t>& living, const Network& generator) const;
  /// The messages of all phases.
  static std::vector<Transfer> messages(const std::vector<Phase>& phases);
  /// The models that `like` sends to a worker that joins.
  virtual std::vector<Transfer> join_messages(int64_t worker, int64_t like) const = 0;

  /// Appends an exchange of models: what goes up to the server in one phase, everything else in the next.
  static void add_exchange(std::vector<Phase>& phases, const std::vector<Transfer>& messages);
};

/// A way to train GANs over spread data. One file each, written as its paper writes it: on a Stage (who plays: fleets,
/// world, data), without a thought of devices, ranks or files.
class Algorithm {
 public:
  virtual ~Algorithm() = default;

  /// One global learning iteration.
  virtual void iterate() = 0;

  virtual const AlgorithmPlan& plan() const = 0;

  /// The generators that scores are about: MD-GAN's one, FL-GAN's average on the server, or every worker's. One at a
  /// time, because a hundred copies would fill the memory.
  virtual int64_t generators() const = 0;
  virtual GeneratorWeights generator(int64_t index) const = 0;

  /// Mixtures of these generators that scores are about instead, if there are any; ranked by their scores.
  virtual std::vector<GeneratorMixture> mixtures() const { return {}; }

  /// Every fleet whose numbers make up the state of training, by name: for checkpoints and memory.
  virtual std::map<std::string, Fleet*> fleets() = 0;
  /// Fleets that hold nothing between two iterations: memory only.
  virtual std::vector<Fleet*> work_fleets() { return {}; }
  /// State of training that is not in fleets, for checkpoints.
  virtual nlohmann::json state() const;
  virtual void restore(const nlohmann::json& state) { (void)state; }

  /// True if iterate() asks for scores: then judge_with() is called before the first.
  virtual bool judges() const { return false; }
  virtual void judge_with(Evaluator& evaluator) { (void)evaluator; }

  /// Other numbers on the device that the state of training consists of, by name: floats, or integers of 32 bits.
  struct Array {
    void* data;
    int64_t count;
    bool integers = false;
    bool of_workers = false;  ///< `count` for each worker here
  };
  virtual std::map<std::string, Array> arrays() { return {}; }

  /// Mean losses since the last call, for the progress line.
  struct Losses {
    double discriminator = 0, generator = 0;
  };
  virtual Losses losses() = 0;

  /// Fail-stop of a worker, with its data; a worker that joins with a copy of the models of `like`.
  virtual void worker_lost(int64_t worker) = 0;
  virtual void worker_joined(int64_t worker, int64_t like) = 0;
  /// This iteration was given up half-way, because a process was lost; before worker_lost() of its workers.
  virtual void interrupted() {}
};

/// How an algorithm makes itself known, in its own file: const AlgorithmRegistration registration{{"md-gan", ...}}.
struct AlgorithmKind {
  std::string name;
  std::string meaning;
  std::vector<Settings::Option> options;  ///< its own keys, all "algorithm.*", and other defaults of shared ones
  /// `mean_shard` is m = |B| / N.
  std::unique_ptr<AlgorithmPlan> (*plan)(const Settings& settings, const GamePlan& game, double mean_shard);
  std::unique_ptr<Algorithm> (*make)(Stage& stage);
  bool spreads = false;  ///< its participants may live in several processes
};
struct AlgorithmRegistration {
  explicit AlgorithmRegistration(AlgorithmKind kind);
};
const std::map<std::string, AlgorithmKind>& algorithm_kinds();
/// Throws Error(kUsage) naming the nearest.
const AlgorithmKind& algorithm_kind(const std::string& name);

}  // namespace agon
