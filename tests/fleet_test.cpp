// Fleets: memory, starting weights, steps, inputs and gradients of several kinds, replicas that come and go.
#include "engine/fleet.h"

#include <signal.h>
#include <sys/time.h>

#include <atomic>

#include "tests/fleet_case.h"

namespace agon {
namespace {

using namespace fleets;

TEST(Fleet, HoldsTheMemoryThatIsPlanned) {
  const Case c({"net", R"(["dense 5","batch_norm","relu","dense 3"])", {1, 1, 7}, 4, 2}, 3);
  const auto device = test_device(1);
  for (const char* optimiser : {"adam", "sgd", "momentum", "rmsprop"})
    for (const bool trains : {true, false}) {
      FleetOptions options{.replicas = 3, .trains = trains};
      options.optimiser.kind = std::string(optimiser) == "momentum" ? "sgd" : optimiser;
      options.optimiser.momentum = std::string(optimiser) == "momentum" ? 0.9 : 0;
      Fleet fleet(device, c.network, options);
      TensorBuffer x(device, 3, 4, {1, 1, 7});
      fleet.forward(x, {.groups = 2});
      const Fleet::Memory held = fleet.memory(), planned = Fleet::plan_memory(*c.network, 4, 2, options);
      EXPECT_EQ(held.weights, planned.weights) << optimiser;
      EXPECT_EQ(held.gradients, planned.gradients) << optimiser;
      EXPECT_EQ(held.moments, planned.moments) << optimiser;
      EXPECT_EQ(held.activations, planned.activations) << optimiser;
      EXPECT_GT(held.total(), 0);
    }
}

/// Signals come all the time, each with a handler.
class SignalStorm {
 public:
  SignalStorm() {
    struct sigaction action {};
    action.sa_handler = [](int) { ++count(); };
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &before_);
    const itimerval often{{0, 50}, {0, 50}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~SignalStorm() {
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &before_, nullptr);
  }
  static std::atomic<int>& count() {
    static std::atomic<int> count = 0;
    return count;
  }

