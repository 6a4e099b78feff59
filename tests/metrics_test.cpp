#include "engine/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "kernels/error.h"

namespace agon {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Samples that any language can rebuild exactly: quarters between -2 and 2, scaled and shifted.
std::vector<float> lattice(int64_t count, int64_t width, int64_t seed, float scale = 1, float shift = 0) {
  std::vector<float> result;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < width; ++j) {
      const auto step = static_cast<float>((i * i * 7 + j * j * 13 + i * j * 3 + seed * i) % 17);
      result.push_back((step / 4 - 2) * scale + shift);
    }
  return result;
}

double frechet(const std::vector<float>& a, const std::vector<float>& b, int64_t width) {
  const auto rows = [&](const std::vector<float>& x) { return static_cast<int64_t>(x.size()) / width; };
  return frechet_distance(feature_statistics(a, rows(a), width), feature_statistics(b, rows(b), width));
}

Fault fault_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.fault();
  }
  ADD_FAILURE() << "no error was thrown";
  return Fault::kUsage;
}

/// Logits that put all certainty on one class each.
std::vector<float> certain(const std::vector<int>& classes_of_samples, int64_t classes) {
  std::vector<float> logits(classes_of_samples.size() * static_cast<size_t>(classes));
  for (size_t i = 0; i < classes_of_samples.size(); ++i)
    logits[i * static_cast<size_t>(classes) + static_cast<size_t>(classes_of_samples[i])] = 1000;
  return logits;
}

TEST(InceptionScore, IsOneForASingleCertainClass) {
  EXPECT_NEAR(inception_score(certain({3, 3, 3, 3}, 10), 4, 10), 1.0, 1e-12);
}

TEST(InceptionScore, IsOneForAnUndecidedScorer) {
  EXPECT_NEAR(inception_score(std::vector<float>(50, 2.5f), 5, 10), 1.0, 1e-12);
}

