// Lipizzaner against its paper: the batched grid must equal cells that act one after the other, each with networks of
// its own and real copies of its neighbours'; mixtures accept only what is better; the ring is learnt.
#include "algorithms/coevolution.h"
#include "algorithms/evaluation.h"
#include "algorithms/stage.h"
#include "tests/training.h"

namespace agon {
namespace {

using namespace training;

/// A network of one participant, with everything that travels with it.
using Model = std::unique_ptr<Fleet>;

class CellByCell {
 public:
  CellByCell(const Settings& settings, const DataSource& data)
      : settings_(settings),
        stage_(settings, data),
        game_(stage_.game()),
        device_(stage_.device()),
        torus_(game_.workers, settings.integer("algorithm.rows")),
        b_(game_.batch),
        F_(settings.integer("algorithm.fitness_batches")),
        moment_(device_, 1),
        who_(device_, 1) {
    for (int64_t c = 0; c < game_.workers; ++c) {
      G_.push_back(model(game_.generator.network, game_.generator_options, c));
      D_.push_back(model(game_.discriminator, game_.discriminator_options, c));
    }
  }

  void iterate() {
    stage_.world().next_iteration();
    std::vector<Model> next_G, next_D;
    for (int64_t c = 0; c < game_.workers; ++c) epoch(c, next_G, next_D);
    G_ = std::move(next_G), D_ = std::move(next_D);
  }

  const Fleet& G(int64_t cell) const { return *G_[static_cast<size_t>(cell)]; }
  const Fleet& D(int64_t cell) const { return *D_[static_cast<size_t>(cell)]; }

