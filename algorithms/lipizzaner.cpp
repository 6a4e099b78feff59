// Lipizzaner: spatial coevolution of GANs on a torus of cells (Schmiedlechner, Ng, Al-Dujaili, Hemberg & O'Reilly 2018;
// Al-Dujaili, Schmiedlechner, Hemberg & O'Reilly 2018).
//
// A cell is a worker. It owns a generator u and a discriminator v, and knows copies of its neighbours' as of the last
// exchange. One iteration is one epoch of every cell. Because all cells exchange at the same time, the copies are the
// cells' own models, read only while their trained copies change (or guests, of cells in other processes): the
// neighbourhood of all cells here is selection rows over one fleet, and an epoch of them is one batched program.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "algorithms/gradient_free.h"
#include "algorithms/lipizzaner_plan.h"
#include "algorithms/mixtures.h"

namespace agon {
namespace {

/// What is drawn at random on the host, for a cell in a moment of the run.
enum Draw : uint32_t { kTournamentG, kTournamentD, kMixture, kLoss, kRateG, kRateD, kRivalG, kRivalD };

/// Losses of Mustangs (Toutouh, Hemberg & O'Reilly 2019), one of which a cell draws for its generator in each epoch.
constexpr ops::GanLossKind kMustangs[] = {ops::GanLossKind::kMinimax, ops::GanLossKind::kLeastSquares,
                                          ops::GanLossKind::kNonSaturating};

class Lipizzaner final : public Algorithm {
 public:
  explicit Lipizzaner(Stage& stage)
      : stage_(stage),
        world_(stage.world()),
        game_(stage.game()),
        plan_(stage.settings(), game_, stage.shards().mean_size()),
        generators_(population(game_.generator.network, game_.generator_options)),
        discriminators_(population(game_.discriminator, game_.discriminator_options)),
        u_(fleet(game_.generator.network, game_.generator_options)),
        v_(fleet(game_.discriminator, game_.discriminator_options)),
        rival_u_(fleet(game_.generator.network, rival(game_.generator_options, /*differentiable=*/false))),
        rival_v_(fleet(game_.discriminator, rival(game_.discriminator_options, /*differentiable=*/true))),
        noise_(stage.device(), N(), game_.batch, {1, 1, game_.generator.latent}, game_.conditional()),
        both_(stage.device(), N(), 2 * game_.batch, game_.sample(), game_.conditional()),
        unused_(stage.device(), N(), game_.batch, game_.discriminator->output()),
        slopes_(stage.device(), std::ssize(kMustangs) * N(), game_.batch, game_.discriminator->output()),
        loss_u_(stage.device(), std::ssize(kMustangs) * N()),
        loss_v_(stage.device(), N()),
        sums_(stage.device(), most_sums()),
        moment_(stage.device(), 1),
        batch_number_(stage.device(), 1),
        first_cell_(stage.device(), N()),
        gradient_free_(stage.device(), N(), options().search_points, options().search_sigma),
        mixtures_(stage, plan_.options, generators_) {}

  void iterate() override {
    begin_epoch();
    if (N() > 0) coevolve();
    exchange();
    mixtures_.evolve(now_, [&](int64_t r) { return host_random(r, kMixture); });
    add_up_losses();
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return world_.models(generators_); }
  GeneratorWeights generator(int64_t index) const override { return world_.fetch(generators_, index); }
  std::vector<GeneratorMixture> mixtures() const override { return mixtures_.all(); }
  std::map<std::string, Fleet*> fleets() override {
    return {{"generators", &generators_}, {"discriminators", &discriminators_}};
  }
  std::vector<Fleet*> work_fleets() override { return {&u_, &v_, &rival_u_, &rival_v_}; }
  nlohmann::json state() const override { return mixtures_.state(); }
  void restore(const nlohmann::json& state) override {
    mixtures_.restore(state);
    for (Fleet* fleet : work_fleets()) fleet->set_replicas(generators_.replicas());
  }
  bool judges() const override { return true; }
  void judge_with(Evaluator& evaluator) override { mixtures_.judge_with(evaluator); }
  Losses losses() override {
    const Losses mean{learned_ ? sum_v_ / static_cast<double>(learned_) : 0,
                      judged_ ? sum_u_ / static_cast<double>(judged_) : 0};
    sum_u_ = sum_v_ = 0, learned_ = judged_ = 0;
    return mean;
  }
  void worker_lost(int64_t worker) override {
    if (world_.size() == 1) return;  // the last one's models stay, to be looked at
    for (const auto& [name, fleet] : fleets()) remove_worker(world_, *fleet, worker);
    for (Fleet* fleet : work_fleets()) fleet->set_replicas(generators_.replicas());
    mixtures_.forget(worker);
  }
  void worker_joined(int64_t worker, int64_t like) override {
    for (const auto& [name, fleet] : fleets()) insert_worker(world_, *fleet, worker, like);
    for (Fleet* fleet : work_fleets()) fleet->set_replicas(generators_.replicas());
  }

