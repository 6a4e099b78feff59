#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace agon {

struct SyntheticOptions {
  int64_t count = 0;       ///< items to train on; 0: the set's own default
  int64_t test_count = 0;  ///< items to test on; 0: a sixth of count
  uint64_t seed = 0;
};

/// A data set that is computed, not downloaded: the same items for the same seed on every machine, item i whatever
/// the count. A new one is one new file with a file-scope `const RegisterSynthetic`.
struct SyntheticSet {
  std::string name;
  std::string description;
  int64_t default_count;
  /// Items first .. first+count-1 of the endless set of this seed.
  std::function<Dataset(uint64_t seed, int64_t first, int64_t count)> items;
};

struct RegisterSynthetic {
  explicit RegisterSynthetic(SyntheticSet set);
};

std::vector<std::string> synthetic_names();
const SyntheticSet& synthetic_set(const std::string& name);  ///< Error(kUsage) names the nearest

/// Training items first, then test items, which are the next ones of the same endless set. Error(kUsage) for unknown
/// names and absurd counts.
DataSource synthesise(const std::string& name, const SyntheticOptions& options);

}  // namespace agon
