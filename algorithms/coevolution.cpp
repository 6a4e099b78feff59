// Torus neighbourhoods, tournaments and mutations of spatial coevolution.
#include "algorithms/coevolution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"

namespace agon {

Torus::Torus(int64_t cells, int64_t rows) : rows_(rows) {
  if (rows_ == 0)
    for (int64_t r = 1; r * r <= cells; ++r)
      if (cells % r == 0) rows_ = r;
  if (rows_ < 1 || cells % rows_ != 0)
    fail(Fault::kUsage, "algorithm.rows is {}, expected a divisor of the number of cells, world.workers = {}", rows,
         cells);
  columns_ = cells / rows_;
}

std::vector<int64_t> Torus::neighbourhood(int64_t cell, const std::vector<int64_t>& living, bool transposed) const {
  int64_t row = cell / columns_, column = cell % columns_;
  if (transposed) std::swap(row, column);
  const auto at = [&](int64_t r, int64_t c) { return (r + rows_) % rows_ * columns_ + (c + columns_) % columns_; };
  std::vector<int64_t> members{cell};
  for (int64_t other : {at(row - 1, column), at(row + 1, column), at(row, column - 1), at(row, column + 1)})
    if (std::find(members.begin(), members.end(), other) == members.end() &&
        std::binary_search(living.begin(), living.end(), other))
      members.push_back(other);
  return members;
}

int64_t tournament(const std::vector<double>& loss, int64_t size, HostRandom& random) {
  std::vector<int64_t> drawn(loss.size());
  std::iota(drawn.begin(), drawn.end(), 0);
  random.shuffle(drawn);
  drawn.resize(std::min(drawn.size(), static_cast<size_t>(size)));
  return *std::min_element(drawn.begin(), drawn.end(), [&](int64_t a, int64_t b) {
    return loss[static_cast<size_t>(a)] < loss[static_cast<size_t>(b)];
  });
}

double mutated_rate(double rate, double initial, double scale, double probability, HostRandom& random) {
  if (random.uniform() >= probability) return rate;
  return std::max(0.0, rate + scale * (-initial / 10 + initial * random.normal()));
}

std::vector<double> mutated_weights(const std::vector<double>& weights, double sigma, HostRandom& random) {
  std::vector<double> child = weights;
  for (double& w : child) w = std::max(0.0, w + sigma * random.normal());
  const double total = std::accumulate(child.begin(), child.end(), 0.0);
  if (!(total > 0)) return weights;
  for (double& w : child) w /= total;
  return child;
}

GeneratorMixture with_members(const GeneratorMixture& mixture, const std::vector<int64_t>& members) {
  if (members == mixture.members) return mixture;
  GeneratorMixture changed{members, std::vector<double>(members.size(), -1.0), mixture.holder};
  double kept = 0, staying = 0;
  for (size_t i = 0; i < members.size(); ++i)
    for (size_t j = 0; j < mixture.members.size(); ++j)
      if (members[i] == mixture.members[j]) kept += changed.weights[i] = mixture.weights[j], ++staying;
  const double newcomers = kept > 0 ? kept / staying : 1.0;
  double total = 0;
  for (double& w : changed.weights) total += w = w < 0 || kept == 0 ? newcomers : w;
  for (double& w : changed.weights) w /= total;
  return changed;
}

std::vector<size_t> sampled_members(const GeneratorMixture& mixture, int64_t count, HostRandom random) {
  std::vector<double> reach(mixture.weights.size());
  std::partial_sum(mixture.weights.begin(), mixture.weights.end(), reach.begin());
  std::vector<size_t> picks;
  for (int64_t i = 0; i < count; ++i) {
    const auto found = std::upper_bound(reach.begin(), reach.end(), random.uniform() * reach.back());
    picks.push_back(static_cast<size_t>(std::min(found, reach.end() - 1) - reach.begin()));
  }
  return picks;
}

}  // namespace agon
