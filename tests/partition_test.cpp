// Partitioners: who gets which samples, whatever the numbers of workers and classes.
#include "datasets/partition.h"

#include <algorithm>
#include <cmath>
#include <set>

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

/// Share of a worker's samples that are of its most frequent class, averaged over workers.
double mean_largest_share(const Partition& parts, const std::vector<int32_t>& labels, int64_t classes) {
  double sum = 0;
  for (const auto& counts : parts.class_counts(labels, classes)) {
    double total = 0, largest = 0;
    for (int64_t n : counts) total += static_cast<double>(n), largest = std::max(largest, static_cast<double>(n));
    sum += largest / total;
  }
  return sum / static_cast<double>(parts.workers());
}

TEST(Dirichlet, SharesHaveTheMomentsOfTheDistribution) {
  // Of Dir(a, ..., a) over N: mean 1/N, variance (N - 1) / (N^2 (N a + 1)).
  for (const double alpha : {1e-4, 0.1, 0.5, 1.0, 30.0}) {
    constexpr int kDraws = 20000, kWorkers = 4;
    HostRandom random(5, RandomStream::kPartition);
    std::vector<double> mean(kWorkers), square(kWorkers);
    for (int i = 0; i < kDraws; ++i) {
      const std::vector<double> shares = dirichlet_shares(random, alpha, kWorkers);
      double total = 0;
      for (size_t n = 0; n < kWorkers; ++n) {
        EXPECT_GE(shares[n], 0);
        mean[n] += shares[n] / kDraws, square[n] += shares[n] * shares[n] / kDraws, total += shares[n];
      }
      EXPECT_NEAR(total, 1, 1e-12);
    }
    const double variance = 3.0 / (16 * (4 * alpha + 1));
    for (size_t n = 0; n < kWorkers; ++n) {
      EXPECT_NEAR(mean[n], 0.25, 5 * std::sqrt(variance / kDraws)) << alpha;
      EXPECT_NEAR(square[n] - mean[n] * mean[n], variance, 0.05 * variance) << alpha;
    }
  }
}

TEST(Dirichlet, UsesAllSamplesAndKeepsTheSmallestShard) {
  const auto labels = labels_of(10, 500);
  double before = 1.1;
  for (const double alpha : {0.05, 0.5, 5.0, 1e5}) {
    const Partition parts =
        partition(labels, 5000, 10, 7, {.kind = "dirichlet", .alpha = alpha, .smallest_shard = 40, .seed = 2});
    EXPECT_EQ(dealt(parts, 5000).size(), 5000u);
    EXPECT_GE(parts.smallest(), 40);
    const double largest = mean_largest_share(parts, labels, 10);
    EXPECT_LT(largest, before) << "a larger alpha spreads the classes more evenly";
    before = largest;
  }
  const auto even = partition(labels, 5000, 10, 5, {.kind = "dirichlet", .alpha = 1e6, .seed = 2});
  for (const auto& counts : even.class_counts(labels, 10))
    for (int64_t n : counts) EXPECT_NEAR(static_cast<double>(n), 100, 3);
  const auto deal = [&](uint64_t seed) { return partition(labels, 5000, 10, 7, {.kind = "dirichlet", .seed = seed}); };
  EXPECT_EQ(deal(1).shards, deal(1).shards);
  EXPECT_NE(deal(1).shards, deal(2).shards);
}

TEST(Quantity, SizesDifferButNotTheClasses) {
  const auto labels = labels_of(4, 5000);
  const Partition parts =
      partition(labels, 20000, 4, 6, {.kind = "quantity", .alpha = 0.5, .smallest_shard = 100, .seed = 3});
  EXPECT_EQ(dealt(parts, 20000).size(), 20000u);
  EXPECT_GE(parts.smallest(), 100);
  size_t largest = 0;
  for (const auto& shard : parts.shards) largest = std::max(largest, shard.size());
  EXPECT_GT(largest, 2 * static_cast<size_t>(parts.smallest()));
  for (const auto& counts : parts.class_counts(labels, 4)) {
    double total = 0;
    for (int64_t n : counts) total += static_cast<double>(n);
    for (int64_t n : counts)  // five standard deviations of a random sample
      EXPECT_NEAR(static_cast<double>(n), total / 4, 5 * std::sqrt(total * 3 / 16));
  }
  EXPECT_EQ(partition({}, 600, 0, 3, {.kind = "quantity"}).workers(), 3) << "needs no labels";
}

