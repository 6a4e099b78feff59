// Training without backpropagation: estimated gradients of functions whose gradients are known, and children that take
// their parent's place only if they are better.
#include "algorithms/gradient_free.h"

#include <cmath>

#include "engine/random.h"
#include "tests/fleet_case.h"

namespace agon {
namespace {

using namespace fleets;

constexpr int64_t kNetworks = 3;

/// Networks of 9 weights each, and losses of the weights alone.
class Weights : public testing::Test {
 protected:
  const Case case_{{"net", R"(["dense 3"])", {1, 1, 2}, 4}, kNetworks};
  std::shared_ptr<Device> device_ = test_device(1);
  Fleet trained_ = make_fleet(case_, device_, false), at_ = make_fleet(case_, device_, false);

  using Function = std::function<double(int64_t network, const std::vector<float>& weights)>;
  GradientFree::Loss of(Function function) {
    return [this, function](Fleet& at, float* sums) {
      std::vector<float> values(kNetworks);
      const size_t bytes = values.size() * sizeof(float);
      device_->download(values.data(), sums, bytes);
      for (int64_t r = 0; r < kNetworks; ++r)
        values[static_cast<size_t>(r)] += static_cast<float>(function(r, at.replica_weights(r)));
      device_->upload(sums, values.data(), bytes);
    };
  }
  /// Another noise in each round.
  static GradientFree::Draws draws(uint64_t round) {
    return [round](uint32_t draw) {
      return RandomKey{.seed = round, .stream = static_cast<uint32_t>(RandomStream::kAlgorithm), .draw = draw};
    };
  }
  std::vector<float> gradient(int64_t r) {
    std::vector<float> values(static_cast<size_t>(trained_.network().parameters()));
    device_->download(values.data(), trained_.gradients().at(r), values.size() * sizeof(float));
    return values;
  }
};

/// sum of (r + 1) (w_i - i / 10)^2, each network's its own.
double bowl(int64_t r, const std::vector<float>& w) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += std::pow(w[i] - 0.1 * static_cast<double>(i), 2);
  return static_cast<double>(r + 1) * sum;
}

TEST_F(Weights, EstimatedGradientsAreThoseOfTheFunction) {
  GradientFree search(device_, kNetworks, /*points=*/4000, /*sigma=*/0.05);
  const std::vector<float> before = trained_.replica_weights(1);
  search.estimate_gradients(trained_, at_, draws(1), of(bowl));
  EXPECT_EQ(trained_.replica_weights(1), before);
  for (int64_t r = 0; r < kNetworks; ++r) {
    const std::vector<float> w = trained_.replica_weights(r), g = gradient(r);
    double dot = 0, own = 0, expected = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double slope = 2 * static_cast<double>(r + 1) * (w[i] - 0.1 * static_cast<double>(i));
      dot += slope * g[i], own += g[i] * g[i], expected += slope * slope;
    }
    ASSERT_GT(expected, 0);
    // The deviation of each number is |gradient| / sqrt(P): 1.6%.
    EXPECT_GT(dot / std::sqrt(own * expected), 0.99) << r;
    EXPECT_NEAR(std::sqrt(own / expected), 1, 0.1) << r;
  }
}

TEST_F(Weights, OnlyBetterChildrenTakeTheirParentsPlace) {
  GradientFree search(device_, kNetworks, /*points=*/5, /*sigma=*/0.1);
  std::vector<double> loss;
  for (int64_t r = 0; r < kNetworks; ++r) loss.push_back(bowl(r, trained_.replica_weights(r)));
  const std::vector<double> start = loss;
  int64_t stayed = 0;
  for (uint64_t round = 1; round <= 100; ++round) {
    std::vector<std::vector<float>> before;
    for (int64_t r = 0; r < kNetworks; ++r) before.push_back(trained_.replica_weights(r));
    std::vector<double> best = loss;  // of those that are looked at
    search.evolve(trained_, at_, draws(round), of([&](int64_t r, const std::vector<float>& w) {
                    const double value = bowl(r, w);
                    best[static_cast<size_t>(r)] = std::min(best[static_cast<size_t>(r)], value);
                    return value;
                  }));
    for (int64_t r = 0; r < kNetworks; ++r) {
      const double now = bowl(r, trained_.replica_weights(r));
      EXPECT_NEAR(now, best[static_cast<size_t>(r)], 1e-5 * (1 + now)) << r;
      if (trained_.replica_weights(r) == before[static_cast<size_t>(r)]) ++stayed;
      loss[static_cast<size_t>(r)] = now;
    }
  }
  for (int64_t r = 0; r < kNetworks; ++r) EXPECT_LT(loss[static_cast<size_t>(r)], start[static_cast<size_t>(r)] / 4);
  EXPECT_GT(stayed, 0) << "near the bottom most children are worse";
}

TEST_F(Weights, WorseChildrenChangeNothing) {
  GradientFree search(device_, kNetworks, 3, 0.1);
  std::vector<std::vector<float>> before;
  for (int64_t r = 0; r < kNetworks; ++r) before.push_back(trained_.replica_weights(r));
  int64_t asked = 0;
  search.evolve(trained_, at_, draws(1),
                of([&](int64_t, const std::vector<float>&) { return asked++ < kNetworks ? 0 : 1; }));
  EXPECT_EQ(asked, 4 * kNetworks);
  for (int64_t r = 0; r < kNetworks; ++r) EXPECT_EQ(trained_.replica_weights(r), before[static_cast<size_t>(r)]);
}

}  // namespace
}  // namespace agon
