// Every layer and small networks as fleets: values and both gradients against double precision, and what a fleet
// promises whatever its layers: replicas that do not touch each other, the same bits on any number of threads.
#include <limits>

#include "tests/fleet_case.h"

namespace agon {
namespace fleets {

std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }

}  // namespace fleets
namespace {

using namespace fleets;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const Row kRows[] = {
    {"dense", R"(["dense 5"])", {1, 1, 7}},
    {"dense without bias", R"([{"layer":"dense","units":3,"bias":false}])", {1, 1, 6}, 3},
    {"dense, one sample", R"(["dense 17"])", {1, 1, 33}, 1},
    {"dense relu", R"(["dense 6","relu","dense 2"])", {1, 1, 5}},
    {"dense leaky_relu", R"(["dense 6","leaky_relu 0.1","dense 2"])", {1, 1, 5}},
    {"dense tanh", R"(["dense 6","tanh","dense 2","tanh"])", {1, 1, 5}},
    {"dense sigmoid", R"(["dense 6","sigmoid","dense 2"])", {1, 1, 5}},
    {"dense elu", R"(["dense 6","elu 0.7","dense 2"])", {1, 1, 5}},
    {"two activations", R"(["dense 4","leaky_relu","tanh","dense 2","sigmoid","tanh"])", {1, 1, 5}},
    {"activation of the input", R"(["tanh","dense 2"])", {1, 1, 5}},
    {"activation alone", R"(["elu"])", {5, 7, 2}},
    {"conv 5x7 k3 s1 p1", R"([{"layer":"conv2d","filters":4,"kernel":3,"pad":1}])", {5, 7, 3}, 2},
    {"conv 5x7 k3 s2 p1", R"([{"layer":"conv2d","filters":5,"kernel":3,"stride":2,"pad":1}])", {5, 7, 2}, 3},
    {"conv 5x7 k4 s2 p1", R"([{"layer":"conv2d","filters":3,"kernel":4,"stride":2,"pad":1}])", {5, 7, 2}, 2},
    {"conv k1, no bias", R"([{"layer":"conv2d","filters":4,"kernel":1,"bias":0}])", {3, 2, 5}, 2},
    {"conv 1 channel, relu", R"([{"layer":"conv2d","filters":16,"kernel":3,"stride":2,"pad":1},"relu"])", {5, 7, 1}, 2},
    {"conv 16 channels", R"([{"layer":"conv2d","filters":16,"kernel":3,"pad":1},"leaky_relu"])", {3, 5, 16}, 2, 1},
    {"conv_t 5x7 k4 s2 p1",
     R"([{"layer":"conv_transpose2d","filters":3,"kernel":4,"stride":2,"pad":1}])",
     {5, 7, 2},
     2},
    {"conv_t k5 s2 p2 o1",
     R"([{"layer":"conv_transpose2d","filters":3,"kernel":5,"stride":2,"pad":2,"output_pad":1},"tanh"])",
     {3, 2, 4},
     2},
    {"conv_t k3 s1, no bias", R"([{"layer":"conv_transpose2d","filters":2,"kernel":3,"bias":0}])", {3, 5, 2}, 2},
    {"conv_t k2 s3 o2, gaps",
     R"([{"layer":"conv_transpose2d","filters":2,"kernel":2,"stride":3,"output_pad":2}])",
     {3, 2, 3},
     2},
    {"batch_norm", R"(["batch_norm"])", {3, 5, 2}, 4, 1, 1e-5},
    {"batch_norm of vectors, two groups", R"([{"layer":"batch_norm","momentum":0.3}])", {1, 1, 6}, 8, 2, 1e-5},
    {"batch_norm in evaluation", R"(["dense 5","batch_norm","relu","dense 2"])", {1, 1, 6}, 4, 1, 2e-6, false},
    {"conv batch_norm relu",
     R"([{"layer":"conv2d","filters":3,"kernel":3,"bias":0},"batch_norm","relu","flatten","dense 2"])",
     {5, 7, 2},
     4,
     2,
     1e-5},
    {"dense batch_norm leaky_relu batch_norm tanh",
     R"(["dense 5","batch_norm","leaky_relu","dense 4","batch_norm","tanh"])",
     {1, 1, 3},
     6,
     1,
     1e-5},
    {"layer_norm", R"(["layer_norm","relu"])", {2, 3, 8}, 2, 1, 1e-5},
    {"dense layer_norm", R"(["dense 9","layer_norm","elu","dense 1"])", {1, 1, 4}, 3, 1, 1e-5},
    {"max_pool 5x7", R"(["max_pool2d"])", {5, 7, 3}, 2},
    {"max_pool k3 s2 p1 relu", R"([{"layer":"max_pool2d","kernel":3,"stride":2,"pad":1},"relu"])", {5, 7, 2}, 2},
    {"average_pool k3 s2 p1 tanh",
     R"([{"layer":"average_pool2d","kernel":3,"stride":2,"pad":1},"tanh"])",
     {5, 7, 2},
     2},
    {"flatten", R"(["flatten","dense 3"])", {5, 7, 2}, 2},
    {"flatten of one channel: a view", R"(["flatten","dense 3","tanh"])", {5, 7, 1}, 2},
    {"flatten, then an activation in place", R"(["flatten","relu","dense 3"])", {3, 5, 2}, 2},
    {"a view, then an activation", R"(["dense 6","flatten","leaky_relu","dense 2"])", {1, 1, 4}, 3},
    {"reshape", R"(["dense 24","relu",{"layer":"reshape","height":2,"width":4,"channels":3},"tanh"])", {1, 1, 3}, 2},
    {"reshape to one channel: a view",
     R"(["dense 8",{"layer":"reshape","height":2,"width":4,"channels":1}])",
     {1, 1, 3}},
    {"reshape there and flatten back",
     R"([{"layer":"reshape","height":2,"width":3,"channels":2},"flatten"])",
     {1, 1, 12},
     2},
    {"upsample", R"(["upsample"])", {5, 7, 2}, 2},
    {"upsample 3, conv",
     R"([{"layer":"upsample","factor":3},"relu",{"layer":"conv2d","filters":2,"kernel":3,"pad":1}])",
     {2, 3, 2},
     2},
    {"class_embedding", R"([{"layer":"class_embedding","classes":3},"dense 4"])", {1, 1, 6}, 5},
    {"class_embedding in front of an activation",
     R"([{"layer":"class_embedding","classes":4},"tanh","dense 3"])",
     {1, 1, 5},
     6},
    {"class_embedding, fixed", R"([{"layer":"class_embedding","classes":3,"learned":false},"dense 4"])", {1, 1, 6}, 5},
    {"minibatch_discrimination",
     R"(["dense 4",{"layer":"minibatch_discrimination","kernels":3,"dims":2},"dense 2"])",
     {1, 1, 5},
     4},
    {"minibatch_discrimination, two groups, activation",
     R"([{"layer":"minibatch_discrimination","kernels":2,"dims":3},"tanh","dense 2"])",
     {1, 1, 5},
     6,
     2},
    {"dropout of rate 0", R"(["dense 4","relu","dropout 0","dense 2"])", {1, 1, 5}, 3},
    {"dropout in evaluation", R"(["dropout 0.5","dense 2","dropout 0.3"])", {1, 1, 5}, 3, 1, 2e-6, false},
    {"a small generator",
     R"([{"layer":"class_embedding","classes":3},"dense 12",{"layer":"reshape","height":2,"width":2,"channels":3},
         "batch_norm","relu",{"layer":"conv_transpose2d","filters":2,"kernel":4,"stride":2,"pad":1},"tanh"])",
     {1, 1, 4},
     5,
     1,
     1e-5},
    {"a small discriminator",
     R"([{"layer":"conv2d","filters":4,"kernel":3,"stride":2,"pad":1},"leaky_relu 0.2","dropout 0",
         {"layer":"conv2d","filters":3,"kernel":3,"pad":1},"leaky_relu 0.2","flatten",
         {"layer":"minibatch_discrimination","kernels":2,"dims":2},"dense 4"])",
     {5, 7, 1},
     4,
     2},
};

