// Local training and rounds of mixing: what FL-GAN, FedGAN and gossip are made of.
#include "algorithms/rounds.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "algorithms/options.h"

namespace agon {

std::vector<Settings::Option> round_options(const std::string& round_iterations, const std::string& swap_epochs) {
  return {{"algorithm.swap_epochs", swap_epochs, "E: local epochs between rounds; 0: never"},
          {"algorithm.round_iterations", round_iterations,
           "K: local iterations between rounds, in place of E epochs; 0: by epochs"},
          {"algorithm.moments", "\"stay\"", "Adam's moments in a round", {"stay", "average", "reset"}},
          {"algorithm.wave", "0",
           "workers that train at the same time, the others' turn comes after, to save memory; 0: all. The same bits; "
           "needs moments = \"reset\""}};
}

RoundPlan::RoundPlan(const Settings& settings, const GamePlan& game, double mean_shard, Route route)
    : LocalPlan(game),
      route(route),
      moments(parse_moments(settings.text("algorithm.moments"))),
      round_(settings.integer("algorithm.round_iterations", 0)),
      wave_(settings.integer("algorithm.wave", 0)) {
  if (round_ == 0) round_ = epoch_iterations(mean_shard, settings.number("algorithm.swap_epochs", 0, 1e9), game.batch);
  if (wave_ == 0 || wave_ > game.workers) wave_ = game.workers;
  if (!waves()) return;
  const auto refuse = [&](const std::string& why) {
    fail(Fault::kUsage, "algorithm.wave is {}, so that workers take turns by whole rounds, but {}", wave_, why);
  };
  if (moments != Moments::kReset) refuse("algorithm.moments is not \"reset\"");
  if (round_ == 0) refuse("there are no rounds; set algorithm.round_iterations");
  if (!settings.raw("world.join").empty()) refuse("world.join lets workers join within a round");
}

std::vector<AlgorithmPlan::FleetUse> RoundPlan::fleets() const {
  std::vector<FleetUse> list = LocalPlan::fleets();
  if (!waves()) return list;
  for (FleetUse& fleet : list) fleet.replicas = wave_;
  list.push_back({"generators at rest", game_.generator.network.get(), game_.workers, false});
  list.push_back({"discriminators at rest", game_.discriminator.get(), game_.workers, false});
  return list;
}

std::vector<AlgorithmPlan::Phase> RoundPlan::phases(int64_t iteration, const std::vector<int64_t>& living) const {
  std::vector<Phase> list = LocalPlan::phases(iteration, living);
  if (!round_due(iteration)) return list;
  const Matrices M = matrices(iteration, living);
  const bool travel = moments == Moments::kTravel;
  std::vector<Transfer> moved;
  World::plan_mix(moved, living, M.generators, game_.generator_floats(travel), MessageKind::kGenerators, route);
  World::plan_mix(moved, living, M.discriminators, game_.discriminator_floats(travel), MessageKind::kDiscriminators,
                  route);
  add_exchange(list, moved);
  return list;
}

namespace {

Fleet at_rest(Stage& stage, std::shared_ptr<const Network> network, FleetOptions options) {
  options.replicas = std::ssize(stage.world().here());
  options.trains = false;
  return Fleet(stage.device(), std::move(network), options, stage.world().here());
}

}  // namespace

RoundGans::RoundGans(Stage& stage, const RoundPlan& plan)
    : stage_(stage),
      plan_(plan),
      last_iteration_(iterations_of(stage.settings())),
      gans_(stage, plan.waves() ? std::min(plan.wave(), std::ssize(stage.world().here())) : 0) {
  const GamePlan& game = stage.game();
  if (plan.waves())
    rest_.emplace(Rest{at_rest(stage, game.generator.network, game.generator_options),
                       at_rest(stage, game.discriminator, game.discriminator_options)});
}

bool RoundGans::learn() {
  const bool due = plan_.round_due(stage_.world().iteration());
  if (!rest_)
    gans_.learn();
  else if (due || stage_.world().iteration() == last_iteration_)
    train_in_waves();
  if (due) exchange();
  return due;
}

/// The iterations since the last round, one wave of workers after the other.
void RoundGans::train_in_waves() {
  World& world = stage_.world();
  const int64_t now = world.iteration(), N = std::ssize(world.here());
  for (int64_t first = 0; first < N; first += plan_.wave()) {
    const int64_t count = std::min(plan_.wave(), N - first);
    Fleet &G = gans_.generators().fleet(), &D = gans_.discriminators().fleet();
    const Focus only_g(G, 0, count), only_d(D, 0, count);
    G.take(rest_->generators, first, count), D.take(rest_->discriminators, first, count);
    G.restart_optimisers(), D.restart_optimisers();
    gans_.stand_for(first);
    for (int64_t i = trained_ + 1; i <= now; ++i) {
      world.set_iteration(i);
      gans_.learn();
    }
    rest_->generators.take(G, 0, count, first), rest_->discriminators.take(D, 0, count, first);
  }
  trained_ = now;
}

void RoundGans::exchange() {
  World& world = stage_.world();
  const RoundPlan::Matrices M = plan_.matrices(world.iteration(), world.living());
  const bool reset = plan_.moments == Moments::kReset;
  const auto mix = [&](Fleet& fleet, const Mixing& matrix, MessageKind kind) {
    world.mix(fleet, matrix, kind, plan_.route, reset ? Moments::kStay : plan_.moments);
    if (reset && !rest_) fleet.restart_optimisers();  // everybody's, also of those who received nothing
  };
  mix(rest_ ? rest_->generators : gans_.generators().fleet(), M.generators, MessageKind::kGenerators);
  mix(rest_ ? rest_->discriminators : gans_.discriminators().fleet(), M.discriminators, MessageKind::kDiscriminators);
}

const Fleet& RoundGans::generators() const { return rest_ ? rest_->generators : gans_.generators().fleet(); }

GeneratorWeights RoundGans::generator(int64_t index) const { return stage_.world().fetch(generators(), index); }

int64_t RoundGans::models() const { return stage_.world().models(generators()); }

std::map<std::string, Fleet*> RoundGans::fleets() {
  if (!rest_) return gans_.fleets();
  return {{"generators at rest", &rest_->generators}, {"discriminators at rest", &rest_->discriminators}};
}

std::vector<Fleet*> RoundGans::work_fleets() {
  if (!rest_) return {};
  return {&gans_.generators().fleet(), &gans_.discriminators().fleet()};
}

nlohmann::json RoundGans::state() const { return rest_ ? nlohmann::json{{"trained", trained_}} : nlohmann::json(); }

void RoundGans::restore(const nlohmann::json& state) {
  if (rest_) trained_ = state.at("trained").get<int64_t>();
}

void RoundGans::worker_lost(int64_t worker) {
  if (!rest_) return gans_.worker_lost(worker);
  if (models() == 1) return;  // the last one's models stay, to be looked at
  remove_worker(stage_.world(), rest_->generators, worker);
  remove_worker(stage_.world(), rest_->discriminators, worker);
}

void RoundGans::worker_joined(int64_t worker, int64_t like) { gans_.worker_joined(worker, like); }

}  // namespace agon