 private:
  using Table = std::vector<std::vector<double>>;  // [cell here][member of its neighbourhood]
  /// Mean losses: of the generators and the discriminators of each neighbourhood, lower is better.
  struct Fitness {
    Table u, v;
  };
  using Rates = std::vector<std::vector<float>>;  // [batches][N]

  /// An epoch of the cells here.
  void coevolve() {
    // Every pair of a neighbourhood plays on the cell's sample S of real data; a tournament picks u and v to train.
    const Fitness before = play_neighbourhoods();
    const std::vector<int64_t> picked_u = pick(before.u, kTournamentG), picked_v = pick(before.v, kTournamentD);
    world_.select(generators_, u_, replicas(picked_u), /*with_moments=*/true);
    world_.select(discriminators_, v_, replicas(picked_v), /*with_moments=*/true);

    // SGD, of the two picked against each other or random others of the neighbourhood, and Gaussian steps of their
    // learning rates.
    const Rates rates_u = mutate_rates(u_, game_.generator_options, kRateG);
    const Rates rates_v = mutate_rates(v_, game_.discriminator_options, kRateD);
    for (size_t t = 0; t < rates_u.size(); ++t) {
      u_.set_learning_rates(rates_u[t]);
      train_generators(picked_v);
      if (static_cast<int64_t>(t) % (options().skip + 1) != 0) continue;
      v_.set_learning_rates(rates_v[t]);
      train_discriminators(picked_u);
    }

    // The trained one takes the cell's place if it does strictly better than its present holder.
    replace(before, play_trained());
  }

  const LipizzanerOptions& options() const { return plan_.options; }
  int64_t N() const { return std::ssize(world_.here()); }  ///< cells here

  /// A network for each of `cells`.
  Fleet fleet(std::shared_ptr<const Network> network, FleetOptions options, const std::vector<int64_t>& cells) const {
    options.replicas = std::ssize(cells);
    options.split = game_.workers == 1;
    if (plan_.options.as_shipped) options.same_start = true;  // all cells have the same seed
    return Fleet(stage_.device(), std::move(network), options, cells);
  }
  Fleet fleet(std::shared_ptr<const Network> network, const FleetOptions& options) const {
    return fleet(std::move(network), options, world_.here());
  }
  /// With room for guests.
  Fleet population(std::shared_ptr<const Network> network, const FleetOptions& options) const {
    std::vector<int64_t> cells = world_.here();
    for (int64_t guest : world_.guests(plan_.options.neighbourhoods(world_.living()))) cells.push_back(guest);
    Fleet all = fleet(std::move(network), options, cells);
    all.set_replicas(N());
    return all;
  }
  static FleetOptions rival(FleetOptions options, bool differentiable) {
    options.trains = false, options.differentiable = differentiable;
    return options;
  }

