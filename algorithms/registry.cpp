#include <map>
#include <nlohmann/json.hpp>

#include "algorithms/algorithm.h"
#include "engine/text.h"

namespace agon {
namespace {

std::map<std::string, AlgorithmKind>& registry() {
  static std::map<std::string, AlgorithmKind> kinds;
  return kinds;
}

}  // namespace

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
