// The algorithms against their papers' text: the fleet-wise emulation must equal participants that act one by one,
// each with a network of its own; and what they learn must be worth having.
#include "algorithms/stage.h"
#include "tests/training.h"

namespace agon {
namespace {

using namespace training;

/// One participant's network.
using Player = std::unique_ptr<Fleet>;

/// Hardy et al. 2019, Algorithm 1 and section III.c, in the paper's order: worker after worker, batch after batch.
class OneByOne {
 public:
  OneByOne(const Settings& settings, const DataSource& data)
      : settings_(settings),
        stage_(settings, data),
        game_(stage_.game()),
        device_(stage_.device()),
        N_(game_.workers),
        b_(game_.batch) {
    const int64_t generators = settings.text("algorithm.name") == "md-gan" ? 1 : N_;
    for (int64_t n = 0; n < generators; ++n) G_.push_back(player(game_.generator.network, game_.generator_options, n));
    for (int64_t n = 0; n < N_; ++n) D_.push_back(player(game_.discriminator, game_.discriminator_options, n));
  }

  void md_gan_iteration(int64_t k, int64_t swap_every) {
    stage_.world().next_iteration();
    // Server: K = {X^(1) .. X^(k)}.
    const Batch z = noise(kServerDraws, k * b_, 0);
    std::vector<Samples> X;
    for (int64_t j = 0; j < k; ++j) X.push_back(generate(*G_[0], z.rows(j * b_, b_)));

    std::vector<std::vector<float>> sums(static_cast<size_t>(k));
    for (int64_t n = 1; n <= N_; ++n) {
      learn(n - 1, X[static_cast<size_t>((n + 1) % k)]);
      const std::vector<float> F = feedback(n - 1, X[static_cast<size_t>(n % k)]);
      // Delta w has the factor 1/(N b); summed in the order in which the workers are numbered.
      const float scale = 1.f / static_cast<float>(N_ * b_);
      std::vector<float>& sum = sums[static_cast<size_t>(n % k)];
      const bool first = sum.empty();
      sum.resize(F.size());
      for (size_t i = 0; i < F.size(); ++i) sum[i] = first ? scale * F[i] : std::fma(scale, F[i], sum[i]);
    }

    // Server: the gradients of the k batches add up, then one step.
    std::vector<float> total(static_cast<size_t>(game_.generator.network->parameters()), 0.f);
    for (int64_t j = 0; j < k; ++j) {
      const std::vector<float> part = gradient(*G_[0], z.rows(j * b_, b_), sums[static_cast<size_t>(j)]);
      for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
    }
    step(*G_[0], total, 1.0);

    const int64_t i = stage_.world().iteration();
    if (swap_every == 0 || i % swap_every != 0) return;
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(i));
    const std::vector<int64_t> source = swap_sources(SwapKind::kDerangement, N_, random);
    std::vector<GeneratorWeights> theta;
    for (const Player& D : D_) theta.push_back({D->replica_weights(0), D->replica_state(0)});
    for (int64_t n = 0; n < N_; ++n) {
      const GeneratorWeights& from = theta[static_cast<size_t>(source[static_cast<size_t>(n)])];
      D_[static_cast<size_t>(n)]->set_replica(0, from.weights, from.state);
    }
  }

  void fl_gan_iteration(int64_t round) {
    stage_.world().next_iteration();
    for (int64_t n = 0; n < N_; ++n) {
      Fleet& G = *G_[static_cast<size_t>(n)];
      learn(n, generate(G, noise(static_cast<uint32_t>(n), b_, 0)));
      const Batch z = noise(static_cast<uint32_t>(n), b_, 1);
      step(G, gradient(G, z, feedback(n, generate(G, z))), 1.0 / static_cast<double>(b_));
    }
    if (round == 0 || stage_.world().iteration() % round != 0) return;
    average(G_), average(D_);
  }

  const Fleet& G(size_t n) const { return *G_[n]; }
  const Fleet& D(size_t n) const { return *D_[n]; }

 private:
  struct Samples {
    std::vector<float> x;
    std::vector<int32_t> y;
  };

  Player player(std::shared_ptr<const Network> network, FleetOptions options, int64_t id) {
    options.replicas = 1;
    return std::make_unique<Fleet>(device_, std::move(network), options, std::vector<int64_t>{id});
  }

