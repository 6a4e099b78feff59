// "skew": Davoudi's class imbalance (2019, section 4). Of each class, one worker holds more than the others: its share
// is 1/N at skew 0 and the whole class at skew 100, in between linear; the others divide the rest evenly. Class c
// favours worker c mod N; the last class always stays balanced, "to see the effects of mixed imbalances". All samples
// are used.
#include <cmath>

#include "datasets/partition.h"
#include "kernels/error.h"

namespace agon {
namespace {

/// Divides `total` in proportion to the workers' shares: cumulative rounding, so that every sample has one owner. The
/// odd samples begin at worker `first`, which differs from class to class so that nobody gets all of them.
std::vector<int64_t> divide(int64_t total, const std::vector<double>& shares, size_t first) {
  std::vector<int64_t> parts(shares.size());
  double wanted = 0;
  int64_t given = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const size_t worker = (first + i) % shares.size();
    wanted += shares[worker] * static_cast<double>(total);
    const bool last = i + 1 == shares.size();
    parts[worker] = last ? total - given : std::min<int64_t>(total, std::llround(wanted)) - given;
    given += parts[worker];
  }
  return parts;
}

Partition deal_skewed(const PartitionTask& task) {
  const double skew = task.options.skew / 100;
  if (!(skew >= 0 && skew <= 1))
    fail(Fault::kUsage, "expected a skew from 0 to 100 per cent, got {}", task.options.skew);

  const auto workers = static_cast<size_t>(task.workers);
  Partition result;
  result.shards.resize(workers);
  const auto members = shuffled_by_class(task);
  for (size_t c = 0; c < members.size(); ++c) {
    const size_t favourite = c % workers;
    const double even = 1.0 / static_cast<double>(workers);
    const bool balanced = c + 1 == members.size();
    std::vector<double> shares(workers, balanced ? even : even * (1 - skew));
    if (!balanced) shares[favourite] = even + skew * (1 - even);

    auto next = members[c].begin();
    const auto parts = divide(static_cast<int64_t>(members[c].size()), shares, favourite);
    for (size_t n = 0; n < workers; ++n) {
      result.shards[n].insert(result.shards[n].end(), next, next + parts[n]);
      next += parts[n];
    }
  }
  return result;
}

const RegisterPartitioner kSkew("skew", /*needs_labels=*/true, deal_skewed);

}  // namespace
}  // namespace agon
