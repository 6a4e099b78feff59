#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/network.h"
#include "engine/random.h"

namespace agon {

struct OptimiserOptions {
  std::string kind = "adam";  ///< adam, sgd, rmsprop; none: gradients are for another fleet's step
  double learning_rate = 2e-4;
  double beta1 = 0.5, beta2 = 0.999, epsilon = 1e-8;
  double momentum = 0.0;  ///< of sgd
  double alpha = 0.99;    ///< of rmsprop
  double clip = 0.0;      ///< > 0: weights are clipped to +-clip after each step (WGAN)

  /// Numbers that it remembers for each weight.
  int moments() const {
    if (kind == "none") return 0;
    return kind == "adam" ? 2 : kind == "rmsprop" || momentum != 0 ? 1 : 0;
  }
};

struct FleetOptions {
  int64_t replicas = 1;
  bool split = false;  ///< one logical replica: operations may be spread over threads
  Precision precision = Precision::kFp32;
  OptimiserOptions optimiser;
  Init init = Init::kGlorot;
  uint64_t seed = 0;
  uint32_t init_stream = 0;  ///< keeps the initial weights of different networks apart
  bool same_start = true;    ///< all replicas start from the same weights
  bool trains = true;        ///< false: no gradients and moments (evaluation only)
  /// With trains = false: input gradients can be asked for all the same (opponents that are held fixed).
  bool differentiable = false;
  bool of_server = false;  ///< the server's: only where the server is it has a replica
};

/// R replicas of one network on a device; 0 where it has no business in this process: then its passes do nothing. Every
/// kind of number lives in one arena:
///   weights [R][P]   gradients [R][P]   moments: Adam's m and v [R][P] each   state [R][S] (running statistics)
/// A pass of the fleet is one queued operation per layer for all replicas; a step is one operation over R * P.
class Fleet {
 public:
  Fleet(std::shared_ptr<Device> device, std::shared_ptr<const Network> network, const FleetOptions& options,
        const std::vector<int64_t>& replica_ids = {});
  ~Fleet();
  Fleet(Fleet&&) noexcept;

  const Network& network() const { return *network_; }
  std::shared_ptr<const Network> shared_network() const { return network_; }
  int64_t replicas() const { return replicas_; }
  Device& device() const { return *device_; }

  struct Pass {
    int64_t groups = 1;
    bool training = true;
    Labels labels = {};
    RandomKey key = {};
  };
  /// x [R or 1, B, input] -> [R, B, output], in the fleet's workspace until the next forward pass.
  /// Throws Error(kUsage) when shapes do not fit.
  Tensor forward(const Tensor& x, const Pass& pass);
  Tensor forward(const Tensor& x) { return forward(x, Pass{}); }
  /// The output of a step of the latest forward pass, [R, B, shape]: features of an inner layer. A layer that works in
  /// place, or a fused activation, has already changed it.
  Tensor step_output(size_t step) const;
  /// Where the loss writes d(loss)/d(output) for the latest forward pass.
  Tensor output_gradient();
  /// Backpropagates output_gradient() (or dy) through the latest forward pass, which must have been a training one.
  /// Gradients are overwritten, and so is dy.
  /// Returns dx [R, B, input] (null with Grads::kParams).
  Tensor backward(Grads wanted);
  Tensor backward(const Tensor& dy, Grads wanted);
  /// One optimiser step with the gradients times grad_scale.
  void step(double grad_scale = 1.0) { step_with(gradients(), grad_scale); }
  /// The same with the gradients of another fleet of the same network.
  void step_with(const Floats& gradients, double grad_scale = 1.0);

  Floats weights() const { return {weights_.data() + first_ * network_->parameters(), network_->parameters()}; }
  Floats gradients() const { return {gradients_.data() + first_ * network_->parameters(), network_->parameters()}; }
  /// Every array that describes replica r, for mixing, checkpoints and faults: name, floats per replica, memory.
  struct Arena {
    std::string name;  ///< "weights", "state", "moment1", "moment2"
    int64_t count;     ///< floats per replica
    float* data;
    bool moment;
  };
  std::vector<Arena> arenas() const;
  std::vector<int32_t> steps() const { return step_counts_.host(); }
  void set_steps(const std::vector<int32_t>& steps) { step_counts_.set(steps); }
  std::vector<float> learning_rates() const { return learning_rates_.host(); }
  void set_learning_rates(const std::vector<float>& rates) { learning_rates_.set(rates); }
  Block<float> learning_rate_block() const { return {learning_rates_.data() + first_, 1}; }
  Block<int32_t> step_block() const { return {step_counts_.data() + first_, 1}; }

