// Random numbers: Philox's published answers, distributions, independence of who draws; shuffles; batches of samples.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "kernels/shuffle.h"
#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;
using ops::RandomFill;

TEST(Philox, GivesThePublishedAnswers) {  // kat_vectors of Random123, philox4x32 with 10 rounds
  struct Answer {
    PhiloxBlock counter;
    uint32_t key[2];
    PhiloxBlock words;
  };
  constexpr uint32_t kOnes = 0xffffffff;
  for (const Answer& a :
       {Answer{{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        Answer{{{kOnes, kOnes, kOnes, kOnes}}, {kOnes, kOnes}, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        Answer{{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
               {0xa4093822, 0x299f31d0},
               {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}}}) {
    const PhiloxBlock found = philox(a.counter, a.key[0], a.key[1]);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(found.word[i], a.words.word[i]) << i;
  }
}

TEST(RandomWords, DifferWhenAnyPartOfTheKeyDoes) {
  std::set<std::array<uint32_t, 4>> seen;
  size_t drawn = 0;
  const auto draw = [&](uint64_t seed, uint32_t stream, uint32_t worker, uint64_t iteration, uint32_t draw) {
    for (uint32_t block : {0u, 1u, 0xffffffffu}) {
      const PhiloxBlock b = RandomWords(seed, stream, worker, iteration, draw).block(block);
      seen.insert({b.word[0], b.word[1], b.word[2], b.word[3]});
      ++drawn;
    }
  };
  // Each part at the values that a careless layout would let run into its neighbour.
  for (const uint64_t seed : {0ull, 1ull, 1ull << 32})
    for (const uint32_t stream : {0u, 1u, 255u})
      for (const uint32_t worker : {0u, 1u, 255u, 256u, (1u << 24) - 1})
        for (const uint64_t iteration : {0ull, 1ull, 1ull << 16, 1ull << 32, 1ull << 40, (1ull << 48) - 1})
          for (const uint32_t d : {0u, 1u, 255u, 256u, 32768u, 65535u}) draw(seed, stream, worker, iteration, d);
  EXPECT_EQ(seen.size(), drawn);
}

/// What one worker draws, by itself.
std::vector<float> draw(RandomFill::Kind kind, int64_t count, float a, float b, RandomKey key, uint32_t worker = 0,
                        uint64_t iteration = 0) {
  const auto device = test_device(1);
  Buffer<float> y(device, count);
  Buffer<uint32_t> workers(device, 1);
  Buffer<uint64_t> counter(device, 1);
  workers.set(std::vector<uint32_t>{worker});
  counter.set(std::vector<uint64_t>{iteration});
  key.workers = workers.data();
  key.iteration = counter.data();
  device->run(RandomFill{kind, 1, count, {y.data(), count}, a, b, key});
  return y.host();
}

TEST(RandomFill, IsAFunctionOfWorkerIterationAndElementAlone) {
  for (const auto kind : {RandomFill::Kind::kNormal, RandomFill::Kind::kUniform})
    for (const int64_t count : {1, 7, 40003}) {
      constexpr int64_t R = 3;
      const auto workers = std::make_shared<std::vector<uint32_t>>(std::vector<uint32_t>{4, 0, 9});
      const auto counter = std::make_shared<uint64_t>(5);
      const RandomKey key{.seed = 11, .stream = 2, .draw = 1};
      Operands make(R, 1);
      run_check({.name = fmt::format("{} numbers", count),
                 .replicas = R,
                 .operands = {make.output(count)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       *counter = 4;  // what counts is the iteration when the operation runs
                       RandomKey fleet = key;
                       fleet.workers = workers->data();
                       fleet.iteration = counter.get();
                       device.run(ops::Advance{counter.get()});
                       device.run(RandomFill{kind, R, count, b[0], -1.f, 2.f, fleet, split});
                     },
                 .reference =
                     [&](Values& v, int64_t r) {
                       const auto alone = draw(kind, count + 5, -1.f, 2.f, key, (*workers)[r], 5);
                       v[0].assign(alone.begin(), alone.begin() + count);
                     },
                 .tolerance = 0});
    }
}

TEST(RandomFill, NormalEqualsBoxMullerInDoublePrecision) {
  constexpr int64_t kCount = 100000;
  const RandomKey key{.seed = 3, .stream = 1};
  const std::vector<float> y = draw(RandomFill::Kind::kNormal, kCount, 0.5f, 2.f, key);
  for (int64_t i = 0; i < kCount; i += 2) {
    const PhiloxBlock block = RandomWords(3, 1, 0, 0, 0).block(static_cast<uint32_t>(i / 4));
    const double u = (block.word[i % 4] + 0.5) / 0x1p32, angle = 2 * M_PI * block.word[i % 4 + 1] / 0x1p32;
    const double radius = std::sqrt(-2 * std::log(u));
    const double tolerance = 4e-6 + 2 * 0x1p-24 / radius;  // u is a float, and the radius near u = 1 is steep in it
    ASSERT_NEAR(y[i], 0.5 + 2 * radius * std::cos(angle), tolerance) << i;
    ASSERT_NEAR(y[i + 1], 0.5 + 2 * radius * std::sin(angle), tolerance) << i;
  }
}

/// Chi-square statistic of counts against equal expectations, less its mean, in standard deviations.
double chi_square_deviation(const std::vector<int64_t>& counts) {
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  const double expected = total / static_cast<double>(counts.size()), freedom = static_cast<double>(counts.size()) - 1;
  double chi_square = 0;
  for (const int64_t count : counts) chi_square += std::pow(static_cast<double>(count) - expected, 2) / expected;
  return (chi_square - freedom) / std::sqrt(2 * freedom);
}

TEST(RandomFill, HasTheDistributionAskedFor) {
  constexpr int64_t kCount = 1 << 20;
  const double error = 1 / std::sqrt(static_cast<double>(kCount));
  const std::vector<float> normal = draw(RandomFill::Kind::kNormal, kCount, 0.f, 1.f, {.seed = 1});
  double moments[5] = {};
  std::vector<int64_t> bins(64);
  for (const float x : normal) {
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(x, k) / kCount;
    ++bins[std::min<size_t>(63, static_cast<size_t>(64 * 0.5 * std::erfc(-x / std::sqrt(2.))))];
  }
  EXPECT_NEAR(moments[1], 0, 5 * error);
  EXPECT_NEAR(moments[2], 1, 5 * error * std::sqrt(2));
  EXPECT_NEAR(moments[3], 0, 5 * error * std::sqrt(15));
  EXPECT_NEAR(moments[4], 3, 5 * error * std::sqrt(96));
  EXPECT_LT(std::abs(chi_square_deviation(bins)), 5);
  EXPECT_GT(*std::max_element(normal.begin(), normal.end()), 4.2f);

  const std::vector<float> uniform = draw(RandomFill::Kind::kUniform, kCount, 0.f, 1.f, {.seed = 1});
  std::fill(bins.begin(), bins.end(), 0);
  for (const float x : uniform) {
    ASSERT_TRUE(x >= 0.f && x < 1.f);
    ++bins[static_cast<size_t>(x * 64)];
  }
  EXPECT_LT(std::abs(chi_square_deviation(bins)), 5);
}

TEST(RandomLabels, AreUniform) {
  constexpr int64_t R = 3, kCount = 30001, kClasses = 10;
  Operands make(R, 1);
  auto labels = make.labels(kCount, 1);
  run_check({.name = "labels",
             .replicas = R,
             .operands = {labels},
             .run =
                 [](Device& device, const Blocks& b, bool) {
                   device.run(ops::RandomLabels{R, kCount, kClasses, b.ints(0), {.seed = 5, .draw = 3}});
                 },
             .reference =
                 [](Values& v, int64_t r) {
                   std::vector<int64_t> counts(kClasses);
                   for (int64_t i = 0; i < kCount; ++i) {
                     const PhiloxBlock block = RandomWords(5, 0, static_cast<uint32_t>(r), 0, 3).block(i / 4);
                     v[0][i] = static_cast<double>(uint64_t{block.word[i % 4]} * kClasses >> 32);
                     ++counts[static_cast<size_t>(v[0][i])];
                   }
                   EXPECT_LT(std::abs(chi_square_deviation(counts)), 5);
                 },
             .tolerance = 0});
}

TEST(Dropout, DropsTheSameElementsForwardAndBackward) {
  for (const int64_t count : {1, 6, 40001})
    for (const float rate : {0.f, 0.3f, 0.9f})
      for (const bool in_place : {false, true}) {
        constexpr int64_t R = 3;
        Operands make(R, 1);
        run_check(
            {.name = fmt::format("{} elements, rate {}, in place {}", count, rate, in_place),
             .replicas = R,
             .operands = {make.uniform(count, 1, 2), in_place ? make.uniform(1) : make.output(count)},
             .run =
                 [&](Device& device, const Blocks& b, bool split) {
                   device.run(ops::Dropout{R, count, b[0], b[in_place ? 0 : 1], rate, {.seed = 5}, split});
                 },
             .reference =
                 [&](Values& v, int64_t r) {
                   int64_t dropped = 0;
                   for (int64_t i = 0; i < count; ++i) {
                     const uint32_t bits = RandomWords(5, 0, static_cast<uint32_t>(r), 0, 0).block(i / 4).word[i % 4];
                     const bool drop = (bits >> 8) / 0x1p24 < rate;
                     dropped += drop;
                     v[in_place ? 0 : 1][i] = drop ? 0 : v[0][i] / (1 - static_cast<double>(rate));
                   }
                   const double deviation = std::sqrt(static_cast<double>(count) * rate * (1 - rate));
                   EXPECT_NEAR(static_cast<double>(dropped), static_cast<double>(count) * rate, 5 * deviation + 1e-3);
                 }});
      }
}

TEST(RandomKey, RejectsStreamsAndDrawsThatWouldCollide) {
  const auto device = test_device(1);
  Buffer<float> y(device, 1);
  EXPECT_THROW(device->run(RandomFill{RandomFill::Kind::kNormal, 1, 1, {y.data(), 1}, 0, 1, {.stream = 256}}), Error);
  EXPECT_THROW(device->run(RandomFill{RandomFill::Kind::kNormal, 1, 1, {y.data(), 1}, 0, 1, {.draw = 65535}}), Error);
}

std::vector<uint32_t> order_of(uint32_t count, uint32_t worker, uint64_t epoch, uint64_t seed = 1) {
  const Shuffle shuffle = epoch_order(seed, 3, worker, epoch, count);
  std::vector<uint32_t> order(count);
  for (uint32_t i = 0; i < count; ++i) order[i] = shuffle(i);
  return order;
}

TEST(Shuffle, IsAPermutation) {
  for (const uint32_t count : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 64u, 65u, 600u, 6000u, 60000u, 65536u, 65537u}) {
    std::vector<uint32_t> order = order_of(count, 0, 0);
    std::sort(order.begin(), order.end());
    for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(order[i], i) << "of " << count;
  }
}

TEST(Shuffle, DiffersBetweenEpochsWorkersAndSeeds) {
  for (const uint32_t count : {600u, 6000u}) {
    const auto base = order_of(count, 0, 0);
    for (const auto& other : {order_of(count, 0, 1), order_of(count, 1, 0), order_of(count, 0, 0, 2)}) {
      uint32_t fixed = 0;  // of two independent orders about one position agrees
      for (uint32_t i = 0; i < count; ++i) fixed += base[i] == other[i];
      EXPECT_LT(fixed, 10u);
    }
  }
}

TEST(Shuffle, IsUniform) {
  // Every order of 5 elements about equally often,
  std::vector<int64_t> orders(120);
  for (uint64_t epoch = 0; epoch < 24000; ++epoch) {
    const auto order = order_of(5, 0, epoch);
    size_t rank = 0;  // Lehmer code
    for (size_t i = 0; i < 5; ++i)
      rank = rank * (5 - i) + static_cast<size_t>(std::count_if(order.begin() + static_cast<int64_t>(i), order.end(),
                                                                [&](uint32_t other) { return other < order[i]; }));
    ++orders[rank];
  }
  EXPECT_LT(std::abs(chi_square_deviation(orders)), 5);
  // every element equally often at each place, and every step from one place to the next equally often.
  constexpr uint32_t kCount = 40;
  std::vector<int64_t> places(kCount * kCount), steps(kCount);
  for (uint64_t epoch = 0; epoch < 4000; ++epoch) {
    const auto order = order_of(kCount, 7, epoch);
    for (uint32_t i = 0; i < kCount; ++i) {
      ++places[i * kCount + order[i]];
      ++steps[(order[(i + 1) % kCount] + kCount - order[i]) % kCount];
    }
  }
  EXPECT_LT(std::abs(chi_square_deviation(places)), 5);
  EXPECT_EQ(steps[0], 0);
  EXPECT_LT(std::abs(chi_square_deviation({steps.begin() + 1, steps.end()})), 5);
}

/// Three workers with shards of 4, 7 and 1 of 12 samples.
struct Shards {
  std::vector<int64_t> begin{0, 4, 11, 12};
  std::vector<int32_t> indices{3, 1, 11, 6, 0, 2, 4, 5, 7, 8, 10, 9}, labels{5, 3, 1, 0, 2, 4, 9, 8, 7, 6, 5, 4};
  std::vector<uint8_t> images;
  std::vector<float> points;
  int64_t channels, height, width;

  Shards(int64_t channels, int64_t height, int64_t width) : channels(channels), height(height), width(width) {
    for (int64_t i = 0; i < 12 * size(); ++i) {
      images.push_back(static_cast<uint8_t>(i * 37 + i / 256));
      points.push_back(static_cast<float>(i) * 0.5f);
    }
  }
  int64_t size() const { return channels * height * width; }
};

TEST(Gather, ReadsEachShardInItsOwnOrder) {
  for (const auto& [channels, height, width] :
       {std::array<int64_t, 3>{1, 5, 7}, std::array<int64_t, 3>{3, 4, 5}, std::array<int64_t, 3>{2, 1, 1}})
    for (const bool points : {false, true})
      for (const int64_t batch : {1, 3, 10}) {
        constexpr int64_t R = 3;
        constexpr uint32_t kDraws = 2, kDraw = 1;
        constexpr uint64_t kIteration = 5;
        const Shards data(channels, height, width);
        const std::vector<uint32_t> workers{2, 0, 1};
        const RandomKey key{.seed = 9, .stream = 4, .draw = kDraw, .workers = workers.data(), .iteration = &kIteration};
        Operands make(R, 1);
        run_check({.name = fmt::format("{}x{}x{} points {} batch {}", channels, height, width, points, batch),
                   .replicas = R,
                   .operands = {make.output(batch * data.size()), make.labels(batch, 1)},
                   .run =
                       [&](Device& device, const Blocks& b, bool) {
                         device.run(ops::Gather{.replicas = R,
                                                .batch = batch,
                                                .channels = channels,
                                                .height = height,
                                                .width = width,
                                                .images = points ? nullptr : data.images.data(),
                                                .points = points ? data.points.data() : nullptr,
                                                .labels = data.labels.data(),
                                                .indices = data.indices.data(),
                                                .begin = data.begin.data(),
                                                .scale = 2.f / 255,
                                                .shift = -1.f,
                                                .draws = kDraws,
                                                .key = key,
                                                .x = b[0],
                                                .y = b.ints(1)});
                         device.synchronize();
                       },
                   .reference =
                       [&](Values& v, int64_t r) {
                         const uint32_t worker = workers[r];
                         const auto m = static_cast<uint64_t>(data.begin[worker + 1] - data.begin[worker]);
                         for (int64_t i = 0; i < batch; ++i) {
                           const uint64_t position = (kIteration * kDraws + kDraw) * batch + i;
                           const Shuffle order = epoch_order(9, 4, worker, position / m, static_cast<uint32_t>(m));
                           const int64_t sample = data.indices[data.begin[worker] + order(position % m)];
                           v[1][i] = data.labels[sample];
                           for (int64_t c = 0; c < channels; ++c)
                             for (int64_t p = 0; p < height * width; ++p) {
                               const int64_t from = sample * data.size() + c * height * width + p;
                               v[0][(i * height * width + p) * channels + c] =
                                   points ? data.points[from] : data.images[from] * static_cast<double>(2.f / 255) - 1;
                             }
                         }
                       },
                   .tolerance = points ? 0 : 2e-6});
      }
}

TEST(Gather, ShowsEverySampleOncePerEpoch) {
  const Shards data(1, 1, 1);
  const auto device = test_device(2);
  constexpr int64_t kBatch = 3, kIterations = 28;  // 84 draws: 21 epochs of 4, 12 of 7, 84 of 1
  Buffer<float> x(device, 3 * kBatch);
  Buffer<int32_t> y(device, 3 * kBatch);
  Buffer<uint64_t> iteration(device, 1);
  std::vector<int32_t> identity(12);
  std::iota(identity.begin(), identity.end(), 0);
  std::vector<std::vector<int32_t>> seen(3);
  for (int64_t i = 0; i < kIterations; ++i) {
    device->run(ops::Gather{.replicas = 3,
                            .batch = kBatch,
                            .channels = 1,
                            .height = 1,
                            .width = 1,
                            .images = data.images.data(),
                            .labels = identity.data(),
                            .indices = data.indices.data(),
                            .begin = data.begin.data(),
                            .key = {.seed = 1, .iteration = iteration.data()},
                            .x = {x.data(), kBatch},
                            .y = {y.data(), kBatch}});
    device->run(ops::Advance{iteration.data()});
    const auto labels = y.host();
    for (int64_t r = 0; r < 3; ++r)
      seen[r].insert(seen[r].end(), labels.begin() + r * kBatch, labels.begin() + (r + 1) * kBatch);
  }
  for (int64_t r = 0; r < 3; ++r) {
    const int64_t m = data.begin[r + 1] - data.begin[r];
    std::vector<int32_t> shard(data.indices.begin() + data.begin[r], data.indices.begin() + data.begin[r + 1]);
    std::sort(shard.begin(), shard.end());
    for (int64_t epoch = 0; epoch < kBatch * kIterations / m; ++epoch) {
      std::vector<int32_t> once(seen[r].begin() + epoch * m, seen[r].begin() + (epoch + 1) * m);
      std::sort(once.begin(), once.end());
      EXPECT_EQ(once, shard) << "worker " << r << ", epoch " << epoch;
    }
  }
}

TEST(Gather, NamesAWorkerWithoutSamples) {
  const Shards data(1, 1, 1);
  const std::vector<int64_t> begin{0, 0};
  const auto device = test_device(1);
  Buffer<float> x(device, 1);
  device->run(ops::Gather{.replicas = 1,
                          .batch = 1,
                          .channels = 1,
                          .height = 1,
                          .width = 1,
                          .images = data.images.data(),
                          .indices = data.indices.data(),
                          .begin = begin.data(),
                          .x = {x.data(), 1}});
  EXPECT_THROW(device->synchronize(), Error);
}

}  // namespace
}  // namespace agon
