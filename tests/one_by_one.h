#pragma once

// The algorithms as their papers' text has them: participants that act one by one, each with a network of its own.

#include "algorithms/stage.h"
#include "tests/training.h"

namespace agon::training {

/// One participant's network.
using Player = std::unique_ptr<Fleet>;

/// Worker after worker, batch after batch, in the papers' order. A server's networks are G(0) and D(0) where it has
/// any.
class OneByOne {
 public:
  OneByOne(const Settings& settings, const DataSource& data)
      : settings_(settings),
        stage_(settings, data),
        game_(stage_.game()),
        device_(stage_.device()),
        N_(game_.workers),
        b_(game_.batch) {
    for (int64_t n = 0; n < N_; ++n) G_.push_back(player(game_.generator.network, game_.generator_options, n));
    for (int64_t n = 0; n < N_; ++n) D_.push_back(player(game_.discriminator, game_.discriminator_options, n));
  }

  /// With `overlaps` the batches, and their gradients, are of the generator before its latest step.
  void md_gan_iteration(int64_t k, int64_t swap_every, bool overlaps = false) {
    stage_.world().next_iteration();
    const int64_t i = stage_.world().iteration();
    if (overlaps && !earlier_G_) earlier_G_ = player(game_.generator.network, game_.generator_options, 0);
    Fleet& G = overlaps ? *earlier_G_ : *G_[0];
    // Server: K = {X^(1) .. X^(k)}.
    if (overlaps) stage_.world().set_iteration(i - 1);
    const Batch z = noise(kServerDraws, k * b_, 0);
    stage_.world().set_iteration(i);
    std::vector<Samples> X;
    for (int64_t j = 0; j < k; ++j) X.push_back(generate(G, z.rows(j * b_, b_)));

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
      const std::vector<float> part = gradient(G, z.rows(j * b_, b_), sums[static_cast<size_t>(j)]);
      for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
    }
    if (overlaps) earlier_G_->set_replica(0, G_[0]->replica_weights(0), G_[0]->replica_state(0));
    step(*G_[0], total, 1.0);

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

  /// One iteration of everybody's own GAN.
  void local_iteration() {
    stage_.world().next_iteration();
    for (int64_t n = 0; n < N_; ++n) {
      Fleet& G = *G_[static_cast<size_t>(n)];
      const auto who = static_cast<uint32_t>(n);
      learn(n, generate(G, noise(who, b_, 0)));
      const Batch z = noise(who, b_, 1);
      step(G, gradient(G, z, feedback(n, generate(G, z))), 1.0 / static_cast<double>(b_));
    }
  }

  /// Hardy et al. 2019, section III.c, with what everybody weighs.
  void fl_gan_iteration(int64_t round, const std::vector<double>& weights = {}) {
    local_iteration();
    if (round == 0 || stage_.world().iteration() % round != 0) return;
    double total = 0;
    std::vector<float> row;
    for (int64_t n = 0; n < N_; ++n) total += weights.empty() ? 1.0 : weights[static_cast<size_t>(n)];
    for (int64_t n = 0; n < N_; ++n)
      row.push_back(static_cast<float>((weights.empty() ? 1.0 : weights[static_cast<size_t>(n)]) / total));
    const std::vector<std::vector<float>> M(static_cast<size_t>(N_), row);
    mix(G_, M), mix(D_, M);
  }

  /// theta' = M theta, dense; what weighs nothing is left out.
  void mix(std::vector<Player>& players, const std::vector<std::vector<float>>& M) {
    std::vector<GeneratorWeights> mixed(players.size());
    for (size_t i = 0; i < players.size(); ++i) {
      const auto add = [](float weight, std::vector<float>& sum, const std::vector<float>& one) {
        const bool first = sum.empty();
        sum.resize(one.size());
        for (size_t e = 0; e < one.size(); ++e) sum[e] = first ? weight * one[e] : std::fma(weight, one[e], sum[e]);
      };
      // A machine's own models come first, then what it received.
      std::vector<size_t> order{i};
      for (size_t j = 0; j < players.size(); ++j)
        if (j != i) order.push_back(j);
      if (own_first_ == false) std::sort(order.begin(), order.end());
      for (size_t j : order)
        if (M[i][j] > 0) {
          add(M[i][j], mixed[i].weights, players[j]->replica_weights(0));
          add(M[i][j], mixed[i].state, players[j]->replica_state(0));
        }
    }
    for (size_t i = 0; i < players.size(); ++i) players[i]->set_replica(0, mixed[i].weights, mixed[i].state);
  }

