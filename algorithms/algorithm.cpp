// The list of algorithms, and what all plans share.
#include "algorithms/algorithm.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/text.h"

namespace agon {
namespace {

std::map<std::string, AlgorithmKind>& registry() {
  static std::map<std::string, AlgorithmKind> kinds;
  return kinds;
}

}  // namespace

/// The first layer's input gradient is not computed in a learning step.
int64_t AlgorithmPlan::Pass::flops() const {
  int64_t factor = forward ? 1 : 0, saved = 0;
  if (backward == Grads::kInput) factor += 1;
  if (backward && *backward != Grads::kInput) {
    factor += 2;
    for (const Network::Step& step : network->steps())
      if (std::any_of(step.parameters.begin(), step.parameters.end(), [](const Parameter& p) { return p.trained(); })) {
        saved = *backward == Grads::kParams ? step.layer->flops(step.in) : 0;
        break;
      }
  }
  return (factor * network->flops() - saved) * batch * times;
}

AlgorithmPlan::Work AlgorithmPlan::work(const std::vector<int64_t>& living, const Network& generator) const {
  Work work;
  for (const Phase& phase : phases(2, living)) {
    for (const Pass& pass : phase.server) work.server += pass.flops(), work.all += pass.flops();
    for (const Pass& pass : phase.workers) {
      work.worker += pass.flops(), work.all += pass.flops() * std::ssize(phase.who);
      if (pass.network == &generator) work.generator_at_worker += pass.flops();
    }
  }
  return work;
}

nlohmann::json AlgorithmPlan::Work::to_json() const {
  return {{"per_iteration", all},
          {"server_per_iteration", server},
          {"worker_per_iteration", worker},
          {"generator_at_worker_per_iteration", generator_at_worker}};
}

std::vector<Transfer> AlgorithmPlan::messages(const std::vector<Phase>& phases) {
  std::vector<Transfer> all;
  for (const Phase& phase : phases) all.insert(all.end(), phase.messages.begin(), phase.messages.end());
  return all;
}

void AlgorithmPlan::add_exchange(std::vector<Phase>& phases, const std::vector<Transfer>& messages) {
  Phase up, down;
  for (const Transfer& message : messages) (message.to == kServer ? up : down).messages.push_back(message);
  for (Phase* phase : {&up, &down})
    if (!phase->messages.empty()) phases.push_back(std::move(*phase));
}

nlohmann::json Algorithm::state() const { return nullptr; }

AlgorithmRegistration::AlgorithmRegistration(AlgorithmKind kind) { registry().emplace(kind.name, std::move(kind)); }

const std::map<std::string, AlgorithmKind>& algorithm_kinds() { return registry(); }

const AlgorithmKind& algorithm_kind(const std::string& name) {
  const auto found = registry().find(name);
  if (found != registry().end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, kind] : registry()) names.push_back(known);
  fail(Fault::kUsage, "unknown algorithm \"{}\"; did you mean \"{}\"? There are {}", name, nearest(name, names),
       listed(names));
}

}  // namespace agon
