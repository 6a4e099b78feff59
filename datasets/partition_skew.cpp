// "skew": Davoudi's class imbalance (2019, section 4). Of each class, one worker holds more than the others: its share
// is 1/N at skew 0 and the whole class at skew 100, in between linear; the others divide the rest evenly. Class c
// favours worker c mod N; the last class always stays balanced, "to see the effects of mixed imbalances". All samples
// are used.
#include "datasets/partition.h"
#include "kernels/error.h"

namespace agon {
namespace {

Partition deal_skewed(const PartitionTask& task) {
  const double skew = task.options.skew / 100;
  if (!(skew >= 0 && skew <= 1))
    fail(Fault::kUsage, "expected a skew from 0 to 100 per cent, got {}", task.options.skew);

  const auto workers = static_cast<size_t>(task.workers);
  Partition result;
  const auto members = shuffled_by_class(task);
  for (size_t c = 0; c < members.size(); ++c) {
    const size_t favourite = c % workers;
    const double even = 1.0 / static_cast<double>(workers);
    const bool balanced = c + 1 == members.size();
    std::vector<double> shares(workers, balanced ? even : even * (1 - skew));
    if (!balanced) shares[favourite] = even + skew * (1 - even);

    deal_in_parts(result, members[c], apportioned(std::ssize(members[c]), shares, favourite));
  }
  return result;
}

const RegisterPartitioner kSkew("skew", /*needs_labels=*/true, deal_skewed);

}  // namespace
}  // namespace agon
