// Whole runs: the ledger against the plan, resuming, threads, faults, learning, and what is refused.
#include <filesystem>
#include <fstream>
#include <set>

#include "algorithms/checkpoint.h"
#include "engine/files.h"
#include "tests/training.h"

namespace agon {
namespace {

using namespace training;

/// A run to try things on: which base, and what is changed.
struct Run {
  std::string name;
  const std::string& base;
  std::vector<std::string> overrides;
};
std::ostream& operator<<(std::ostream& out, const Run& run) { return out << run.name; }

const std::vector<std::string> kGrid = {"algorithm.name=lipizzaner", "world.workers=4", "run.iterations=5",
                                        "gan.same_start=false", "algorithm.fitness_batches=2"};

std::vector<std::string> plus(std::vector<std::string> list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

const std::vector<Run>& runs() {
  static const std::vector<Run> list = {
      {"md_gan", kRing, {"algorithm.kappa=2"}},
      {"md_gan_k_is_N", kRing, {"algorithm.kappa=5", "algorithm.swap_epochs=0.5"}},
      {"md_gan_distinct_L3",
       kRing,
       {"algorithm.distinct=true", "algorithm.local_steps=3", "algorithm.fresh_real=false"}},
      {"md_gan_minimax", kRing, {"gan.loss=minimax", "algorithm.swap_epochs=0"}},
      {"md_gan_pairwise_travel", kRing, {"algorithm.swap=pairwise", "algorithm.swap_moments=travel"}},
      {"md_gan_ring_reset", kRing, {"algorithm.swap=ring", "algorithm.swap_moments=reset"}},
      {"md_gan_uniform", kRing, {"algorithm.swap=uniform", "algorithm.swap_moments=travel", "gan.same_start=false"}},
      {"md_gan_crash_every", kRing, {"world.crash_every=6", "algorithm.kappa=3"}},
      {"md_gan_crash_auto", kRing, {"world.crash_every=auto", "algorithm.kappa=log"}},
      {"md_gan_crash_and_join",
       kRing,
       {"world.crash=[\"5:2\", \"9:0\"]", "world.join=[\"3:4\", \"16:2\"]", "algorithm.kappa=4"}},
      {"md_gan_strokes", kStrokes, {"algorithm.kappa=2", "algorithm.local_steps=2"}},
      {"md_gan_skew", kStrokes, {"data.partition=skew", "data.skew=60", "gan.embedding=fixed"}},
      {"md_gan_bf16", kStrokes, {"run.precision=bf16"}},
      {"md_gan_rmsprop_wgan",
       kRing,
       {"gan.loss=wasserstein", "discriminator.clip=0.1", "discriminator.optimiser=rmsprop", "generator.optimiser=sgd",
        "algorithm.swap_moments=travel"}},
      {"fl_gan", kRing, {"algorithm.name=fl-gan"}},
      {"fl_gan_rounds_of_5",
       kRing,
       {"algorithm.name=fl-gan", "algorithm.round_iterations=5", "algorithm.moments=average"}},
      {"fl_gan_strokes_crash",
       kStrokes,
       {"algorithm.name=fl-gan", "algorithm.round_iterations=2", "world.crash=[\"3:1\"]", "algorithm.moments=reset"}},
      {"md_gan_bf16_messages", kRing, {"algorithm.compress_batches=bf16", "algorithm.compress_feedback=bf16"}},
      {"md_gan_int8_strokes", kStrokes, {"algorithm.compress_batches=int8", "algorithm.compress_feedback=int8"}},
      {"md_gan_top_k_error_feedback",
       kStrokes,
       {"algorithm.compress_feedback=top-k", "algorithm.top_share=0.05", "algorithm.error_feedback=true",
        "world.crash=[\"3:1\"]"}},
      {"md_gan_liars_median", kRing, {"algorithm.liars=2", "algorithm.aggregation=median", "algorithm.lie=random"}},
      {"md_gan_free_rider_krum",
       kRing,
       {"algorithm.liars=1", "algorithm.aggregation=krum", "algorithm.lie=free-rider", "algorithm.kappa=1"}},
      {"md_gan_constant_trimmed",
       kRing,
       {"algorithm.liars=1", "algorithm.aggregation=trimmed-mean", "algorithm.lie=constant", "world.crash_every=9"}},
      {"md_gan_roaming",
       kRing,
       {"algorithm.discriminators=2", "algorithm.swap_moments=travel", "algorithm.swap_epochs=0.5"}},
      {"md_gan_roaming_reset",
       kStrokes,
       {"algorithm.discriminators=1", "algorithm.swap_moments=reset", "algorithm.swap_epochs=0.06"}},
      {"md_gan_overlap",
       kRing,
       {"algorithm.overlap=true", "algorithm.kappa=2", "world.crash=[\"4:1\"]", "algorithm.swap_epochs=0.25"}},
      {"md_gan_overlap_strokes", kStrokes, {"algorithm.overlap=true"}},
      {"md_gan_async", kRing, {"algorithm.name=md-gan-async", "network.spread=0.5", "algorithm.swap_epochs=0.25"}},
      {"md_gan_async_stragglers",
       kStrokes,
       {"algorithm.name=md-gan-async", "network.straggler_chance=0.3", "network.worker_flops=1e6",
        "algorithm.local_steps=2"}},
      {"md_gan_async_crash_and_join",
       kRing,
       {"algorithm.name=md-gan-async", "network.spread=0.5", "algorithm.swap_epochs=0.25",
        "algorithm.swap_moments=travel", "world.crash=[\"3:1\", \"8:0\"]", "world.join=[\"1:3\", \"12:1\"]"}},
      {"md_gan_async_joins_and_is_lost",
       kRing,
       {"algorithm.name=md-gan-async", "world.crash_every=4", "world.join=[\"4:1\"]"}},
      {"md_gan_async_crashes_strokes", kStrokes, {"algorithm.name=md-gan-async", "world.crash_every=5"}},
      {"ren_serial_16_bits", kRing, {"algorithm.name=ren-serial", "algorithm.model_bits=16"}},
      {"fl_gan_waves",
       kRing,
       {"algorithm.name=fl-gan", "algorithm.round_iterations=6", "algorithm.moments=reset", "algorithm.wave=2",
        "world.crash=[\"9:1\"]"}},
      {"fedgan",
       kStrokes,
       {"algorithm.name=fedgan", "algorithm.round_iterations=2", "data.partition=skew", "data.skew=60"}},
      {"gossip", kRing, {"algorithm.name=gossip", "algorithm.round_iterations=3"}},
      {"gossip_crash_and_join",
       kRing,
       {"algorithm.name=gossip", "algorithm.round_iterations=5", "algorithm.moments=average", "world.crash=[\"4:1\"]",
        "world.join=[\"11:1\"]"}},
      {"gossip_ind_waves",
       kRing,
       {"algorithm.name=gossip-ind", "algorithm.round_iterations=4", "algorithm.moments=reset", "algorithm.wave=3"}},
      {"gossip_ind_strokes", kStrokes, {"algorithm.name=gossip-ind", "algorithm.round_iterations=2"}},
      {"all_reduce", kRing, {"algorithm.name=all-reduce", "algorithm.local_steps=2", "world.crash=[\"7:3\"]"}},
      {"all_reduce_strokes", kStrokes, {"algorithm.name=all-reduce"}},
      {"ren_serial", kRing, {"algorithm.name=ren-serial"}},
      {"ren_serial_round_robin_crash_and_join",
       kRing,
       {"algorithm.name=ren-serial", "algorithm.schedule=round-robin", "algorithm.ratio=0.5", "algorithm.local_steps=2",
        "world.crash=[\"4:1\"]", "world.join=[\"11:1\"]", "algorithm.moments=average"}},
      {"ren_serial_best_channels",
       kRing,
       {"algorithm.name=ren-serial", "algorithm.schedule=best-channels", "algorithm.ratio=0.2", "network.kind=cell",
        "network.fading=true", "algorithm.generator_steps=2"}},
      {"ren_parallel_deadline",
       kRing,
       {"algorithm.name=ren-parallel", "algorithm.schedule=proportional-fair", "algorithm.ratio=0.6",
        "network.kind=cell", "network.fading=true", "network.deadline=1.6e-3", "algorithm.moments=reset"}},
      {"ren_parallel_strokes", kStrokes, {"algorithm.name=ren-parallel", "algorithm.local_steps=2"}},
      {"local", kRing, {"algorithm.name=local", "gan.loss=hinge"}},
      {"local_crash_and_join",
       kRing,
       {"algorithm.name=local", "world.crash=[\"4:1\", \"7:0\"]", "world.join=[\"11:1\"]", "gan.same_start=false"}},
      {"standalone", kRing, {"algorithm.name=standalone", "world.workers=1", "gan.loss=least-squares"}},
      {"standalone_strokes", kStrokes, {"algorithm.name=standalone", "world.workers=1"}},
      {"lipizzaner", kRing, kGrid},
      {"lipizzaner_1x1", kRing, plus(kGrid, {"world.workers=1"})},
      {"lipizzaner_mustangs_3x4_dieting", kRing,
       plus(kGrid, {"world.workers=12", "algorithm.mustangs=true", "data.partition=diet", "data.share=0.3"})},
      {"lipizzaner_nes", kRing,
       plus(kGrid, {"algorithm.trainer=nes", "algorithm.search_points=3", "run.iterations=4", "data.partition=diet",
                    "data.share=0.2"})},
      {"lipizzaner_es", kStrokes,
       plus(kGrid, {"algorithm.trainer=es", "algorithm.search_points=2", "run.iterations=3"})},
      {"lipizzaner_as_shipped", kRing,
       plus(kGrid, {"world.workers=9", "algorithm.as_shipped=true", "data.partition=diet", "run.iterations=3"})},
      {"lipizzaner_crash_and_join", kStrokes,
       plus(kGrid, {"run.iterations=4", "world.crash=[\"1:1\", \"2:3\"]", "world.join=[\"3:1\"]"})},
  };
  return list;
}

class TrainingRun : public testing::TestWithParam<Run> {
 protected:
  Settings settings(std::vector<std::string> more = {}) const {
    std::vector<std::string> overrides = GetParam().overrides;
    overrides.insert(overrides.end(), more.begin(), more.end());
    return settings_of(GetParam().base, overrides);
  }
};
INSTANTIATE_TEST_SUITE_P(All, TrainingRun, testing::ValuesIn(runs()), [](const auto& info) { return info.param.name; });

TEST_P(TrainingRun, LedgerEqualsPlan) {
  const Settings s = settings();
  const DataSource data = data_of(s);
  const nlohmann::json planned = plan(s, shape_of(data));
  Trainer trainer(s, data);
  const Summary summary = trainer.run();
  EXPECT_EQ(planned["traffic"]["total"], summary.ledger.to_json());
  EXPECT_GT(summary.seconds_simulated, 0);
  EXPECT_EQ(planned["seconds_simulated"], summary.seconds_simulated);
  const nlohmann::json flops = summary.to_json()["flops"];
  for (const auto& [whose, count] : flops.items()) EXPECT_EQ(planned["flops"][whose], count) << whose;
  EXPECT_EQ(s.text("algorithm.name").starts_with("md-gan"), summary.ledger.total(MessageKind::kFeedback).bytes > 0);
  EXPECT_EQ(planned["parameters"]["generator"], summary.generator_parameters);
  Fleet::Memory held{};
  std::vector<Fleet*> fleets = trainer.algorithm().work_fleets();
  for (const auto& [name, fleet] : trainer.algorithm().fleets()) fleets.push_back(fleet);
  for (const Fleet* fleet : fleets) {
    held.weights += fleet->memory().weights, held.gradients += fleet->memory().gradients;
    held.moments += fleet->memory().moments, held.activations += fleet->memory().activations;
  }
  EXPECT_EQ(planned["memory"]["weights"], held.weights);
  EXPECT_EQ(planned["memory"]["gradients"], held.gradients);
  EXPECT_EQ(planned["memory"]["moments"], held.moments);
  EXPECT_EQ(planned["memory"]["activations"], held.activations);
}

TEST_P(TrainingRun, SameBitsOnAnyNumberOfThreads) {
  const std::string one = train(settings()).weights_hash;
  EXPECT_EQ(one, train(settings({"run.threads=2"})).weights_hash);
  EXPECT_EQ(one, train(settings({"run.threads=3"})).weights_hash);
  EXPECT_NE(one, train(settings({"run.seed=4"})).weights_hash);
}

TEST_P(TrainingRun, ResumeEqualsUninterrupted) {
  const Settings s = settings({"run.keep_checkpoints=1"});
  Trainer whole(s, data_of(s));
  const Summary expected = whole.run();
  const std::vector<float> expected_state = everything(whole.algorithm());
  const int64_t last = s.integer("run.iterations");
  // How far a run had come is not a question of the device, and the emulated one is slow.
  for (const int64_t wanted : testing_cpu() ? std::vector<int64_t>{1, last / 2, last - 1} : std::vector{last / 2}) {
    const int64_t stop = std::min(wanted, expected.iterations);  // earlier when everybody is lost
    ScratchFolder folder;
    /// Sets the flag that Ctrl-C sets, when the checkpoint is written.
    struct Interrupt : Observer {
      std::atomic<bool> stop{false};
      void checkpointed(int64_t, const std::string&, const Generator&) override { stop = true; }
    };
    const auto interrupt = std::make_shared<Interrupt>();
    Settings with_checkpoints = s;
    with_checkpoints.set_integer("run.checkpoint_every", stop);
    Trainer first(with_checkpoints, data_of(s));
    first.set_checkpoint_folder(folder.path());
    first.observe(interrupt);
    const Summary half = first.run(interrupt->stop);
    ASSERT_EQ(half.iterations, stop);
    ASSERT_TRUE(half.interrupted || first.stage().world().size() == 0);

    Trainer second(s, data_of(s));
    second.set_checkpoint_folder(folder.path());
    ASSERT_TRUE(second.resume());
    EXPECT_EQ(second.iteration(), stop);
    const Summary summary = second.run();
    EXPECT_EQ(summary.weights_hash, expected.weights_hash) << "interrupted after " << stop;
    EXPECT_EQ(summary.ledger.entries(), expected.ledger.entries());
    EXPECT_EQ(summary.seconds_simulated, expected.seconds_simulated);
    EXPECT_EQ(summary.events.size(), expected.events.size());
    EXPECT_EQ(everything(second.algorithm()), expected_state);
    EXPECT_EQ(second.algorithm().state(), whole.algorithm().state());
  }
}

/// For each algorithm the first row on each of the data sets.
TEST(Graphs, ReplayedEqualLaunchedOneByOne) {
  if (testing_cpu()) GTEST_SKIP() << "the CPU has no graphs";
  std::set<std::string> seen;
  for (const auto& run : runs()) {
    const Settings settings = settings_of(run.base, run.overrides);
    if (!seen.insert(settings.text("algorithm.name") + settings.text("data.path")).second) continue;
    SCOPED_TRACE(run.name);
    std::string hashes[2];
    for (const int graphs : {0, 1}) {
      setenv("AGON_CUDA_GRAPHS", std::to_string(graphs).c_str(), 1);  // read when a device is opened
      hashes[graphs] = train(settings).weights_hash;
    }
    unsetenv("AGON_CUDA_GRAPHS");
    EXPECT_EQ(hashes[0], hashes[1]);
  }
  EXPECT_GE(seen.size(), algorithm_kinds().size());
}

// Table IV of Hardy et al. 2019, CIFAR-10 with N = 10 (MB are MiB there), and the counts behind it.
TEST(Plan, ReproducesTableFour) {
  constexpr double kMiB = 1 << 20;
  const DataShape cifar{{32, 32, 3}, 10, 50000};
  for (const int64_t b : {10, 100}) {
    SCOPED_TRACE(b);
    const auto planned = [&](const std::string& preset, std::vector<std::string> more = {}) {
      more.push_back(fmt::format("algorithm.batch={}", b));
      return plan(resolve_settings("extends = \"" + preset + "\"", "test", more), cifar);
    };
    const nlohmann::json md = planned("md-gan-cifar10-cnn"), fl = planned("fl-gan-cifar10-cnn");
    EXPECT_EQ(md["parameters"]["generator"], 2932035);
    EXPECT_EQ(md["parameters"]["discriminator"], 1662891);
    const int64_t d = 32 * 32 * 3, iterations = 50000;
    // Each iteration a worker gets two batches, 2 b d floats, and answers with b d.
    EXPECT_EQ(md["traffic"]["per_iteration"]["batches"], 4 * 2 * b * d);
    EXPECT_NEAR(md["traffic"]["per_iteration"]["batches"].get<double>() / kMiB, b == 10 ? 0.23 : 2.34, 0.005);
    EXPECT_EQ(md["traffic"]["per_iteration"]["feedback"], 4 * b * d);
    EXPECT_EQ(md["traffic"]["server"]["per_iteration"]["batches"]["sent_bytes"], 10 * 4 * 2 * b * d);
    EXPECT_EQ(md["traffic"]["total"]["batches"]["bytes"], iterations * 10 * 4 * 2 * b * d);
    EXPECT_EQ(md["traffic"]["total"]["feedback"]["messages"], iterations * 10);
    // A swap moves theta: 6.34 MB. One every m E / b iterations: 5000 / b.
    EXPECT_EQ(md["traffic"]["per_exchange"]["discriminators"], 4 * 1662891);
    EXPECT_NEAR(md["traffic"]["per_exchange"]["discriminators"].get<double>() / kMiB, 6.34, 0.005);
    EXPECT_EQ(md["traffic"]["total"]["discriminators"]["messages"], iterations / (5000 / b) * 10);
    // FL-GAN: a worker sends and gets theta + w, 17.5 MB, 100 or 1000 times; the server ten times that.
    const int64_t table = fl["parameters"]["embedding"].get<int64_t>();
    const auto exchange = [&](const char* kind) { return fl["traffic"]["per_exchange"][kind].get<int64_t>(); };
    EXPECT_EQ(exchange("generators") + exchange("discriminators"), 4 * (2932035 + table + 1662891));
    EXPECT_NEAR(static_cast<double>(exchange("generators") + exchange("discriminators")) / kMiB, 17.5, 0.05);
    const nlohmann::json& server = fl["traffic"]["server"]["per_exchange"];
    EXPECT_NEAR((server["generators"]["received_bytes"].get<double>() +
                 server["discriminators"]["received_bytes"].get<double>()) /
                    kMiB,
                175, 0.5);
    EXPECT_EQ(fl["traffic"]["total"]["generators"]["messages"], (b == 10 ? 100 : 1000) * 10 * 2);
    EXPECT_TRUE(fl["traffic"]["per_iteration"].empty());
  }
}

TEST(Plan, OrdinaryIterationIsOneBeforeTheFaults) {
  const Settings s = settings_of(kRing, {"world.crash_every=auto", "algorithm.kappa=2"});
  const nlohmann::json crashing = plan(s, shape_of(data_of(s)));
  const Settings calm_settings = settings_of(kRing, {"algorithm.kappa=2"});
  const nlohmann::json calm = plan(calm_settings, shape_of(data_of(s)));
  EXPECT_EQ(crashing["traffic"]["per_iteration"], calm["traffic"]["per_iteration"]);
  EXPECT_EQ(crashing["traffic"]["per_exchange"], calm["traffic"]["per_exchange"]);
  EXPECT_LT(crashing["traffic"]["total"]["batches"]["bytes"], calm["traffic"]["total"]["batches"]["bytes"]);
}

TEST(Plan, AnEstimateMissesNoSeldomExchange) {
  for (const std::vector<std::string>& overrides :
       std::vector<std::vector<std::string>>{{}, {"algorithm.name=fl-gan"}, {"algorithm.name=md-gan-async"}}) {
    std::vector<std::string> all = {"algorithm.swap_epochs=30", "run.iterations=300000", "world.crash=[\"150000:1\"]"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    const Settings s = settings_of(kRing, all);
    const nlohmann::json exact = plan(s, shape_of(data_of(s))), estimate = plan(s, shape_of(data_of(s)), true);
    ASSERT_TRUE(estimate["estimated"]);
    EXPECT_EQ(estimate["traffic"]["per_exchange"], exact["traffic"]["per_exchange"]);
    const auto messages = [](const nlohmann::json& planned) {
      return planned["traffic"]["total"]["discriminators"]["messages"].get<double>();
    };
    EXPECT_GT(messages(exact), 0);
    EXPECT_NEAR(messages(estimate), messages(exact), 2 * 2 * 5) << "an exchange in each of two parts";
  }
}

TEST(Plan, OfTheLongestRunIsAnEstimate) {
  // Faults in long runs, seldom exchanges, random ones.
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           {"algorithm.kappa=2", "world.crash=[\"50000:1\", \"200000:0\"]", "world.join=[\"180000:1\"]"},
           {"algorithm.name=md-gan-async", "algorithm.swap_epochs=2", "network.spread=0.5", "world.crash_every=auto"},
           {"algorithm.name=ren-serial", "network.straggler_chance=0.1", "world.crash_every=auto"}}) {
    SCOPED_TRACE(overrides.front());
    const auto planned = [&](const std::string& iterations, bool estimate) {
      std::vector<std::string> all = overrides;
      all.push_back("run.iterations=" + iterations);
      const Settings s = settings_of(kRing, all);
      return plan(s, shape_of(data_of(s)), estimate);
    };
    const nlohmann::json exact = planned("200001", false), estimate = planned("200001", true);
    EXPECT_FALSE(exact.contains("estimated"));
    EXPECT_TRUE(estimate["estimated"]);
    for (const auto& [kind, total] : exact["traffic"]["total"].items())
      for (const char* count : {"bytes", "messages"}) {
        const double wanted = total[count], found = estimate["traffic"]["total"][kind][count];
        EXPECT_NEAR(found, wanted, 0.01 * wanted) << kind << " " << count;
      }
    EXPECT_NEAR(estimate["seconds_simulated"].get<double>(), exact["seconds_simulated"].get<double>(),
                0.02 * exact["seconds_simulated"].get<double>());
    EXPECT_EQ(estimate["traffic"]["per_iteration"], exact["traffic"]["per_iteration"]);
    EXPECT_FALSE(planned("200000", true).contains("estimated"));
    EXPECT_GT(planned("999999999", true)["seconds_simulated"], exact["seconds_simulated"]);
  }
  const Settings s = settings_of(kStrokes, {"run.iterations=999999999", "algorithm.batch=1048576"});
  DataShape many = shape_of(data_of(s));
  many.count = int64_t{1} << 40;
  expect_refused({{"many bytes", [&] { plan(s, many, true); }, "more bytes than can be counted", Fault::kUsage}});
}

TEST(Faults, EndsWhenNobodyIsLeft) {
  for (const char* name : {"md-gan", "fl-gan", "local", "lipizzaner"}) {
    SCOPED_TRACE(name);
    ScratchFolder folder;
    const Settings s = settings_of(kRing, {fmt::format("algorithm.name={}", name), "world.workers=3",
                                           "world.crash=[\"2:1\", \"5:0\", \"7:2\"]", "run.log_every=1"});
    const Summary summary = train(s, folder.path());
    EXPECT_EQ(summary.iterations, 7);
    EXPECT_FALSE(summary.interrupted);
    ASSERT_EQ(summary.events.size(), 3u);
    EXPECT_EQ(summary.events[2].worker, 2);
    Trainer again(s, data_of(s));
    again.set_checkpoint_folder(folder.path());
    ASSERT_TRUE(again.resume());
    EXPECT_EQ(again.run().weights_hash, summary.weights_hash);
  }
}

TEST(Faults, OfLongRunsAreFoundAtOnce) {
  // The last iteration that there may be; nobody is left after five, and after three again nobody for ever.
  const int64_t last = 999'999'999;
  const Settings every = settings_of(kRing, {"world.crash_every=1"});
  ASSERT_EQ(FaultSchedule(every, 5, last, 3).events().size(), 5u);
  EXPECT_TRUE(FaultSchedule(every, 5, last, 3).living(6).empty());
  const Settings listed = settings_of(kRing, {"world.crash_every=400000000", "world.crash=[\"999999998:3\"]"});
  const std::vector<Event> events = FaultSchedule(listed, 5, last, 1).events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].iteration, 800'000'000);
  EXPECT_EQ(events[2].iteration, 999'999'998);
}

