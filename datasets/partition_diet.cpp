// "diet": data dieting (Toutouh et al. 2020). Every worker gets a random share of all data, drawn without regard to the
// others': shards overlap. With share 1 everybody has everything, as in Lipizzaner's experiments.
#include <cmath>

#include "datasets/partition.h"
#include "kernels/error.h"

namespace agon {
namespace {

int64_t diet_size(const PartitionOptions& options, int64_t count, int64_t) {
  if (!(options.share > 0 && options.share <= 1))
    fail(Fault::kUsage, "expected a share above 0 and of at most 1, got {}", options.share);
  return std::max<int64_t>(1, std::llround(options.share * static_cast<double>(count)));
}

Partition deal_diet(const PartitionTask& task) {
  const auto size = static_cast<size_t>(diet_size(task.options, task.count, task.workers));
  Partition result;
  std::vector<int32_t> deck = shuffled_deck(task);
  for (int64_t n = 0; n < task.workers; ++n) {
    HostRandom(task.options.seed, RandomStream::kPartition, static_cast<uint32_t>(n), /*iteration=*/1).shuffle(deck);
    result.shards.emplace_back(deck.begin(), deck.begin() + static_cast<std::ptrdiff_t>(size));
  }
  return result;
}

const RegisterPartitioner kDiet("diet", /*needs_labels=*/false, deal_diet, diet_size);

}  // namespace
}  // namespace agon
