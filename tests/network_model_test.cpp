// Simulated time by hand: cables, the radio cell of Ren et al. (2021), stragglers, and clocks that wait.
#include "engine/network_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "algorithms/clock.h"
#include "algorithms/options.h"
#include "tests/training.h"

namespace agon {
namespace {

using training::kRing;
using training::settings_of;
using Direction = NetworkModel::Direction;

TEST(NetworkModel, CellOfRenEtAl) {
  // Section IV: 128.1 + 37.6 log10(d / km), 24 and 46 dBm, 10 MHz, -174 dBm/Hz, 300 m: the defaults.
  const NetworkModel model({.kind = NetworkModel::Kind::kCell}, 10, 7);
  double inner = 0;
  for (int64_t k = 0; k < 10; ++k) {
    const double d = model.distance(k);
    EXPECT_GE(d, 1);
    EXPECT_LE(d, 300);
    inner += d < 300 / std::sqrt(2.0) ? 1 : 0;
    const double loss = 128.1 + 37.6 * std::log10(d / 1000);
    EXPECT_NEAR(-10 * std::log10(model.gain(k, 1)), loss, 1e-9);
    EXPECT_EQ(model.gain(k, 1), model.gain(k, 2)) << "without fading";
    // All ten share the band: 1 MHz each, in dB: power - loss - noise.
    const double up = 24 - loss - (-174 + 10 * std::log10(1e6));
    EXPECT_NEAR(model.rate(k, 1, Direction::kUp, 10), 1e6 * std::log2(1 + std::pow(10, up / 10)), 1);
    const double down = 46 - 10 - loss - (-174 + 10 * std::log10(1e6));
    EXPECT_NEAR(model.rate(k, 1, Direction::kDown, 10), 1e6 * std::log2(1 + std::pow(10, down / 10)), 1);
  }
  EXPECT_GT(inner, 0);
  EXPECT_LT(inner, 10) << "even over the disc: half of them in the inner half of its area";
  // At the edge, 29.6 dB: a discriminator of 2,765,568 numbers of 16 bits is on its way for 4.5 s at most.
  for (int64_t k = 0; k < 10; ++k) EXPECT_LT(16.0 * 2765568 / model.rate(k, 1, Direction::kUp, 10), 4.6);
}

TEST(NetworkModel, FadingHasMeanOne) {
  const NetworkModel calm({.kind = NetworkModel::Kind::kCell}, 2, 7),
      fading({.kind = NetworkModel::Kind::kCell, .fading = true}, 2, 7);
  double sum = 0, rates = 0;
  constexpr int64_t kRounds = 20000;
  for (int64_t i = 1; i <= kRounds; ++i) {
    sum += fading.gain(0, i) / calm.gain(0, i);
    rates += fading.rate(0, i, Direction::kUp, 1);
  }
  EXPECT_NEAR(sum / kRounds, 1, 0.03);
  EXPECT_NEAR(rates / kRounds / fading.mean_rate(0, Direction::kUp, 1), 1, 0.01);
}

TEST(NetworkModel, StragglersAndSpread) {
  const NetworkModel model({.worker_flops = 1e9, .spread = 0.5, .straggler_chance = 0.25, .straggler_slowdown = 8}, 20,
                           7);
  int slow = 0;
  for (int64_t i = 1; i <= 4000; ++i) {
    const double seconds = model.compute_seconds(3, i, 1e9);
    const double usual = std::min(seconds, seconds > 2.1 ? seconds / 8 : seconds);
    EXPECT_GE(usual, 1 / 1.5);
    EXPECT_LE(usual, 1 / 0.5);
    slow += seconds > 2.1 ? 1 : 0;
  }
  EXPECT_NEAR(slow / 4000.0, 0.25, 0.03);
  EXPECT_NE(model.compute_seconds(3, 1, 1e9), model.compute_seconds(4, 1, 1e9));
  EXPECT_EQ(model.compute_seconds(kServer, 1, 1e12), 1.0);
}

TEST(NetworkModel, Deadline) {
  const NetworkModel model({.deadline = 2, .bandwidth = 8e6, .server_bandwidth = 8e9, .latency = 0.25}, 4, 1);
  EXPECT_TRUE(model.in_time(0, 1, 0.7, 1'000'000, 4)) << "0.7 s of work, 0.25 s and 1 s on the way";
  EXPECT_FALSE(model.in_time(0, 1, 0.8, 1'000'000, 4));
  EXPECT_TRUE(NetworkModel({}, 4, 1).in_time(0, 1, 1e9, 1'000'000'000, 4)) << "no limit";
}

/// A network of one layer of 500 000 multiply-adds, a megaflop for each sample.
std::shared_ptr<const Network> megaflop() {
  return std::make_shared<Network>("generator", Shape{1, 1, 1000},
                                   parse_layers(nlohmann::json::parse(R"(["dense 500"])"), "generator", 1));
}

TEST(SimulatedClock, WaitsForMessagesOnly) {
  const auto network = megaflop();
  const auto model = std::make_shared<NetworkModel>(
      NetworkModel::Options{
          .worker_flops = 1e6, .server_flops = 1e7, .bandwidth = 8e6, .server_bandwidth = 16e6, .latency = 0.5},
      3, 1);
  SimulatedClock clock(model);
  const std::vector<int64_t> all{0, 1, 2};
  // The server computes for 0.1 s, then sends 1 MB to everybody, one after the other: a second each, half on the way.
  AlgorithmPlan::Phase deal{.server = {{network.get(), 1}}};
  for (int64_t n : all) deal.messages.push_back({MessageKind::kBatches, kServer, n, 1'000'000});
  clock.advance({deal}, 1, all);
  EXPECT_NEAR(clock.ready(kServer), 0.1, 1e-9) << "sending does not keep it from computing";
  for (int64_t n : all) EXPECT_NEAR(clock.ready(n), 0.1 + static_cast<double>(n + 1) + 0.5, 1e-9);
  EXPECT_NEAR(clock.seconds(), 3.6, 1e-9);
  // Worker 0 computes for two seconds, the others rest; it and worker 1 answer. Worker 1, ready first, is heard first.
  AlgorithmPlan::Phase answer{.workers = {{network.get(), 2}}, .who = {0}};
  for (int64_t n : {0, 1}) answer.messages.push_back({MessageKind::kFeedback, n, kServer, 1'000'000});
  clock.advance({answer}, 2, all);
  EXPECT_NEAR(clock.ready(0), 3.6, 1e-9);
  EXPECT_NEAR(clock.ready(kServer), std::max(2.6 + 1, 3.6) + 1 + 0.5, 1e-9);
  // A state that is written down comes back.
  SimulatedClock again(model);
  again.restore(clock.to_json());
  clock.advance({deal, answer}, 3, all), again.advance({deal, answer}, 3, all);
  EXPECT_EQ(clock.seconds(), again.seconds());
}

TEST(SimulatedClock, ACellSharesItsBandAndBroadcastsOnce) {
  const auto model = std::make_shared<NetworkModel>(NetworkModel::Options{.kind = NetworkModel::Kind::kCell}, 3, 1);
  AlgorithmPlan::Phase up, down{.broadcast = true};
  for (int64_t n : {0, 1, 2}) {
    up.messages.push_back({MessageKind::kDiscriminators, n, kServer, 1000});
    down.messages.push_back({MessageKind::kGenerators, kServer, n, 1000});
  }
  double slowest_up = 0, slowest_down = 0;
  for (int64_t n : {0, 1, 2}) {
    slowest_up = std::max(slowest_up, 8000 / model->rate(n, 1, Direction::kUp, 3));
    slowest_down = std::max(slowest_down, 8000 / model->rate(n, 1, Direction::kDown, 1));
  }
  SimulatedClock clock(model);
  clock.advance({up}, 1, {0, 1, 2});
  EXPECT_NEAR(clock.seconds(), slowest_up, 1e-12) << "all at the same time";
  clock.advance({down}, 1, {0, 1, 2});
  EXPECT_NEAR(clock.seconds(), slowest_up + slowest_down, 1e-12);
}

TEST(NetworkModel, FromSettings) {
  const NetworkModel::Options o = network_options(settings_of(
      kRing, {"network.kind=cell", "network.deadline=3", "network.fading=true", "network.device_power=10"}));
  EXPECT_EQ(o.kind, NetworkModel::Kind::kCell);
  EXPECT_EQ(o.deadline, 3);
  EXPECT_TRUE(o.fading);
  EXPECT_EQ(o.device_power, 10);
  EXPECT_THROW(network_options(settings_of(kRing, {"network.bandwidth=0"})), Error);
  EXPECT_THROW(settings_of(kRing, {"network.kind=tube"}), Error);
}

}  // namespace
}  // namespace agon