  /// Moments count what is drawn at random: (iteration, number within it), for the device and for the host. Batches of
  /// real data are counted on the device through the whole run, so that every batch of an epoch is the same program.
  void begin_epoch() {
    now_ = static_cast<uint64_t>(world_.iteration()) << 24;
    moment_.set(std::span<const uint64_t>(&now_, 1));
    const auto before_first = static_cast<uint64_t>(world_.iteration() * plan_.batches - 1);
    batch_number_.set(std::span<const uint64_t>(&before_first, 1));
    const World::Neighbours all = options().neighbourhoods(world_.living());
    for (const auto& [name, fleet] : fleets()) world_.invite(all, *fleet);
    neighbourhoods_ = world_.replicas_of(all);
    kinds_.clear();
    for (int64_t r = 0; r < N(); ++r) {
      HostRandom random = host_random(r, kLoss);
      kinds_.push_back(options().mustangs ? random.below(std::ssize(kMustangs)) : 0);
    }
  }
  void next_moment() {
    ++now_;
    world_.device().run(ops::Advance{moment_.data()});
  }
  RandomKey key(RandomStream stream, uint32_t draw = 0) const {
    RandomKey key = world_.worker_key(stream, draw);
    key.iteration = moment_.data();
    return key;
  }
  HostRandom host_random(int64_t replica, Draw draw) const {
    return HostRandom(game_.seed, RandomStream::kAlgorithm,
                      static_cast<uint32_t>(world_.here()[static_cast<size_t>(replica)]), now_, draw);
  }

  /// G(z) of every cell, on fresh noise.
  Batch generate(Fleet& generators) {
    const Batch z = noise_.view(N());
    world_.device().run(ops::RandomFill{.kind = ops::RandomFill::Kind::kNormal,
                                        .replicas = N(),
                                        .count = z.x.size_per_replica(),
                                        .y = z.x.block(),
                                        .key = key(RandomStream::kNoise)});
    if (z.y)
      world_.device().run(ops::RandomLabels{.replicas = N(),
                                            .count = z.y.batch,
                                            .classes = game_.generator.classes,
                                            .y = z.y.block(),
                                            .key = key(RandomStream::kLabels)});
    return {generators.forward(z.x, {.labels = z.y, .key = key(RandomStream::kDropout, 0)}), z.y};
  }
  Tensor judge(Fleet& discriminators, const Tensor& x, int64_t groups = 1) {
    return discriminators.forward(x, {.groups = groups, .key = key(RandomStream::kDropout, 1)});
  }
  ops::GanLoss loss(ops::GanRole role, const Tensor& logits, const Labels& labels, const Tensor& slope,
                    float* sums) const {
    ops::GanLoss op = game_.loss;
    op.role = role, op.replicas = N(), op.batch = logits.batch;
    op.logits = logits.block(), op.labels = labels.block(), op.dlogits = slope.block();
    op.loss = {sums, 1};
    return op;
  }

  /// A row for each cell: the i-th member of its neighbourhood; of a smaller neighbourhood, itself.
  std::vector<int64_t> members(int64_t i) const {
    std::vector<int64_t> rows;
    for (const auto& all : neighbourhoods_) rows.push_back(i < std::ssize(all) ? all[static_cast<size_t>(i)] : all[0]);
    return rows;
  }
  /// As many games are played in each cell.
  int64_t largest_neighbourhood() const { return plan_.largest_neighbourhood(world_.living()); }

  // ---- Fitness ------------------------------------------------------------------------------------------------------

  /// Plays one batch after the other of u against v, each on fresh noise, and adds up both sides' losses.
  void play(Fleet& u, Fleet& v, float* sums_u, float* sums_v) {
    for (int64_t s = 0; s < options().fitness_batches; ++s, next_moment()) {
      const Batch fake = generate(u);
      const Tensor logits = judge(v, fake.x);
      world_.device().run(loss(ops::GanRole::kGenerator, logits, fake.y, unused_, sums_u));
      world_.device().run(loss(ops::GanRole::kFake, logits, fake.y, unused_, sums_v));
    }
  }
  /// Adds up v's losses on the sample S of this iteration.
  void play_real(Fleet& v, float* sums) {
    const auto S = static_cast<uint32_t>(options().fitness_batches);
    for (uint32_t s = 0; s < S; ++s, next_moment()) {
      const Batch real = both_.view(N()).rows(0, game_.batch);
      stage_.shards().sample(data_key(RandomStream::kAlgorithm, s), S, real);
      world_.device().run(loss(ops::GanRole::kReal, judge(v, real.x), real.y, unused_, sums));
    }
  }

