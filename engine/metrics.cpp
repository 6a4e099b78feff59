#include "engine/metrics.h"

#include <Eigen/Dense>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>

#include "kernels/error.h"

namespace agon {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The samples as a matrix of doubles, once their number and values are known to be sound.
Matrix matrix(std::span<const float> values, int64_t count, int64_t width, int64_t least, std::string_view what) {
  if (count < least || width < 1)
    fail(Fault::kUsage, "expected at least {} samples of {}, found {} of width {}", least, what, count, width);
  if (static_cast<int64_t>(values.size()) != count * width)
    fail(Fault::kUsage, "expected {} x {} numbers of {}, found {}", count, width, what, values.size());
  for (int64_t i = 0; i < count * width; ++i)
    if (!std::isfinite(values[static_cast<size_t>(i)]))
      fail(Fault::kRun, "the {} of sample {} hold {}, which is no finite number: no score can be computed from them",
           what, i / width, values[static_cast<size_t>(i)]);
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(values.data(), count,
                                                                                                 width)
      .cast<double>();
}

/// Eigenvalues that are rounding noise around 0, relative to the largest, are 0: their square roots would not be small.
Eigen::VectorXd root_of_spectrum(const Eigen::VectorXd& eigenvalues) {
  const double noise = std::numeric_limits<double>::epsilon() * static_cast<double>(eigenvalues.size()) *
                       eigenvalues.cwiseAbs().maxCoeff();
  return eigenvalues.unaryExpr([noise](double value) { return value > noise ? std::sqrt(value) : 0.0; });
}

/// Distance from each sample to its k-th nearest other sample, squared.
std::vector<double> radii(const Matrix& points, int64_t k) {
  std::vector<double> result(static_cast<size_t>(points.rows()));
  std::vector<double> distances(result.size());
  for (int64_t i = 0; i < points.rows(); ++i) {
    for (int64_t j = 0; j < points.rows(); ++j)
      distances[static_cast<size_t>(j)] = (points.row(i) - points.row(j)).squaredNorm();
    // The sample itself, at distance 0, comes first, so the k-th neighbour is at position k.
    std::nth_element(distances.begin(), distances.begin() + k, distances.end());
    result[static_cast<size_t>(i)] = distances[static_cast<size_t>(k)];
  }
  return result;
}

/// Sum over all pairs of the polynomial kernel (x.y / width + 1)^3.
double kernel_sum(const Matrix& a, const Matrix& b) {
  const Eigen::ArrayXXd k = (a * b.transpose()).array() / static_cast<double>(a.cols()) + 1.0;
  return k.cube().sum();
}

/// Mean of the kernel over pairs of different samples.
double kernel_mean_of_pairs(const Matrix& a) {
  const auto n = static_cast<double>(a.rows());
  const Eigen::ArrayXd self = a.rowwise().squaredNorm().array() / static_cast<double>(a.cols()) + 1.0;
  return (kernel_sum(a, a) - self.cube().sum()) / (n * (n - 1));
}

}  // namespace

double inception_score(std::span<const float> logits, int64_t count, int64_t classes) {
  const Matrix l = matrix(logits, count, classes, 1, "logits");
  // log p through the log-sum-exp of each row, so that certain predictions give 0 * log 0 = 0.
  Matrix log_p(l.rows(), l.cols());
  for (int64_t i = 0; i < l.rows(); ++i) {
    const double top = l.row(i).maxCoeff();
    log_p.row(i) = (l.row(i).array() - top) - std::log((l.row(i).array() - top).exp().sum());
  }
  const Matrix p = log_p.array().exp();
  const Eigen::RowVectorXd q = p.colwise().mean();
  double divergence = 0;
  for (int64_t i = 0; i < p.rows(); ++i)
    for (int64_t c = 0; c < p.cols(); ++c)
      if (p(i, c) > 0) divergence += p(i, c) * (log_p(i, c) - std::log(q(c)));
  return std::exp(divergence / static_cast<double>(p.rows()));
}

FeatureStatistics feature_statistics(std::span<const float> features, int64_t count, int64_t width) {
  Matrix x = matrix(features, count, width, 2, "features");
  FeatureStatistics result{count, width, std::vector<double>(static_cast<size_t>(width)),
                           std::vector<double>(static_cast<size_t>(width * width))};
  const Eigen::RowVectorXd mean = x.colwise().mean();
  x.rowwise() -= mean;
  Eigen::Map<Eigen::RowVectorXd>(result.mean.data(), width) = mean;
  Eigen::Map<Matrix>(result.covariance.data(), width, width) = x.transpose() * x / static_cast<double>(count - 1);
  return result;
}

