// The rivals against their papers' text: fleets against participants that act one by one, mixing matrices by hand, what
// waves and schedules do, and that each learns.
#include <set>

#include "algorithms/scheduling.h"
#include "tests/one_by_one.h"

namespace agon {
namespace {

using namespace training;

struct Row {
  std::string name;
  const std::string& base;
  std::vector<std::string> overrides;
};

/// Runs six iterations both ways and compares every worker's G and D, bit by bit.
void expect_same(const Row& row, const std::function<void(OneByOne&)>& iteration, const std::string& generators,
                 const std::string& discriminators) {
  SCOPED_TRACE(row.name);
  std::vector<std::string> overrides = row.overrides;
  overrides.push_back("run.iterations=6");
  const Settings s = settings_of(row.base, overrides);
  Trainer trainer(s, data_of(s));
  trainer.run();
  OneByOne reference(s, data_of(s));
  for (int i = 0; i < 6; ++i) iteration(reference);
  const auto fleets = trainer.algorithm().fleets();
  for (int64_t n = 0; n < s.integer("world.workers"); ++n) {
    const auto at = static_cast<size_t>(n);
    expect_close(fleets.at(generators)->replica_weights(n), reference.G(at).replica_weights(0), 0, "G_n");
    expect_close(fleets.at(discriminators)->replica_weights(n), reference.D(at).replica_weights(0), 0, "D_n");
  }
}

TEST(FedGan, WeighsByData) {
  const Row row{"skewed strokes",
                kStrokes,
                {"algorithm.name=fedgan", "algorithm.round_iterations=2", "data.partition=skew", "data.skew=80"}};
  const Settings s = settings_of(row.base, row.overrides);
  const Stage stage(s, data_of(s));
  const std::vector<double> shares = stage.game().shares_of({0, 1, 2});
  ASSERT_NE(shares[0], shares[1]) << "the case must have unequal shards";
  for (int64_t n = 0; n < 3; ++n)
    EXPECT_EQ(shares[static_cast<size_t>(n)], static_cast<double>(stage.shards().size(n)));
  expect_same(
      row, [&](OneByOne& r) { r.fl_gan_iteration(2, shares); }, "generators", "discriminators");
  // Equal weights make FL-GAN of it.
  const Settings equal =
      settings_of(kRing, {"algorithm.name=fedgan", "algorithm.weighting=equal", "algorithm.round_iterations=3"});
  const Settings fl = settings_of(kRing, {"algorithm.name=fl-gan", "algorithm.round_iterations=3"});
  EXPECT_EQ(train(equal).weights_hash, train(fl).weights_hash);
}

TEST(Gossip, EqualsMachinesOneByOne) {
  for (const bool independent : {false, true}) {
    const std::string name = independent ? "gossip-ind" : "gossip";
    const auto iteration = [&](OneByOne& r) { r.gossip_iteration(2, independent); };
    expect_same({name, kRing, {"algorithm.name=" + name, "algorithm.round_iterations=2", "gan.same_start=false"}},
                iteration, "generators", "discriminators");
    expect_same({name + ", strokes", kStrokes, {"algorithm.name=" + name, "algorithm.round_iterations=2"}}, iteration,
                "generators", "discriminators");
  }
}

TEST(Gossip, MatricesByHand) {
  // 0 -> 2, 1 -> 2, 2 -> 0, 3 -> 1: machine 2 receives two, 3 none.
  const Mixing M = Mixing::gossip({2, 2, 0, 1});
  const ops::Mix::Rows& rows = M.rows();
  EXPECT_EQ(rows.begin, (std::vector<int64_t>{0, 2, 4, 7, 8}));
  EXPECT_EQ(rows.column, (std::vector<int64_t>{0, 2, 1, 3, 2, 0, 1, 3}));
  const float third = 1.f / 3;
  EXPECT_EQ(rows.weight, (std::vector<float>{.5f, .5f, .5f, .5f, third, third, third, 1.f}));
  EXPECT_TRUE(M.identity_row(3)) << "who receives nothing keeps its own, and nothing is copied";
  std::vector<Transfer> messages;
  World::plan_mix(messages, {0, 1, 2, 5}, M, 10, MessageKind::kGenerators, Route::kPeers);
  std::set<std::pair<int64_t, int64_t>> who;
  for (const Transfer& t : messages) {
    who.emplace(t.from, t.to);
    EXPECT_EQ(t.bytes, 40);
  }
  EXPECT_EQ(who, (std::set<std::pair<int64_t, int64_t>>{{2, 0}, {5, 1}, {0, 2}, {1, 2}}));
  HostRandom random(1, RandomStream::kMixing);
  EXPECT_EQ(gossip_targets(1, random), std::vector<int64_t>{0});
  EXPECT_EQ(gossip_targets(2, random), (std::vector<int64_t>{1, 0})) << "with two machines gossip is an average";
}

TEST(Gossip, ScoresAreMeansOverMachines) {
  const Settings s = settings_of(kRing, {"algorithm.name=gossip", "algorithm.round_iterations=2"});
  Trainer trainer(s, data_of(s));
  trainer.run();
  EXPECT_EQ(trainer.algorithm().generators(), 5);
  EXPECT_NE(trainer.algorithm().generator(0).weights, trainer.algorithm().generator(1).weights);
}

TEST(Rounds, WavesDoNotChangeABit) {
  for (const char* name : {"gossip", "gossip-ind", "fl-gan", "fedgan"})
    for (const std::string& base : {kRing, kStrokes}) {
      SCOPED_TRACE(name);
      const std::vector<std::string> overrides{fmt::format("algorithm.name={}", name), "algorithm.round_iterations=3",
                                               "algorithm.moments=reset", "world.crash=[\"4:1\"]", "run.iterations=14"};
      const auto run = [&](int wave) {
        std::vector<std::string> list = overrides;
        list.push_back(fmt::format("algorithm.wave={}", wave));
        const Settings s = settings_of(base, list);
        Trainer trainer(s, data_of(s));
        trainer.run();
        std::vector<float> all;
        for (int64_t i = 0; i < trainer.algorithm().generators(); ++i) {
          const GeneratorWeights g = trainer.algorithm().generator(i);
          all.insert(all.end(), g.weights.begin(), g.weights.end());
          all.insert(all.end(), g.state.begin(), g.state.end());
        }
        return all;
      };
      const std::vector<float> at_once = run(0);
      for (int wave : {1, 2}) EXPECT_EQ(run(wave), at_once) << "waves of " << wave;
    }
}

TEST(Rounds, WavesThatEndedWithinARoundGoOn) {
  const auto settings = [](int64_t iterations) {
    return settings_of(kRing, {"algorithm.name=gossip", "algorithm.round_iterations=6", "algorithm.moments=reset",
                               "algorithm.wave=2", "generator.optimiser=sgd", "discriminator.optimiser=sgd",
                               fmt::format("run.iterations={}", iterations)});
  };
  const std::string whole = train(settings(20)).weights_hash;
  ScratchFolder folder;
  for (const int64_t until : {4, 11, 20}) {
    Settings s = settings(until);
    s.set_integer("run.checkpoint_every", until);
    Trainer trainer(s, data_of(s));
    trainer.set_checkpoint_folder(folder.path());
    EXPECT_EQ(trainer.resume(), until > 4);
    const Summary summary = trainer.run();
    if (until == 20) {
      EXPECT_EQ(summary.weights_hash, whole);
    }
  }
}

TEST(Rounds, RefuseWavesThatCannotBe) {
  const auto start = [](std::vector<std::string> overrides) {
    return [overrides] {
      std::vector<std::string> list{"algorithm.name=gossip", "algorithm.wave=2", "algorithm.round_iterations=6",
                                    "algorithm.moments=reset"};
      list.insert(list.end(), overrides.begin(), overrides.end());
      const Settings s = settings_of(kRing, list);
      Trainer(s, data_of(s));
    };
  };
  EXPECT_NO_THROW(start({})());
  expect_refused({{"moments", start({"algorithm.moments=stay"}), "algorithm.moments is not \"reset\"", Fault::kUsage},
                  {"no rounds", start({"algorithm.round_iterations=0"}), "there are no rounds", Fault::kUsage},
                  {"joining", start({"world.join=[\"3:1\"]"}), "world.join", Fault::kUsage}});
}

TEST(AllReduce, EqualsWorkersOneByOne) {
  const auto iteration = [](OneByOne& r) { r.all_reduce_iteration(); };
  expect_same({"ring", kRing, {"algorithm.name=all-reduce", "algorithm.local_steps=2"}}, iteration, "generators",
              "discriminators");
  expect_same({"strokes", kStrokes, {"algorithm.name=all-reduce"}}, iteration, "generators", "discriminators");
}

TEST(AllReduce, EverybodyHoldsTheSame) {
  const Settings s = settings_of(kRing, {"algorithm.name=all-reduce"});
  Trainer trainer(s, data_of(s));
  const Summary summary = trainer.run();
  for (const auto& [name, fleet] : trainer.algorithm().fleets())
    for (int64_t n = 1; n < 5; ++n) EXPECT_EQ(fleet->replica_weights(n), fleet->replica_weights(0)) << name;
  // A ring all-reduce of P floats: everybody passes on 2 (N - 1) / N of them; here 5 parts, P not a multiple of 5.
  const int64_t PG = trainer.stage().game().generator.network->parameters();
  const int64_t PD = trainer.stage().game().discriminator->parameters();
  ASSERT_NE(PG % 5, 0);
  EXPECT_EQ(summary.ledger.total(MessageKind::kGradients), (Traffic{24 * 4 * 2 * 4 * (PG + PD), 24 * 2 * 5 * 2 * 4}));
}

TEST(Ren, EqualsTheThreeAlgorithms) {
  struct RenRow {
    Row row;
    bool serial;
    int64_t generator_steps;
    double ratio;
  };
  for (const RenRow& ren : std::vector<RenRow>{
           {{"serial", kRing, {"algorithm.name=ren-serial"}}, true, 5, 1},
           {{"parallel", kRing, {"algorithm.name=ren-parallel", "algorithm.local_steps=2"}}, false, 5, 1},
           {{"round robin",
             kRing,
             {"algorithm.name=ren-serial", "algorithm.schedule=round-robin", "algorithm.ratio=0.4",
              "algorithm.generator_steps=3", "algorithm.local_steps=2"}},
            true,
            3,
            0.4},
           {{"strokes",
             kStrokes,
             {"algorithm.name=ren-serial", "algorithm.local_steps=2", "algorithm.generator_steps=2",
              "algorithm.weighting=equal"}},
            true,
            2,
            1}})
    expect_same(
        ren.row,
        [&](OneByOne& r) {
          const int64_t round = r.world().iteration() + 1, N = r.world().size();
          const auto kind = ren.ratio < 1 ? ScheduleKind::kRoundRobin : ScheduleKind::kAll;
          r.ren_round(ren.serial, ren.generator_steps,
                      scheduled(kind, ren.ratio, round, r.world().living(), NetworkModel({}, N, 1)));
        },
        "devices' generators", "devices' discriminators");
}

TEST(Ren, TheRoundsOrderTellsTheSchedulesApart) {
  const auto hash = [](const char* name) {
    return train(settings_of(kRing, {fmt::format("algorithm.name={}", name)})).weights_hash;
  };
  EXPECT_NE(hash("ren-serial"), hash("ren-parallel"));
}

TEST(Schedule, ByHand) {
  const NetworkModel cables({}, 5, 1);
  const std::vector<int64_t> living{0, 2, 3, 7, 9};
  EXPECT_EQ(scheduled(ScheduleKind::kAll, 0.2, 1, living, cables), living);
  EXPECT_EQ(scheduled(ScheduleKind::kRoundRobin, 0.4, 1, living, cables), (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(scheduled(ScheduleKind::kRoundRobin, 0.4, 2, living, cables), (std::vector<int64_t>{3, 7}));
  EXPECT_EQ(scheduled(ScheduleKind::kRoundRobin, 0.4, 3, living, cables), (std::vector<int64_t>{0, 9}));
  EXPECT_EQ(scheduled(ScheduleKind::kRoundRobin, 0.01, 3, living, cables), (std::vector<int64_t>{3})) << "at least one";
}

TEST(Schedule, ChannelsAndFairness) {
  NetworkModel::Options options{.kind = NetworkModel::Kind::kCell};
  std::vector<int64_t> all(10);
  std::iota(all.begin(), all.end(), 0);
  const NetworkModel calm(options, 10, 3);
  // Without fading the best channels are the nearest devices, always.
  std::vector<int64_t> nearest = all;
  std::sort(nearest.begin(), nearest.end(), [&](int64_t a, int64_t b) { return calm.distance(a) < calm.distance(b); });
  nearest.resize(2);
  std::sort(nearest.begin(), nearest.end());
  for (int64_t round : {1, 2, 3}) EXPECT_EQ(scheduled(ScheduleKind::kBestChannels, 0.2, round, all, calm), nearest);

  options.fading = true;
  const NetworkModel fading(options, 10, 3);
  std::vector<int> turns(10, 0), best(10, 0);
  for (int64_t round = 1; round <= 2000; ++round) {
    for (int64_t k : scheduled(ScheduleKind::kProportionalFair, 0.2, round, all, fading))
      ++turns[static_cast<size_t>(k)];
    for (int64_t k : scheduled(ScheduleKind::kBestChannels, 0.2, round, all, fading)) ++best[static_cast<size_t>(k)];
  }
  for (int k = 0; k < 10; ++k) EXPECT_GT(turns[static_cast<size_t>(k)], 100) << "device " << k << " is starved";
  EXPECT_LT(*std::min_element(best.begin(), best.end()), 100) << "the best channels starve somebody";
}

/// Small GANs circle around the ring, so that the last iteration says little: any evaluation may reach the goal.
TEST(Learning, RivalsCoverTheRing) {
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           {"algorithm.name=fedgan"},
           {"algorithm.name=gossip", "algorithm.round_iterations=50"},
           {"algorithm.name=gossip-ind", "algorithm.round_iterations=50"},
           {"algorithm.name=all-reduce", "algorithm.batch=32"},
           {"algorithm.name=ren-serial", "algorithm.local_steps=1", "algorithm.generator_steps=1"},
           {"algorithm.name=ren-parallel", "algorithm.local_steps=2", "algorithm.generator_steps=1"}}) {
    SCOPED_TRACE(overrides.front());
    expect_to_cover_the_ring(overrides);
  }
}

}  // namespace
}  // namespace agon
