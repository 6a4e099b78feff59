// "shards": the data sorted by class are cut into N * shards_per_worker shards of one size, and every worker gets
// shards_per_worker of them at random (McMahan et al. 2017, section 3): with 2, most workers see two classes. All
// samples are used; sizes differ by the odd ones.
#include <algorithm>
#include <numeric>

#include "datasets/partition.h"
#include "kernels/error.h"

namespace agon {
namespace {

Partition deal_shards(const PartitionTask& task) {
  const int64_t each = task.options.shards_per_worker;
  if (each < 1 || each > task.count / task.workers)
    fail(Fault::kUsage, "expected 1 to {} shards per worker ({} samples for {} workers), got {}",
         task.count / task.workers, task.count, task.workers, each);

  std::vector<int32_t> sorted;
  for (const auto& members : shuffled_by_class(task)) sorted.insert(sorted.end(), members.begin(), members.end());
  const auto shards = static_cast<size_t>(task.workers * each);
  Partition cut;
  deal_in_parts(cut, sorted, apportioned(task.count, std::vector<double>(shards, 1.0 / static_cast<double>(shards))));

  std::vector<size_t> order(shards);
  std::iota(order.begin(), order.end(), size_t{0});
  HostRandom(task.options.seed, RandomStream::kPartition, /*worker=*/1).shuffle(order);
  Partition result;
  result.shards.resize(static_cast<size_t>(task.workers));
  for (size_t i = 0; i < shards; ++i) {
    std::vector<int32_t>& shard = result.shards[i / static_cast<size_t>(each)];
    shard.insert(shard.end(), cut.shards[order[i]].begin(), cut.shards[order[i]].end());
  }
  return result;
}

const RegisterPartitioner kShards("shards", /*needs_labels=*/true, deal_shards);

}  // namespace
}  // namespace agon