TEST(Faults, WhoJoinsIsACopy) {
  const Settings s = settings_of(kRing, {"world.crash=[\"3:1\"]", "world.join=[\"8:1\"]", "run.iterations=8",
                                         "gan.same_start=false", "algorithm.swap_epochs=0"});
  Trainer trainer(s, data_of(s));
  trainer.run();
  const std::vector<Event> events = FaultSchedule(s, 5, 8, 3).events();
  ASSERT_EQ(events.size(), 2u);
  ASSERT_EQ(events[1].kind, "joined");
  const int64_t like = events[1].like;
  ASSERT_NE(like, 1);
  Fleet& fleet = *trainer.algorithm().fleets().at("discriminators");
  ASSERT_EQ(fleet.replicas(), 5);
  EXPECT_EQ(fleet.replica_weights(1), fleet.replica_weights(like));
  for (int64_t other : {0, 2, 3, 4}) EXPECT_EQ(fleet.replica_weights(1) == fleet.replica_weights(other), other == like);
  EXPECT_EQ(trainer.stage().world().living(), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(trainer.stage().world().ledger().received(MessageKind::kDiscriminators, 1).messages, 1);
}

TEST(Faults, RefusesWhatCannotHappen) {
  const auto schedule = [](std::vector<std::string> overrides) {
    return [=] { FaultSchedule(settings_of(kRing, overrides), 5, 24, 1); };
  };
  expect_refused({{"twice", schedule({"world.crash=[\"3:1\", \"5:1\"]"}), "not there then", Fault::kUsage},
                  {"joins the living", schedule({"world.crash=[\"9:1\"]", "world.join=[\"10:1\", \"11:1\"]"}),
                   "but it is there", Fault::kUsage},
                  {"nobody at the start", schedule({"world.join=[\"1:0\",\"1:1\",\"1:2\",\"1:3\",\"1:4\"]"}),
                   "at least one", Fault::kUsage},
                  {"no such worker", schedule({"world.crash=[\"3:5\"]"}), "worker from 0 to 4", Fault::kUsage},
                  {"not a pair", schedule({"world.crash=[\"three\"]"}), "\"iteration:worker\"", Fault::kUsage},
                  {"a word", schedule({"world.crash_every=often"}), "auto", Fault::kUsage}});
}

/// A checkpoint at iterations 8, 16 and 24.
void leave_checkpoints(const std::string& folder, const Settings& base) {
  Settings s = base;
  s.set_integer("run.checkpoint_every", 8);
  s.set_integer("run.keep_checkpoints", 2);
  train(s, folder);
  ASSERT_EQ(list_checkpoints(folder).size(), 2u) << "only the newest are kept";
}

/// Changes a file's bytes where they stand, such as the text of its header.
void replace_in(const std::string& path, const std::string& old, const std::string& now) {
  ASSERT_EQ(old.size(), now.size());
  std::string bytes = read_text(path);
  const size_t at = bytes.find(old);
  ASSERT_NE(at, std::string::npos) << old;
  std::ofstream(path, std::ios::binary) << bytes.replace(at, old.size(), now);
}

/// As checkpoints were before their headers had a checksum.
void forget_header_checksum(const std::string& path) {
  const std::string bytes = read_text(path), name = ",\"header_checksum\":";
  const size_t at = bytes.find(name);
  ASSERT_NE(at, std::string::npos);
  const size_t length = name.size() + 2 + 16;  // "0123456789abcdef"
  replace_in(path, bytes.substr(at, length), std::string(length, ' '));
}

TEST(Checkpoint, DamagedOnesArePassedOver) {
  const Settings s = settings_of(kRing, {});
  const std::string expected = train(s).weights_hash;
  struct Row {
    std::string name;
    std::function<void(const std::string& path)> damage;
  };
  for (const Row& row : std::vector<Row>{
           {"truncated",
            [](const std::string& path) { std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2); }},
           {"empty", [](const std::string& path) { std::filesystem::resize_file(path, 0); }},
           {"another number in its header",
            [](const std::string& path) {
              const std::string iteration = path.find("000000024") != std::string::npos ? "24" : "16";
              replace_in(path, R"(\"iteration\":)" + iteration, R"(\"iteration\":17)");
            }},
           {"a list for a number, unnoticed by checksums",
            [](const std::string& path) {
              const std::string iteration = path.find("000000024") != std::string::npos ? "24" : "16";
              replace_in(path, R"(\"iteration\":)" + iteration, R"(\"iteration\":[])");
              forget_header_checksum(path);
            }},
           {"without the trainer's seconds",
            [](const std::string& path) {
              replace_in(path, R"(\"seconds_training\":)", R"(\"seconds_straying\":)");
              forget_header_checksum(path);
            }},
           {"a bit turned", [](const std::string& path) {
              std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
              file.seekp(-5, std::ios::end);
              file.put('\x5a');
            }}}) {
    SCOPED_TRACE(row.name);
    ScratchFolder folder;
    leave_checkpoints(folder.path(), s);
    const std::vector<std::string> all = list_checkpoints(folder.path());
    row.damage(all.back());
    folder.put(".iteration-000000024.safetensors.partial", "what a killed writer leaves");
    Trainer trainer(s, data_of(s));
    trainer.set_checkpoint_folder(folder.path());
    ASSERT_TRUE(trainer.resume());
    EXPECT_EQ(trainer.iteration(), 16);
    EXPECT_EQ(trainer.run().weights_hash, expected);

    row.damage(list_checkpoints(folder.path()).front());
    row.damage(list_checkpoints(folder.path()).back());
    Trainer none(s, data_of(s));
    none.set_checkpoint_folder(folder.path());
    expect_refused({{"all damaged", [&] { none.resume(); }, "no checkpoint"}});
  }
}

