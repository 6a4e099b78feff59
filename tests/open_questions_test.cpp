// What MD-GAN's paper leaves open (section VII): asynchronous updates, compression, liars, fewer discriminators.
#include <set>

#include "algorithms/trust.h"
#include "tests/one_by_one.h"

namespace agon {
namespace {

using namespace training;

TEST(MdGanAsync, EqualsWorkersOneByOne) {
  for (const auto& [base, alpha] :
       std::vector<std::pair<std::string, double>>{{kRing, 1}, {kRing, 0}, {kStrokes, 0.5}}) {
    const Settings s = settings_of(base, {"algorithm.name=md-gan-async", "run.iterations=11", "algorithm.swap_epochs=0",
                                          fmt::format("algorithm.staleness_power={}", alpha)});
    Trainer trainer(s, data_of(s));
    trainer.run();
    OneByOne reference(s, data_of(s));
    for (int i = 0; i < 11; ++i) reference.async_iteration(alpha);
    const auto fleets = trainer.algorithm().fleets();
    expect_close(fleets.at("generator")->replica_weights(0), reference.G(0).replica_weights(0), 0, "G");
    for (int64_t n = 0; n < s.integer("world.workers"); ++n)
      expect_close(fleets.at("discriminators")->replica_weights(n),
                   reference.D(static_cast<size_t>(n)).replica_weights(0), 0, "D_n");
  }
}

TEST(MdGanAsync, FastWorkersAreHeardMoreOften) {
  // Computing takes all the time here: 1e4 operations a second.
  const Settings s = settings_of(kRing, {"algorithm.name=md-gan-async", "run.iterations=400", "network.spread=0.6",
                                         "network.worker_flops=1e4", "network.latency=0", "algorithm.swap_epochs=0"});
  Trainer trainer(s, data_of(s));
  const Summary summary = trainer.run();
  const NetworkModel& network = *trainer.stage().game().network;
  int64_t heard = 0;
  double speeds = 0;
  for (int64_t n = 0; n < 5; ++n) speeds += 1 / network.compute_seconds(n, 1, 1);
  for (int64_t n = 0; n < 5; ++n) {
    const Traffic sent = summary.ledger.sent(MessageKind::kFeedback, n);
    heard += sent.messages;
    EXPECT_NEAR(static_cast<double>(sent.messages), 400 / network.compute_seconds(n, 1, 1) / speeds, 3) << n;
    EXPECT_EQ(summary.ledger.received(MessageKind::kBatches, n).messages, 2 * (1 + sent.messages));
  }
  EXPECT_EQ(heard, 400);
}

TEST(MdGanAsync, StragglersHoldNobodyUp) {
  const std::vector<std::string> slow{"network.straggler_chance=0.1", "network.straggler_slowdown=50",
                                      "network.worker_flops=1e6",     "network.latency=0",
                                      "algorithm.swap_epochs=0",      "run.iterations=200"};
  const auto seconds = [&](const char* name) {
    std::vector<std::string> overrides = slow;
    overrides.push_back(fmt::format("algorithm.name={}", name));
    return train(settings_of(kRing, overrides)).seconds_simulated;
  };
  // MD-GAN hears five workers in each iteration, so that as many feedbacks take a fifth of its iterations.
  EXPECT_LT(seconds("md-gan-async"), seconds("md-gan") / 5) << "synchronous MD-GAN waits for the slowest";
}

TEST(Overlap, HidesWhatTheServerGenerates) {
  const auto planned = [](const char* overlap, const char* worker_flops) {
    const Settings s =
        settings_of(kRing, {"run.iterations=100", "network.kind=links", "network.latency=0", "network.bandwidth=1e15",
                            "network.server_bandwidth=1e15", "algorithm.swap_epochs=0", "network.server_flops=1e6",
                            overlap, worker_flops});
    return plan(s, shape_of(data_of(s)));
  };
  for (const char* worker_flops : {"network.worker_flops=1e5", "network.worker_flops=1e9"}) {
    const nlohmann::json apart = planned("algorithm.overlap=false", worker_flops);
    const nlohmann::json together = planned("algorithm.overlap=true", worker_flops);
    const double rate = std::strtod(std::strchr(worker_flops, '=') + 1, nullptr);
    const double server = apart["flops"]["server_per_iteration"].get<double>() / 1e6;
    const double worker = apart["flops"]["worker_per_iteration"].get<double>() / rate;
    const double generating = apart["flops"]["generator"].get<double>() * 5 / 1e6;
    EXPECT_NEAR(apart["seconds_simulated"].get<double>(), 100 * (server + worker), 1e-3 * 100 * (server + worker));
    const double hidden = generating + 100 * (std::max(generating, worker) + server - generating);
    EXPECT_NEAR(together["seconds_simulated"].get<double>(), hidden, 1e-3 * hidden);
    EXPECT_EQ(together["traffic"], apart["traffic"]);
  }
}

TEST(Compression, BytesByHand) {
  EXPECT_EQ(Compression{}.bytes(10, 784), 31360);
  EXPECT_EQ(parse_compression("bf16", 1).bytes(10, 784), 15680);
  EXPECT_EQ(parse_compression("int8", 1).bytes(10, 784), 7880);
  EXPECT_EQ(parse_compression("top-k", 0.1).bytes(10, 784), 10 * 78 * 8);
  EXPECT_EQ(parse_compression("top-k", 1e-6).bytes(10, 784), 10 * 8) << "at least one value";
  EXPECT_THROW(parse_compression("zip", 1), Error);
  const auto bytes = [](std::vector<std::string> overrides) {
    const Settings s = settings_of(kStrokes, overrides);
    return plan(s, shape_of(data_of(s)))["traffic"]["per_iteration"];
  };
  EXPECT_EQ(bytes({"algorithm.compress_batches=int8"})["batches"], 2 * 4 * (784 + 4));
  EXPECT_EQ(bytes({"algorithm.compress_batches=int8"})["feedback"], 4 * 784 * 4);
  EXPECT_EQ(bytes({"algorithm.compress_feedback=bf16"})["feedback"], 4 * 784 * 2);
}

TEST(Compression, ChangesWhatIsLearnt) {
  const std::string plain = train(settings_of(kStrokes, {})).weights_hash;
  std::set<std::string> hashes{plain};
  for (const char* key : {"algorithm.compress_batches=int8", "algorithm.compress_feedback=int8",
                          "algorithm.compress_feedback=bf16", "algorithm.compress_feedback=top-k"})
    hashes.insert(train(settings_of(kStrokes, {key})).weights_hash);
  EXPECT_EQ(hashes.size(), 5u);
  EXPECT_NE(
      train(settings_of(kStrokes, {"algorithm.compress_feedback=top-k", "algorithm.error_feedback=true"})).weights_hash,
      train(settings_of(kStrokes, {"algorithm.compress_feedback=top-k"})).weights_hash);
}

TEST(Liars, SayWhatTheyAreToldTo) {
  const auto device = open_device("cpu", 1);
  const World world(device, 6, 3);
  for (const char* lie : {"sign-flip", "random", "constant", "free-rider"}) {
    SCOPED_TRACE(lie);
    const Liars liars(
        settings_of(kRing, {"algorithm.liars=2", fmt::format("algorithm.lie={}", lie), "algorithm.lie_scale=3"}), 6, 3);
    TensorBuffer feedback(device, 6, 50, {1, 1, 2});
    std::vector<float> said(600);
    for (size_t i = 0; i < said.size(); ++i) said[i] = static_cast<float>(1 + i);
    feedback.set(said);
    liars.speak(world, feedback);
    const std::vector<float> heard = feedback.host();
    int64_t count = 0;
    for (int64_t n = 0; n < 6; ++n) {
      count += liars.lies(n) ? 1 : 0;
      EXPECT_EQ(liars.works(n), !(liars.lies(n) && std::string(lie) == "free-rider"));
      double squares = 0;
      for (size_t i = static_cast<size_t>(100 * n); i < static_cast<size_t>(100 * (n + 1)); ++i) {
        squares += static_cast<double>(heard[i]) * static_cast<double>(heard[i]) / 100;
        const std::string kind = liars.lies(n) ? lie : "truth";
        if (kind == "random") continue;
        EXPECT_EQ(heard[i], kind == "truth"       ? said[i]
                            : kind == "sign-flip" ? -3 * said[i]
                            : kind == "constant"  ? 3.f
                                                  : 0.f);
      }
      if (liars.lies(n) && std::string(lie) == "random") {
        EXPECT_NEAR(std::sqrt(squares), 3, 0.8);
      }
    }
    EXPECT_EQ(count, 2);
  }
}

TEST(Liars, AreOutvoted) {
  // Five workers, one batch: the honest say 1, 2, 3, 4; the liar shouts.
  const auto device = open_device("cpu", 1);
  World world(device, 5, 1);
  TensorBuffer feedback(device, 5, 1, {1, 1, 1}), sum(device, 1, 1, {1, 1, 1});
  const auto merged = [&](Aggregation::Rule rule) {
    feedback.set(std::vector<float>{1, 2, -1e6f, 3, 4});
    world.collect(feedback, 0, 0.2f, sum, 1, {.aggregation = {rule, 1}});
    return sum.host()[0];
  };
  EXPECT_NEAR(merged(Aggregation::Rule::kMean), 0.2 * (10 - 1e6), 1);
  EXPECT_FLOAT_EQ(merged(Aggregation::Rule::kMedian), 2);
  EXPECT_FLOAT_EQ(merged(Aggregation::Rule::kTrimmedMean), 2);
  EXPECT_FLOAT_EQ(merged(Aggregation::Rule::kKrum), 2) << "the two nearest of 2 are 1 and 3; 3 comes later";
  const auto start = [](std::vector<std::string> overrides) {
    return [overrides] {
      const Settings s = settings_of(kRing, overrides);
      Trainer(s, data_of(s));
    };
  };
  expect_refused({{"too few for krum", start({"algorithm.aggregation=krum", "algorithm.kappa=2"}), "needs 5 workers",
                   Fault::kUsage},
                  {"too few to trim", start({"algorithm.aggregation=trimmed-mean", "algorithm.tolerate=3"}),
                   "needs 7 workers", Fault::kUsage},
                  {"more liars than workers", start({"algorithm.liars=6"}), "algorithm.liars", Fault::kUsage}});
}

TEST(Roaming, DiscriminatorsTravelAmongWorkers) {
  // Two discriminators among five workers, a swap every 2 iterations.
  const Settings s = settings_of(kRing, {"algorithm.discriminators=2", "algorithm.swap_moments=travel",
                                         "algorithm.swap_epochs=0.25", "run.iterations=40"});
  Trainer trainer(s, data_of(s));
  const Summary summary = trainer.run();
  Fleet& fleet = *trainer.algorithm().fleets().at("discriminators");
  EXPECT_EQ(fleet.replicas(), 2);
  int64_t received = 0;
  for (int64_t n = 0; n < 5; ++n) {
    const int64_t batches = summary.ledger.received(MessageKind::kBatches, n).messages;
    EXPECT_GT(batches, 0) << "everybody's data are seen";
    received += batches;
  }
  EXPECT_EQ(received, 40 * 2 * 2) << "two hosts get two batches in each iteration";
  const Traffic moved = summary.ledger.total(MessageKind::kDiscriminators);
  EXPECT_GT(moved.messages, 20);
  EXPECT_LE(moved.messages, 40);
  EXPECT_EQ(moved.bytes,
            moved.messages * 4 *
                Fleet::model_floats(fleet.network(), trainer.stage().game().discriminator_options.optimiser,
                                    /*with_moments=*/true));
  const auto start = [](std::vector<std::string> overrides) {
    return [overrides] {
      const Settings s = settings_of(kRing, overrides);
      Trainer(s, data_of(s));
    };
  };
  expect_refused(
      {{"moments stay", start({"algorithm.discriminators=2"}), "swap_moments", Fault::kUsage},
       {"faults", start({"algorithm.discriminators=2", "algorithm.swap_moments=reset", "world.crash_every=4"}),
        "no faults", Fault::kUsage},
       {"k > n_D", start({"algorithm.discriminators=2", "algorithm.swap_moments=reset", "algorithm.kappa=3"}),
        "at most", Fault::kUsage}});
}

TEST(Learning, OpenQuestionsCoverTheRing) {
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           // Between two steps of a worker's D the generator makes one for each worker: D needs more steps, G smaller
           // ones.
           {"algorithm.name=md-gan-async", "algorithm.staleness_power=0.5", "algorithm.local_steps=3",
            "generator.learning_rate=5e-4", "run.iterations=60000"},
           {"algorithm.compress_batches=int8", "algorithm.compress_feedback=int8"},
           {"algorithm.liars=1", "algorithm.lie_scale=10", "algorithm.aggregation=median", "world.workers=5"},
           {"algorithm.discriminators=2", "algorithm.swap_moments=travel"}}) {
    SCOPED_TRACE(overrides.front());
    expect_to_cover_the_ring(overrides);
  }
}

}  // namespace
}  // namespace agon