  /// The numbers that participant `who` draws in this iteration.
  RandomKey key(uint32_t who, RandomStream stream, uint32_t draw) {
    if (who == kServerDraws) return stage_.world().server_key(stream, draw);
    RandomKey key = stage_.world().worker_key(stream, draw);
    key.workers += who;
    return key;
  }

  Batch noise(uint32_t who, int64_t count, uint32_t draw) {
    z_ = BatchBuffer(device_, 1, count, {1, 1, game_.generator.latent}, game_.conditional());
    const Batch z = z_.view(1);
    device_->run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                                 .replicas = 1,
                                 .count = count * game_.generator.latent,
                                 .y = z.x.block(),
                                 .key = key(who, RandomStream::kNoise, draw)});
    if (z.y)
      device_->run(ops::RandomLabels{.replicas = 1,
                                     .count = count,
                                     .classes = game_.generator.classes,
                                     .y = z.y.block(),
                                     .key = key(who, RandomStream::kLabels, draw)});
    return z;
  }

  std::vector<float> host(const Tensor& t) const {
    std::vector<float> values(static_cast<size_t>(t.size_per_replica()));
    device_->download(values.data(), t.data, values.size() * sizeof(float));
    return values;
  }

  Samples generate(Fleet& G, const Batch& z) {
    Samples samples{host(G.forward(z.x, {.labels = z.y})), {}};
    if (z.y) {
      samples.y.resize(static_cast<size_t>(z.y.batch));
      device_->download(samples.y.data(), z.y.data, samples.y.size() * sizeof(int32_t));
    }
    return samples;
  }

  void put(const Samples& samples, const Batch& to) {
    device_->upload(to.x.data, samples.x.data(), samples.x.size() * sizeof(float));
    if (to.y) device_->upload(to.y.data, samples.y.data(), samples.y.size() * sizeof(int32_t));
  }

  void loss(ops::GanRole role, const Tensor& logits, const Tensor& gradient, const Labels& labels, float scale) {
    ops::GanLoss op = game_.loss;
    op.role = role, op.replicas = 1, op.batch = logits.batch;
    op.logits = logits.block(), op.labels = labels.block(), op.dlogits = gradient.block();
    op.scale = scale;
    device_->run(op);
  }

  /// DISCLEARNINGSTEP of worker n, L times.
  void learn(int64_t n, const Samples& fake) {
    Fleet& D = *D_[static_cast<size_t>(n)];
    BatchBuffer buffer(device_, 1, 2 * b_, game_.sample(), game_.conditional());
    const Batch both = buffer.view(1), real = both.rows(0, b_), generated = both.rows(b_, b_);
    put(fake, generated);
    const bool fresh = !settings_.has("algorithm.fresh_real") || settings_.flag("algorithm.fresh_real");
    const auto L = static_cast<uint32_t>(game_.local_steps);
    for (uint32_t l = 0; l < L; ++l) {
      const auto who = static_cast<uint32_t>(n);
      stage_.shards().sample(key(who, RandomStream::kSamples, fresh ? l : 0), fresh ? L : 1, real);
      const Tensor logits = D.forward(both.x, {.groups = 2, .key = key(who, RandomStream::kDropout, l)});
      const Tensor gradient = D.output_gradient();
      const float scale = 1.f / static_cast<float>(b_);
      loss(ops::GanRole::kReal, logits.rows(0, b_), gradient.rows(0, b_), real.y, scale);
      loss(ops::GanRole::kFake, logits.rows(b_, b_), gradient.rows(b_, b_), generated.y, scale);
      D.backward(Grads::kParams);
      D.step();
    }
  }

  /// F_n: per sample, not divided by b.
  std::vector<float> feedback(int64_t n, const Samples& fake) {
    Fleet& D = *D_[static_cast<size_t>(n)];
    BatchBuffer buffer(device_, 1, b_, game_.sample(), game_.conditional());
    const Batch batch = buffer.view(1);
    put(fake, batch);
    const auto draw = static_cast<uint32_t>(game_.local_steps);
    const Tensor logits = D.forward(batch.x, {.key = key(static_cast<uint32_t>(n), RandomStream::kDropout, draw)});
    loss(ops::GanRole::kGenerator, logits, D.output_gradient(), batch.y, 1.f);
    return host(D.backward(Grads::kInput));
  }

  /// sum over the batch of e_i dx_i/dw. The forward pass is made again, and its running statistics taken back.
  std::vector<float> gradient(Fleet& G, const Batch& z, const std::vector<float>& e) {
    const std::vector<float> weights = G.replica_weights(0), state = G.replica_state(0);
    const Tensor x = G.forward(z.x, {.labels = z.y});
    G.set_replica(0, weights, state);
    TensorBuffer dx(device_, 1, x.batch, x.shape);
    dx.set(e);
    G.backward(dx, Grads::kParams);
    std::vector<float> result(weights.size());
    device_->download(result.data(), G.gradients().data, result.size() * sizeof(float));
    return result;
  }

  void step(Fleet& G, const std::vector<float>& gradient, double scale) {
    device_->upload(G.gradients().data, gradient.data(), gradient.size() * sizeof(float));
    G.step(scale);
  }

  void average(std::vector<Player>& players) {
    const float weight = static_cast<float>(1.0 / static_cast<double>(N_));
    GeneratorWeights mean;
    const auto add = [&](std::vector<float>& sum, const std::vector<float>& one) {
      const bool first = sum.empty();
      sum.resize(one.size());
      for (size_t i = 0; i < one.size(); ++i) sum[i] = first ? weight * one[i] : std::fma(weight, one[i], sum[i]);
    };
    for (const Player& p : players) add(mean.weights, p->replica_weights(0)), add(mean.state, p->replica_state(0));
    for (const Player& p : players) p->set_replica(0, mean.weights, mean.state);
  }

  const Settings settings_;
  Stage stage_;
  const GamePlan& game_;
  std::shared_ptr<Device> device_;
  const int64_t N_, b_;
  std::vector<Player> G_, D_;
  BatchBuffer z_;
};

