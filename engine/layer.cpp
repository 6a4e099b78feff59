#include "engine/layer.h"

#include <algorithm>
#include <cmath>

#include "engine/text.h"

namespace agon {

namespace {

std::map<std::string, LayerKind>& registry() {
  static std::map<std::string, LayerKind> kinds;
  return kinds;
}

}  // namespace

double LayerSpec::number(const std::string& key) const {
  const auto found = numbers.find(key);
  if (found == numbers.end()) fail(Fault::kUsage, "{} needs \"{}\"", where, key);
  return found->second;
}

double LayerSpec::number(const std::string& key, double otherwise) const {
  const auto found = numbers.find(key);
  return found == numbers.end() ? otherwise : found->second;
}

int64_t LayerSpec::integer(const std::string& key, int64_t least) const {
  constexpr double kMost = 1 << 24;  // far above any real layer, far below overflow
  const double value = number(key);
  if (value > kMost) fail(Fault::kUsage, "{}: \"{}\" is {}, expected at most {}", where, key, value, kMost);
  if (value != std::floor(value) || value < static_cast<double>(least))
    fail(Fault::kUsage, "{}: \"{}\" is {}, expected a whole number of at least {}", where, key, value, least);
  return static_cast<int64_t>(value);
}

int64_t LayerSpec::integer(const std::string& key, std::optional<int64_t> otherwise, int64_t least) const {
  return otherwise && !numbers.contains(key) ? *otherwise : integer(key, least);
}

LayerRegistration::LayerRegistration(LayerKind kind) { registry().emplace(kind.name, std::move(kind)); }

const std::map<std::string, LayerKind>& layer_kinds() { return registry(); }

std::unique_ptr<Layer> make_layer(const LayerSpec& spec) {
  const auto found = registry().find(spec.type);
  if (found == registry().end()) {
    std::vector<std::string> names;
    for (const auto& [name, kind] : registry()) names.push_back(name);
    fail(Fault::kUsage, "{}: unknown layer \"{}\"; did you mean \"{}\"?", spec.where, spec.type,
         nearest(spec.type, names));
  }
  const LayerKind& kind = found->second;
  for (const auto& [key, value] : spec.numbers)
    if (std::find(kind.numbers.begin(), kind.numbers.end(), key) == kind.numbers.end()) {
      if (kind.numbers.empty())
        fail(Fault::kUsage, "{}: \"{}\" is not a setting of {}, which has none", spec.where, key, spec.type);
      fail(Fault::kUsage, "{}: unknown setting \"{}\"; did you mean \"{}\"?", spec.where, key,
           nearest(key, kind.numbers));
    }
  return kind.make(spec);
}

}  // namespace agon
