#include "algorithms/server_generator.h"

#include <utility>

namespace agon {

ServerGenerator::ServerGenerator(Stage& stage, bool overlaps, const Generators::Options& options)
    : world_(stage.world()), newest_(stage, Place::kServer, options) {
  Generators::Options stashed = options;
  stashed.optimises = false;
  for (int i = 0; overlaps && i < 2; ++i)
    ahead_.push_back(std::make_unique<Generators>(stage, Place::kServer, stashed));
}

Batch ServerGenerator::generate() {
  if (ahead_.empty()) return newest_.generate();
  if (!made_) {  // as it was, or would have been, made an iteration ago, with the weights of then
    const int64_t now = world_.iteration();
    world_.set_iteration(now - 1);
    made_ = ahead_[next_]->generate();
    world_.set_iteration(now);
  }
  next_ = 1 - next_;
  return *std::exchange(made_, std::nullopt);
}

void ServerGenerator::generate_ahead() {
  if (ahead_.empty()) return;
  Fleet &stash = ahead_[next_]->fleet(), &newest = newest_.fleet();
  stash.take(newest, 0, newest.replicas());
  made_ = ahead_[next_]->generate();
  newest.take_statistics(stash);
  if (world_.spread()) world_.device().flush();  // to be under way while others are waited for
}

void ServerGenerator::learn(const Tensor& feedback) {
  if (ahead_.empty()) return newest_.learn(feedback);
  Fleet& stash = ahead_[1 - next_]->fleet();
  stash.backward(feedback, Grads::kParams);
  newest_.fleet().step_with(stash.gradients());
}

std::map<std::string, Fleet*> ServerGenerator::fleets() {
  std::map<std::string, Fleet*> list{{"generator", &newest_.fleet()}};
  if (!ahead_.empty()) list["generator ahead"] = &ahead_[next_]->fleet();
  return list;
}

std::vector<Fleet*> ServerGenerator::work_fleets() {
  if (ahead_.empty()) return {};
  return {&ahead_[1 - next_]->fleet()};
}

std::vector<AlgorithmPlan::FleetUse> ServerGenerator::plan_fleets(const GamePlan& game, bool overlaps,
                                                                  int64_t batches) {
  const Network* G = game.generator.network.get();
  AlgorithmPlan::FleetUse generator{"generator", G, 1, true, batches * game.batch, batches};
  if (!overlaps) return {generator};
  AlgorithmPlan::FleetUse ahead = generator;
  ahead.name = "generator ahead", ahead.replicas = 2, ahead.optimises = false;
  generator.batch = 0;
  return {generator, ahead};
}

}  // namespace agon
