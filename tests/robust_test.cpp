// Compression and robust aggregation against double precision and by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "engine/compression.h"
#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;
using Codec = ops::Compress::Codec;
using Rule = ops::RobustMix::Rule;

double to_bf16(double x) {  // nearest with 8 bits of mantissa, ties to even
  if (x == 0) return 0;
  const int exponent = std::max(std::ilogb(x), -126) - 7;
  return std::ldexp(std::nearbyint(std::ldexp(x, -exponent)), exponent);
}

std::vector<double> decoded(Codec codec, std::vector<double> row, int64_t keep) {
  if (codec == Codec::kBf16)
    for (double& x : row) x = to_bf16(x);
  if (codec == Codec::kInt8) {
    double largest = 0;
    for (double x : row) largest = std::max(largest, std::abs(x));
    for (double& x : row) x = largest > 0 ? std::nearbyint(x / (largest / 127)) * (largest / 127) : 0;
  }
  if (codec == Codec::kTopK) {
    std::vector<size_t> order(row.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return std::abs(row[a]) > std::abs(row[b]); });
    for (size_t i = static_cast<size_t>(keep); i < order.size(); ++i) row[order[i]] = 0;
  }
  return row;
}

TEST(Compress, EqualsDoublePrecision) {
  struct Row {
    const char* name;
    Codec codec;
    int64_t R, rows, cols, keep;
    bool feedback;
  };
  for (const Row& row :
       {Row{"bf16", Codec::kBf16, 3, 5, 7, 0, false}, Row{"int8", Codec::kInt8, 3, 5, 33, 0, false},
        Row{"top 3", Codec::kTopK, 3, 4, 17, 3, false}, Row{"top all", Codec::kTopK, 2, 2, 5, 5, false},
        Row{"bf16, error", Codec::kBf16, 2, 3, 19, 0, true}, Row{"int8, error", Codec::kInt8, 2, 3, 19, 0, true},
        Row{"top 1, error", Codec::kTopK, 3, 2, 784, 1, true}}) {
    SCOPED_TRACE(row.name);
    Operands make(row.R, 5);
    std::vector<guarded::Operand> operands{make.uniform(row.rows * row.cols)};
    if (row.feedback) {
      operands.push_back(make.uniform(row.rows * row.cols));
      operands.back().scale = 1;  // what was lost is a small difference of larger numbers
    }
    run_check({.name = row.name,
               .replicas = row.R,
               .operands = operands,
               .run =
                   [&](Device& device, const Blocks& b, bool) {
                     device.run(ops::Compress{.codec = row.codec,
                                              .replicas = row.R,
                                              .rows = row.rows,
                                              .cols = row.cols,
                                              .x = b[0],
                                              .error = row.feedback ? b[1] : Floats{},
                                              .keep = row.keep});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int64_t i = 0; i < row.rows; ++i) {
                       const auto at = v[0].begin() + i * row.cols;
                       std::vector<double> wanted(at, at + row.cols);
                       // The sum is formed in single precision.
                       if (row.feedback)
                         for (int64_t c = 0; c < row.cols; ++c)
                           wanted[static_cast<size_t>(c)] =
                               static_cast<double>(static_cast<float>(v[1][static_cast<size_t>(i * row.cols + c)]) +
                                                   static_cast<float>(wanted[static_cast<size_t>(c)]));
                       const std::vector<double> got = decoded(row.codec, wanted, row.keep);
                       std::copy(got.begin(), got.end(), at);
                       for (int64_t c = 0; row.feedback && c < row.cols; ++c)
                         v[1][static_cast<size_t>(i * row.cols + c)] =
                             wanted[static_cast<size_t>(c)] - got[static_cast<size_t>(c)];
                     }
                   },
               .tolerance = row.codec == Codec::kInt8 ? 4e-6 : 2e-6});
  }
}

TEST(Compress, AMessageBringsTheBitsOfSend) {
  const auto device = test_device();
  constexpr int64_t kRows = 6, kCols = 37;
  std::vector<float> x(kRows * kCols);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = std::ldexp(std::sin(static_cast<float>(i) * 1.7f), static_cast<int>(i % 9) - 4);
  for (size_t i = 0; i < kCols; ++i) {
    x[kCols + i] = i % 2 ? 0.f : -0.f;                                        // nothing at all
    x[2 * kCols + i] = (i % 2 ? 1e-42f : -1e-42f) * static_cast<float>(i);    // less than any step
    x[3 * kCols + i] = i % 3 ? 0.5f : -0.5f;                                  // equal magnitudes
    x[4 * kCols + i] = (static_cast<float>(i) - 18.f) * 0.5f / 127.f * 18.f;  // halves of steps
  }
  x[5 * kCols] = 3e38f;
  for (const char* name : {"none", "bf16", "int8", "top-k"}) {
    const Compression how = parse_compression(name, 0.2);
    TensorBuffer buffer(device, 2, kRows / 2, {1, 1, kCols});
    device->upload(buffer.view().data, x.data(), x.size() * sizeof(float));
    how.send(*device, buffer.view());
    std::vector<float> sent(x.size()), arrived(x.size(), -1.f);
    device->download(sent.data(), buffer.view().data, sent.size() * sizeof(float));
    const std::vector<std::byte> message = how.pack(x.data(), kRows, kCols);
    EXPECT_EQ(std::ssize(message), how.bytes(kRows, kCols)) << name;
    how.unpack(message, kRows, kCols, arrived.data());
    std::vector<float> again(x.size());  // of what has been through send()
    how.unpack(how.pack(sent.data(), kRows, kCols, Compression::Values::kSent), kRows, kCols, again.data());
    EXPECT_EQ(again, sent) << name;
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(arrived[i]), std::bit_cast<uint32_t>(sent[i]))
          << name << " " << i << " of " << x[i];
  }
}