 private:
  void epoch(int64_t cell, std::vector<Model>& next_G, std::vector<Model>& next_D) {
    cell_ = cell;
    const auto number = static_cast<uint32_t>(cell);
    who_.set(std::span<const uint32_t>(&number, 1));
    now_ = static_cast<uint64_t>(stage_.world().iteration()) << 24;
    std::vector<int64_t> living;
    for (int64_t c = 0; c < game_.workers; ++c) living.push_back(c);
    std::vector<Model> Gs, Ds;
    for (int64_t member : torus_.neighbourhood(cell, living)) {
      Gs.push_back(copy_of(*G_[static_cast<size_t>(member)]));
      Ds.push_back(copy_of(*D_[static_cast<size_t>(member)]));
    }
    const size_t s = Gs.size();
    const int64_t loss_kind = settings_.flag("algorithm.mustangs") ? random(3).below(3) : -1;

    // Each against each. A game is played by copies, because batch norm keeps what it sees.
    std::vector<double> fit_G(s, 0), fit_D(s, 0);
    std::vector<std::vector<double>> fakes(s, std::vector<double>(s));
    for (size_t j = 0; j < s; ++j) {
      const Model judge = copy_of(*Ds[j]);
      fit_D[j] = on_real(*judge);
      for (size_t i = 0; i < s; ++i) {
        const Model player = copy_of(*Gs[i]);
        const auto [g, d] = game(*player, *judge);
        fit_G[i] += g, fakes[j][i] = d;
      }
    }
    for (size_t i = 0; i < s; ++i) fit_G[i] /= static_cast<double>(F_ * static_cast<int64_t>(s));
    for (size_t j = 0; j < s; ++j) {
      double sum = 0;
      for (double d : fakes[j]) sum += d;
      fit_D[j] = sum / static_cast<double>(F_ * static_cast<int64_t>(s)) + fit_D[j] / static_cast<double>(F_);
    }

    // Selection.
    const bool selection = settings_.flag("algorithm.selection");
    HostRandom for_G = random(0), for_D = random(1);
    const auto size = settings_.integer("algorithm.tournament");
    const auto pick_G = static_cast<size_t>(selection ? tournament(fit_G, size, for_G) : 0);
    const auto pick_D = static_cast<size_t>(selection ? tournament(fit_D, size, for_D) : 0);
    Model u = copy_of(*Gs[pick_G]), v = copy_of(*Ds[pick_D]);

    // Training, against whom chance names; the trained ones stand where they were picked.
    const int64_t batches = epoch_iterations(stage_.shards().mean_size(), 1, b_),
                  skip = settings_.integer("algorithm.skip_discriminator");
    const bool all = settings_.text("algorithm.opponents") == "neighbourhood";
    HostRandom rates_G = random(4), rates_D = random(5);
    double rate_G = u->learning_rates()[0], rate_D = v->learning_rates()[0];
    for (int64_t t = 0; t < batches; ++t) {
      rate_G = mutated(rate_G, game_.generator_options, rates_G);
      rate_D = mutated(rate_D, game_.discriminator_options, rates_D);
      {
        u->set_learning_rates({static_cast<float>(rate_G)});
        const size_t j = all ? static_cast<size_t>(random(6).below(static_cast<int64_t>(s))) : pick_D;
        const Model rival = copy_of(j == pick_D ? *v : *Ds[j]);
        const Samples fake = generate(*u);
        const Tensor logits = judge(*rival, fake.x, 1);
        ops::GanLoss op = loss(ops::GanRole::kGenerator, logits, fake.y, rival->output_gradient());
        const ops::GanLossKind kinds[] = {ops::GanLossKind::kMinimax, ops::GanLossKind::kLeastSquares,
                                          ops::GanLossKind::kNonSaturating};
        if (loss_kind >= 0) op.kind = kinds[loss_kind];
        device_->run(op);
        u->backward(rival->backward(Grads::kInput), Grads::kParams);
        u->step(1.0 / static_cast<double>(b_));
        next_moment();
      }
      if (t % (skip + 1) != 0) continue;
      v->set_learning_rates({static_cast<float>(rate_D)});
      const size_t i = all ? static_cast<size_t>(random(7).below(static_cast<int64_t>(s))) : pick_G;
      const Model rival = copy_of(i == pick_G ? *u : *Gs[i]);
      BatchBuffer both(device_, 1, 2 * b_, game_.sample(), game_.conditional());
      const Batch batch = both.view(1), real = batch.rows(0, b_), made = batch.rows(b_, b_);
      const Samples fake = generate(*rival);
      std::vector<float> x(static_cast<size_t>(fake.x.size_per_replica()));
      device_->download(x.data(), fake.x.data, x.size() * sizeof(float));
      device_->upload(made.x.data, x.data(), x.size() * sizeof(float));
      if (made.y) {
        const std::vector<int32_t> y = labels_.host();
        device_->upload(made.y.data, y.data(), y.size() * sizeof(int32_t));
      }
      RandomKey data = stage_.world().worker_key(RandomStream::kSamples, static_cast<uint32_t>(t));
      data.workers += cell_;
      stage_.shards().sample(data, static_cast<uint32_t>(batches), real);
      const Tensor logits = judge(*v, batch.x, 2), slope = v->output_gradient();
      for (const auto& [role, first, y] :
           {std::tuple{ops::GanRole::kReal, int64_t{0}, real.y}, std::tuple{ops::GanRole::kFake, b_, made.y}}) {
        ops::GanLoss op = loss(role, logits.rows(first, b_), y, slope.rows(first, b_));
        op.scale = 1.f / static_cast<float>(b_);
        device_->run(op);
      }
      v->backward(Grads::kParams);
      v->step();
      next_moment();
    }

    // Replacement.
    const double real_v = on_real(*v);
    double sum_u = 0, sum_v = 0;
    for (size_t k = 0; k < s; ++k) {
      const Model judge = copy_of(*Ds[k]), player = copy_of(*Gs[k]);
      sum_u += game(*u, *judge).first;
      sum_v += game(*player, *v).second;
    }
    const double games = static_cast<double>(F_ * static_cast<int64_t>(s));
    const bool takes_u = !selection || sum_u / games < fit_G[0];
    const bool takes_v = !selection || sum_v / games + real_v / static_cast<double>(F_) < fit_D[0];
    replaced_ += (takes_u ? 1 : 0) + (takes_v ? 1 : 0), kept_ += (takes_u ? 0 : 1) + (takes_v ? 0 : 1);
    next_G.push_back(takes_u ? std::move(u) : copy_of(*G_[static_cast<size_t>(cell)]));
    next_D.push_back(takes_v ? std::move(v) : copy_of(*D_[static_cast<size_t>(cell)]));
  }