class FleetRow : public testing::TestWithParam<Row> {};
INSTANTIATE_TEST_SUITE_P(Layers, FleetRow, testing::ValuesIn(kRows), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

TEST_P(FleetRow, EqualsDoublePrecision) {
  const Row& row = GetParam();
  const Case c(row, 3);
  const Outcome found = run(c);
  for (int64_t r = 0; r < c.replicas; ++r) {
    const Case one = c.single(r);
    const auto doubles = [](const std::vector<float>& v) { return Doubles(v.begin(), v.end()); };
    const reference::Pass pass{row.batch, row.groups, row.training};
    reference::Replica replica{doubles(one.weights[0]), doubles(one.state[0]), doubles(one.x), one.labels};
    const reference::Replica before = replica;
    const Doubles y = reference::forward(c.layers, *c.network, pass, replica);
    const auto at = static_cast<size_t>(r);
    ASSERT_NO_FATAL_FAILURE(expect_near(found.y[at], y, row.tolerance, "y"));
    if (c.network->state()) {
      ASSERT_NO_FATAL_FAILURE(expect_near(found.state[at], replica.state, 2e-6, "state"));
    }
    if (!row.training || r > 0) continue;  // the others' gradients are those of single runs, see below
    const auto gradient = [&](Doubles reference::Replica::*values) {
      return reference::gradient(c.layers, *c.network, pass, before, values, doubles(one.dy));
    };
    ASSERT_NO_FATAL_FAILURE(expect_near(found.dx[at], gradient(&reference::Replica::x), row.tolerance, "dx"));
    if (c.network->parameters()) {
      ASSERT_NO_FATAL_FAILURE(
          expect_near(found.gradients[at], gradient(&reference::Replica::weights), row.tolerance, "gradient"));
    }
  }
}

TEST_P(FleetRow, ComputesWhatIsWanted) {
  const Case c(GetParam(), 3);
  if (!c.row.training) return;
  const Outcome both = run(c), input = run(c, Grads::kInput), params = run(c, Grads::kParams);
  EXPECT_TRUE(params.dx.empty());
  for (size_t r = 0; r < 3; ++r) {
    expect_same_bits(both.dx[r], input.dx[r], "dx");
    expect_same_bits(both.gradients[r], params.gradients[r], "gradient");
    for (float g : input.gradients[r]) ASSERT_EQ(g, kUntouched) << "Grads::kInput wrote a weight gradient";
    for (float g : both.gradients[r]) ASSERT_NE(g, kUntouched) << "a weight has no gradient";
  }
}

TEST_P(FleetRow, EqualsSingleRunsBitByBit) {
  const Case c(GetParam(), 3);
  const Outcome fleet = run(c);
  for (int64_t r = 0; r < c.replicas; ++r)
    expect_same_bits(fleet, static_cast<size_t>(r), run(c.single(r)), 0, fmt::format("replica {}", r));
}

TEST_P(FleetRow, SameBitsOnAnyNumberOfThreads) {
  for (const int64_t replicas : {1, 3}) {
    const Case c(GetParam(), replicas);
    const Outcome one = run(c, Grads::kBoth, 1, replicas == 1);
    for (const int threads : {2, 3}) {
      const Outcome many = run(c, Grads::kBoth, threads, replicas == 1);
      for (size_t r = 0; r < static_cast<size_t>(replicas); ++r)
        expect_same_bits(one, r, many, r, fmt::format("{} threads", threads));
    }
  }
}

TEST_P(FleetRow, NanStaysInItsReplica) {
  const Case good(GetParam(), 3);
  Case spoilt = good;
  std::fill(spoilt.weights[1].begin(), spoilt.weights[1].end(), kNan);
  const auto third = static_cast<std::ptrdiff_t>(spoilt.x.size() / 3);
  std::fill(spoilt.x.begin() + third, spoilt.x.begin() + 2 * third, kNan);
  const Outcome a = run(good), b = run(spoilt);
  EXPECT_TRUE(std::isnan(b.y[1].back()) || GetParam().name.find("relu") != std::string::npos);
  for (size_t r : {size_t{0}, size_t{2}}) expect_same_bits(a, r, b, r, "beside NaN");
}

TEST_P(FleetRow, FollowsTheBatchSize) {
  const Case small(GetParam(), 2);
  Row wide = GetParam();
  wide.batch *= 3;
  const Case large(wide, 2);
  const auto device = test_device(1);
  Fleet fleet = make_fleet(small, device, false);
  const auto reset = [&](const Case& c) {
    for (int64_t r = 0; r < 2; ++r)
      fleet.set_replica(r, c.weights[static_cast<size_t>(r)], c.state[static_cast<size_t>(r)]);
  };
  const Outcome fresh_small = run(small), fresh_large = run(large);
  for (int turn = 0; turn < 2; ++turn) {
    reset(small);
    const Outcome again = pass(fleet, device, small, Grads::kBoth);
    for (size_t r = 0; r < 2; ++r) expect_same_bits(fresh_small, r, again, r, "small batch");
    reset(large);
    const Outcome grown = pass(fleet, device, large, Grads::kBoth);
    for (size_t r = 0; r < 2; ++r) expect_same_bits(fresh_large, r, grown, r, "large batch");
  }
  EXPECT_EQ(fleet.memory().activations,
            Fleet::plan_memory(*large.network, wide.batch, wide.groups, {.replicas = 2}).activations);
}

}  // namespace
}  // namespace agon
