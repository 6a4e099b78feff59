#pragma once

// What the tests of fleets share: a list of layers made concrete with weights, inputs and output gradients, one call
// that runs it as a fleet, and the comparisons.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/fleet.h"
#include "tests/devices.h"
#include "tests/reference_network.h"

namespace agon::fleets {

using reference::Doubles;

struct Row {
  std::string name;
  std::string layers;  ///< JSON
  Shape input;
  int64_t batch = 4, groups = 1;
  double tolerance = 2e-6;
  bool training = true;
};

/// A row made concrete: networks, weights, inputs and output gradients for R replicas.
struct Case {
  Case(const Row& row, int64_t replicas) : row(row), replicas(replicas) {
    layers = parse_layers(nlohmann::json::parse(row.layers), "network", 4);
    network = std::make_shared<Network>("network", row.input, layers);
    std::mt19937 random(7);
    const auto uniform = [&](double low, double high) {
      return static_cast<float>(std::uniform_real_distribution<double>(low, high)(random));
    };
    for (int64_t r = 0; r < replicas; ++r) {
      std::vector<float>& w = weights.emplace_back(network->parameters());
      std::vector<float>& s = state.emplace_back(network->state());
      for (const Network::Step& step : network->steps())
        for (size_t i = 0; i < step.parameters.size(); ++i) {
          const Parameter& p = step.parameters[i];
          float* values = (p.trained() ? w : s).data() + step.offsets[i];
          const double bound = 1.5 / std::sqrt(static_cast<double>(p.fan_in));
          for (int64_t j = 0; j < p.size(); ++j)
            values[j] = p.role == Parameter::Role::kWeight ? uniform(-bound, bound)
                        : p.role == Parameter::Role::kRunningVar || p.role == Parameter::Role::kGain ? uniform(0.5, 1.5)
                                                                                                     : uniform(-1, 1);
        }
    }
    for (int64_t i = 0; i < replicas * row.batch * row.input.size(); ++i) x.push_back(uniform(-1.5, 1.5));
    for (int64_t i = 0; i < replicas * row.batch * network->output().size(); ++i) dy.push_back(uniform(-1, 1));
    for (const LayerSpec& spec : layers)
      if (spec.type == "class_embedding") classes = static_cast<int32_t>(spec.number("classes"));
    for (int64_t i = 0; i < replicas * row.batch; ++i)
      labels.push_back(std::uniform_int_distribution<int32_t>(0, classes - 1)(random));
  }

  /// Replica r alone.
  Case single(int64_t r) const {
    Case one = *this;
    one.replicas = 1;
    one.weights = {weights[static_cast<size_t>(r)]}, one.state = {state[static_cast<size_t>(r)]};
    const auto cut = [&](auto& values) {
      const auto size = static_cast<int64_t>(values.size()) / replicas;
      values = {values.begin() + r * size, values.begin() + (r + 1) * size};
    };
    cut(one.x), cut(one.dy), cut(one.labels);
    return one;
  }

  Row row;
  int64_t replicas;
  int32_t classes = 1;
  std::vector<LayerSpec> layers;
  std::shared_ptr<const Network> network;
  std::vector<std::vector<float>> weights, state;  // [R][P], [R][S]
  std::vector<float> x, dy;                        // [R, B, ...]
  std::vector<int32_t> labels;                     // [R, B]
};

/// What a fleet computed, for each replica.
struct Outcome {
  std::vector<std::vector<float>> y, dx, gradients, state;
};

inline std::vector<std::vector<float>> host(Device& device, const Tensor& t) {
  std::vector<std::vector<float>> replicas;
  for (int64_t r = 0; t && r < t.replicas; ++r) {
    replicas.emplace_back(t.size_per_replica());
    device.download(replicas.back().data(), t.data + r * t.stride, replicas.back().size() * sizeof(float));
  }
  return replicas;
}

inline constexpr float kUntouched = -1234.5f;

/// A fleet of the case's weights, its gradients filled with kUntouched.
inline Fleet make_fleet(const Case& c, std::shared_ptr<Device> device, bool split) {
  Fleet fleet(device, c.network, {.replicas = c.replicas, .split = split});
  for (int64_t r = 0; r < c.replicas; ++r)
    fleet.set_replica(r, c.weights[static_cast<size_t>(r)], c.state[static_cast<size_t>(r)]);
  const std::vector<float> filler(static_cast<size_t>(c.replicas * c.network->parameters()), kUntouched);
  if (!filler.empty()) device->upload(fleet.gradients().data, filler.data(), filler.size() * sizeof(float));
  return fleet;
}

inline Outcome pass(Fleet& fleet, std::shared_ptr<Device> device, const Case& c, Grads grads) {
  TensorBuffer x(device, c.replicas, c.row.batch, c.row.input),
      dy(device, c.replicas, c.row.batch, c.network->output());
  LabelBuffer labels(device, c.replicas, c.row.batch);
  x.set(c.x), dy.set(c.dy), labels.set(c.labels);
  Outcome outcome;
  outcome.y = host(*device, fleet.forward(x, {.groups = c.row.groups, .training = c.row.training, .labels = labels}));
  if (c.row.training) outcome.dx = host(*device, fleet.backward(dy, grads));
  for (int64_t r = 0; r < c.replicas; ++r) {
    outcome.state.push_back(fleet.replica_state(r));
    outcome.gradients.emplace_back(c.network->parameters());
    device->download(outcome.gradients.back().data(), fleet.gradients().at(r),
                     outcome.gradients.back().size() * sizeof(float));
  }
  return outcome;
}

inline Outcome run(const Case& c, Grads grads = Grads::kBoth, int threads = 1, bool split = false) {
  const auto device = test_device(threads);
  Fleet fleet = make_fleet(c, device, split);
  return pass(fleet, device, c, grads);
}

inline void expect_near(const std::vector<float>& found, const Doubles& expected, double tolerance,
                        const std::string& what) {
  ASSERT_FALSE(expected.empty()) << what;
  ASSERT_EQ(found.size(), expected.size()) << what;
  double squares = 0;
  for (double v : expected) squares += v * v;
  const double scale = std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i]) && std::isfinite(expected[i])) << what << " " << i << ": " << found[i];
    ASSERT_LE(std::abs(found[i] - expected[i]), tolerance * (std::abs(expected[i]) + scale))
        << what << " " << i << ": " << found[i] << ", expected " << expected[i];
  }
}

inline void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << what << " " << i << ": " << a[i] << " and " << b[i];
}

/// Replica `r` of one outcome is replica `s` of the other.
inline void expect_same_bits(const Outcome& a, size_t r, const Outcome& b, size_t s, const std::string& when) {
  ASSERT_NO_FATAL_FAILURE(expect_same_bits(a.y[r], b.y[s], when + ": y"));
  ASSERT_EQ(a.dx.size() > r, b.dx.size() > s);
  if (a.dx.size() > r) {
    ASSERT_NO_FATAL_FAILURE(expect_same_bits(a.dx[r], b.dx[s], when + ": dx"));
  }
  ASSERT_NO_FATAL_FAILURE(expect_same_bits(a.gradients[r], b.gradients[s], when + ": gradient"));
  ASSERT_NO_FATAL_FAILURE(expect_same_bits(a.state[r], b.state[s], when + ": state"));
}

}  // namespace agon::fleets