  /// Sums of losses in every cell, of `players` against `opponents`.
  struct Games {
    int64_t players, opponents;
    float *u, *v;    // [players][opponents][N]
    float* v_real;   // [players][N]
    float* unasked;  // [N]
  };
  /// Floats that they take at most: everybody lives.
  int64_t most_sums() const {
    const int64_t n = largest_neighbourhood();
    return (2 * n * n + n + 1) * N();
  }
  /// All 0, in the same place each time.
  Games new_games(int64_t players, int64_t opponents) {
    const int64_t games = players * opponents * N(), reals = players * N();
    world_.device().run(ops::Fill{1, 2 * games + reals + N(), {sums_.data(), 0}, 0.f});
    float *u = sums_.data(), *v = u + games, *real = v + games;
    return {players, opponents, u, v, real, real + reals};
  }

  Fitness play_neighbourhoods() {
    const int64_t n = largest_neighbourhood();
    const Games games = new_games(n, n);
    for (int64_t j = 0; j < n; ++j) {
      world_.select(discriminators_, rival_v_, members(j), false);
      play_real(rival_v_, games.v_real + j * N());
      for (int64_t i = 0; i < n; ++i) {
        world_.select(generators_, rival_u_, members(i), false);
        play(rival_u_, rival_v_, games.u + (i * n + j) * N(), games.v + (j * n + i) * N());
      }
    }
    return fitness(games);
  }
  /// The trained pair against the same opponents, on the same S. How those do is not asked for.
  Fitness play_trained() {
    const int64_t n = largest_neighbourhood();
    const Games games = new_games(1, n);
    play_real(v_, games.v_real);
    for (int64_t k = 0; k < n; ++k) {
      world_.select(discriminators_, rival_v_, members(k), false);
      world_.select(generators_, rival_u_, members(k), false);
      play(u_, rival_v_, games.u + k * N(), games.unasked);
      play(rival_u_, v_, games.unasked, games.v + k * N());
    }
    return fitness(games);
  }
  /// Means, over the opponents that a cell really has.
  Fitness fitness(const Games& games) const {
    const std::vector<float> sums = sums_.host();
    const auto sum = [&](const float* block, size_t i) { return sums[static_cast<size_t>(block - sums_.data()) + i]; };
    const auto cells = static_cast<size_t>(N()), width = static_cast<size_t>(games.opponents) * cells;
    const double batches = static_cast<double>(options().fitness_batches);
    Fitness result{Table(cells), Table(cells)};
    for (size_t r = 0; r < cells; ++r) {
      const size_t opponents = neighbourhoods_[r].size();
      for (size_t i = 0; i < std::min(opponents, static_cast<size_t>(games.players)); ++i) {
        double sum_u = 0, sum_v = 0;
        for (size_t k = 0; k < opponents; ++k)
          sum_u += sum(games.u, i * width + k * cells + r), sum_v += sum(games.v, i * width + k * cells + r);
        const double played = batches * static_cast<double>(opponents);
        result.u[r].push_back(sum_u / played);
        result.v[r].push_back(sum_v / played + sum(games.v_real, i * cells + r) / batches);
      }
    }
    return result;
  }

  // ---- Selection and replacement ------------------------------------------------------------------------------------

