// "quantity": the workers' shards are random samples of all the data, but of sizes drawn from Dir(alpha) (Li et al.
// 2022, "quantity skew"). Drawn anew until every worker has smallest_shard samples. All samples are used.
#include "datasets/partition.h"

namespace agon {
namespace {

Partition deal_quantities(const PartitionTask& task) {
  const std::vector<int32_t> deck = shuffled_deck(task);
  return deal_by_dirichlet(task, [&](HostRandom& random) {
    Partition result;
    deal_in_parts(result, deck, apportioned(task.count, dirichlet_shares(random, task.options.alpha, task.workers)));
    return result;
  });
}

const RegisterPartitioner kQuantity("quantity", /*needs_labels=*/false, deal_quantities);

}  // namespace
}  // namespace agon