TEST(Checkpoint, OfEarlierVersionsAreTaken) {
  ScratchFolder folder;
  const Settings s = settings_of(kRing, {});
  leave_checkpoints(folder.path(), s);
  const std::string last = list_checkpoints(folder.path()).back();
  forget_header_checksum(last);
  Trainer trainer(s, data_of(s));
  trainer.resume_from(last);
  EXPECT_EQ(trainer.iteration(), 24);
}

TEST(Checkpoint, SupersedesLaterOnes) {
  ScratchFolder folder;
  const Settings s = settings_of(kRing, {"run.keep_checkpoints=1", "run.iterations=4"});
  folder.put("iteration-000000009.safetensors", "damaged, and of an iteration yet to come");
  train(s, folder.path());
  const std::vector<std::string> left = list_checkpoints(folder.path());
  ASSERT_EQ(left.size(), 1u);
  EXPECT_NE(left[0].find("000000004"), std::string::npos) << "the good one stays";
}

TEST(Checkpoint, OfAnotherRunIsRefused) {
  ScratchFolder folder;
  const Settings s = settings_of(kRing, {});
  leave_checkpoints(folder.path(), s);
  const auto resume = [&](std::vector<std::string> overrides) {
    return [&folder, overrides] {
      const Settings other = settings_of(kRing, overrides);
      Trainer trainer(other, data_of(other));
      trainer.set_checkpoint_folder(folder.path());
      trainer.resume();
    };
  };
  expect_refused({{"algorithm", resume({"algorithm.name=fl-gan"}), "made for md-gan, but this run has fl-gan"},
                  {"network", resume({"generator.layers=[\"dense 13\", \"relu\", \"dense 2\"]"}),
                   "layer 1 of the generator \"dense 13"},
                  {"activation", resume({"generator.layers=[\"dense 12\", \"elu\", \"dense 2\"]"}), "\"elu 12"},
                  {"fewer layers", resume({"generator.layers=[\"dense 12\", \"relu\", \"dense 2\", \"tanh\"]"}),
                   "made for a generator of 3 layers, but this run has layer 4 of the generator \"tanh"},
                  {"workers and seed", resume({"world.workers=4", "run.seed=4"}),
                   "it was made for 5 workers and seed 3, but this run has 4 workers and seed 4"},
                  {"batch", resume({"algorithm.batch=6"}), "it was made for batch 5, but this run has batch 6"}});
  ScratchFolder empty;
  Trainer trainer(s, data_of(s));
  trainer.set_checkpoint_folder(empty / "not there");
  EXPECT_FALSE(trainer.resume());
}

