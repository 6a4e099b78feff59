#pragma once

// Scores of generated samples as functions of numbers on the host, computed in double precision. Matrices are
// row-major, one row per sample. Sizes that do not fit are Error(kUsage); infinite or undefined numbers are
// Error(kRun).

#include <cstdint>
#include <span>
#include <vector>

namespace agon {

/// Inception score (Salimans et al. 2016, section 4) of raw logits [count, classes], in one group:
/// exp(mean over samples of KL(p || q)), p = softmax(logits), q = mean of p. From 1 (one class, or no certainty) to
/// `classes` (certain, all equally frequent). With an MNIST classifier it is the "MNIST score".
double inception_score(std::span<const float> logits, int64_t count, int64_t classes);

/// First two moments of samples [count, width].
struct FeatureStatistics {
  int64_t count = 0, width = 0;
  std::vector<double> mean;        // [width]
  std::vector<double> covariance;  // [width, width], divided by count - 1
};
FeatureStatistics feature_statistics(std::span<const float> features, int64_t count, int64_t width);

/// Frechet distance of two Gaussians (Heusel et al. 2017, equation 6):
/// |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2). Covariances may be rank-deficient.
double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b);

/// Half the sum of absolute differences of the two shares of each class: 0 (same shares) to 1 (nothing in common).
double total_variation(std::span<const int64_t> counts, std::span<const int64_t> reference);

/// Kernel distance (KID, Binkowski et al. 2018): unbiased squared maximum mean discrepancy under the kernel
/// (x.y / width + 1)^3, over the whole sets. Around 0, also slightly negative, for sets of the same distribution.
double kernel_distance(std::span<const float> a, int64_t count_a, std::span<const float> b, int64_t count_b,
                       int64_t width);

/// How two sets of samples overlap, each approximated by balls that reach to every sample's k-th nearest neighbour.
struct Overlap {
  double precision = 0;  ///< share of generated samples inside the real balls (Kynkaanniemi et al. 2019)
  double recall = 0;     ///< share of real samples inside the generated balls
  double density = 0;    ///< real balls around a generated sample, divided by k (Naeem et al. 2020); may exceed 1
  double coverage = 0;   ///< share of real balls that hold a generated sample
};
Overlap overlap(std::span<const float> real, int64_t count_real, std::span<const float> generated,
                int64_t count_generated, int64_t width, int64_t k = 5);

/// Modes of a mixture of Gaussians that samples hit, as VEEGAN counts them (Srivastava et al. 2017, section 5.1): a
/// sample within 3 standard deviations of its nearest centre is of high quality, and one such sample covers that
/// centre's mode.
struct ModeCoverage {
  int64_t covered = 0, modes = 0;
  double high_quality = 0;  ///< share of the samples
};
ModeCoverage mode_coverage(std::span<const float> points, int64_t count, std::span<const float> centres, int64_t modes,
                           int64_t width, double spread);

}  // namespace agon
