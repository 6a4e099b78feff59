// The list of built-in data sets.
#include "datasets/synthetic.h"

#include <algorithm>

#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr int64_t kMaxCount = 10'000'000;

std::vector<SyntheticSet>& registry() {
  static std::vector<SyntheticSet> sets;
  return sets;
}

}  // namespace

RegisterSynthetic::RegisterSynthetic(SyntheticSet set) { registry().push_back(std::move(set)); }

std::vector<std::string> synthetic_names() {
  std::vector<std::string> names;
  for (const SyntheticSet& set : registry()) names.push_back(set.name);
  std::sort(names.begin(), names.end());
  return names;
}

const SyntheticSet& synthetic_set(const std::string& name) {
  for (const SyntheticSet& set : registry())
    if (set.name == name) return set;
  fail(Fault::kUsage, "unknown built-in data set \"{}\", the nearest is \"{}\" (there are {})", name,
       nearest(name, synthetic_names()), listed(synthetic_names()));
}

DataSource synthesise(const std::string& name, const SyntheticOptions& options) {
  const SyntheticSet& set = synthetic_set(name);
  const int64_t count = options.count != 0 ? options.count : set.default_count;
  const int64_t test_count = options.test_count != 0 ? options.test_count : std::max<int64_t>(1, count / 6);
  for (int64_t n : {count, test_count})
    if (n < 1 || n > kMaxCount) fail(Fault::kUsage, "expected a count from 1 to {} for {}, got {}", kMaxCount, name, n);
  return {.train = set.items(options.seed, 0, count), .test = set.items(options.seed, count, test_count)};
}

}  // namespace agon