TEST(ShardsOfClasses, EachWorkerGetsItsNumberOfPieces) {
  const auto labels = labels_of(10, 100);
  for (const int64_t each : {1, 2, 4}) {
    const Partition parts = partition(labels, 1000, 10, 5, {.kind = "shards", .shards_per_worker = each, .seed = 4});
    EXPECT_EQ(dealt(parts, 1000).size(), 1000u);
    for (const auto& shard : parts.shards) EXPECT_EQ(shard.size(), 200u);
    // A piece of 200 / each samples of sorted data touches 2, 1 and 1 classes.
    for (const auto& counts : parts.class_counts(labels, 10))
      EXPECT_LE(std::count_if(counts.begin(), counts.end(), [](int64_t n) { return n > 0; }), each == 1 ? 2 : each);
  }
  const Partition odd = partition(labels_of(3, 67), 201, 3, 4, {.kind = "shards", .shards_per_worker = 3});
  EXPECT_EQ(dealt(odd, 201).size(), 201u);
  for (const auto& shard : odd.shards) EXPECT_NEAR(static_cast<double>(shard.size()), 50.25, 3);
}

TEST(OneClass, OneDigitPerMachine) {
  const auto labels = labels_of(5, 60);
  const auto exact = partition(labels, 300, 5, 5, {.kind = "one-class"}).class_counts(labels, 5);
  for (size_t n = 0; n < 5; ++n)
    for (size_t c = 0; c < 5; ++c) EXPECT_EQ(exact[n][c], n == c ? 60 : 0);
  const Partition more = partition(labels, 300, 5, 13, {.kind = "one-class"});
  EXPECT_EQ(dealt(more, 300).size(), 300u);
  const auto held = more.class_counts(labels, 5);
  for (size_t n = 0; n < 13; ++n)
    for (size_t c = 0; c < 5; ++c) EXPECT_EQ(held[n][c], n % 5 != c ? 0 : c < 3 ? 20 : 30);
}

TEST(Diet, EverybodyGetsARandomShare) {
  const Partition parts = partition({}, 1000, 0, 5, {.kind = "diet", .share = 0.25, .seed = 6});
  EXPECT_EQ(mean_shard({.kind = "diet", .share = 0.25}, 1000, 5), 250);
  EXPECT_EQ(mean_shard({.kind = "iid"}, 1000, 3), 333);
  std::set<int32_t> all;
  for (const auto& shard : parts.shards) {
    EXPECT_EQ(std::set<int32_t>(shard.begin(), shard.end()).size(), 250u) << "nothing twice at one worker";
    all.insert(shard.begin(), shard.end());
  }
  EXPECT_NEAR(static_cast<double>(all.size()), 1000 * (1 - std::pow(0.75, 5)), 60) << "shards overlap at random";
  for (const auto& shard : partition({}, 100, 0, 3, {.kind = "diet"}).shards) EXPECT_EQ(shard.size(), 100u);
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
      {"alpha 0", deal(3, {.kind = "dirichlet", .alpha = 0}), "an alpha above 0", Fault::kUsage},
      {"alpha that is no number", deal(3, {.kind = "quantity", .alpha = NAN}), "an alpha above 0", Fault::kUsage},
      {"a smallest shard beyond an even share", deal(4, {.kind = "dirichlet", .smallest_shard = 8}), "1 to 7 samples",
       Fault::kUsage},
      {"a smallest shard that chance does not give", deal(5, {.kind = "quantity", .alpha = 1e-3, .smallest_shard = 6}),
       "left a worker below 6 samples", Fault::kUsage},
      {"no shards", deal(3, {.kind = "shards", .shards_per_worker = 0}), "1 to 10 shards per worker", Fault::kUsage},
      {"more shards than samples", deal(3, {.kind = "shards", .shards_per_worker = 11}), "1 to 10 shards per worker",
       Fault::kUsage},
      {"more classes than workers", deal(9, {.kind = "one-class"}), "at least 10 workers", Fault::kUsage},
      {"a share of nothing", deal(3, {.kind = "diet", .share = 0}), "a share above 0", Fault::kUsage},
      {"a share beyond all", deal(3, {.kind = "diet", .share = 1.5}), "at most 1", Fault::kUsage},
      {"one-class without labels", [] { partition({}, 30, 0, 3, {.kind = "one-class"}); }, "no labels", Fault::kUsage},
      {"skew without labels", [] { partition({}, 30, 0, 3, {.kind = "skew"}); }, "no labels", Fault::kUsage},
  });
}

}  // namespace
}  // namespace agon
