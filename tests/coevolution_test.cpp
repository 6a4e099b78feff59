// The parts of spatial coevolution by hand: neighbourhoods, tournaments, mutations, mixtures.
#include "algorithms/coevolution.h"

#include <cmath>
#include <numeric>

#include "tests/data_files.h"

namespace agon {
namespace {

using Cells = std::vector<int64_t>;

Cells all_of(int64_t cells) {
  Cells list(static_cast<size_t>(cells));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

TEST(Torus, NeighbourhoodsByHand) {
  struct Row {
    int64_t cells, rows, cell;
    Cells expected;  ///< itself, above, below, left, right
  };
  for (const Row& row : std::vector<Row>{// 0 1 2
                                         // 3 4 5
                                         // 6 7 8
                                         {9, 3, 4, {4, 1, 7, 3, 5}},
                                         {9, 3, 0, {0, 6, 3, 2, 1}},
                                         {9, 3, 8, {8, 5, 2, 7, 6}},
                                         {1, 1, 0, {0}},
                                         {4, 2, 0, {0, 2, 1}},  // above is below, left is right
                                         {4, 2, 3, {3, 1, 2}},
                                         {3, 1, 0, {0, 2, 1}},
                                         {3, 3, 1, {1, 0, 2}},
                                         {2, 1, 1, {1, 0}},
                                         {6, 2, 4, {4, 1, 3, 5}},  // 2 x 3
                                         {12, 3, 5, {5, 1, 9, 4, 6}},
                                         {144, 12, 0, {0, 132, 12, 11, 1}}}) {
    const Torus torus(row.cells, row.rows);
    EXPECT_EQ(torus.neighbourhood(row.cell, all_of(row.cells)), row.expected)
        << row.rows << " x " << torus.columns() << ", cell " << row.cell;
  }
}

TEST(Torus, UnreachableNeighboursAreSkipped) {
  EXPECT_EQ(Torus(9, 3).neighbourhood(4, {0, 3, 4, 7}), (Cells{4, 7, 3}));
  EXPECT_EQ(Torus(9, 3).neighbourhood(4, {4}), Cells{4});
}

TEST(Torus, MirroredAsTheAuthorsProgram) {
  EXPECT_EQ(Torus(9, 3).neighbourhood(1, all_of(9), true), (Cells{1, 0, 6, 5, 4})) << "cell 3's, for cell 1";
  EXPECT_EQ(Torus(9, 3).neighbourhood(4, all_of(9), true), (Cells{4, 1, 7, 3, 5})) << "right on the diagonal";
  for (int64_t cell = 0; cell < 4; ++cell)
    EXPECT_EQ(Torus(4, 2).neighbourhood(cell, all_of(4), true).size(), 3u) << "and on 2 x 2";
}

TEST(Torus, TheMostSquareGridOrTheRowsAskedFor) {
  for (const auto& [cells, rows] : {std::pair<int64_t, int64_t>{1, 1}, {4, 2}, {6, 2}, {7, 1}, {12, 3}, {144, 12}})
    EXPECT_EQ(Torus(cells, 0).rows(), rows) << cells;
  EXPECT_EQ(Torus(6, 6).columns(), 1);
  expect_refused({{"rows that do not fit", [] { Torus(6, 4); }, "a divisor of the number of cells", Fault::kUsage}});
}

TEST(Tournament, TheBestOfTwoDifferentOnes) {
  std::vector<int> wins(4);
  constexpr int kRounds = 12000;
  for (int i = 0; i < kRounds; ++i) {
    HostRandom random(1, RandomStream::kAlgorithm, 0, static_cast<uint64_t>(i));
    ++wins[static_cast<size_t>(tournament({0.3, 0.1, 0.4, 0.2}, 2, random))];
  }
  // Of the 6 pairs the best wins 3, the next 2, the next 1, the worst none.
  EXPECT_NEAR(wins[1], kRounds / 2, 300);
  EXPECT_NEAR(wins[3], kRounds / 3, 300);
  EXPECT_NEAR(wins[0], kRounds / 6, 300);
  EXPECT_EQ(wins[2], 0);
  HostRandom random(1, RandomStream::kAlgorithm);
  EXPECT_EQ(tournament({0.3, 0.1, 0.4}, 9, random), 1) << "more than there are: all";
  EXPECT_EQ(tournament({0.3}, 2, random), 0);
}

TEST(Mutation, OfLearningRates) {
  double sum = 0, square = 0, kept = 0;
  constexpr int kDraws = 40000;
  HostRandom random(2, RandomStream::kAlgorithm);
  for (int i = 0; i < kDraws; ++i) {
    const double change = mutated_rate(2e-4, 1e-3, 1e-3, 0.5, random) - 2e-4;
    if (change == 0) ++kept;
    sum += change, square += change * change;
  }
  EXPECT_NEAR(kept / kDraws, 0.5, 0.02);
  const double moved = kDraws - kept;
  EXPECT_NEAR(sum / moved, -1e-7, 3e-8) << "scale times -initial / 10";
  EXPECT_NEAR(std::sqrt(square / moved), 1e-6, 3e-8) << "scale times the initial rate";
  for (int i = 0; i < 1000; ++i) EXPECT_GE(mutated_rate(1e-9, 1.0, 1.0, 1.0, random), 0);
  EXPECT_EQ(mutated_rate(2e-4, 1e-3, 1e-3, 0, random), 2e-4);
}

TEST(Mutation, OfMixtureWeights) {
  HostRandom random(3, RandomStream::kAlgorithm);
  bool clipped = false;
  for (int i = 0; i < 1000; ++i) {
    const std::vector<double> child = mutated_weights({0.7, 0.2, 0.1}, 0.2, random);
    EXPECT_NEAR(std::accumulate(child.begin(), child.end(), 0.0), 1, 1e-12);
    for (double w : child) {
      EXPECT_GE(w, 0);
      clipped |= w == 0;
    }
    EXPECT_NE(child, (std::vector<double>{0.7, 0.2, 0.1}));
  }
  EXPECT_TRUE(clipped);
  EXPECT_EQ(mutated_weights({0.5, 0.5}, 0, random), (std::vector<double>{0.5, 0.5}));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(mutated_weights({1.0}, 5, random), std::vector<double>{1.0});
}

TEST(Mixture, FollowsItsMembers) {
  const GeneratorMixture start = with_members({{}, {}, 4}, {4, 1, 7});
  EXPECT_EQ(start.holder, 4);
  for (double w : start.weights) EXPECT_DOUBLE_EQ(w, 1.0 / 3);
  const GeneratorMixture mixture{{4, 1, 7}, {0.5, 0.1, 0.4}, 4};
  EXPECT_EQ(with_members(mixture, {4, 1, 7}).weights, mixture.weights);
  const GeneratorMixture smaller = with_members(mixture, {4, 1});
  EXPECT_DOUBLE_EQ(smaller.weights[0], 0.5 / 0.6);
  EXPECT_DOUBLE_EQ(smaller.weights[1], 0.1 / 0.6);
  const GeneratorMixture larger = with_members(mixture, {4, 1, 7, 5});  // 5 gets the mean of the others
  EXPECT_DOUBLE_EQ(larger.weights[3], 0.25);
  EXPECT_DOUBLE_EQ(larger.weights[0], 0.5 * 0.75);
  for (double w : with_members({{1, 2}, {1.0, 0.0}, 4}, {2, 3}).weights) EXPECT_DOUBLE_EQ(w, 0.5);
}

TEST(Mixture, SamplesComeInProportion) {
  constexpr int64_t kCount = 20000;
  const auto picks = [](std::vector<double> weights) {
    const auto n = static_cast<int64_t>(weights.size());
    return sampled_members({all_of(n), weights, 0}, kCount, HostRandom(4, RandomStream::kAlgorithm));
  };
  std::vector<double> share(3);
  for (size_t m : picks({0.2, 0.0, 0.8})) share[m] += 1.0 / kCount;
  EXPECT_NEAR(share[0], 0.2, 0.02);
  EXPECT_EQ(share[1], 0);
  EXPECT_NEAR(share[2], 0.8, 0.02);
  // A small change of the weights changes few samples only.
  const auto a = picks({0.50, 0.50}), b = picks({0.51, 0.49});
  int64_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  EXPECT_NEAR(static_cast<double>(different) / kCount, 0.01, 0.005);
}

}  // namespace
}  // namespace agon
