// The mixing primitive against a matrix product in double precision.
#include <gtest/gtest.h>

#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;
using Rows = ops::Mix::Rows;
using Term = std::pair<int64_t, float>;  // column, weight

std::shared_ptr<const Rows> matrix_of(const std::vector<std::vector<Term>>& rows) {
  auto matrix = std::make_shared<Rows>();
  matrix->begin = {0};
  for (const auto& row : rows) {
    for (const auto& [column, weight] : row) {
      matrix->column.push_back(column);
      matrix->weight.push_back(weight);
    }
    matrix->begin.push_back(static_cast<int64_t>(matrix->column.size()));
  }
  return matrix;
}

struct MatrixRow {
  const char* name;
  std::vector<std::vector<Term>> rows;
  bool exact;  ///< only moves values
};
const std::vector<Term> kMean{{0, 0.25f}, {1, 0.25f}, {2, 0.25f}, {3, 0.25f}};
const MatrixRow kMatrices[] = {
    {"identity", {{{0, 1}}, {{1, 1}}, {{2, 1}}, {{3, 1}}}, true},
    {"swap", {{{1, 1}}, {{0, 1}}, {{2, 1}}, {{3, 1}}}, true},
    {"cycle", {{{1, 1}}, {{2, 1}}, {{3, 1}}, {{0, 1}}}, true},
    {"selection", {{{2, 1}}, {{2, 1}}, {{2, 1}}, {{0, 1}}}, true},
    {"empty rows", {{}, {{3, 1}}, {}, {{1, 1}}}, true},
    {"mean", {kMean, kMean, kMean, kMean}, false},
    {"mean of participants", {kMean, {}, kMean, {{3, 1}}}, false},
    {"gossip", {{{0, 0.5f}, {2, 0.5f}}, {{1, 0.7f}, {0, 0.3f}}, {{2, 1}}, {{3, 0.1f}, {1, 0.2f}, {0, 0.7f}}}, false},
    {"weights", {{{0, 2}}, {{0, -1}}, {{1, 0.5f}}, {{3, 1}, {3, 1}}}, false},
};
constexpr int64_t kCounts[] = {1, 63, 4097, 20011};

/// M in, for all columns at once; rows without terms keep what `out` held.
std::vector<double> product(const MatrixRow& m, int64_t count, const std::vector<double>& in, std::vector<double> out) {
  for (size_t i = 0; i < m.rows.size(); ++i)
    for (int64_t e = 0; e < count && !m.rows[i].empty(); ++e) {
      double sum = 0;
      for (const auto& [column, weight] : m.rows[i]) sum += static_cast<double>(weight) * in[column * count + e];
      out[static_cast<int64_t>(i) * count + e] = sum;
    }
  return out;
}

/// The rows of the matrix lie in one operand of one replica, `count` apart.
TEST(Mix, EqualsTheMatrixProduct) {
  for (const MatrixRow& m : kMatrices)
    for (const int64_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const auto matrix = matrix_of(m.rows);
        Operands make(1, 1);
        run_check({.name = fmt::format("{}, {} elements, in place {}", m.name, count, in_place),
                   .replicas = 1,
                   .operands = {make.uniform(4 * count), make.uniform(4 * count)},
                   .run =
                       [&](Device& device, const Blocks& b, bool) {
                         device.run(ops::Mix{count, {b[0].data, count}, {b[in_place ? 0 : 1].data, count}, matrix});
                       },
                   .reference = [&](Values& v,
                                    int64_t) { v[in_place ? 0 : 1] = product(m, count, v[0], v[in_place ? 0 : 1]); },
                   .tolerance = m.exact ? 0 : 2e-6});
      }
}

TEST(Mix, LeavesTheSpaceBetweenReplicasAlone) {
  for (const MatrixRow& m : kMatrices) {
    constexpr int64_t kCount = 5001;
    const auto matrix = matrix_of(m.rows);
    Operands make(4, 2);
    auto in = make.uniform(kCount);
    const std::vector<double> all(in.values.begin(), in.values.end());
    const auto expected = product(m, kCount, all, all);
    run_check({.name = m.name,
               .replicas = 4,
               .operands = {in},
               .run =
                   [&](Device& device, const Blocks& b, bool) {
                     device.run(ops::Mix{kCount, b[0], b[0], matrix});
                   },
               .reference =
                   [&](Values& v, int64_t r) {
                     v[0].assign(expected.begin() + r * kCount, expected.begin() + (r + 1) * kCount);
                   },
               .tolerance = m.exact ? 0 : 2e-6,
               .mixes = true});
  }
}

TEST(Mix, DoesNotSpreadNanFromAWorkerThatTakesNoPart) {
  constexpr int64_t kCount = 100;
  const auto device = test_device(2);
  Buffer<float> models(device, 3 * kCount);
  std::vector<float> host(3 * kCount, 1.f);
  std::fill_n(host.begin() + kCount, kCount, std::numeric_limits<float>::quiet_NaN());
  models.set(host);
  const std::vector<Term> mean{{0, 0.5f}, {2, 0.5f}};
  device->run(ops::Mix{kCount, {models.data(), kCount}, {models.data(), kCount}, matrix_of({mean, {{1, 1}}, mean})});
  const auto found = models.host();
  for (int64_t i = 0; i < 3 * kCount; ++i) {
    const bool lost = i / kCount == 1;
    EXPECT_EQ(std::isnan(found[i]), lost) << i;
    if (!lost) {
      EXPECT_EQ(found[i], 1.f) << i;
    }
  }
}

TEST(Select, MovesIntegersUnchanged) {
  for (const MatrixRow& m : kMatrices) {
    if (!m.exact) continue;
    for (const int64_t count : kCounts)
      for (const bool in_place : {false, true}) {
        const auto matrix = matrix_of(m.rows);
        Operands make(1, 3);
        run_check({.name = fmt::format("{}, {} labels, in place {}", m.name, count, in_place),
                   .replicas = 1,
                   .operands = {make.labels(4 * count, 1 << 30), make.labels(4 * count, 1 << 30)},
                   .run =
                       [&](Device& device, const Blocks& b, bool) {
                         device.run(ops::Select{
                             count, {b.ints(0).data, count}, {b.ints(in_place ? 0 : 1).data, count}, matrix});
                       },
                   .reference = [&](Values& v,
                                    int64_t) { v[in_place ? 0 : 1] = product(m, count, v[0], v[in_place ? 0 : 1]); },
                   .tolerance = 0});
      }
  }
}

}  // namespace
}  // namespace agon