double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b) {
  if (a.width != b.width || a.width < 1)
    fail(Fault::kUsage, "expected statistics of features of one width, found widths {} and {}", a.width, b.width);
  const Eigen::Map<const Eigen::VectorXd> mean_a(a.mean.data(), a.width), mean_b(b.mean.data(), b.width);
  const Eigen::Map<const Matrix> cov_a(a.covariance.data(), a.width, a.width),
      cov_b(b.covariance.data(), b.width, b.width);
  if (!mean_a.allFinite() || !mean_b.allFinite() || !cov_a.allFinite() || !cov_b.allFinite())
    fail(Fault::kRun, "the statistics for a Frechet distance hold numbers that are not finite");

  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> spectrum(cov_a);
  const Eigen::MatrixXd root = spectrum.eigenvectors() * root_of_spectrum(spectrum.eigenvalues()).asDiagonal() *
                               spectrum.eigenvectors().transpose();
  const Eigen::MatrixXd product = root * cov_b * root;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> cross((product + product.transpose()) / 2,
                                                             Eigen::EigenvaluesOnly);
  const double distance =
      (mean_a - mean_b).squaredNorm() + cov_a.trace() + cov_b.trace() - 2 * root_of_spectrum(cross.eigenvalues()).sum();
  return std::max(0.0, distance);  // of equal sets it is 0 but for rounding, which may fall below
}

double total_variation(std::span<const int64_t> counts, std::span<const int64_t> reference) {
  if (counts.size() != reference.size() || counts.empty())
    fail(Fault::kUsage, "expected counts of the same classes, found {} and {} classes", counts.size(),
         reference.size());
  const auto total = [](std::span<const int64_t> n) {
    const auto sum = std::accumulate(n.begin(), n.end(), int64_t{0});
    if (sum < 1) fail(Fault::kUsage, "expected at least one sample to compare class counts, found none");
    return static_cast<double>(sum);
  };
  const double n = total(counts), m = total(reference);
  double sum = 0;
  for (size_t c = 0; c < counts.size(); ++c)
    sum += std::abs(static_cast<double>(counts[c]) / n - static_cast<double>(reference[c]) / m);
  return sum / 2;
}

double kernel_distance(std::span<const float> a, int64_t count_a, std::span<const float> b, int64_t count_b,
                       int64_t width) {
  const Matrix x = matrix(a, count_a, width, 2, "features"), y = matrix(b, count_b, width, 2, "features");
  const double mixed = kernel_sum(x, y) / (static_cast<double>(count_a) * static_cast<double>(count_b));
  return kernel_mean_of_pairs(x) + kernel_mean_of_pairs(y) - 2 * mixed;
}

Overlap overlap(std::span<const float> real, int64_t count_real, std::span<const float> generated,
                int64_t count_generated, int64_t width, int64_t k) {
  if (k < 1) fail(Fault::kUsage, "expected at least 1 nearest neighbour, found {}", k);
  const Matrix x = matrix(real, count_real, width, k + 1, "features");
  const Matrix y = matrix(generated, count_generated, width, k + 1, "features");
  const std::vector<double> real_radii = radii(x, k), generated_radii = radii(y, k);
  int64_t recalled = 0, covered = 0, balls = 0;
  std::vector<bool> inside(static_cast<size_t>(count_generated));
  for (int64_t i = 0; i < count_real; ++i) {
    bool held = false, reached = false;
    for (int64_t j = 0; j < count_generated; ++j) {
      const double distance = (x.row(i) - y.row(j)).squaredNorm();
      reached = reached || distance <= generated_radii[static_cast<size_t>(j)];
      if (distance > real_radii[static_cast<size_t>(i)]) continue;
      held = inside[static_cast<size_t>(j)] = true;
      ++balls;
    }
    covered += held;
    recalled += reached;
  }
  const auto precise = std::count(inside.begin(), inside.end(), true);
  const auto n = static_cast<double>(count_real), m = static_cast<double>(count_generated);
  return {static_cast<double>(precise) / m, static_cast<double>(recalled) / n,
          static_cast<double>(balls) / (static_cast<double>(k) * m), static_cast<double>(covered) / n};
}

ModeCoverage mode_coverage(std::span<const float> points, int64_t count, std::span<const float> centres, int64_t modes,
                           int64_t width, double spread) {
  const Matrix x = matrix(points, count, width, 1, "points"), c = matrix(centres, modes, width, 1, "centres");
  if (!(spread > 0)) fail(Fault::kUsage, "expected a positive standard deviation of the modes, found {}", spread);
  std::vector<bool> covered(static_cast<size_t>(modes));
  int64_t good = 0;
  for (int64_t i = 0; i < count; ++i) {
    Eigen::Index nearest = 0;
    const double distance = (c.rowwise() - x.row(i)).rowwise().squaredNorm().minCoeff(&nearest);
    if (distance > 9 * spread * spread) continue;
    covered[static_cast<size_t>(nearest)] = true;
    ++good;
  }
  return {std::count(covered.begin(), covered.end(), true), modes,
          static_cast<double>(good) / static_cast<double>(count)};
}

}  // namespace agon