  /// Hardy et al. 2018, section 2.1 (iii): machine i sends to target[i]; (iv): its discriminator to another.
  void gossip_iteration(int64_t round, bool independent) {
    local_iteration();
    const int64_t i = stage_.world().iteration();
    if (i % round != 0) return;
    own_first_ = true;
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(i));
    const auto draw = [&] {
      const std::vector<int64_t> target = gossip_targets(N_, random);
      std::vector<std::vector<float>> M(static_cast<size_t>(N_), std::vector<float>(static_cast<size_t>(N_), 0.f));
      for (size_t n = 0; n < target.size(); ++n) {
        EXPECT_NE(target[n], static_cast<int64_t>(n)) << "nobody sends to itself";
        M[static_cast<size_t>(target[n])][n] = 1.f;
      }
      for (size_t n = 0; n < M.size(); ++n) {
        M[n][n] = 1.f;
        const float parts = std::accumulate(M[n].begin(), M[n].end(), 0.f);
        for (float& weight : M[n]) weight *= 1.f / parts;
      }
      return M;
    };
    const auto generators = draw();
    mix(G_, generators);
    mix(D_, independent ? draw() : generators);
  }

  /// Gradients are averaged over all workers before each step.
  void all_reduce_iteration() {
    stage_.world().next_iteration();
    const auto mean = [&](const std::vector<std::vector<float>>& all) {
      std::vector<float> sum = all.front();
      const float weight = static_cast<float>(1.0 / static_cast<double>(N_));
      for (float& value : sum) value *= weight;
      for (size_t n = 1; n < all.size(); ++n)
        for (size_t i = 0; i < sum.size(); ++i) sum[i] = std::fma(weight, all[n][i], sum[i]);
      return sum;
    };
    std::vector<Samples> fakes;
    for (int64_t n = 0; n < N_; ++n)
      fakes.push_back(generate(*G_[static_cast<size_t>(n)], noise(static_cast<uint32_t>(n), b_, 0)));
    for (uint32_t l = 0; l < static_cast<uint32_t>(game_.local_steps); ++l) {
      std::vector<std::vector<float>> all;
      for (int64_t n = 0; n < N_; ++n) {
        learning_gradient(n, fakes[static_cast<size_t>(n)], l);
        all.push_back(host_gradients(*D_[static_cast<size_t>(n)]));
      }
      const std::vector<float> shared = mean(all);
      for (const Player& D : D_) step(*D, shared, 1.0);
    }
    std::vector<std::vector<float>> all;
    for (int64_t n = 0; n < N_; ++n) {
      Fleet& G = *G_[static_cast<size_t>(n)];
      const Batch z = noise(static_cast<uint32_t>(n), b_, 1);
      all.push_back(gradient(G, z, feedback(n, generate(G, z))));
    }
    const std::vector<float> shared = mean(all);
    for (const Player& G : G_) step(*G, shared, 1.0 / static_cast<double>(b_));
  }

  /// A round of Ren et al. 2021 with all devices, Algorithms 1 to 3. Device k has G(k) and D(k) as they were broadcast;
  /// the server's are those of an additional player.
  void ren_round(bool serial, int64_t generator_steps, const std::vector<int64_t>& S) {
    if (!server_G_) {
      server_G_ = player(game_.generator.network, game_.generator_options, 0);
      server_D_ = player(game_.discriminator, game_.discriminator_options, 0);
    }
    stage_.world().next_iteration();
    for (int64_t k : S)
      for (int64_t j = 0; j < game_.local_steps; ++j) {
        const auto draw = static_cast<uint32_t>(j);
        learning_gradient(k, generate(*G_[static_cast<size_t>(k)], noise(static_cast<uint32_t>(k), b_, draw)), draw);
        D_[static_cast<size_t>(k)]->step();
      }
    const auto update_generator = [&] {
      for (int64_t j = 0; j < generator_steps; ++j) {
        const auto who = static_cast<uint32_t>(S[static_cast<size_t>(j % std::ssize(S))]);
        const Batch z = noise(who, b_, static_cast<uint32_t>(j));
        const std::vector<float> e = judge(*server_D_, generate(*server_G_, z), kServerDraws, static_cast<uint32_t>(j));
        step(*server_G_, gradient(*server_G_, z, e), 1.0 / static_cast<double>(b_));
      }
    };
    if (!serial) update_generator();
    std::vector<std::vector<float>> M(static_cast<size_t>(N_), std::vector<float>(static_cast<size_t>(N_), 0.f));
    for (auto& row : M)
      for (int64_t k : S) row[static_cast<size_t>(k)] = static_cast<float>(1.0 / static_cast<double>(S.size()));
    mix(D_, M);
    server_D_->set_replica(0, D_[0]->replica_weights(0), D_[0]->replica_state(0));
    if (serial) update_generator();
    for (const Player& G : G_) G->set_replica(0, server_G_->replica_weights(0), server_G_->replica_state(0));
  }
  /// An update of asynchronous MD-GAN among equally fast workers, whose feedback arrives in turn.
  void async_iteration(double alpha) {
    World& world = stage_.world();
    world.next_iteration();
    const int64_t i = world.iteration(), n = (i - 1) % N_, dealt = i <= N_ ? 0 : i - N_, turn = (i - 1) / N_ + 1;
    Fleet& G = *G_[0];
    const auto deal = [&](int64_t to) {
      const auto who = static_cast<uint32_t>(to);
      judged_.resize(static_cast<size_t>(N_)), learnt_.resize(static_cast<size_t>(N_));
      judged_[who] = generate(G, noise(who, b_, 0));
      learnt_[who] = generate(G, noise(who, b_, 1));
    };
    if (i == 1) {
      world.set_iteration(0);
      for (int64_t to = 0; to < N_; ++to) deal(to);
    }
    world.set_iteration(turn);
    learn(n, learnt_[static_cast<size_t>(n)]);
    const std::vector<float> e = feedback(n, judged_[static_cast<size_t>(n)]);
    world.set_iteration(dealt);
    const std::vector<float> change = gradient(G, noise(static_cast<uint32_t>(n), b_, 0), e);
    const double rate = game_.generator_options.optimiser.learning_rate;
    G.set_learning_rates({static_cast<float>(rate / std::pow(1.0 + static_cast<double>(i - 1 - dealt), alpha))});
    step(G, change, 1.0 / static_cast<double>(b_));
    world.set_iteration(i);
    deal(n);
  }

