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

class MdGan final : public Algorithm {
 public:
  explicit MdGan(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        kappa_(read_kappa(stage.settings(), game_.workers)),
        batches_(stage.settings().flag("algorithm.distinct") ? kappa_ + 1 : kappa_),
        fresh_real_(stage.settings().flag("algorithm.fresh_real")),
        swap_every_(stage.epoch_iterations(stage.settings().number("algorithm.swap_epochs", 0, 1e9))),
        swap_(parse_swap(stage.settings().text("algorithm.swap"))),
        swap_moments_(parse_moments(stage.settings().text("algorithm.swap_moments"))),
        server_(stage, Generators::Place::kServer, batches_ * game_.batch),
        workers_(stage),
        judged_(stage.device(), game_.workers, game_.batch, game_.sample(), game_.conditional()),
        merged_(stage.device(), batches_, game_.batch, game_.sample()) {}

  // Algorithm 1.
  void iterate() override {
    const int64_t N = world_.size(), b = game_.batch, k = batches();

    // Server: k batches from one generator; worker n gets X_n^(g) and X_n^(d), two of them.
    const Batch fake = server_.generate().as_replicas(batches_).first(k);
    const Batch judged = judged_.view(N);
    world_.deal(fake, /*shift=*/1, workers_.generated());
    world_.deal(fake, /*shift=*/0, judged);

    // Workers: L learning iterations on X^(r) and X^(d), then the error feedback F_n on X^(g).
    workers_.learn(fresh_real_);
    const Tensor feedback = workers_.feedback(judged);

    // Server: Delta w = 1/(N b) * sum over n and i of e_ni dx_i/dw, one backward pass for each batch, one Adam step.
    Tensor merged = merged_.view();
    if (k < batches_) clear(merged);
    merged.replicas = k;
    world_.collect(feedback, /*shift=*/0, 1.f / static_cast<float>(N * b), merged);
    server_.learn(merged_.view());

    if (swap_due(world_.iteration()) && N > 1)
      world_.mix(workers_.fleet(), Mixing::permutation(swap_sources_at(world_.iteration(), N)),
                 MessageKind::kDiscriminators, Route::kPeers, swap_moments_);
  }

  std::vector<Transfer> planned(int64_t iteration, const std::vector<int64_t>& living) const override {
    std::vector<Transfer> plan;
    World::plan_deal(plan, living, game_.batch, game_.sample(), game_.conditional());  // X^(d)
    World::plan_deal(plan, living, game_.batch, game_.sample(), game_.conditional());  // X^(g)
    World::plan_collect(plan, living, game_.batch, game_.sample());
    const auto N = static_cast<int64_t>(living.size());
    if (swap_due(iteration) && N > 1)
      World::plan_mix(plan, living, Mixing::permutation(swap_sources_at(iteration, N)), *game_.discriminator,
                      MessageKind::kDiscriminators, Route::kPeers);
    return plan;
  }

  std::vector<Transfer> planned_join(int64_t worker, int64_t like) const override {
    return {World::model_transfer(*game_.discriminator, MessageKind::kDiscriminators, like, worker)};
  }

  std::vector<GeneratorWeights> generators() const override { return {server_.weights(0)}; }
  std::map<std::string, Fleet*> fleets() override {
    return {{"generator", &server_.fleet()}, {"discriminators", &workers_.fleet()}};
  }
  Losses losses() override { return {workers_.mean_loss(), workers_.mean_generator_loss()}; }
  void worker_lost(int64_t worker) override { remove_worker(world_, workers_.fleet(), worker); }
  void worker_joined(int64_t worker, int64_t like) override { insert_worker(world_, workers_.fleet(), worker, like); }

 private:
  /// k shrinks with the number of living workers.
  int64_t batches() const { return std::min(batches_, world_.size() + (batches_ - kappa_)); }
  bool swap_due(int64_t iteration) const { return swap_every_ > 0 && iteration % swap_every_ == 0; }
  std::vector<int64_t> swap_sources_at(int64_t iteration, int64_t workers) const {
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(iteration));
    return swap_sources(swap_, workers, random);
  }
  void clear(const Tensor& t) {
    world_.device().run(ops::Fill{.replicas = t.replicas, .count = t.size_per_replica(), .y = t.block()});
  }

  World& world_;
  const GamePlan& game_;
  int64_t kappa_, batches_;
  bool fresh_real_;
  int64_t swap_every_;
  SwapKind swap_;
  Moments swap_moments_;
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
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<MdGan>(stage); }}};

}  // namespace
}  // namespace agon