TEST(Compress, ErrorFeedbackLosesNothingInTheLongRun) {
  const auto device = test_device();
  Buffer<float> x(device, 4), error(device, 4);
  const std::vector<float> message{1.f, 0.5f, -0.25f, 0.125f};
  std::vector<float> arrived(4, 0.f);
  for (int turn = 0; turn < 64; ++turn) {
    x.set(message);
    device->run(ops::Compress{.codec = Codec::kTopK,
                              .replicas = 1,
                              .rows = 1,
                              .cols = 4,
                              .x = {x.data(), 4},
                              .error = {error.data(), 4},
                              .keep = 1});
    const std::vector<float> got = x.host();
    EXPECT_EQ(std::count(got.begin(), got.end(), 0.f), 3);
    for (size_t i = 0; i < 4; ++i) arrived[i] += got[i];
  }
  const std::vector<float> kept = error.host();
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(arrived[i] + kept[i], 64 * message[i]);
}

std::shared_ptr<const ops::Mix::Rows> rows_of(std::vector<std::vector<int64_t>> lists, float weight) {
  auto rows = std::make_shared<ops::Mix::Rows>();
  rows->begin = {0};
  for (const auto& list : lists) {
    for (int64_t column : list) rows->column.push_back(column), rows->weight.push_back(weight);
    rows->begin.push_back(static_cast<int64_t>(rows->column.size()));
  }
  return rows;
}

TEST(RobustMix, EqualsDoublePrecision) {
  struct Row {
    const char* name;
    Rule rule;
    int64_t tolerate;
  };
  const std::vector<std::vector<int64_t>> lists{{0, 2, 4, 5, 6}, {}, {1, 3}, {6}};
  const auto matrix = rows_of(lists, 0.5f);
  for (const Row& row : {Row{"median", Rule::kMedian, 0}, Row{"trimmed by 1", Rule::kTrimmedMean, 1},
                         Row{"trimmed by 2", Rule::kTrimmedMean, 2}, Row{"trimmed by 0", Rule::kTrimmedMean, 0}})
    for (const int64_t count : {1, 63, 3001}) {
      Operands make(1, 3);
      run_check({.name = fmt::format("{}, {} elements", row.name, count),
                 .replicas = 1,
                 .operands = {make.uniform(7 * count), make.uniform(4 * count)},
                 .run =
                     [&](Device& device, const Blocks& b, bool) {
                       device.run(ops::RobustMix{
                           row.rule, count, {b[0].data, count}, {b[1].data, count}, matrix, row.tolerate});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (size_t i = 0; i < lists.size(); ++i)
                         for (int64_t e = 0; e < count && !lists[i].empty(); ++e) {
                           std::vector<double> said;
                           for (int64_t column : lists[i])
                             said.push_back(v[0][static_cast<size_t>(column * count + e)]);
                           std::sort(said.begin(), said.end());
                           const auto n = std::ssize(said);
                           const auto most = (n - 1) / 2;
                           const auto drop =
                               row.rule == Rule::kMedian ? most : std::min<std::ptrdiff_t>(row.tolerate, most);
                           double sum = 0;
                           for (auto k = drop; k < n - drop; ++k) sum += said[static_cast<size_t>(k)];
                           v[1][i * static_cast<size_t>(count) + static_cast<size_t>(e)] =
                               0.5 * static_cast<double>(n) * sum / static_cast<double>(n - 2 * drop);
                         }
                     },
                 .tolerance = 2e-6});
    }
}

/// Five honest vectors near (1, 1, 1) and one or two liars.
std::vector<float> merged(Rule rule, int64_t tolerate, const std::vector<std::vector<float>>& said) {
  const auto device = test_device();
  const auto count = std::ssize(said[0]);
  Buffer<float> in(device, count * std::ssize(said)), out(device, count);
  std::vector<float> host;
  std::vector<int64_t> all;
  for (const auto& vector : said) {
    all.push_back(std::ssize(all));
    host.insert(host.end(), vector.begin(), vector.end());
  }
  in.set(host);
  device->run(ops::RobustMix{rule,
                             count,
                             {in.data(), count},
                             {out.data(), count},
                             rows_of({all}, 1.f / static_cast<float>(said.size())),
                             tolerate});
  return out.host();
}

TEST(RobustMix, KrumPicksTheRightOne) {
  // The third is nearest to its three nearest others; the last two lie together, far away.
  const std::vector<std::vector<float>> said{{1.2f, 1.f, 1.f}, {1.f, 1.1f, 1.f},  {1.f, 1.f, 1.01f}, {0.9f, 1.f, 1.f},
                                             {1.f, 0.8f, 1.f}, {-9.f, -9.f, 9.f}, {-9.f, -9.f, 9.f}};
  const std::vector<float> chosen = merged(Rule::kKrum, 2, said);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(chosen[i], said[2][i], 1e-6);
}

TEST(RobustMix, LiarsCannotHideBehindNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<float>> said{{1, 2}, {1, 2}, {1, 2}, {1, 2}, {kNan, kNan}};
  for (const auto rule : {Rule::kMedian, Rule::kTrimmedMean, Rule::kKrum}) {
    const std::vector<float> found = merged(rule, 1, said);
    EXPECT_FLOAT_EQ(found[0], 1) << static_cast<int>(rule);
    EXPECT_FLOAT_EQ(found[1], 2) << static_cast<int>(rule);
  }
}

}  // namespace
}  // namespace agon