  struct Samples {
    Tensor x;
    Labels y;
  };

  Model model(std::shared_ptr<const Network> network, FleetOptions options, int64_t id) {
    options.replicas = 1;
    return std::make_unique<Fleet>(device_, std::move(network), options, std::vector<int64_t>{id});
  }
  Model copy_of(const Fleet& from) {
    const bool generator = from.shared_network() == game_.generator.network;
    Model to = model(from.shared_network(), generator ? game_.generator_options : game_.discriminator_options, 0);
    const auto source = from.arenas(), target = to->arenas();
    for (size_t a = 0; a < source.size(); ++a) {
      std::vector<float> values(static_cast<size_t>(source[a].count));
      device_->download(values.data(), source[a].data, values.size() * sizeof(float));
      device_->upload(target[a].data, values.data(), values.size() * sizeof(float));
    }
    to->set_steps(from.steps());
    to->set_learning_rates(from.learning_rates());
    return to;
  }

  HostRandom random(uint32_t draw) const {
    return HostRandom(game_.seed, RandomStream::kAlgorithm, static_cast<uint32_t>(cell_), now_, draw);
  }
  double mutated(double rate, const FleetOptions& options, HostRandom& random) const {
    return mutated_rate(rate, options.optimiser.learning_rate, settings_.number("algorithm.rate_mutation"),
                        settings_.number("algorithm.rate_probability"), random);
  }
  void next_moment() { ++now_; }
  RandomKey key(RandomStream stream, uint32_t draw) {
    moment_.set(std::span<const uint64_t>(&now_, 1));
    return {game_.seed, static_cast<uint32_t>(stream), draw, who_.data(), moment_.data()};
  }

  Samples generate(Fleet& G) {
    z_ = TensorBuffer(device_, 1, b_, {1, 1, game_.generator.latent});
    labels_ = LabelBuffer(device_, 1, b_);
    device_->run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                                 .replicas = 1,
                                 .count = b_ * game_.generator.latent,
                                 .y = z_.view().block(),
                                 .key = key(RandomStream::kNoise, 0)});
    const Labels y = game_.conditional() ? labels_.view() : Labels{};
    if (y)
      device_->run(ops::RandomLabels{.replicas = 1,
                                     .count = b_,
                                     .classes = game_.generator.classes,
                                     .y = y.block(),
                                     .key = key(RandomStream::kLabels, 0)});
    return {G.forward(z_, {.labels = y, .key = key(RandomStream::kDropout, 0)}), y};
  }
  Tensor judge(Fleet& D, const Tensor& x, int64_t groups) {
    return D.forward(x, {.groups = groups, .key = key(RandomStream::kDropout, 1)});
  }
  ops::GanLoss loss(ops::GanRole role, const Tensor& logits, const Labels& labels, const Tensor& slope) {
    ops::GanLoss op = game_.loss;
    op.role = role, op.replicas = 1, op.batch = logits.batch;
    op.logits = logits.block(), op.labels = labels.block(), op.dlogits = slope.block();
    return op;
  }
  /// Sums over F batches of both sides' losses, as the device adds them up.
  std::pair<double, double> game(Fleet& G, Fleet& D) {
    Buffer<float> g(device_, 1), d(device_, 1);
    for (int64_t f = 0; f < F_; ++f, next_moment()) {
      const Samples fake = generate(G);
      const Tensor logits = judge(D, fake.x, 1);
      TensorBuffer unused(device_, 1, b_, game_.discriminator->output());
      for (auto* sum : {&g, &d}) {
        ops::GanLoss op =
            loss(sum == &g ? ops::GanRole::kGenerator : ops::GanRole::kFake, logits, fake.y, unused.view());
        op.loss = {sum->data(), 1};
        device_->run(op);
      }
      device_->synchronize();
    }
    return {g.host()[0], d.host()[0]};
  }
  double on_real(Fleet& D) {
    Buffer<float> sum(device_, 1);
    for (int64_t f = 0; f < F_; ++f, next_moment()) {
      BatchBuffer buffer(device_, 1, b_, game_.sample(), game_.conditional());
      const Batch real = buffer.view(1);
      RandomKey data = stage_.world().worker_key(RandomStream::kAlgorithm, static_cast<uint32_t>(f));
      data.workers += cell_;
      stage_.shards().sample(data, static_cast<uint32_t>(F_), real);
      TensorBuffer unused(device_, 1, b_, game_.discriminator->output());
      ops::GanLoss op = loss(ops::GanRole::kReal, judge(D, real.x, 1), real.y, unused.view());
      op.loss = {sum.data(), 1};
      device_->run(op);
      device_->synchronize();
    }
    return sum.host()[0];
  }