TEST(Training, DivergenceIsAnErrorAndLeavesNoCheckpoint) {
  for (const char* name : {"md-gan", "local"}) {
    ScratchFolder folder;
    const Settings s = settings_of(kRing, {fmt::format("algorithm.name={}", name), "discriminator.optimiser=sgd",
                                           "discriminator.learning_rate=1000", "gan.loss=least-squares",
                                           "run.checkpoint_every=1", "run.log_every=0"});
    expect_refused({{name, [&] { train(s, folder.path()); }, "not a", Fault::kRun}});
    for (const std::string& path : list_checkpoints(folder.path())) {
      Trainer trainer(s, data_of(s));
      trainer.set_checkpoint_folder(folder.path());
      ASSERT_TRUE(trainer.resume());
      for (float value : everything(trainer.algorithm())) ASSERT_TRUE(std::isfinite(value)) << path;
    }
  }
}

TEST(Training, RefusesWhatDoesNotFit) {
  const auto start = [](const std::string& base, std::vector<std::string> overrides) {
    return [&base, overrides] {
      const Settings s = settings_of(base, overrides);
      Trainer(s, data_of(s));
    };
  };
  const auto usage = Fault::kUsage;
  expect_refused({{"k > N", start(kRing, {"algorithm.kappa=6"}), "at most the number of workers, 5", usage},
                  {"k = 0", start(kRing, {"algorithm.kappa=0"}), "algorithm.kappa", usage},
                  {"b > shard", start(kRing, {"algorithm.batch=41"}), "smallest of the 5 shards has 40", usage},
                  {"standalone of many", start(kRing, {"algorithm.name=standalone", "world.workers=5"}),
                   "world.workers is 5", usage},
                  {"unknown algorithm", start(kRing, {"algorithm.name=mdgan"}), "did you mean \"md-gan\"", usage},
                  {"unknown loss", start(kRing, {"gan.loss=l2"}), "gan.loss", usage},
                  {"generator of another shape", start(kRing, {"generator.layers=[\"dense 3\"]"}),
                   "the data are 2 features", usage},
                  {"discriminator without heads", start(kStrokes, {"discriminator.layers=[\"flatten\", \"dense 2\"]"}),
                   "expected 11 (real/fake and 10 classes)", usage},
                  {"L", start(kRing, {"algorithm.local_steps=0"}), "algorithm.local_steps", usage},
                  {"rate", start(kRing, {"generator.learning_rate=1e6"}), "generator.learning_rate", usage},
                  {"iterations", start(kRing, {"run.iterations=1000000000"}), "expected at most 999999999", usage},
                  {"device", start(kRing, {"run.device=tpu"}), "unknown device", usage}});
}

}  // namespace
}  // namespace agon
