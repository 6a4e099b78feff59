#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/random.h"

namespace agon {

struct PartitionOptions {
  std::string kind = "iid";
  double skew = 0;     ///< of kind "skew", in per cent: 0 = balanced, 100 = all of a class at one worker
  double alpha = 0.5;  ///< of "dirichlet" and "quantity": concentration, the smaller, the less alike the workers
  int64_t smallest_shard = 10;    ///< of "dirichlet" and "quantity": samples that every worker gets at least
  int64_t shards_per_worker = 2;  ///< of "shards"
  double share = 1;               ///< of "diet": of all data, for every worker
  uint64_t seed = 0;
};

/// The samples of each worker: shards[n] lists indices into the data set. No sample is dealt twice, but by "diet".
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

/// m, the mean size of a shard, without dealing: floor(count / workers), unless the kind has another rule.
int64_t mean_shard(const PartitionOptions& options, int64_t count, int64_t workers);

/// What a partitioner gets to see. `labels` is empty for unlabelled data.
struct PartitionTask {
  const std::vector<int32_t>& labels;
  int64_t count, classes, workers;
  const PartitionOptions& options;
};

/// A partitioner registers itself with a file-scope `const RegisterPartitioner`: one new file, no list to edit.
/// `mean_size` (options, count, workers) is the mean size of its shards, if that is not floor(count / workers).
struct RegisterPartitioner {
  RegisterPartitioner(const std::string& kind, bool needs_labels, std::function<Partition(const PartitionTask&)> deal,
                      int64_t (*mean_size)(const PartitionOptions&, int64_t, int64_t) = nullptr);
};

// What partitioners share.

/// All indices, shuffled.
std::vector<int32_t> shuffled_deck(const PartitionTask& task);
/// The indices of each class [classes], shuffled; for partitioners that deal class by class.
std::vector<std::vector<int32_t>> shuffled_by_class(const PartitionTask& task);
/// Divides `total` samples in proportion to `shares` (which sum to 1) by cumulative rounding, so that every sample has
/// one owner. The odd ones begin at worker `first`, which differs from class to class so that nobody gets all of them.
std::vector<int64_t> apportioned(int64_t total, const std::vector<double>& shares, size_t first = 0);
/// Gives worker n the next parts[n] of `items`.
void deal_in_parts(Partition& result, const std::vector<int32_t>& items, const std::vector<int64_t>& parts);
/// The first of up to 1,000 tries, each with random numbers of its own, in which every worker gets smallest_shard
/// samples; checks alpha, too. Error(kUsage) when there is none.
Partition deal_by_dirichlet(const PartitionTask& task, const std::function<Partition(HostRandom&)>& deal);
/// One draw of the symmetric Dirichlet distribution Dir(alpha, ..., alpha): `count` shares that sum to 1.
std::vector<double> dirichlet_shares(HostRandom& random, double alpha, int64_t count);

}  // namespace agon
