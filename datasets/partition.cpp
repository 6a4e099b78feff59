// Dealing a data set to workers: the list of partitioners and what they share.
#include "datasets/partition.h"

#include <algorithm>
#include <limits>

#include "engine/random.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

struct Partitioner {
  std::string kind;
  bool needs_labels;
  std::function<Partition(const PartitionTask&)> deal;
};

std::vector<Partitioner>& registry() {
  static std::vector<Partitioner> partitioners;
  return partitioners;
}

}  // namespace

RegisterPartitioner::RegisterPartitioner(const std::string& kind, bool needs_labels,
                                         std::function<Partition(const PartitionTask&)> deal) {
  registry().push_back({kind, needs_labels, std::move(deal)});
}

std::vector<std::string> partition_kinds() {
  std::vector<std::string> kinds;
  for (const Partitioner& partitioner : registry()) kinds.push_back(partitioner.kind);
  std::sort(kinds.begin(), kinds.end());
  return kinds;
}

Partition partition(const std::vector<int32_t>& labels, int64_t count, int64_t classes, int64_t workers,
                    const PartitionOptions& options) {
  const auto& all = registry();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.kind == options.kind; });
  if (found == all.end())
    fail(Fault::kUsage, "unknown partition \"{}\", the nearest is \"{}\" (there are {})", options.kind,
         nearest(options.kind, partition_kinds()), listed(partition_kinds()));
  if (workers < 1) fail(Fault::kUsage, "expected at least one worker to deal data to, got {}", workers);
  if (workers > count)
    fail(Fault::kUsage, "{} workers cannot share {} samples: each needs at least one", workers, count);
  if (count > std::numeric_limits<int32_t>::max())
    fail(Fault::kUsage, "expected at most {} samples, got {}", std::numeric_limits<int32_t>::max(), count);
  if (found->needs_labels && (classes < 1 || static_cast<int64_t>(labels.size()) != count))
    fail(Fault::kUsage, "partition \"{}\" deals class by class, but the data have no labels", options.kind);

  Partition result = found->deal({labels, count, classes, workers, options});
  for (int64_t n = 0; n < workers; ++n)
    if (result.shards[static_cast<size_t>(n)].empty())
      fail(Fault::kUsage, "partition \"{}\" leaves worker {} of {} without any sample: use fewer workers", options.kind,
           n, workers);
  return result;
}

std::vector<std::vector<int32_t>> shuffled_by_class(const PartitionTask& task) {
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(task.classes));
  for (int64_t i = 0; i < task.count; ++i)
    members[static_cast<size_t>(task.labels[static_cast<size_t>(i)])].push_back(static_cast<int32_t>(i));
  for (size_t c = 0; c < members.size(); ++c)
    HostRandom(task.options.seed, RandomStream::kPartition, 0, /*iteration=*/c).shuffle(members[c]);
  return members;
}

int64_t Partition::smallest() const {
  size_t smallest = shards.empty() ? 0 : shards[0].size();
  for (const auto& shard : shards) smallest = std::min(smallest, shard.size());
  return static_cast<int64_t>(smallest);
}

std::vector<std::vector<int64_t>> Partition::class_counts(const std::vector<int32_t>& labels, int64_t classes) const {
  std::vector<std::vector<int64_t>> counts;
  for (const auto& shard : shards) {
    counts.emplace_back(static_cast<size_t>(classes));
    for (int32_t index : shard) ++counts.back()[static_cast<size_t>(labels[static_cast<size_t>(index)])];
  }
  return counts;
}

}  // namespace agon
