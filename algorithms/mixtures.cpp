#include "algorithms/mixtures.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace agon {

Mixtures::Mixtures(Stage& stage, const LipizzanerOptions& options, const Fleet& generators)
    : world_(stage.world()), game_(stage.game()), options_(options), generators_(generators) {
  if (!world_.here().empty()) exhibit_.emplace(stage.device(), game_.generator, own_generator(0));
}

void Mixtures::judge_with(Evaluator& evaluator) { evaluator_ = evaluator.measures() ? &evaluator : nullptr; }

/// Every generator's samples are drawn once, where it is; a mixture takes from each in proportion to its weight.
void Mixtures::evolve(uint64_t moment, const std::function<HostRandom(int64_t r)>& draws) {
  if (!evaluator_) return;
  const std::vector<int64_t>& here = world_.here();
  const Evaluator::Rows blank = evaluator_->blank();
  std::vector<float> samples;  // [cell][count][width]
  samples.reserve(here.size() * static_cast<size_t>(blank.count * blank.width));
  for (int64_t r = 0; r < std::ssize(here); ++r) {
    exhibit_->set(own_generator(r));
    const Evaluator::Rows rows = evaluator_->look(*exhibit_, game_.seed, moment);
    samples.insert(samples.end(), rows.values.begin(), rows.values.end());
  }
  samples = world_.gather(std::move(samples), blank.count * blank.width);

  std::vector<Weights> weights;
  for (int64_t r = 0; r < std::ssize(here); ++r)
    weights.push_back(evolved(of(here[static_cast<size_t>(r)]), samples, draws(r)));
  weights = world_.gather(std::move(weights));
  for (int64_t cell : world_.living()) {
    GeneratorMixture& now = of_cells_[cell] = of(cell);
    std::copy_n(weights[static_cast<size_t>(world_.host_of(cell))].begin(), now.weights.size(), now.weights.begin());
  }
}

/// A (1+1) evolution strategy: the child of a cell's weights takes their place if its samples are strictly closer to
/// real data.
Mixtures::Weights Mixtures::evolved(const GeneratorMixture& parent, const std::vector<float>& samples,
                                    HostRandom random) const {
  GeneratorMixture child = parent;
  child.weights = mutated_weights(parent.weights, options_.mixture_sigma, random);
  const auto distance = [&](const GeneratorMixture& mixture) {
    Evaluator::Rows rows = evaluator_->blank();
    const std::vector<size_t> from = sampled_members(mixture, rows.count, random);
    for (int64_t i = 0; i < rows.count; ++i) {
      const int64_t source = world_.host_of(mixture.members[from[static_cast<size_t>(i)]]);
      const auto begin = samples.begin() + (source * rows.count + i) * rows.width;
      rows.values.insert(rows.values.end(), begin, begin + rows.width);
    }
    return evaluator_->distance(rows);
  };
  const GeneratorMixture& better = distance(child) < distance(parent) ? child : parent;
  Weights weights{};
  std::copy(better.weights.begin(), better.weights.end(), weights.begin());
  return weights;
}

/// Of cells, not replicas; who has joined or was lost since the last epoch is taken in or out.
GeneratorMixture Mixtures::of(int64_t cell) const {
  const std::vector<int64_t> members = options_.torus.neighbourhood(cell, world_.living(), options_.as_shipped);
  const auto known = of_cells_.find(cell);
  return with_members(known == of_cells_.end() ? GeneratorMixture{{}, {}, cell} : known->second, members);
}

GeneratorWeights Mixtures::own_generator(int64_t r) const {
  return {generators_.replica_weights(r), generators_.replica_state(r)};
}

std::vector<GeneratorMixture> Mixtures::all() const {
  std::vector<GeneratorMixture> list;
  for (int64_t cell : world_.living()) {
    list.push_back(of(cell));
    for (int64_t& member : list.back().members) member = world_.host_of(member);
  }
  return list;
}

nlohmann::json Mixtures::state() const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [cell, mixture] : of_cells_) list.push_back({cell, mixture.members, mixture.weights});
  return list;
}

void Mixtures::restore(const nlohmann::json& state) {
  of_cells_.clear();
  for (const auto& entry : state) {
    const auto cell = entry.at(0).get<int64_t>();
    of_cells_[cell] = {entry.at(1).get<std::vector<int64_t>>(), entry.at(2).get<std::vector<double>>(), cell};
  }
}

}  // namespace agon
