// Synchronous data parallelism, as users of Horovod train a GAN: every worker holds the same G and the same D, and all
// gradients are averaged before each step. As one GAN with batches of N b samples, but for what batch norm sees.
#include "algorithms/players.h"

namespace agon {
namespace {

class AllReducePlan final : public LocalPlan {
 public:
  using LocalPlan::LocalPlan;

  std::vector<Phase> phases(int64_t, const std::vector<int64_t>& living) const override {
    const Network *G = game_.generator.network.get(), *D = game_.discriminator.get();
    const int64_t b = game_.batch;
    const auto share = [&](Phase phase, const Network* network) {
      phase.who = living;
      World::plan_all_reduce(phase.messages, living, network->parameters());
      return phase;
    };
    std::vector<Phase> list;
    for (int64_t l = 0; l < game_.local_steps; ++l) {
      list.push_back(share({.workers = {{D, 2 * b, 1, Grads::kParams}}}, D));
      if (l == 0) list[0].workers.insert(list[0].workers.begin(), {G, b});
    }
    list.push_back(share({.workers = {{G, b, 1, Grads::kParams}, {D, b, 1, Grads::kInput}}}, G));
    return list;
  }
};

class AllReduce final : public Algorithm {
 public:
  explicit AllReduce(Stage& stage) : world_(stage.world()), plan_(stage.game()), gans_(stage) {
    if (!stage.settings().flag("gan.same_start"))
      fail(Fault::kUsage, "algorithm \"all-reduce\" keeps one GAN at all workers; gan.same_start must be true");
  }

  void iterate() override {
    gans_.learn([&](Fleet& fleet) { world_.all_reduce_gradients(fleet); });
  }

  const AlgorithmPlan& plan() const override { return plan_; }
  int64_t generators() const override { return 1; }  // all are the same
  GeneratorWeights generator(int64_t) const override { return gans_.generator(0); }
  std::map<std::string, Fleet*> fleets() override { return gans_.fleets(); }
  Losses losses() override { return gans_.losses(); }
  void worker_lost(int64_t worker) override { gans_.worker_lost(worker); }
  void worker_joined(int64_t worker, int64_t like) override { gans_.worker_joined(worker, like); }

 private:
  World& world_;
  const AllReducePlan plan_;
  LocalGans gans_;
};

const AlgorithmRegistration registration{
    {"all-reduce",
     "synchronous data parallelism: one GAN, gradients averaged over the workers",
     {},
     [](const Settings&, const GamePlan& game, double) -> std::unique_ptr<AlgorithmPlan> {
       return std::make_unique<AllReducePlan>(game);
     },
     [](Stage& stage) -> std::unique_ptr<Algorithm> { return std::make_unique<AllReduce>(stage); },
     /*spreads=*/true}};

}  // namespace
}  // namespace agon
