#include "algorithms/gradient_free.h"

#include <algorithm>

namespace agon {
namespace {

/// Standard normal numbers in place of a fleet's weights.
void fill_with_noise(Fleet& fleet, const RandomKey& key) {
  fleet.device().run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                                     .replicas = fleet.replicas(),
                                     .count = fleet.network().parameters(),
                                     .y = fleet.weights(),
                                     .key = key});
}

/// y = a y + b x, of all networks.
void add(Fleet& fleet, const Floats& y, double a, const Floats& x, double b) {
  fleet.device().run(ops::Axpby{.replicas = fleet.replicas(),
                                .count = fleet.network().parameters(),
                                .x = x,
                                .y = y,
                                .a = static_cast<float>(a),
                                .b = static_cast<float>(b)});
}

/// y[r] += b x[r], of network r alone.
void add_to_one(Fleet& fleet, int64_t r, const Floats& y, const Floats& x, double b) {
  const int64_t count = fleet.network().parameters();
  fleet.device().run(ops::Axpby{
      .replicas = 1, .count = count, .x = {x.at(r), count}, .y = {y.at(r), count}, .b = static_cast<float>(b)});
}

}  // namespace

GradientFree::GradientFree(std::shared_ptr<Device> device, int64_t replicas, int64_t points, double sigma)
    : device_(std::move(device)), points_(points), sigma_(sigma), sums_(device_, (2 * points + 1) * replicas) {}

float* GradientFree::no_sums(int64_t count) {
  device_->run(ops::Fill{1, count, {sums_.data(), 0}, 0.f});
  return sums_.data();
}

/// at = w + sigma eps
void GradientFree::perturb(const Fleet& trained, Fleet& at, const RandomKey& key) {
  fill_with_noise(at, key);
  add(at, at.weights(), sigma_, trained.weights(), 1);
}

void GradientFree::estimate_gradients(Fleet& trained, Fleet& at, const Draws& draws, const Loss& loss) {
  const int64_t N = trained.replicas();
  at.take_statistics(trained);
  float* const F = no_sums(2 * points_ * N);
  for (int64_t p = 0; p < points_; ++p) {
    perturb(trained, at, draws(static_cast<uint32_t>(p)));
    loss(at, F + 2 * p * N);
    add(at, at.weights(), -1, trained.weights(), 2);  // w - sigma eps
    loss(at, F + (2 * p + 1) * N);
  }

  const std::vector<float> losses = sums_.host();
  device_->run(ops::Fill{N, trained.network().parameters(), trained.gradients(), 0.f});
  for (int64_t p = 0; p < points_; ++p) {
    fill_with_noise(at, draws(static_cast<uint32_t>(p)));
    for (int64_t r = 0; r < N; ++r) {
      const double up = losses[static_cast<size_t>(2 * p * N + r)],
                   down = losses[static_cast<size_t>((2 * p + 1) * N + r)];
      add_to_one(trained, r, trained.gradients(), at.weights(),
                 (up - down) / (2 * static_cast<double>(points_) * sigma_));
    }
  }
}

void GradientFree::evolve(Fleet& trained, Fleet& at, const Draws& draws, const Loss& loss) {
  const int64_t N = trained.replicas();
  at.take(trained, 0, N);
  float* const F = no_sums((points_ + 1) * N);
  loss(at, F);  // the parents'
  for (int64_t p = 0; p < points_; ++p) {
    perturb(trained, at, draws(static_cast<uint32_t>(p)));
    loss(at, F + (p + 1) * N);
  }

  const std::vector<float> losses = sums_.host();
  const auto loss_of = [&](int64_t candidate, int64_t r) { return losses[static_cast<size_t>(candidate * N + r)]; };
  std::vector<int64_t> best(static_cast<size_t>(N), 0);  // 0: the parent stays
  for (int64_t r = 0; r < N; ++r)
    for (int64_t p = 1; p <= points_; ++p)
      if (int64_t& now = best[static_cast<size_t>(r)]; loss_of(p, r) < loss_of(now, r)) now = p;
  for (int64_t p = 1; p <= points_; ++p) {
    if (std::find(best.begin(), best.end(), p) == best.end()) continue;
    fill_with_noise(at, draws(static_cast<uint32_t>(p - 1)));
    for (int64_t r = 0; r < N; ++r)
      if (best[static_cast<size_t>(r)] == p) add_to_one(trained, r, trained.weights(), at.weights(), sigma_);
  }
}

}  // namespace agon
