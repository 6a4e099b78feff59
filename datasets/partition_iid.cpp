// "iid": a shuffled deck, dealt in equal parts. Each of the N workers gets m = floor(count / N) samples, as in MD-GAN
// (Hardy et al. 2019, section III); up to N - 1 samples stay unused so that all have the same.
#include "datasets/partition.h"

namespace agon {
namespace {

Partition deal_iid(const PartitionTask& task) {
  const std::vector<int32_t> deck = shuffled_deck(task);
  const int64_t share = task.count / task.workers;
  Partition result;
  for (int64_t n = 0; n < task.workers; ++n)
    result.shards.emplace_back(deck.begin() + n * share, deck.begin() + (n + 1) * share);
  return result;
}

const RegisterPartitioner kIid("iid", /*needs_labels=*/false, deal_iid);

}  // namespace
}  // namespace agon