TEST(InceptionScore, IsTheNumberOfCertainClassesOfEqualFrequency) {
  EXPECT_NEAR(inception_score(certain({0, 1, 2, 0, 1, 2}, 10), 6, 10), 3.0, 1e-12);
  EXPECT_NEAR(inception_score(certain({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10), 10, 10), 10.0, 1e-12);
}

TEST(InceptionScore, IsTheExponentialOfTheEntropyOfCertainClasses) {
  // Shares 3/4 and 1/4: exp(-(3/4 log 3/4 + 1/4 log 1/4)).
  EXPECT_NEAR(inception_score(certain({0, 0, 0, 1}, 2), 4, 2), std::pow(0.75, -0.75) * std::pow(0.25, -0.25), 1e-12);
}

TEST(InceptionScore, DoesNotDependOnAnOffsetOfTheLogits) {
  auto logits = lattice(40, 6, 1);
  const double score = inception_score(logits, 40, 6);
  for (float& l : logits) l += 64;
  EXPECT_NEAR(inception_score(logits, 40, 6), score, 1e-12);
}

TEST(InceptionScore, EqualsNumpy) { EXPECT_NEAR(inception_score(lattice(40, 6, 1), 40, 6), 1.49757347551631, 1e-12); }

TEST(FeatureStatistics, DividesByOneLessThanTheCount) {
  const auto s = feature_statistics(std::vector<float>{1, 0, 3, 4}, 2, 2);
  EXPECT_EQ(s.mean, (std::vector<double>{2, 2}));
  EXPECT_EQ(s.covariance, (std::vector<double>{2, 4, 4, 8}));
}

TEST(FrechetDistance, IsZeroForIdenticalSets) {
  EXPECT_NEAR(frechet(lattice(40, 6, 1), lattice(40, 6, 1), 6), 0, 1e-10);
  EXPECT_NEAR(frechet(lattice(4, 6, 1), lattice(4, 6, 1), 6), 0, 1e-10) << "rank-deficient covariance";
}

TEST(FrechetDistance, OfOneDimensionIsThatOfMeansAndDeviations) {
  const double deviation = std::numbers::sqrt2;  // of {-1, 1}
  EXPECT_NEAR(frechet({-1, 1}, {2, 8}, 1), 25 + std::pow(3 * deviation - deviation, 2), 1e-12);
}

TEST(FrechetDistance, OfIndependentDirectionsIsTheSumOfVariances) {
  // One set varies along x only, the other along y only: the roots' product vanishes.
  EXPECT_NEAR(frechet({-1, 0, 1, 0}, {0, -2, 0, 2}, 2), 2 + 8, 1e-12);
}

TEST(FrechetDistance, EqualsScipy) {
  const auto x = lattice(40, 6, 1), y = lattice(30, 6, 5, 1.25f, 1);
  EXPECT_NEAR(frechet(x, y, 6), 7.83801753917572, 1e-10);
  EXPECT_NEAR(frechet(y, x, 6), 7.83801753917572, 1e-10) << "symmetric";
}

TEST(FrechetDistance, OfRankDeficientCovariancesEqualsNumpy) {
  EXPECT_NEAR(frechet(lattice(4, 6, 1), lattice(4, 6, 5, 1.25f, 1), 6), 17.8727086637021, 1e-9);
}

TEST(TotalVariation, IsHalfTheAbsoluteDifferenceOfShares) {
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(total_variation(Counts{5, 5}, Counts{50, 50}), 0);
  EXPECT_EQ(total_variation(Counts{7, 0}, Counts{0, 3}), 1);
  EXPECT_DOUBLE_EQ(total_variation(Counts{10, 0, 0, 0}, Counts{1, 1, 1, 1}), 0.75);
}

TEST(KernelDistance, EqualsNumpy) {
  EXPECT_NEAR(kernel_distance(lattice(40, 6, 1), 40, lattice(30, 6, 5, 1.25f, 1), 30, 6), 11.6937937448401, 1e-10);
}

TEST(KernelDistance, OfPointMassesIsThatOfTheirKernels) {
  // k(1,1) = 8, k(2,2) = 125, k(1,2) = 27.
  EXPECT_NEAR(kernel_distance(std::vector<float>{1, 1}, 2, std::vector<float>{2, 2, 2}, 3, 1), 8 + 125 - 54, 1e-12);
}

TEST(Overlap, EqualsNumpy) {
  const Overlap o = overlap(lattice(40, 6, 1), 40, lattice(30, 6, 5, 1.25f, 1), 30, 6);
  EXPECT_NEAR(o.precision, 0.633333333333333, 1e-12);
  EXPECT_NEAR(o.recall, 0.925, 1e-12);
  EXPECT_NEAR(o.density, 0.413333333333333, 1e-12);
  EXPECT_NEAR(o.coverage, 0.5, 1e-12);
}

TEST(Overlap, IsCompleteForIdenticalSetsAndNoneForDistantOnes) {
  const auto x = lattice(40, 6, 1), far = lattice(40, 6, 1, 1, 100);
  const Overlap same = overlap(x, 40, x, 40, 6), none = overlap(x, 40, far, 40, 6);
  EXPECT_EQ(same.precision, 1);
  EXPECT_EQ(same.recall, 1);
  EXPECT_EQ(same.coverage, 1);
  EXPECT_GE(same.density, 1);
  EXPECT_EQ(none.precision, 0);
  EXPECT_EQ(none.recall, 0);
  EXPECT_EQ(none.density, 0);
  EXPECT_EQ(none.coverage, 0);
}

TEST(ModeCoverage, CountsModesHitWithinThreeDeviations) {
  const std::vector<float> centres = {0, 0, 1, 0, 0, 1};
  // Two at the first centre, one just inside and one just outside of the second's circle, none near the third.
  const std::vector<float> points = {0, 0, 0.1f, 0, 1, 0.29f, 1, 0.31f};
  const ModeCoverage m = mode_coverage(points, 4, centres, 3, 2, 0.1);
  EXPECT_EQ(m.covered, 2);
  EXPECT_EQ(m.modes, 3);
  EXPECT_DOUBLE_EQ(m.high_quality, 0.75);
}

TEST(Metrics, RejectUndefinedNumbers) {
  auto bad = lattice(8, 2, 1);
  bad[5] = kNan;
  const auto good = lattice(8, 2, 1);
  EXPECT_EQ(fault_of([&] { inception_score(bad, 8, 2); }), Fault::kRun);
  EXPECT_EQ(fault_of([&] { feature_statistics(bad, 8, 2); }), Fault::kRun);
  EXPECT_EQ(fault_of([&] { kernel_distance(good, 8, bad, 8, 2); }), Fault::kRun);
  EXPECT_EQ(fault_of([&] { overlap(good, 8, bad, 8, 2); }), Fault::kRun);
  EXPECT_EQ(fault_of([&] { mode_coverage(bad, 8, std::vector<float>{0, 0}, 1, 2, 0.1); }), Fault::kRun);
  bad[5] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fault_of([&] { inception_score(bad, 8, 2); }), Fault::kRun);
  auto statistics = feature_statistics(good, 8, 2);
  statistics.covariance[1] = kNan;
  EXPECT_EQ(fault_of([&] { frechet_distance(statistics, feature_statistics(good, 8, 2)); }), Fault::kRun);
}

TEST(Metrics, RejectEmptyAndMismatchedInput) {
  const auto x = lattice(8, 2, 1);
  EXPECT_EQ(fault_of([&] { inception_score({}, 0, 10); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { inception_score(x, 8, 3); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { feature_statistics(std::span(x).first(2), 1, 2); }), Fault::kUsage)
      << "no covariance of one";
  EXPECT_EQ(fault_of([&] { frechet_distance({}, {}); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { frechet_distance(feature_statistics(x, 8, 2), feature_statistics(x, 4, 4)); }),
            Fault::kUsage);
  EXPECT_EQ(fault_of([&] { total_variation({}, {}); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { total_variation(std::vector<int64_t>{0, 0}, std::vector<int64_t>{1, 1}); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { kernel_distance(x, 8, std::span(x).first(2), 1, 2); }), Fault::kUsage);
  EXPECT_EQ(fault_of([&] { overlap(x, 8, std::span(x).first(10), 5, 2); }), Fault::kUsage) << "fewer than k + 1";
  EXPECT_EQ(fault_of([&] { mode_coverage(x, 8, std::vector<float>{0, 0}, 1, 2, 0); }), Fault::kUsage);
}

}  // namespace
}  // namespace agon