 private:
  struct sigaction before_ {};
};

// oneDNN's products keep data where the stack pointer points: a handler that ran then would write over them.
TEST(Fleet, SignalsDoNotDisturbIt) {
  const Case c({"net", R"(["dense 128","relu","dense 128","relu","dense 2"])", {1, 1, 96}, 200}, 4);
  const auto device = test_device(2);
  if (device->name() != "cpu") GTEST_SKIP() << "its products are computed elsewhere";
  Fleet fleet = make_fleet(c, device, false);
  TensorBuffer x(device, 4, 200, c.row.input);
  x.set(c.x);
  const auto expected = host(*device, fleet.forward(x));
  SignalStorm::count() = 0;
  {
    const SignalStorm storm;
    for (int round = 0; round < 2000; ++round) {
      const auto y = host(*device, fleet.forward(x));
      for (size_t r = 0; r < 4; ++r) ASSERT_EQ(y[r], expected[r]) << round;
    }
  }
  EXPECT_GT(SignalStorm::count(), 100);
}

TEST(Fleet, OneInputForAllReplicas) {
  Case c({"net", R"([{"layer":"conv2d","filters":2,"kernel":3,"pad":1},"relu","flatten","dense 2"])", {5, 7, 2}, 2}, 3);
  const std::vector<float> first(c.x.begin(), c.x.begin() + static_cast<std::ptrdiff_t>(c.x.size() / 3));
  c.x.clear();
  for (int r = 0; r < 3; ++r) c.x.insert(c.x.end(), first.begin(), first.end());
  const Outcome expected = run(c);
  const auto device = test_device(2);
  Fleet fleet = make_fleet(c, device, false);
  TensorBuffer x(device, 1, 2, c.row.input), dy(device, 3, 2, c.network->output());
  x.set(first), dy.set(c.dy);
  const auto y = host(*device, fleet.forward(x));
  const auto dx = host(*device, fleet.backward(dy, Grads::kBoth));
  ASSERT_EQ(y.size(), 3u);
  for (size_t r = 0; r < 3; ++r) {
    expect_same_bits(y[r], expected.y[r], "y");
    expect_same_bits(dx[r], expected.dx[r], "dx");
  }
}

TEST(Fleet, GradientBufferEqualsAnOutsideOne) {
  const Case c({"net", R"(["dense 6","tanh","dense 3"])", {1, 1, 5}, 4}, 2);
  const Outcome expected = run(c);
  const auto device = test_device(1);
  Fleet fleet = make_fleet(c, device, false);
  TensorBuffer x(device, 2, 4, c.row.input);
  x.set(c.x);
  fleet.forward(x);
  const Tensor dy = fleet.output_gradient();
  for (int64_t r = 0; r < 2; ++r) device->upload(dy.data + r * dy.stride, c.dy.data() + r * 12, 12 * sizeof(float));
  const auto dx = host(*device, fleet.backward(Grads::kBoth));
  for (size_t r = 0; r < 2; ++r) expect_same_bits(dx[r], expected.dx[r], "dx");
}

TEST(Fleet, DropoutMasksBackwardAsForward) {
  const auto network =
      std::make_shared<Network>("network", Shape{1, 1, 1000},
                                parse_layers(nlohmann::json::parse(R"(["dropout 0.25","dropout 0.5"])"), "network", 1));
  const auto device = test_device(2);
  Fleet fleet(device, network, {.replicas = 2});
  TensorBuffer x(device, 2, 3, {1, 1, 1000}), dy(device, 2, 3, {1, 1, 1000});
  x.set(std::vector<float>(6000, 1.f));
  const auto mask = [&](uint32_t draw) {
    dy.set(std::vector<float>(6000, 1.f));
    const auto y = host(*device, fleet.forward(x, {.key = {.seed = 5, .stream = 5, .draw = draw}}));
    const auto dx = host(*device, fleet.backward(dy, Grads::kInput));
    for (size_t r = 0; r < 2; ++r) expect_same_bits(y[r], dx[r], "mask");
    return y;
  };
  const auto first = mask(0), second = mask(1);
  EXPECT_NE(first, second) << "each draw has a mask of its own";
  EXPECT_NE(first[0], first[1]) << "each replica has a mask of its own";
  for (const auto& values : first) {
    int64_t kept = 0;
    for (float v : values) {
      ASSERT_TRUE(v == 0.f || std::abs(v - 1 / (0.75 * 0.5)) < 1e-6) << v;
      kept += v != 0.f;
    }
    EXPECT_NEAR(static_cast<double>(kept) / 3000, 0.375, 0.04);  // 4.5 standard deviations
  }
}

TEST(Fleet, EachReplicaStepsAtItsOwnRate) {
  const Case c({"net", R"(["dense 2"])", {1, 1, 3}, 2}, 3);
  const auto device = test_device(2);
  FleetOptions options{.replicas = 3};
  options.optimiser = {.kind = "sgd", .learning_rate = 0.5};
  Fleet fleet(device, c.network, options);
  for (int64_t r = 0; r < 3; ++r) fleet.set_replica(r, c.weights[static_cast<size_t>(r)], {});
  EXPECT_EQ(fleet.learning_rates(), std::vector<float>(3, 0.5f));
  fleet.set_learning_rates({0.f, 0.25f, 1.f});
  const Outcome outcome = pass(fleet, device, c, Grads::kParams);
  fleet.step(2.0);
  EXPECT_EQ(fleet.steps(), std::vector<int32_t>(3, 1));
  for (size_t r = 0; r < 3; ++r) {
    const std::vector<float> after = fleet.replica_weights(static_cast<int64_t>(r));
    const float rate = fleet.learning_rates()[r];
    for (size_t i = 0; i < after.size(); ++i)
      EXPECT_NEAR(after[i], c.weights[r][i] - rate * 2 * outcome.gradients[r][i], 1e-6);
  }
}

TEST(Fleet, StartsAlikeOrApart) {
  const auto device = test_device(1);
  const auto network = std::make_shared<Network>(
      "network", Shape{1, 1, 8}, parse_layers(nlohmann::json::parse(R"(["dense 4","batch_norm"])"), "network", 1));
  const auto weights = [&](FleetOptions options, int64_t r, std::vector<int64_t> ids = {}) {
    options.replicas = 3;
    return Fleet(device, network, options, ids).replica_weights(r);
  };
  EXPECT_EQ(weights({.seed = 3}, 0), weights({.seed = 3}, 2));
  EXPECT_NE(weights({.seed = 3}, 0), weights({.seed = 4}, 0));
  EXPECT_NE(weights({.seed = 3}, 0), weights({.seed = 3, .init_stream = 1}, 0));
  const FleetOptions apart{.seed = 3, .same_start = false};
  EXPECT_NE(weights(apart, 0), weights(apart, 1));
  EXPECT_EQ(weights(apart, 1), weights(apart, 2, {0, 5, 1})) << "replicas start by their ids";
  const std::vector<float> glorot = weights({.seed = 3}, 0);
  const double bound = std::sqrt(6.0 / 12);
  for (size_t i = 0; i < 32; ++i) EXPECT_LE(std::abs(glorot[i]), bound);
  for (size_t i = 32; i < 36; ++i) EXPECT_EQ(glorot[i], 0.f) << "bias";
  for (size_t i = 36; i < 40; ++i) EXPECT_EQ(glorot[i], 1.f) << "gain";
  const std::vector<float> torch = weights({.init = Init::kTorch, .seed = 3}, 0);
  for (size_t i = 32; i < 36; ++i) EXPECT_NE(torch[i], 0.f) << "bias";
  for (size_t i = 40; i < 44; ++i) EXPECT_EQ(torch[i], 0.f) << "shift of batch_norm";
}

TEST(Fleet, ReplicasMoveAndLeave) {
  const Case c({"net", R"(["dense 3","batch_norm"])", {1, 1, 4}, 4}, 3);
  const auto device = test_device(2);
  Fleet fleet = make_fleet(c, device, false);
  pass(fleet, device, c, Grads::kBoth);
  fleet.step();
  fleet.set_steps({7, 8, 9});
  fleet.set_learning_rates({1.f, 2.f, 3.f});
  const auto arenas = [&](int64_t r) {
    std::vector<float> all;
    for (const Fleet::Arena& arena : fleet.arenas()) {
      std::vector<float> values(static_cast<size_t>(arena.count));
      device->download(values.data(), arena.data + r * arena.count, values.size() * sizeof(float));
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const std::vector<float> last = arenas(2);
  ASSERT_NE(last, arenas(0));
  fleet.copy_replica(2, 0);
  EXPECT_EQ(arenas(0), last);
  EXPECT_EQ(fleet.steps(), (std::vector<int32_t>{9, 8, 9}));
  EXPECT_EQ(fleet.learning_rates(), (std::vector<float>{3.f, 2.f, 3.f}));
  fleet.set_replicas(1);
  EXPECT_EQ(fleet.replicas(), 1);
  EXPECT_EQ(fleet.capacity(), 3);
  const Outcome alone = pass(fleet, device, c.single(0), Grads::kBoth);
  EXPECT_EQ(alone.y.size(), 1u);
  EXPECT_THROW(fleet.set_replicas(4), Error);
}

TEST(Fleet, RefusesWhatDoesNotFit) {
  const auto device = test_device(1);
  const auto network = std::make_shared<Network>(
      "generator", Shape{1, 1, 8},
      parse_layers(nlohmann::json::parse(R"([{"layer":"class_embedding","classes":3},"dense 4"])"), "generator", 1));
  Fleet fleet(device, network, {.replicas = 2});
  const auto says = [&](auto use, const std::string& part) {
    try {
      use();
      ADD_FAILURE() << "accepted: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  TensorBuffer narrow(device, 2, 4, {1, 1, 7}), three(device, 3, 4, {1, 1, 8}), good(device, 2, 4, {1, 1, 8});
  says([&] { fleet.forward(narrow); }, "expected [2, B, 8 features] as input of the generator, got [2, 4, 7 features]");
  says([&] { fleet.forward(three); }, "got [3, 4, 8 features]");
  says([&] { fleet.forward(good); }, "the generator needs class labels");
  LabelBuffer labels(device, 2, 4);
  says([&] { fleet.forward(good, {.groups = 3, .labels = labels}); }, "4 samples do not make 3 groups");
  says([&] { fleet.set_replica(0, std::vector<float>(3), {}); }, "weights");
  says([&] { fleet.backward(Grads::kBoth); }, "without a forward pass in training mode");
  fleet.forward(good, {.training = false, .labels = labels});
  says([&] { fleet.backward(Grads::kBoth); }, "without a forward pass in training mode");
}

}  // namespace
}  // namespace agon
