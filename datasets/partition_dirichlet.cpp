// "dirichlet": of each class the workers hold shares drawn from Dir(alpha) (Yurochkin et al. 2019; Li et al. 2022).
// With a large alpha all classes are spread evenly; with a small one most of a class is at one worker. Drawn anew until
// every worker has smallest_shard samples. All samples are used.
#include "datasets/partition.h"

namespace agon {
namespace {

Partition deal_dirichlet(const PartitionTask& task) {
  const auto members = shuffled_by_class(task);
  return deal_by_dirichlet(task, [&](HostRandom& random) {
    Partition result;
    for (size_t c = 0; c < members.size(); ++c) {
      const std::vector<double> shares = dirichlet_shares(random, task.options.alpha, task.workers);
      deal_in_parts(result, members[c], apportioned(std::ssize(members[c]), shares, c % shares.size()));
    }
    return result;
  });
}

const RegisterPartitioner kDirichlet("dirichlet", /*needs_labels=*/true, deal_dirichlet);

}  // namespace
}  // namespace agon