  std::vector<float> replica_weights(int64_t replica) const;  ///< [P], downloaded
  std::vector<float> replica_state(int64_t replica) const;
  void set_replica(int64_t replica, std::span<const float> weights, std::span<const float> state);
  /// Weights and running statistics of `count` replicas of another fleet of the same network, from its replica `first`
  /// on; they become this fleet's replicas `to`, `to` + 1, ...
  void take(const Fleet& other, int64_t first, int64_t count, int64_t to = 0);
  /// The running statistics of another fleet of as many replicas.
  void take_statistics(const Fleet& other);
  /// All optimisers start anew: moments and step counts of every replica become 0.
  void restart_optimisers();
  /// Copies everything of one replica (weights, state, moments, step count) over another's: fail-stop and joining.
  void copy_replica(int64_t from, int64_t to);
  /// Shrinks to the first `replicas` replicas, or grows back; never beyond the number it was made with.
  void set_replicas(int64_t replicas);
  int64_t capacity() const { return capacity_; }
  /// The first replica in focus, 0 without a Focus.
  int64_t first() const { return first_; }
  bool trains() const { return options_.trains; }
  bool of_server() const { return options_.of_server; }

  /// Bytes held: weights, gradients, moments, and the activations of the largest pass so far.
  struct Memory {
    int64_t weights, gradients, moments, activations;
    int64_t total() const { return weights + gradients + moments + activations; }
  };
  Memory memory() const;
  /// The same, foreseen: with the activations of a pass over `batch` samples in `groups` groups.
  static Memory plan_memory(const Network& network, int64_t batch, int64_t groups, const FleetOptions& options);
  /// Floats of one replica's arenas: what moves when a model moves, with or without its optimiser's moments.
  static int64_t model_floats(const Network& network, const OptimiserOptions& optimiser, bool with_moments);

 private:
  friend class Focus;
  struct Layout;
  const Layout& layout(int64_t batch, int64_t groups);
  /// The same for all layouts: a thread may take one replica through passes of different sizes before another thread
  /// has begun with the next replica, so these must not overlap.
  int64_t workspace_stride() const { return workspace_.size() / capacity_; }
  float* workspace() const { return workspace_.data() + first_ * workspace_stride(); }
  LayerCall call(size_t step, const Layout& layout);
  void expect_training_pass(Grads wanted) const;

  std::shared_ptr<Device> device_;
  std::shared_ptr<const Network> network_;
  FleetOptions options_;
  int64_t first_ = 0, replicas_ = 0, capacity_ = 0;
  Buffer<float> weights_, gradients_, moment1_, moment2_, state_, workspace_;
  Buffer<float> learning_rates_;  // [R]
  Buffer<int32_t> step_counts_;   // [R]
  std::vector<std::unique_ptr<Layout>> layouts_;
  const Layout* latest_ = nullptr;
  Tensor latest_input_;
  Pass latest_pass_;
};

/// While it lives, passes and steps of a fleet are those of `count` replicas from `first` on: fleet.replicas() is
/// `count`, the others rest. Replica numbers stay as they are. Costs nothing, and changes no replica's bits.
class Focus {
 public:
  Focus(Fleet& fleet, int64_t first, int64_t count);
  /// On one replica; -1: on none, and passes do nothing.
  Focus(Fleet& fleet, int64_t replica) : Focus(fleet, replica < 0 ? 0 : replica, replica < 0 ? 0 : 1) {}
  ~Focus();
  Focus(const Focus&) = delete;
  Focus& operator=(const Focus&) = delete;

 private:
  Fleet& fleet_;
  const int64_t first_before_, replicas_before_;
};

}  // namespace agon