void expect_close(const std::vector<float>& found, const std::vector<float>& expected, double tolerance,
                  const std::string& what) {
  ASSERT_FALSE(expected.empty()) << what;
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i])) << what;
    ASSERT_LE(std::abs(found[i] - expected[i]), tolerance) << what << ", weight " << i;
  }
}

struct Row {
  std::string name;
  const std::string& base;
  std::vector<std::string> overrides;
  int64_t k = 1;
  int64_t every = 0;  ///< iterations between swaps or averages
  /// 0: bit by bit. With k > 1 the server's GEMM adds the samples of all batches in one go, the text batch by batch.
  double tolerance = 0;
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
    for (int i = 0; i < 6; ++i) reference.md_gan_iteration(row.k, row.every);
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
  EXPECT_EQ(a.algorithm().generators().size(), 5u);
  EXPECT_EQ(b.algorithm().generators().size(), 1u) << "the server's average is what scores are about";
}

/// Small GANs circle around the ring, so that the last iteration says little: any evaluation may reach the goal.
struct Goal : Observer {
  std::atomic<bool> reached{false};
  std::string best;
  int64_t most = -1;
  void evaluated(int64_t, double, const Scores& scores) override {
    if (scores.modes.value_or(0) > most) most = *scores.modes, best = scores.text();
    if (scores.modes.value_or(0) >= 7 && scores.high_quality.value_or(0) >= 0.2) reached = true;
  }
};

TEST(Learning, CoversTheRing) {
  const std::string ring = R"(
    run       = {evaluate_every = 250, sample_every = 0, checkpoint_every = 0, iterations = 6000, threads = 1}
    data      = {path = "ring"}
    gan       = {latent = 8, conditional = "no"}
    generator = {layers = ["dense 64", "relu", "dense 64", "relu", "dense 2"], learning_rate = 1e-3}
    discriminator.layers = ["dense 64", "leaky_relu 0.2", "dense 64", "leaky_relu 0.2", "dense heads"]
    discriminator.learning_rate = 1e-3
    score     = {samples = 1000}
    algorithm = {batch = 64}
  )";
  for (const std::vector<std::string>& overrides :
       {std::vector<std::string>{"algorithm.name=standalone"},
        std::vector<std::string>{"algorithm.name=md-gan", "world.workers=3", "algorithm.kappa=2"}}) {
    SCOPED_TRACE(overrides.front());
    const Settings s = settings_of(ring, overrides);
    Trainer trainer(s, data_of(s, 6000));
    const auto goal = std::make_shared<Goal>();
    trainer.observe(goal);
    trainer.run(goal->reached);
    EXPECT_TRUE(goal->reached) << "best: " << goal->best;
  }
}

}  // namespace
}  // namespace agon