  const Fleet& server_generator() const { return *server_G_; }
  const World& world() { return stage_.world(); }

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
    for (uint32_t l = 0; l < static_cast<uint32_t>(game_.local_steps); ++l) {
      learning_gradient(n, fake, l);
      D_[static_cast<size_t>(n)]->step();
    }
  }

  /// The l-th of these steps, but for the optimiser.
  void learning_gradient(int64_t n, const Samples& fake, uint32_t l) {
    Fleet& D = *D_[static_cast<size_t>(n)];
    const BatchBuffer buffer(device_, 1, 2 * b_, game_.sample(), game_.conditional());
    const Batch both = buffer.view(1), real = both.rows(0, b_), generated = both.rows(b_, b_);
    put(fake, generated);
    const bool fresh = !settings_.has("algorithm.fresh_real") || settings_.flag("algorithm.fresh_real");
    const auto L = static_cast<uint32_t>(game_.local_steps), who = static_cast<uint32_t>(n);
    stage_.shards().sample(key(who, RandomStream::kSamples, fresh ? l : 0), fresh ? L : 1, real);
    const Tensor logits = D.forward(both.x, {.groups = 2, .key = key(who, RandomStream::kDropout, l)});
    const Tensor gradient = D.output_gradient();
    const float scale = 1.f / static_cast<float>(b_);
    loss(ops::GanRole::kReal, logits.rows(0, b_), gradient.rows(0, b_), real.y, scale);
    loss(ops::GanRole::kFake, logits.rows(b_, b_), gradient.rows(b_, b_), generated.y, scale);
    D.backward(Grads::kParams);
    device_->synchronize();
  }

  std::vector<float> host_gradients(Fleet& fleet) const {
    std::vector<float> result(static_cast<size_t>(fleet.network().parameters()));
    device_->download(result.data(), fleet.gradients().data, result.size() * sizeof(float));
    return result;
  }

  /// F_n: per sample, not divided by b.
  std::vector<float> feedback(int64_t n, const Samples& fake) {
    return judge(*D_[static_cast<size_t>(n)], fake, static_cast<uint32_t>(n), 0);
  }
  std::vector<float> judge(Fleet& D, const Samples& fake, uint32_t who, uint32_t turn) {
    const BatchBuffer buffer(device_, 1, b_, game_.sample(), game_.conditional());
    const Batch batch = buffer.view(1);
    put(fake, batch);
    const auto draw = static_cast<uint32_t>(game_.local_steps) + turn;
    const Tensor logits = D.forward(batch.x, {.key = key(who, RandomStream::kDropout, draw)});
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

  const Settings settings_;
  Stage stage_;
  const GamePlan& game_;
  std::shared_ptr<Device> device_;
  const int64_t N_, b_;
  std::vector<Player> G_, D_;
  Player server_G_, server_D_, earlier_G_;
  std::vector<Samples> judged_, learnt_;  // of asynchronous workers
  bool own_first_ = false;
  BatchBuffer z_;
};

inline void expect_close(const std::vector<float>& found, const std::vector<float>& expected, double tolerance,
                         const std::string& what) {
  ASSERT_FALSE(expected.empty()) << what;
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i])) << what;
    ASSERT_LE(std::abs(found[i] - expected[i]), tolerance) << what << ", weight " << i;
  }
}

}  // namespace agon::training
