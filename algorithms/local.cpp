// GANs without any exchange: `standalone`, one GAN that sees all the data, and `local`, one for each worker on its
// shard.
#include "algorithms/players.h"

namespace agon {
namespace {

class Local final : public Algorithm {
 public:
  explicit Local(Stage& stage) : plan_(stage.game()), gans_(stage) {}

  void iterate() override { gans_.learn(); }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return gans_.models(); }
  GeneratorWeights generator(int64_t index) const override { return gans_.generator(index); }
  std::map<std::string, Fleet*> fleets() override { return gans_.fleets(); }
  Losses losses() override { return gans_.losses(); }
  void worker_lost(int64_t worker) override { gans_.worker_lost(worker); }
  void worker_joined(int64_t worker, int64_t like) override { gans_.worker_joined(worker, like); }

 private:
  const LocalPlan plan_;
  LocalGans gans_;
};

std::unique_ptr<AlgorithmPlan> plan_local(const Settings&, const GamePlan& game, double) {
  return std::make_unique<LocalPlan>(game);
}

std::unique_ptr<Algorithm> make_local(Stage& stage) { return std::make_unique<Local>(stage); }

std::unique_ptr<AlgorithmPlan> plan_standalone(const Settings&, const GamePlan& game, double) {
  if (game.workers != 1)
    fail(Fault::kUsage,
         "algorithm \"standalone\" is one GAN on all the data, but world.workers is {}; expected 1, or algorithm "
         "\"local\"",
         game.workers);
  return std::make_unique<LocalPlan>(game);
}

std::unique_ptr<Algorithm> make_standalone(Stage& stage) {
  plan_standalone(stage.settings(), stage.game(), 0);  // checks
  return make_local(stage);
}

const AlgorithmRegistration local{
    {"local", "one GAN for each worker, no exchange", {}, plan_local, make_local, /*spreads=*/true}};
const AlgorithmRegistration standalone{{"standalone",
                                        "one GAN that sees all the data",
                                        {{"world.workers", "1", "N; a standalone GAN is alone"}},
                                        plan_standalone,
                                        make_standalone,
                                        /*spreads=*/true}};

}  // namespace
}  // namespace agon
