// MD-GAN: one generator on the server, N discriminators on workers that swap (Hardy, Le Merrer & Sericola, IPDPS 2019).
#include <algorithm>
#include <cmath>

#include "algorithms/players.h"

namespace agon {
namespace {

/// kappa: a number of batches, or "log" for floor(ln N) (at least 1).
int64_t read_kappa(const Settings& settings, int64_t workers) {
  if (settings.is_text("algorithm.kappa")) {
    if (settings.text("algorithm.kappa") != "log")
      fail(Fault::kUsage, "algorithm.kappa is \"{}\", expected a number or \"log\"", settings.text("algorithm.kappa"));
    return std::max<int64_t>(1, static_cast<int64_t>(std::log(static_cast<double>(workers))));
  }
  const int64_t kappa = settings.integer("algorithm.kappa", 1);
  if (kappa > workers)
    fail(Fault::kUsage, "algorithm.kappa is {}, expected at most the number of workers, {}", kappa, workers);
  return kappa;
}

/// What MD-GAN computes and sends in each iteration.
class MdGanPlan final : public AlgorithmPlan {
 public:
  MdGanPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : kappa(read_kappa(settings, game.workers)),
        distinct(settings.flag("algorithm.distinct")),
        swap_every(epoch_iterations(mean_shard, settings.number("algorithm.swap_epochs", 0, 1e9), game.batch)),
        swap(parse_swap(settings.text("algorithm.swap"))),
        swap_moments(parse_moments(settings.text("algorithm.swap_moments"))),
        game_(game) {}

  /// The number of generated batches; k shrinks with the number of living workers.
  int64_t batches(int64_t workers) const { return std::min(kappa, workers) + (distinct ? 1 : 0); }
  bool swap_due(int64_t iteration, int64_t workers) const {
    return swap_every > 0 && workers > 1 && iteration % swap_every == 0;
  }
  /// SWAP() of iteration `iteration`: the same at every participant.
  Mixing swap_matrix(int64_t iteration, int64_t workers) const {
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(iteration));
    return Mixing::permutation(swap_sources(swap, workers, random));
  }

  std::vector<FleetUse> fleets() const override {
    return {{"generator", game_.generator.network.get(), 1, true, batches(game_.workers) * game_.batch,
             batches(game_.workers)},
            {"discriminators", game_.discriminator.get(), game_.workers, true, 2 * game_.batch, 2}};
  }
  std::vector<Phase> phases(int64_t iteration, const std::vector<int64_t>& living) const override {
    const auto N = static_cast<int64_t>(living.size());
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const int64_t b = game_.batch, k = batches(N);
    std::vector<Phase> list = {
        {.server = {{G, k * b}}},
        {.workers = {{D, 2 * b, game_.local_steps, Grads::kParams}, {D, b, 1, Grads::kInput}}, .who = living},
        {.server = {{G, k * b, 1, Grads::kParams, /*forward=*/false}}}};
    World::plan_deal(list[0].messages, living, b, game_.sample(), game_.conditional());  // X^(d)
    World::plan_deal(list[0].messages, living, b, game_.sample(), game_.conditional());  // X^(g)
    World::plan_collect(list[1].messages, living, b, game_.sample());
    if (swap_due(iteration, N))
      World::plan_mix(list[2].messages, living, swap_matrix(iteration, N),
                      discriminator_floats(swap_moments == Moments::kTravel), MessageKind::kDiscriminators,
                      Route::kPeers);
    return list;
  }
  std::vector<Transfer> join_messages(int64_t worker, int64_t like) const override {
    return {World::model_transfer(discriminator_floats(true), MessageKind::kDiscriminators, like, worker)};
  }

  const int64_t kappa;
  const bool distinct;
  const int64_t swap_every;
  const SwapKind swap;
  const Moments swap_moments;

 private:
  int64_t discriminator_floats(bool with_moments) const {
    return Fleet::model_floats(*game_.discriminator, game_.discriminator_options.optimiser, with_moments);
  }

  GamePlan game_;
};

class MdGan final : public Algorithm {
 public:
  explicit MdGan(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        plan_(stage.settings(), game_, stage.shards().mean_size()),
        fresh_real_(stage.settings().flag("algorithm.fresh_real")),
        batches_(plan_.batches(game_.workers)),
        server_(stage, Place::kServer, {.batch = batches_ * game_.batch, .groups = batches_}),
        workers_(stage),
        judged_(stage.device(), game_.workers, game_.batch, game_.sample(), game_.conditional()),
        merged_(stage.device(), batches_, game_.batch, game_.sample()) {}

  // Algorithm 1.
  void iterate() override {
    const int64_t N = world_.size(), b = game_.batch, k = plan_.batches(N);

    // Server: k batches from one generator; worker n gets X_n^(g) and X_n^(d), two of them.
    const Batch fake = server_.generate().as_replicas(batches_).first(k);
    const Batch judged = judged_.view(N);
    world_.deal(fake, /*shift=*/1, workers_.generated());
    world_.deal(fake, /*shift=*/0, judged);

    // Workers: L learning iterations on X^(r) and X^(d), then the error feedback F_n on X^(g).
    workers_.learn(fresh_real_);
    const Tensor feedback = workers_.feedback(judged);

    // Server: Delta w = 1/(N b) * sum over n and i of e_ni dx_i/dw, one backward pass for each batch, one Adam step.
    world_.collect(feedback, /*shift=*/0, 1.f / static_cast<float>(N * b), merged_.view(), k);
    server_.learn(merged_.view());

    if (plan_.swap_due(world_.iteration(), N))
      world_.mix(workers_.fleet(), plan_.swap_matrix(world_.iteration(), N), MessageKind::kDiscriminators,
                 Route::kPeers, plan_.swap_moments);
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return 1; }
  GeneratorWeights generator(int64_t) const override { return server_.weights(0); }
  std::map<std::string, Fleet*> fleets() override {
    return {{"generator", &server_.fleet()}, {"discriminators", &workers_.fleet()}};
  }
  Losses losses() override { return {workers_.mean_loss(), workers_.mean_generator_loss()}; }
  void worker_lost(int64_t worker) override { remove_worker(world_, workers_.fleet(), worker); }
  void worker_joined(int64_t worker, int64_t like) override { insert_worker(world_, workers_.fleet(), worker, like); }

 private:
  World& world_;
  const GamePlan& game_;
  const MdGanPlan plan_;
  const bool fresh_real_;
  const int64_t batches_;  // with all workers living
  Generators server_;
  Discriminators workers_;
  BatchBuffer judged_;   // [N, b]: X^(g) of every worker
  TensorBuffer merged_;  // [k, b]: summed feedback of each batch
};

const AlgorithmRegistration registration{
    {"md-gan",
     "one generator on the server, a discriminator on every worker that swaps (Hardy et al. 2019)",
     {{"algorithm.kappa", "1", "k: generated batches per iteration; \"log\": floor(ln N)", {"log"}},
      {"algorithm.distinct", "false", "k + 1 batches, so that X^(g) and X^(d) differ even for k = 1"},
      {"algorithm.fresh_real", "true", "a new real batch for each of the L local steps"},
      {"algorithm.swap_epochs", "1.0", "E: local epochs between swaps; 0: never"},
      {"algorithm.swap",
       "\"derangement\"",
       "whom a discriminator goes to",
       {"derangement", "pairwise", "ring", "uniform"}},
      {"algorithm.swap_moments", "\"stay\"", "Adam's moments on a swap", {"stay", "travel", "reset"}}},
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<MdGanPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<MdGan>(stage); }}};

}  // namespace
}  // namespace agon
