// The algorithms against their papers' text: the fleet-wise emulation must equal participants that act one by one,
// each with a network of its own; and what they learn must be worth having.
#include "tests/one_by_one.h"

namespace agon {
namespace {

using namespace training;

struct Row {
  std::string name;
  const std::string& base;
  std::vector<std::string> overrides;
  int64_t k = 1;
  int64_t every = 0;  ///< iterations between swaps or averages
  /// 0: bit by bit. With k > 1 the server's GEMM adds the samples of all batches in one go, the text batch by batch.
  double tolerance = 0;
  bool overlaps = false;
};

TEST(MdGan, EqualsAlgorithmOneStepByStep) {
  const Row rows[] = {
      {"ring, k = 1", kRing, {"algorithm.swap_epochs=0.25"}, 1, 2},
      {"ring, L = 3", kRing, {"algorithm.local_steps=3", "gan.loss=minimax", "algorithm.swap_epochs=0.5"}, 1, 4},
      {"ring, L = 2 on the same real batch",
       kRing,
       {"algorithm.local_steps=2", "algorithm.fresh_real=false", "gan.same_start=false", "algorithm.swap_epochs=0"}},
      {"strokes, k = 1", kStrokes, {"algorithm.swap_epochs=0.13"}, 1, 2},
      {"ring, k = 3",
       kRing,
       {"algorithm.kappa=3", "generator.optimiser=sgd", "algorithm.swap_epochs=0.25"},
       3,
       2,
       1e-5},
      {"ring, a batch ahead", kRing, {"algorithm.overlap=true", "algorithm.swap_epochs=0.25"}, 1, 2, 0, true},
      {"strokes, a batch ahead", kStrokes, {"algorithm.overlap=true", "algorithm.swap_epochs=0"}, 1, 0, 0, true},
      {"ring, k = N", kRing, {"algorithm.kappa=5", "generator.optimiser=sgd", "algorithm.swap_epochs=0.5"}, 5, 4, 1e-5},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<std::string> overrides = row.overrides;
    overrides.push_back("run.iterations=6");
    const Settings s = settings_of(row.base, overrides);
    Trainer trainer(s, data_of(s));
    trainer.run();
    OneByOne reference(s, data_of(s));
    for (int i = 0; i < 6; ++i) reference.md_gan_iteration(row.k, row.every, row.overlaps);
    const auto fleets = trainer.algorithm().fleets();
    expect_close(fleets.at("generator")->replica_weights(0), reference.G(0).replica_weights(0), row.tolerance, "G");
    for (int64_t n = 0; n < s.integer("world.workers"); ++n)
      expect_close(fleets.at("discriminators")->replica_weights(n),
                   reference.D(static_cast<size_t>(n)).replica_weights(0), row.tolerance, fmt::format("D_{}", n + 1));
  }
}

TEST(FlGan, EqualsWorkersOneByOne) {
  const Row rows[] = {
      {"no averages", kRing, {"algorithm.swap_epochs=0", "gan.same_start=false"}},
      {"a round of 2", kRing, {"algorithm.round_iterations=2", "algorithm.local_steps=2"}, 1, 2},
      {"an epoch", kRing, {"algorithm.swap_epochs=0.5"}, 1, 4},
      {"strokes, a round of 4", kStrokes, {"algorithm.round_iterations=4"}, 1, 4},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<std::string> overrides = row.overrides;
    overrides.insert(overrides.end(), {"run.iterations=6", "algorithm.name=fl-gan"});
    const Settings s = settings_of(row.base, overrides);
    Trainer trainer(s, data_of(s));
    trainer.run();
    OneByOne reference(s, data_of(s));
    for (int i = 0; i < 6; ++i) reference.fl_gan_iteration(row.every);
    const auto fleets = trainer.algorithm().fleets();
    for (int64_t n = 0; n < s.integer("world.workers"); ++n) {
      const auto at = static_cast<size_t>(n);
      expect_close(fleets.at("generators")->replica_weights(n), reference.G(at).replica_weights(0), 0, "G_n");
      expect_close(fleets.at("discriminators")->replica_weights(n), reference.D(at).replica_weights(0), 0, "D_n");
    }
  }
}

TEST(Local, IsFlGanWithoutAverages) {
  const Settings local = settings_of(kRing, {"algorithm.name=local"});
  const Settings federated = settings_of(kRing, {"algorithm.name=fl-gan", "algorithm.swap_epochs=0"});
  Trainer a(local, data_of(local)), b(federated, data_of(federated));
  a.run(), b.run();
  for (const char* fleet : {"generators", "discriminators"})
    for (int64_t n = 0; n < 5; ++n)
      EXPECT_EQ(a.algorithm().fleets().at(fleet)->replica_weights(n),
                b.algorithm().fleets().at(fleet)->replica_weights(n));
  EXPECT_EQ(a.algorithm().generators(), 5);
  EXPECT_EQ(b.algorithm().generators(), 1) << "the server's average is what scores are about";
}

TEST(Learning, CoversTheRing) {
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{"algorithm.name=standalone", "world.workers=1"},
        std::vector<std::string>{"algorithm.name=md-gan", "algorithm.kappa=2"}}) {
    SCOPED_TRACE(overrides.front());
    expect_to_cover_the_ring(overrides);
  }
}

}  // namespace
}  // namespace agon