  const Settings settings_;
  Stage stage_;
  const GamePlan& game_;
  std::shared_ptr<Device> device_;
  const Torus torus_;
  const int64_t b_, F_;
  std::vector<Model> G_, D_;
  Buffer<uint64_t> moment_;
  Buffer<uint32_t> who_;
  TensorBuffer z_;
  LabelBuffer labels_;
  int64_t cell_ = 0;
  uint64_t now_ = 0;

 public:
  int64_t replaced_ = 0, kept_ = 0;
};

const std::vector<std::string> kGrid = {"algorithm.name=lipizzaner", "data.partition=iid",
                                        "run.iterations=3",          "algorithm.fitness_batches=2",
                                        "gan.same_start=false",      "algorithm.opponents=neighbourhood"};

Settings grid(const std::string& base, std::vector<std::string> overrides) {
  overrides.insert(overrides.begin(), kGrid.begin(), kGrid.end());
  return settings_of(base, overrides);
}

TEST(Lipizzaner, EqualsCellsThatActOneByOne) {
  struct Row {
    std::string name;
    const std::string& base;
    std::vector<std::string> overrides;
  };
  int64_t replaced = 0, kept = 0;
  for (const Row& row : std::vector<Row>{
           {"3 x 3", kRing, {"world.workers=9", "algorithm.rate_mutation=0.3"}},
           {"1 x 1", kRing, {"world.workers=1"}},
           {"2 x 2, Mustangs", kRing, {"world.workers=4", "algorithm.mustangs=true"}},
           {"1 x 3, all in a tournament", kRing, {"world.workers=3", "algorithm.rows=1", "algorithm.tournament=3"}},
           {"2 x 3, no selection, D each batch",
            kRing,
            {"world.workers=6", "algorithm.selection=false", "algorithm.skip_discriminator=0"}},
           {"the picked play each other", kRing, {"world.workers=9", "algorithm.opponents=picked"}},
           {"rates too large to be good", kRing, {"world.workers=4", "generator.learning_rate=0.5"}},
           {"labels, batch norm and dropout", kStrokes, {"world.workers=4", "gan.loss=least-squares"}}}) {
    SCOPED_TRACE(row.name);
    const Settings s = grid(row.base, row.overrides);
    Trainer trainer(s, data_of(s));
    trainer.run();
    CellByCell reference(s, data_of(s));
    for (int i = 0; i < 3; ++i) reference.iterate();
    const auto fleets = trainer.algorithm().fleets();
    for (int64_t c = 0; c < s.integer("world.workers"); ++c) {
      const auto at = static_cast<size_t>(c);
      EXPECT_EQ(fleets.at("generators")->replica_weights(c), reference.G(c).replica_weights(0)) << "u of " << c;
      EXPECT_EQ(fleets.at("discriminators")->replica_weights(c), reference.D(c).replica_weights(0)) << "v of " << c;
      EXPECT_EQ(fleets.at("generators")->replica_state(c), reference.G(c).replica_state(0));
      EXPECT_EQ(fleets.at("generators")->learning_rates()[at], reference.G(c).learning_rates()[0]);
      EXPECT_EQ(fleets.at("discriminators")->steps()[at], reference.D(c).steps()[0]);
    }
    replaced += reference.replaced_, kept += reference.kept_;
  }
  EXPECT_GT(replaced, 0) << "the rows must see both ends of a comparison";
  EXPECT_GT(kept, 0);
}

