// FL-GAN: federated averaging of whole GANs (Hardy et al. 2019, section III.c; McMahan et al. 2016).
#include "algorithms/players.h"

namespace agon {
namespace {

class FlGanPlan final : public LocalPlan {
 public:
  FlGanPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : LocalPlan(game),
        moments(parse_moments(settings.text("algorithm.moments"))),
        round_(settings.integer("algorithm.round_iterations", 0)) {
    if (round_ == 0)
      round_ = epoch_iterations(mean_shard, settings.number("algorithm.swap_epochs", 0, 1e9), game.batch);
  }

  bool round_due(int64_t iteration) const { return round_ > 0 && iteration % round_ == 0; }

  std::vector<FleetUse> fleets() const override {
    std::vector<FleetUse> list = LocalPlan::fleets();
    list.push_back({"server", game_.generator.network.get(), 1, false});
    return list;
  }
  std::vector<Transfer> messages(int64_t iteration, const std::vector<int64_t>& living) const override {
    std::vector<Transfer> list;
    if (!round_due(iteration)) return list;
    const Mixing average = Mixing::average(static_cast<int64_t>(living.size()));
    const bool travel = moments == Moments::kTravel;
    World::plan_mix(list, living, average, generator_floats(travel), MessageKind::kGenerators, Route::kServer);
    World::plan_mix(list, living, average, discriminator_floats(travel), MessageKind::kDiscriminators, Route::kServer);
    return list;
  }

  const Moments moments;

 private:
  int64_t round_;
};

class FlGan final : public Algorithm {
 public:
  explicit FlGan(Stage& stage)
      : world_(stage.world()),
        plan_(stage.settings(), stage.game(), stage.shards().mean_size()),
        gans_(stage),
        server_(stage.device(), stage.game().generator.network, server_options(stage.game())) {
    keep_average();
  }

  void iterate() override {
    // Workers: one iteration of their own GAN on their own data.
    gans_.learn();

    // Every E epochs the server averages all G and all D, and sends the averages back.
    if (plan_.round_due(world_.iteration())) {
      const Mixing average = Mixing::average(world_.size());
      world_.mix(gans_.generators().fleet(), average, MessageKind::kGenerators, Route::kServer, plan_.moments);
      world_.mix(gans_.discriminators().fleet(), average, MessageKind::kDiscriminators, Route::kServer, plan_.moments);
      keep_average();
    }
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  /// Scores use the server's generator: the average of the last round.
  std::vector<GeneratorWeights> generators() const override {
    return {{server_.replica_weights(0), server_.replica_state(0)}};
  }
  std::map<std::string, Fleet*> fleets() override {
    auto fleets = gans_.fleets();
    fleets["server"] = &server_;
    return fleets;
  }
  Losses losses() override { return gans_.losses(); }
  void worker_lost(int64_t worker) override { gans_.worker_lost(worker); }
  void worker_joined(int64_t worker, int64_t like) override { gans_.worker_joined(worker, like); }

 private:
  static FleetOptions server_options(const GamePlan& game) {
    FleetOptions options = game.generator_options;
    options.trains = false;
    return options;
  }
  void keep_average() {
    const GeneratorWeights average = gans_.generator(0);
    server_.set_replica(0, average.weights, average.state);
  }

  World& world_;
  const FlGanPlan plan_;
  LocalGans gans_;
  Fleet server_;  // the averaged generator
};

const AlgorithmRegistration registration{
    {"fl-gan",
     "federated averaging of whole GANs (Hardy et al. 2019, section III.c)",
     {{"algorithm.swap_epochs", "1.0", "E: local epochs between averages; 0: never"},
      {"algorithm.round_iterations", "0", "local iterations between averages, in place of E epochs; 0: by epochs"},
      {"algorithm.moments", "\"stay\"", "Adam's moments when models are averaged", {"stay", "average", "reset"}}},
     [](const Settings& settings, const GamePlan& game, double mean_shard) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<FlGanPlan>(settings, game, mean_shard);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<FlGan>(stage); }}};

}  // namespace
}  // namespace agon