  /// For each cell which member of its neighbourhood is trained; without selection its own.
  std::vector<int64_t> pick(const Table& loss, Draw draw) const {
    std::vector<int64_t> picked;
    for (int64_t r = 0; r < N(); ++r) {
      HostRandom random = host_random(r, draw);
      picked.push_back(
          options().selection ? agon::tournament(loss[static_cast<size_t>(r)], options().tournament, random) : 0);
    }
    return picked;
  }
  std::vector<int64_t> replicas(const std::vector<int64_t>& picked) const {
    std::vector<int64_t> rows;
    for (size_t r = 0; r < picked.size(); ++r) rows.push_back(neighbourhoods_[r][static_cast<size_t>(picked[r])]);
    return rows;
  }
  void replace(const Fitness& before, const Fitness& trained) {
    std::vector<int64_t> rows_u, rows_v;
    for (size_t r = 0; r < before.u.size(); ++r) {
      const auto better = [&](const Table& now, const Table& then) {
        return !options().selection || now[r].front() < then[r].front() ? static_cast<int64_t>(r) : -1;
      };
      rows_u.push_back(better(trained.u, before.u));
      rows_v.push_back(better(trained.v, before.v));
    }
    world_.select(u_, generators_, rows_u, true);
    world_.select(v_, discriminators_, rows_v, true);
  }
  void exchange() {
    const World::Neighbours all = options().neighbourhoods(world_.living());
    world_.exchange(generators_, all, MessageKind::kGenerators);
    world_.exchange(discriminators_, all, MessageKind::kDiscriminators);
    world_.ledger().record(plan_.controls(world_.living()));
  }

  // ---- Training -----------------------------------------------------------------------------------------------------

  /// Learning rates of this epoch, each mutated from the one before. The authors' program loses them when it restores
  /// Adam's state.
  Rates mutate_rates(const Fleet& fleet, const FleetOptions& network, Draw draw) const {
    const std::vector<float> start = fleet.learning_rates();
    Rates rates(static_cast<size_t>(plan_.batches), std::vector<float>(static_cast<size_t>(N())));
    for (int64_t r = 0; r < N(); ++r) {
      HostRandom random = host_random(r, draw);
      double rate = start[static_cast<size_t>(r)];
      for (std::vector<float>& of_batch : rates) {
        if (!options().as_shipped)
          rate = mutated_rate(rate, network.optimiser.learning_rate, options().rate_scale, options().rate_probability,
                              random);
        of_batch[static_cast<size_t>(r)] = static_cast<float>(rate);
      }
    }
    return rates;
  }
  /// Each cell's opponent: the other one picked, or a random member of its neighbourhood. Of the one that was picked
  /// its copy in training takes the place.
  void draw_rivals(const Fleet& population, const Fleet& trained, const std::vector<int64_t>& picked, Draw draw,
                   Fleet& rivals) {
    std::vector<int64_t> still, learning;
    for (int64_t r = 0; r < N(); ++r) {
      const auto& all = neighbourhoods_[static_cast<size_t>(r)];
      const int64_t member =
          options().all_opponents ? host_random(r, draw).below(std::ssize(all)) : picked[static_cast<size_t>(r)];
      const bool live = member == picked[static_cast<size_t>(r)];
      learning.push_back(live ? r : -1);
      still.push_back(live ? -1 : all[static_cast<size_t>(member)]);
    }
    world_.select(population, rivals, still, false);
    world_.select(trained, rivals, learning, false);
    if (options().all_opponents) world_.device().flush();  // what follows is the same in every batch
  }

