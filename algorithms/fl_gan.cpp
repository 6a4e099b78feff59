// FL-GAN: federated averaging of whole GANs (Hardy et al. 2019, section III.c; McMahan et al. 2016).
#include "algorithms/players.h"

namespace agon {
namespace {

class FlGan final : public Algorithm {
 public:
  explicit FlGan(Stage& stage)
      : world_(stage.world()),
        game_(stage.game()),
        round_(round_length(stage)),
        moments_(parse_moments(stage.settings().text("algorithm.moments"))),
        gans_(stage),
        server_(stage.device(), game_.generator.network, server_options(game_)) {
    keep_average();
  }

  void iterate() override {
    // Workers: one iteration of their own GAN on their own data.
    gans_.learn();

    // Every E epochs the server averages all G and all D, and sends the averages back.
    if (round_due(world_.iteration())) {
      const Mixing average = Mixing::average(world_.size());
      world_.mix(gans_.generators().fleet(), average, MessageKind::kGenerators, Route::kServer, moments_);
      world_.mix(gans_.discriminators().fleet(), average, MessageKind::kDiscriminators, Route::kServer, moments_);
      keep_average();
    }
  }

  std::vector<Transfer> planned(int64_t iteration, const std::vector<int64_t>& living) const override {
    std::vector<Transfer> plan;
    if (!round_due(iteration)) return plan;
    const Mixing average = Mixing::average(static_cast<int64_t>(living.size()));
    World::plan_mix(plan, living, average, *game_.generator.network, MessageKind::kGenerators, Route::kServer);
    World::plan_mix(plan, living, average, *game_.discriminator, MessageKind::kDiscriminators, Route::kServer);
    return plan;
  }

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
  std::vector<Transfer> planned_join(int64_t worker, int64_t like) const override {
    return gans_.planned_join(worker, like);
  }

 private:
  static int64_t round_length(Stage& stage) {
    const int64_t fixed = stage.settings().integer("algorithm.round_iterations", 0);
    return fixed > 0 ? fixed : stage.epoch_iterations(stage.settings().number("algorithm.swap_epochs", 0, 1e9));
  }
  static FleetOptions server_options(const GamePlan& game) {
    FleetOptions options = game.generator_options;
    options.trains = false;
    return options;
  }
  bool round_due(int64_t iteration) const { return round_ > 0 && iteration % round_ == 0; }
  void keep_average() {
    const GeneratorWeights average = gans_.generator(0);
    server_.set_replica(0, average.weights, average.state);
  }

  World& world_;
  const GamePlan& game_;
  int64_t round_;
  Moments moments_;
  LocalGans gans_;
  Fleet server_;  // the averaged generator
};

const AlgorithmRegistration registration{
    {"fl-gan",
     "federated averaging of whole GANs (Hardy et al. 2019, section III.c)",
     {{"algorithm.swap_epochs", "1.0", "E: local epochs between averages; 0: never"},
      {"algorithm.round_iterations", "0", "local iterations between averages, in place of E epochs; 0: by epochs"},
      {"algorithm.moments", "\"stay\"", "Adam's moments when models are averaged", {"stay", "average", "reset"}}},
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<FlGan>(stage); }}};

}  // namespace
}  // namespace agon
