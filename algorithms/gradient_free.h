#pragma once

#include <functional>

#include "engine/fleet.h"

namespace agon {

/// Training without backpropagation, from the losses of perturbed weights alone, for every network of a fleet at once.
class GradientFree {
 public:
  /// `points` perturbations eps ~ N(0, I) of standard deviation `sigma`, of at most `replicas` networks.
  GradientFree(std::shared_ptr<Device> device, int64_t replicas, int64_t points, double sigma);

  /// What is evaluated: adds the loss of every network of `at` to sums [N]. The same batch and noise each time.
  using Loss = std::function<void(Fleet& at, float* sums)>;
  /// Where random numbers come from: a key for each `draw` < points.
  using Draws = std::function<RandomKey(uint32_t draw)>;

  /// Natural evolution strategies (Wierstra et al. 2008; antithetic, as Salimans et al. 2017): the gradients of
  /// `trained` become  1 / (2 P sigma) * sum over p of (F(w + sigma eps_p) - F(w - sigma eps_p)) eps_p. `at`, a fleet
  /// of the same network and size, is left perturbed.
  void estimate_gradients(Fleet& trained, Fleet& at, const Draws& draws, const Loss& loss);
  /// A (1 + P) evolution strategy (Rechenberg 1973): the best of the children w + sigma eps_p takes the place of w if
  /// its loss is strictly lower.
  void evolve(Fleet& trained, Fleet& at, const Draws& draws, const Loss& loss);

 private:
  void perturb(const Fleet& trained, Fleet& at, const RandomKey& key);
  float* no_sums(int64_t count);

  std::shared_ptr<Device> device_;
  const int64_t points_;
  const double sigma_;
  Buffer<float> sums_;  // [2 P or P + 1][N]
};

}  // namespace agon