  /// One step of every u against one discriminator of its neighbourhood.
  void train_generators(const std::vector<int64_t>& picked_v) {
    world_.device().run(ops::Advance{batch_number_.data()});
    draw_rivals(discriminators_, v_, picked_v, kRivalG, rival_v_);
    const Batch fake = generate(u_);
    const Tensor logits = judge(rival_v_, fake.x), slope = rival_v_.output_gradient();
    if (!options().mustangs) {
      world_.device().run(loss(ops::GanRole::kGenerator, logits, fake.y, slope, loss_u_.data()));
    } else {
      mustangs_loss(logits, fake.y, slope);
    }
    if (options().trainer == "gradient") {
      u_.backward(rival_v_.backward(Grads::kInput), Grads::kParams);
      u_.step(1.0 / static_cast<double>(game_.batch));
    } else {
      learn_from_losses(u_, rival_u_, [&](Fleet& u, float* sums) {
        const Batch made = generate(u);
        world_.device().run(loss(ops::GanRole::kGenerator, judge(rival_v_, made.x), made.y, unused_, sums));
      });
    }
    next_moment();
  }
  /// All three losses, of which each cell takes the gradient of its own.
  void mustangs_loss(const Tensor& logits, const Labels& labels, const Tensor& slope) {
    auto rows = std::make_shared<ops::Mix::Rows>();
    for (int64_t k = 0; k < std::ssize(kMustangs); ++k) {
      Tensor own = slopes_.view();
      own.data += k * N() * own.stride;
      ops::GanLoss op = loss(ops::GanRole::kGenerator, logits, labels, own, loss_u_.data() + k * N());
      op.kind = kMustangs[k];
      world_.device().run(op);
    }
    for (int64_t r = 0; r < N(); ++r) {
      rows->begin.push_back(r);
      rows->column.push_back(kinds_[static_cast<size_t>(r)] * N() + r);
      rows->weight.push_back(1.f);
    }
    rows->begin.push_back(N());
    world_.device().run(ops::Mix{slope.size_per_replica(), slopes_.view().block(), slope.block(), rows});
  }

  /// One step of every v on a real batch, and on one of a generator of its neighbourhood.
  void train_discriminators(const std::vector<int64_t>& picked_u) {
    const int64_t b = game_.batch;
    const Batch both = both_.view(N()), real = both.rows(0, b), fake = both.rows(b, b);
    draw_rivals(generators_, u_, picked_u, kRivalD, rival_u_);
    copy(world_.device(), generate(rival_u_), fake);
    RandomKey data = data_key(RandomStream::kSamples, 0);
    data.iteration = batch_number_.data();
    stage_.shards().sample(data, 1, real);
    const Tensor logits = judge(v_, both.x, /*groups=*/2), slope = v_.output_gradient();
    ops::GanLoss on_real = loss(ops::GanRole::kReal, logits.rows(0, b), real.y, slope.rows(0, b), loss_v_.data());
    ops::GanLoss on_fake = loss(ops::GanRole::kFake, logits.rows(b, b), fake.y, slope.rows(b, b), loss_v_.data());
    on_real.scale = on_fake.scale = 1.f / static_cast<float>(b);
    world_.device().run(on_real);
    world_.device().run(on_fake);
    if (options().trainer == "gradient") {
      v_.backward(Grads::kParams);
      v_.step();
    } else {
      learn_from_losses(v_, rival_v_, [&](Fleet& v, float* sums) {
        world_.device().run(loss(ops::GanRole::kReal, judge(v, real.x), real.y, unused_, sums));
        world_.device().run(loss(ops::GanRole::kFake, judge(v, fake.x), fake.y, unused_, sums));
      });
    }
    next_moment();
  }
  /// A step without backpropagation.
  void learn_from_losses(Fleet& trained, Fleet& at, const GradientFree::Loss& loss) {
    const auto draws = [&](uint32_t draw) { return key(RandomStream::kAlgorithm, draw); };
    if (options().trainer == "es") return gradient_free_.evolve(trained, at, draws, loss);
    gradient_free_.estimate_gradients(trained, at, draws, loss);
    trained.step();
  }
  /// Of real data; the authors' cells all read the same batches.
  RandomKey data_key(RandomStream stream, uint32_t draw) const {
    RandomKey key = world_.worker_key(stream, draw);
    if (options().as_shipped) key.workers = first_cell_.data();
    return key;
  }
  void add_up_losses() {
    const std::vector<float> u = loss_u_.host(), v = loss_v_.host();
    std::vector<float> own;
    for (int64_t r = 0; r < N(); ++r) own.push_back(u[static_cast<size_t>(kinds_[static_cast<size_t>(r)] * N() + r)]);
    for (float sum : world_.gather(own)) sum_u_ += sum;
    for (float sum : world_.gather(v)) sum_v_ += sum;
    judged_ += world_.size() * plan_.batches, learned_ += world_.size() * plan_.discriminator_steps();
    loss_u_.set(std::vector<float>(u.size(), 0.f));
    loss_v_.set(std::vector<float>(v.size(), 0.f));
  }

