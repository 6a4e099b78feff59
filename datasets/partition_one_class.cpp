// "one-class": every worker holds samples of one class only, worker n of class n mod C, as in the one-digit-per-machine
// case of Hardy et al. (2018). Workers of the same class share it evenly. All samples are used.
#include "datasets/partition.h"
#include "kernels/error.h"

namespace agon {
namespace {

Partition deal_one_class(const PartitionTask& task) {
  if (task.workers < task.classes)
    fail(
        Fault::kUsage,
        "partition \"one-class\" gives each worker one class, so {} workers leave classes of these {} unused; expected "
        "at least {} workers",
        task.workers, task.classes, task.classes);
  Partition result;
  const auto members = shuffled_by_class(task);
  for (size_t c = 0; c < members.size(); ++c) {
    std::vector<double> shares(static_cast<size_t>(task.workers), 0.0);
    const int64_t mine = (task.workers - 1 - static_cast<int64_t>(c)) / task.classes + 1;
    for (size_t n = c; n < shares.size(); n += members.size()) shares[n] = 1.0 / static_cast<double>(mine);
    deal_in_parts(result, members[c], apportioned(std::ssize(members[c]), shares, c));
  }
  return result;
}

const RegisterPartitioner kOneClass("one-class", /*needs_labels=*/true, deal_one_class);

}  // namespace
}  // namespace agon
