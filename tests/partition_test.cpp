// Partitioners: who gets which samples, whatever the numbers of workers and classes.
#include "datasets/partition.h"

#include <algorithm>
#include <cmath>

#include "tests/data_files.h"

namespace agon {
namespace {

/// `per_class` samples of each class, class by class.
std::vector<int32_t> labels_of(int64_t classes, int64_t per_class) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < classes * per_class; ++i) labels.push_back(static_cast<int32_t>(i / per_class));
  return labels;
}

/// All samples that were dealt, sorted; fails when one was dealt twice or does not exist.
std::vector<int32_t> dealt(const Partition& parts, int64_t count) {
  std::vector<int32_t> all;
  for (const auto& shard : parts.shards) all.insert(all.end(), shard.begin(), shard.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end()) << "a sample was dealt twice";
  EXPECT_TRUE(all.empty() || (all.front() >= 0 && all.back() < count));
  return all;
}

TEST(Iid, EqualSharesOfAShuffledDeck) {
  const auto labels = labels_of(10, 100);
  for (const int64_t workers : {1, 3, 10, 999, 1000}) {
    const Partition parts = partition(labels, 1000, 10, workers, {.kind = "iid", .seed = 7});
    ASSERT_EQ(parts.workers(), workers);
    for (const auto& shard : parts.shards) EXPECT_EQ(static_cast<int64_t>(shard.size()), 1000 / workers);
    EXPECT_EQ(parts.smallest(), 1000 / workers);
    EXPECT_EQ(static_cast<int64_t>(dealt(parts, 1000).size()), 1000 / workers * workers);
  }
  // A random tenth of ten classes of 1000 holds 100 of each, give or take; 5 standard deviations are 47.
  const Partition tenths = partition(labels_of(10, 1000), 10000, 10, 10, {.kind = "iid", .seed = 7});
  for (const auto& counts : tenths.class_counts(labels_of(10, 1000), 10))
    for (int64_t items : counts) EXPECT_NEAR(static_cast<double>(items), 100, 47);
}

TEST(Iid, DependsOnTheSeedOnlyAndNeedsNoLabels) {
  const auto deal = [](uint64_t seed) { return partition({}, 500, 0, 4, {.kind = "iid", .seed = seed}).shards; };
  EXPECT_EQ(deal(1), deal(1));
  EXPECT_NE(deal(1), deal(2));
}

struct SkewCase {
  int64_t classes, per_class, workers;
  double skew;
};

TEST(Skew, OneWorkerPerClassHoldsMore) {
  for (const SkewCase& c : {SkewCase{10, 300, 3, 0},
                            {10, 300, 3, 20},
                            {10, 300, 3, 60},
                            {10, 300, 3, 100},
                            {10, 297, 7, 40},
                            {4, 100, 1, 80},
                            {3, 500, 12, 50},
                            {10, 6000, 25, 99}}) {
    const auto labels = labels_of(c.classes, c.per_class);
    const auto count = static_cast<int64_t>(labels.size());
    const Partition parts = partition(labels, count, c.classes, c.workers, {.kind = "skew", .skew = c.skew, .seed = 3});
    EXPECT_EQ(static_cast<int64_t>(dealt(parts, count).size()), count);
    const auto held = parts.class_counts(labels, c.classes);
    const double even = 1.0 / static_cast<double>(c.workers);
    for (int64_t k = 0; k < c.classes; ++k)
      for (int64_t n = 0; n < c.workers; ++n) {
        const bool balanced = k == c.classes - 1, favourite = k % c.workers == n;
        const double extra = c.skew / 100 * (1 - even);
        const double share = balanced ? even : favourite ? even + extra : even * (1 - c.skew / 100);
        EXPECT_NEAR(static_cast<double>(held[static_cast<size_t>(n)][static_cast<size_t>(k)]),
                    share * static_cast<double>(c.per_class), 1.0)
            << "class " << k << " at worker " << n << " of " << c.workers << ", skew " << c.skew;
      }
  }
}

TEST(Skew, ExtremesAreExact) {
  const auto labels = labels_of(10, 300);
  const auto held = partition(labels, 3000, 10, 3, {.kind = "skew", .skew = 100}).class_counts(labels, 10);
  for (size_t k = 0; k < 9; ++k)
    for (size_t n = 0; n < 3; ++n) EXPECT_EQ(held[n][k], n == k % 3 ? 300 : 0);
  for (size_t n = 0; n < 3; ++n) EXPECT_EQ(held[n][9], 100);
}

TEST(Partition, BadRequestsAreRefused) {
  const auto labels = labels_of(10, 3);
  const auto deal = [&](int64_t workers, const PartitionOptions& options) {
    return [&labels, workers, options] { partition(labels, 30, 10, workers, options); };
  };
  expect_refused({
      {"a slip", deal(3, {.kind = "idd"}), "\"iid\"", Fault::kUsage},
      {"another slip", deal(3, {.kind = "skewed"}), "\"skew\"", Fault::kUsage},
      {"no worker", deal(0, {}), "at least one worker", Fault::kUsage},
      {"more workers than samples", deal(31, {}), "31 workers cannot share 30", Fault::kUsage},
      {"negative skew", deal(3, {.kind = "skew", .skew = -1}), "from 0 to 100", Fault::kUsage},
      {"skew beyond 100", deal(3, {.kind = "skew", .skew = 101}), "from 0 to 100", Fault::kUsage},
      {"skew that is no number", deal(3, {.kind = "skew", .skew = NAN}), "from 0 to 100", Fault::kUsage},
      {"a worker that gets nothing", deal(20, {.kind = "skew", .skew = 100}), "without any sample", Fault::kUsage},
      {"skew without labels", [] { partition({}, 30, 0, 3, {.kind = "skew"}); }, "no labels", Fault::kUsage},
  });
}

}  // namespace
}  // namespace agon