  Stage& stage_;
  World& world_;
  const GamePlan& game_;
  const LipizzanerPlan plan_;
  Fleet generators_, discriminators_;  // [N] the cells' own, which their neighbours have copies of, then guests
  Fleet u_, v_;                        // [N] the pair that each cell trains
  Fleet rival_u_, rival_v_;            // [N] an opponent for each cell, held fixed
  BatchBuffer noise_, both_;           // [N, b] z; [N, 2b] real, then generated
  TensorBuffer unused_, slopes_;       // [N, b] of losses that nothing learns from; [3 N, b] of Mustangs' losses
  Buffer<float> loss_u_, loss_v_;      // [3 N] by Mustangs' losses, [N]: sums of this epoch
  Buffer<float> sums_;                 // of the games that are played, see Games
  Buffer<uint64_t> moment_;            // [1]
  Buffer<uint64_t> batch_number_;      // [1]: iteration * batches + t
  Buffer<uint32_t> first_cell_;        // [N] zeros
  GradientFree gradient_free_;
  Mixtures mixtures_;
  // Of the present epoch.
  uint64_t now_ = 0;
  World::Neighbours neighbourhoods_;  // of the cells here, as replicas
  std::vector<int64_t> kinds_;        // of Mustangs' losses
  // Since losses() was called.
  double sum_u_ = 0, sum_v_ = 0;
  int64_t learned_ = 0, judged_ = 0;
};

const AlgorithmRegistration registration{
    {"lipizzaner",
     "spatial coevolution: a GAN in every cell of a torus, that learns from its neighbours (Schmiedlechner et al. "
     "2018)",
     {{"run.iterations", "200", "epochs of every cell's data"},
      {"run.evaluate_every", "10", "epochs between scores; 0: never"},
      {"run.log_every", "1", "epochs between log lines; losses are checked for NaN there; 0: never"},
      {"run.sample_every", "10", "epochs between sample pictures; 0: only at the end"},
      {"run.checkpoint_every", "10", "epochs between checkpoints; 0: only when interrupted, and at the end"},
      {"world.workers", "9", "N: cells of the grid"},
      {"algorithm.rows", "0", "rows of the grid of world.workers cells; 0: the most square grid"},
      {"algorithm.selection", "true", "a tournament picks whom a cell trains; false: its own pair"},
      {"algorithm.opponents",
       "\"picked\"",
       "whom the trained ones learn against: each other, or each batch a random member of the neighbourhood",
       {"picked", "neighbourhood"}},
      {"algorithm.tournament", "2", "members of a tournament"},
      {"algorithm.trainer",
       "\"gradient\"",
       "how a batch is learnt from: by backpropagation; natural evolution strategies; a (1 + P) evolution strategy",
       {"gradient", "nes", "es"}},
      {"algorithm.search_points", "20", "of nes and es, P: perturbations of the weights each batch"},
      {"algorithm.search_sigma", "0.02", "of nes and es: standard deviation of these perturbations"},
      {"algorithm.fitness_batches", "10", "fitness is a mean over so many batches"},
      {"algorithm.skip_discriminator", "1", "batches without a step of D between two with one"},
      {"algorithm.rate_mutation", "1e-4", "learning rates: scale of their Gaussian mutation, in units of the first"},
      {"algorithm.rate_probability", "0.5", "learning rates: how probable a mutation is, each batch"},
      {"algorithm.mixture_sigma", "0.01", "mixture weights: standard deviation of their mutation; needs a scorer"},
      {"algorithm.mustangs", "false", "each epoch a cell draws G's loss: minimax, least squares or non-saturating"},
      {"algorithm.as_shipped", "false",
       "as the authors' program: mirrored neighbours, one start and one data order for all, learning rates that stay"}},
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<LipizzanerPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<Lipizzaner>(stage); },
     /*spreads=*/true}};

}  // namespace
}  // namespace agon
