// Federated averaging of whole GANs: FL-GAN, where every worker weighs the same (Hardy et al. 2019, section III.c;
// McMahan et al. 2016), and FedGAN, where it weighs as much as it has data (Rasouli et al. 2020).
#include <nlohmann/json.hpp>

#include "algorithms/rounds.h"

namespace agon {
namespace {

class FlGanPlan final : public RoundPlan {
 public:
  FlGanPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : RoundPlan(settings, game, mean_shard, Route::kServer),
        by_data_(settings.text("algorithm.weighting") == "data") {}

  Matrices matrices(int64_t, const std::vector<int64_t>& living) const override {
    const Mixing average =
        Mixing::average(std::ssize(living), by_data_ ? game_.shares_of(living) : std::vector<double>{});
    return {average, average};
  }
  std::vector<FleetUse> fleets() const override {
    std::vector<FleetUse> list = RoundPlan::fleets();
    list.push_back({"server", game_.generator.network.get(), 1, false});
    return list;
  }

 private:
  const bool by_data_;
};

class FlGan final : public Algorithm {
 public:
  explicit FlGan(Stage& stage)
      : world_(stage.world()),
        plan_(stage.settings(), stage.game(), stage.shards().mean_size()),
        gans_(stage, plan_),
        server_(stage, Place::kServer, {.batch = 1, .trains = false}) {
    keep_average();
  }

  void iterate() override {
    // Workers: one iteration of their own GAN on their own data. Every K iterations the server averages all G and all
    // D, and sends the averages back.
    if (gans_.learn()) keep_average();
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  /// Scores use the server's generator: the average of the last round.
  int64_t generators() const override { return 1; }
  GeneratorWeights generator(int64_t) const override { return server_.weights(0); }
  std::map<std::string, Fleet*> fleets() override {
    auto fleets = gans_.fleets();
    fleets["server"] = &server_.fleet();
    return fleets;
  }
  std::vector<Fleet*> work_fleets() override { return gans_.work_fleets(); }
  nlohmann::json state() const override { return gans_.state(); }
  void restore(const nlohmann::json& state) override { gans_.restore(state); }
  Losses losses() override { return gans_.losses(); }
  void worker_lost(int64_t worker) override { gans_.worker_lost(worker); }
  void worker_joined(int64_t worker, int64_t like) override { gans_.worker_joined(worker, like); }

 private:
  void keep_average() { world_.fetch(gans_.generators(), 0, server_.fleet()); }

  World& world_;
  const FlGanPlan plan_;
  RoundGans gans_;
  Generators server_;  // the averaged generator
};

std::vector<Settings::Option> options(const std::string& weighting, const std::string& round_iterations) {
  std::vector<Settings::Option> list = round_options(round_iterations, "1.0");
  list.push_back({"algorithm.weighting", weighting, "what a worker weighs in the averages", {"equal", "data"}});
  return list;
}

std::unique_ptr<AlgorithmPlan> plan(const Settings& settings, const GamePlan& game, double mean_shard) {
  return std::make_unique<FlGanPlan>(settings, game, mean_shard);
}
std::unique_ptr<Algorithm> make(Stage& stage) { return std::make_unique<FlGan>(stage); }

const AlgorithmRegistration fl_gan{{"fl-gan", "federated averaging of whole GANs (Hardy et al. 2019, section III.c)",
                                    options("\"equal\"", "0"), plan, make, /*spreads=*/true}};
const AlgorithmRegistration fedgan{{"fedgan",
                                    "federated averaging of whole GANs, weighted by data (Rasouli et al. 2020)",
                                    options("\"data\"", "20"), plan, make, /*spreads=*/true}};

}  // namespace
}  // namespace agon