TEST(Lipizzaner, MixturesStayWhenNothingIsBetter) {
  // Equal generators: any mixture makes the same samples, and none is strictly better than the first.
  const Settings s = grid(kRing, {"world.workers=9", "generator.learning_rate=0", "gan.same_start=true",
                                  "algorithm.mixture_sigma=0.5", "algorithm.rate_mutation=0"});
  Trainer trainer(s, data_of(s));
  trainer.run();
  for (const GeneratorMixture& mixture : trainer.algorithm().mixtures())
    for (double w : mixture.weights) EXPECT_DOUBLE_EQ(w, 0.2);
}

TEST(Learning, MixturesComeCloserToTheData) {
  // Generators that never learn, but differ: only the weights can improve.
  const Settings s = grid(kRing, {"world.workers=9", "generator.learning_rate=0", "algorithm.selection=false",
                                  "algorithm.mixture_sigma=0.2", "run.iterations=60", "algorithm.rate_mutation=0",
                                  "generator.init=torch", "score.samples=2000"});
  const DataSource data = data_of(s, 2000);
  Trainer trainer(s, data);
  trainer.run();
  Evaluator evaluator(trainer.stage().device(), s, data);
  std::vector<Evaluator::Rows> samples;
  for (int64_t i = 0; i < trainer.algorithm().generators(); ++i) {
    Generator generator(trainer.stage().device(), trainer.stage().game().generator, trainer.algorithm().generator(i));
    samples.push_back(evaluator.look(generator, /*seed=*/99, 0));
  }
  const auto distance = [&](const GeneratorMixture& mixture) {
    Evaluator::Rows rows{samples[0].count, samples[0].width, {}};
    const auto from = sampled_members(mixture, rows.count, HostRandom(99, RandomStream::kEvaluation));
    for (size_t i = 0; i < from.size(); ++i) {
      const auto& values = samples[static_cast<size_t>(mixture.members[from[i]])].values;
      rows.values.insert(rows.values.end(), values.begin() + static_cast<std::ptrdiff_t>(i) * rows.width,
                         values.begin() + static_cast<std::ptrdiff_t>(i + 1) * rows.width);
    }
    return evaluator.distance(rows);
  };
  for (const GeneratorMixture& mixture : trainer.algorithm().mixtures()) {
    GeneratorMixture uniform = mixture;
    uniform.weights.assign(mixture.weights.size(), 0.2);
    EXPECT_LT(distance(mixture), distance(uniform)) << "cell " << mixture.holder;
  }
}

TEST(Learning, LipizzanerCoversTheRing) {
  expect_to_cover_the_ring({"algorithm.name=lipizzaner", "world.workers=4", "data.partition=diet", "data.share=0.07",
                            "run.iterations=800", "run.evaluate_every=25", "gan.same_start=false",
                            "algorithm.skip_discriminator=0", "algorithm.fitness_batches=1"});
}

