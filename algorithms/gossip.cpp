// Gossiping GANs (Hardy, Le Merrer & Sericola, DIDL 2018): every K iterations each machine sends its w and theta to a
// random other one, which averages them with its own. `gossip-ind` sends theta to another one than w.
#include <nlohmann/json.hpp>

#include "algorithms/rounds.h"

namespace agon {
namespace {

class GossipPlan final : public RoundPlan {
 public:
  GossipPlan(const Settings& settings, const GamePlan& game, double mean_shard)
      : RoundPlan(settings, game, mean_shard, Route::kPeers), independent_(settings.flag("algorithm.independent")) {}

  Matrices matrices(int64_t iteration, const std::vector<int64_t>& living) const override {
    HostRandom random(game_.seed, RandomStream::kMixing, kServerDraws, static_cast<uint64_t>(iteration));
    const Mixing generators = Mixing::gossip(gossip_targets(std::ssize(living), random));
    return {generators, independent_ ? Mixing::gossip(gossip_targets(std::ssize(living), random)) : generators};
  }

 private:
  const bool independent_;
};

class Gossip final : public Algorithm {
 public:
  explicit Gossip(Stage& stage)
      : plan_(stage.settings(), stage.game(), stage.shards().mean_size()), gans_(stage, plan_) {}

  void iterate() override { gans_.learn(); }

  const AlgorithmPlan& plan() const override { return plan_; }
  /// Scores are means over all machines.
  int64_t generators() const override { return gans_.models(); }
  GeneratorWeights generator(int64_t index) const override { return gans_.generator(index); }
  std::map<std::string, Fleet*> fleets() override { return gans_.fleets(); }
  std::vector<Fleet*> work_fleets() override { return gans_.work_fleets(); }
  nlohmann::json state() const override { return gans_.state(); }
  void restore(const nlohmann::json& state) override { gans_.restore(state); }
  Losses losses() override { return gans_.losses(); }
  void worker_lost(int64_t worker) override { gans_.worker_lost(worker); }
  void worker_joined(int64_t worker, int64_t like) override { gans_.worker_joined(worker, like); }

 private:
  const GossipPlan plan_;
  RoundGans gans_;
};

std::vector<Settings::Option> options(const std::string& independent) {
  std::vector<Settings::Option> list = round_options("200", "0.0");
  list.push_back({"algorithm.independent", independent, "discriminators go to other machines than generators"});
  return list;
}

std::unique_ptr<AlgorithmPlan> plan(const Settings& settings, const GamePlan& game, double mean_shard) {
  return std::make_unique<GossipPlan>(settings, game, mean_shard);
}
std::unique_ptr<Algorithm> make(Stage& stage) { return std::make_unique<Gossip>(stage); }

const AlgorithmRegistration gossip{{"gossip", "each machine sends its GAN to a random other one (Hardy et al. 2018)",
                                    options("false"), plan, make,
                                    /*spreads=*/true}};
const AlgorithmRegistration gossip_ind{{"gossip-ind", "gossip of generators and discriminators to different machines",
                                        options("true"), plan, make,
                                        /*spreads=*/true}};

}  // namespace
}  // namespace agon
