#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace agon {

struct PartitionOptions {
  std::string kind = "iid";
  double skew = 0;  ///< of kind "skew", in per cent: 0 = balanced, 100 = all of a class at one worker
  uint64_t seed = 0;
};

/// The samples of each worker: shards[n] lists indices into the data set. No sample is dealt twice.
struct Partition {
  std::vector<std::vector<int32_t>> shards;

  int64_t workers() const { return static_cast<int64_t>(shards.size()); }
  int64_t smallest() const;  ///< size of the smallest shard; bounds the batch
  /// How many samples of each class each worker holds [workers][classes].
  std::vector<std::vector<int64_t>> class_counts(const std::vector<int32_t>& labels, int64_t classes) const;
};

/// Deals `count` samples of `classes` classes (labels empty when unlabelled) to `workers` workers: the same on every
/// machine for the same seed. Error(kUsage) for an unknown kind (naming the nearest), more workers than samples, or a
/// kind that needs labels where there are none.
Partition partition(const std::vector<int32_t>& labels, int64_t count, int64_t classes, int64_t workers,
                    const PartitionOptions& options);

std::vector<std::string> partition_kinds();

/// What a partitioner gets to see. `labels` is empty for unlabelled data.
struct PartitionTask {
  const std::vector<int32_t>& labels;
  int64_t count, classes, workers;
  const PartitionOptions& options;
};

/// A partitioner registers itself with a file-scope `const RegisterPartitioner`: one new file, no list to edit.
struct RegisterPartitioner {
  RegisterPartitioner(const std::string& kind, bool needs_labels, std::function<Partition(const PartitionTask&)> deal);
};

/// The indices of each class [classes], shuffled; for partitioners that deal class by class.
std::vector<std::vector<int32_t>> shuffled_by_class(const PartitionTask& task);

}  // namespace agon