/// Points [count, 2] of a generator or a mixture.
std::vector<float> points_of(Generator generator, int64_t count) {
  const Tensor x = generator.sample(std::vector<int32_t>(static_cast<size_t>(count)), 5, RandomStream::kSampling, 0);
  std::vector<float> points(static_cast<size_t>(x.size_per_replica()));
  generator.device().download(points.data(), x.data, points.size() * sizeof(float));
  return points;
}

TEST(Lipizzaner, ARunMakesTheMixtureThatWasRankedFirst) {
  const Settings s = grid(kRing, {"world.workers=6", "run.evaluate_every=3", "gan.same_start=false"});
  Trainer trainer(s, data_of(s));
  const Summary summary = trainer.run();
  const int64_t first = summary.scores->ranking.front().holder;
  const std::vector<GeneratorMixture> mixtures = trainer.algorithm().mixtures();
  const GeneratorMixture& best =
      *std::find_if(mixtures.begin(), mixtures.end(), [&](const GeneratorMixture& m) { return m.holder == first; });

  // Each sample is one of the members' own, and each member is asked as often as its weight says.
  constexpr int64_t kCount = 4000;
  const std::vector<float> mixed = points_of(trainer.generator(), kCount);
  std::vector<int64_t> given(best.members.size());
  for (size_t m = 0; m < given.size(); ++m) {
    const std::vector<float> own = points_of(Generator(trainer.stage().device(), trainer.stage().game().generator,
                                                       trainer.algorithm().generator(best.members[m])),
                                             kCount);
    for (size_t i = 0; i < own.size(); i += 2) given[m] += own[i] == mixed[i] && own[i + 1] == mixed[i + 1];
  }
  EXPECT_EQ(std::accumulate(given.begin(), given.end(), int64_t{0}), kCount);
  for (size_t m = 0; m < given.size(); ++m)
    EXPECT_NEAR(static_cast<double>(given[m]) / kCount, best.weights[m], 0.03) << "member " << m;

  // The file holds all of them.
  const ScratchFolder folder;
  const std::string path = folder.path() + "/generator.safetensors";
  trainer.generator().save(path);
  EXPECT_EQ(points_of(Generator::open(trainer.stage().device(), path), kCount), mixed);
  EXPECT_EQ(Generator::open(trainer.stage().device(), path).members(), std::ssize(best.members));
}

TEST(Lipizzaner, RanksTheMixturesOfAllCells) {
  const Settings s = grid(kRing, {"world.workers=6", "run.evaluate_every=3"});
  const Summary summary = train(s);
  ASSERT_EQ(summary.scores->ranking.size(), 6u);
  std::vector<bool> seen(6);
  for (size_t i = 0; i < 6; ++i) {
    const Scores::Ranked& at = summary.scores->ranking[i];
    seen[static_cast<size_t>(at.holder)] = true;
    if (i == 0) continue;
    const Scores::Ranked& before = summary.scores->ranking[i - 1];
    EXPECT_GE(std::pair(*before.modes, *before.high_quality), std::pair(*at.modes, *at.high_quality));
  }
  for (bool cell : seen) EXPECT_TRUE(cell);
  EXPECT_EQ(summary.scores->to_json()["ranking"].size(), 6u);
}

TEST(Lipizzaner, RefusesWhatDoesNotFit) {
  const auto start = [](std::vector<std::string> overrides) {
    return [overrides] {
      const Settings s = grid(kRing, overrides);
      Trainer(s, data_of(s));
    };
  };
  expect_refused({{"rows", start({"world.workers=6", "algorithm.rows=4"}), "algorithm.rows is 4", Fault::kUsage},
                  {"as shipped, not square", start({"world.workers=6", "algorithm.as_shipped=true"}),
                   "2 rows and 3 columns", Fault::kUsage},
                  {"as shipped, with a partition", start({"world.workers=4", "algorithm.as_shipped=true"}),
                   "no data partition", Fault::kUsage},
                  {"tournament", start({"algorithm.tournament=0"}), "algorithm.tournament", Fault::kUsage}});
}

}  // namespace
}  // namespace agon
