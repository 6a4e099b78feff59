// Dealing a data set to workers: the list of partitioners and what they share.
#include "datasets/partition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

struct Partitioner {
  std::string kind;
  bool needs_labels;
  std::function<Partition(const PartitionTask&)> deal;
  int64_t (*mean_size)(const PartitionOptions&, int64_t, int64_t);
};

std::vector<Partitioner>& registry() {
  static std::vector<Partitioner> partitioners;
  return partitioners;
}

const Partitioner& partitioner(const std::string& kind) {
  const auto& all = registry();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.kind == kind; });
  if (found == all.end())
    fail(Fault::kUsage, "unknown partition \"{}\", the nearest is \"{}\" (there are {})", kind,
         nearest(kind, partition_kinds()), listed(partition_kinds()));
  return *found;
}

}  // namespace

RegisterPartitioner::RegisterPartitioner(const std::string& kind, bool needs_labels,
                                         std::function<Partition(const PartitionTask&)> deal,
                                         int64_t (*mean_size)(const PartitionOptions&, int64_t, int64_t)) {
  registry().push_back({kind, needs_labels, std::move(deal), mean_size});
}

std::vector<std::string> partition_kinds() {
  std::vector<std::string> kinds;
  for (const Partitioner& partitioner : registry()) kinds.push_back(partitioner.kind);
  std::sort(kinds.begin(), kinds.end());
  return kinds;
}

Partition partition(const std::vector<int32_t>& labels, int64_t count, int64_t classes, int64_t workers,
                    const PartitionOptions& options) {
  const Partitioner& dealer = partitioner(options.kind);
  if (workers < 1) fail(Fault::kUsage, "expected at least one worker to deal data to, got {}", workers);
  if (workers > count)
    fail(Fault::kUsage, "{} workers cannot share {} samples: each needs at least one", workers, count);
  if (count > std::numeric_limits<int32_t>::max())
    fail(Fault::kUsage, "expected at most {} samples, got {}", std::numeric_limits<int32_t>::max(), count);
  if (dealer.needs_labels && (classes < 1 || static_cast<int64_t>(labels.size()) != count))
    fail(Fault::kUsage, "partition \"{}\" deals class by class, but the data have no labels", options.kind);

  Partition result = dealer.deal({labels, count, classes, workers, options});
  for (int64_t n = 0; n < workers; ++n)
    if (result.shards[static_cast<size_t>(n)].empty())
      fail(Fault::kUsage, "partition \"{}\" leaves worker {} of {} without any sample: use fewer workers", options.kind,
           n, workers);
  return result;
}

int64_t mean_shard(const PartitionOptions& options, int64_t count, int64_t workers) {
  const auto rule = partitioner(options.kind).mean_size;
  return rule ? rule(options, count, workers) : count / workers;
}

std::vector<int32_t> shuffled_deck(const PartitionTask& task) {
  std::vector<int32_t> deck(static_cast<size_t>(task.count));
  std::iota(deck.begin(), deck.end(), 0);
  HostRandom(task.options.seed, RandomStream::kPartition).shuffle(deck);
  return deck;
}

std::vector<std::vector<int32_t>> shuffled_by_class(const PartitionTask& task) {
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(task.classes));
  for (int64_t i = 0; i < task.count; ++i)
    members[static_cast<size_t>(task.labels[static_cast<size_t>(i)])].push_back(static_cast<int32_t>(i));
  for (size_t c = 0; c < members.size(); ++c)
    HostRandom(task.options.seed, RandomStream::kPartition, 0, /*iteration=*/c).shuffle(members[c]);
  return members;
}

std::vector<int64_t> apportioned(int64_t total, const std::vector<double>& shares, size_t first) {
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

void deal_in_parts(Partition& result, const std::vector<int32_t>& items, const std::vector<int64_t>& parts) {
  result.shards.resize(parts.size());
  auto next = items.begin();
  for (size_t n = 0; n < parts.size(); ++n) {
    result.shards[n].insert(result.shards[n].end(), next, next + parts[n]);
    next += parts[n];
  }
}

namespace {

/// log of a draw from Gamma(shape, 1), by Marsaglia & Tsang (2000). Below shape 1, Gamma(shape) is Gamma(shape + 1)
/// times U^(1 / shape), which may be smaller than any double: hence the logarithm.
double log_gamma_draw(HostRandom& random, double shape) {
  if (shape < 1) return log_gamma_draw(random, shape + 1) + std::log(1 - random.uniform()) / shape;
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), t = 1 + c * x, v = t * t * t;
    if (v > 0 && std::log(1 - random.uniform()) < 0.5 * x * x + d * (1 - v + std::log(v))) return std::log(d * v);
  }
}

}  // namespace

std::vector<double> dirichlet_shares(HostRandom& random, double alpha, int64_t count) {
  std::vector<double> shares(static_cast<size_t>(count));
  for (double& share : shares) share = log_gamma_draw(random, alpha);
  const double largest = *std::max_element(shares.begin(), shares.end());
  for (double& share : shares) share = std::exp(share - largest);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
  return shares;
}

Partition deal_by_dirichlet(const PartitionTask& task, const std::function<Partition(HostRandom&)>& deal) {
  constexpr uint64_t kTries = 1000;
  const PartitionOptions& options = task.options;
  if (!(options.alpha > 0 && options.alpha <= 1e6))
    fail(Fault::kUsage, "expected an alpha above 0 and of at most 1,000,000, got {}", options.alpha);
  if (options.smallest_shard < 1 || options.smallest_shard > task.count / task.workers)
    fail(Fault::kUsage, "expected a smallest shard of 1 to {} samples ({} for {} workers), got {}",
         task.count / task.workers, task.count, task.workers, options.smallest_shard);
  for (uint64_t i = 0; i < kTries; ++i) {
    HostRandom random(options.seed, RandomStream::kPartition, /*worker=*/1, /*iteration=*/i);
    Partition result = deal(random);
    if (result.smallest() >= options.smallest_shard) return result;
  }
  fail(
      Fault::kUsage,
      "partition \"{}\" with alpha {} left a worker below {} samples in {} tries; use a larger alpha, fewer workers or "
      "a smaller smallest shard",
      options.kind, options.alpha, options.smallest_shard, kTries);
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
    if (classes == 0) continue;
    for (int32_t index : shard) ++counts.back()[static_cast<size_t>(labels[static_cast<size_t>(index)])];
  }
  return counts;
}

}  // namespace agon
