// Batch and layer normalisation against formulas in double precision, and those against their central differences.
#include <gtest/gtest.h>

#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;
using Doubles = std::vector<double>;

constexpr double kEpsilon = static_cast<double>(1e-5f), kMomentum = static_cast<double>(0.1f);

struct Shape {
  int64_t R, groups, rows, cols;
};
const Shape kShapes[] = {{3, 1, 7, 5},    {1, 2, 2, 1},    {2, 1, 5000, 3}, {3, 3, 10, 33},
                         {1, 1, 700, 64}, {5, 2, 20, 128}, {2, 3, 31, 512}};

/// Mean and 1 / sqrt(variance + epsilon) of n values, `step` apart.
struct Moments {
  double mean = 0, variance = 0;
  Moments(const double* x, int64_t n, int64_t step) {
    for (int64_t i = 0; i < n; ++i) mean += x[i * step] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += std::pow(x[i * step] - mean, 2) / static_cast<double>(n);
  }
  double inverse() const { return 1 / std::sqrt(variance + kEpsilon); }
};

/// y = gamma (x - mean) / sqrt(variance + epsilon) + beta over n values, `step` apart.
void normalise(const double* x, double* y, int64_t n, int64_t step, auto gamma, auto beta) {
  const Moments moments(x, n, step);
  for (int64_t i = 0; i < n; ++i) y[i * step] = gamma(i) * (x[i * step] - moments.mean) * moments.inverse() + beta(i);
}

/// The gradient of `normalise`: with h the normalised values and dh = dy gamma,
/// dx = inverse * (dh - mean(dh) - h mean(dh h)).
void normalise_gradient(const double* x, const double* dy, double* dx, int64_t n, int64_t step, auto gamma) {
  const Moments moments(x, n, step);
  double mean = 0, slope = 0;
  for (int64_t i = 0; i < n; ++i) {
    mean += dy[i * step] * gamma(i) / static_cast<double>(n);
    slope += dy[i * step] * gamma(i) * (x[i * step] - moments.mean) * moments.inverse() / static_cast<double>(n);
  }
  for (int64_t i = 0; i < n; ++i)
    dx[i * step] =
        moments.inverse() * (dy[i * step] * gamma(i) - mean - (x[i * step] - moments.mean) * moments.inverse() * slope);
}

TEST(Reference, GradientIsThatOfTheFormula) {
  constexpr int64_t n = 9;
  Operands make(1, 1);
  const auto draw = [&] {
    const auto values = make.uniform(n).values;
    return Doubles(values.begin(), values.end());
  };
  const Doubles gamma = draw(), dy = draw();
  Doubles x = draw(), y(n), dx(n);
  const auto gain = [&](int64_t i) { return gamma[i]; };
  normalise_gradient(x.data(), dy.data(), dx.data(), n, 1, gain);
  const auto loss = [&] {
    normalise(x.data(), y.data(), n, 1, gain, [](int64_t) { return 0.; });
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += dy[i] * y[i];
    return sum;
  };
  for (int64_t i = 0; i < n; ++i) {
    const double h = 1e-5, before = x[i];
    x[i] = before + h;
    const double above = loss();
    x[i] = before - h;
    const double below = loss();
    x[i] = before;
    EXPECT_NEAR(dx[i], (above - below) / (2 * h), 1e-8) << i;
  }
}

TEST(BatchNorm, NormalisesEachGroupAndKeepsRunningStatistics) {
  for (const auto& [R, groups, rows, cols] : kShapes)
    for (const float mean : {0.f, 3.f}) {
      Operands make(R, 2);
      const int64_t size = groups * rows * cols;
      run_check({.name = fmt::format("{}x{}x{}x{} mean {}", R, groups, rows, cols, mean),
                 .replicas = R,
                 .operands = {make.uniform(size, mean - 1, mean + 1), make.output(size), make.uniform(cols),
                              make.uniform(cols), make.uniform(cols), make.uniform(cols, 0.1f, 2),
                              make.output(groups * 2 * cols)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::BatchNorm{R, groups, rows, cols, b[0], b[1], b[2], b[3], b[4], b[5], b[6], 0.1f,
                                                 1e-5f, true, split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t g = 0; g < groups; ++g)
                         for (int64_t j = 0; j < cols; ++j) {
                           const int64_t first = g * rows * cols + j;
                           const Moments m(&v[0][first], rows, cols);
                           normalise(
                               &v[0][first], &v[1][first], rows, cols, [&](int64_t) { return v[2][j]; },
                               [&](int64_t) { return v[3][j]; });
                           const double unbiased =
                               m.variance * static_cast<double>(rows) / static_cast<double>(rows - 1);
                           v[4][j] = (1 - kMomentum) * v[4][j] + kMomentum * m.mean;
                           v[5][j] = (1 - kMomentum) * v[5][j] + kMomentum * unbiased;
                           v[6][(g * 2) * cols + j] = m.mean;
                           v[6][(g * 2 + 1) * cols + j] = m.inverse();
                         }
                     },
                 .tolerance = mean == 0.f ? 2e-6 : 4e-6});  // at 3 the input itself is known to 1e-7 of its deviation
    }
}

TEST(BatchNorm, UsesRunningStatisticsOutsideTraining) {
  for (const auto& [R, groups, rows, cols] : kShapes)
    for (const bool in_place : {false, true}) {
      Operands make(R, 3);
      const int64_t size = groups * rows * cols;
      run_check({.name = fmt::format("{}x{}x{}x{} in place {}", R, groups, rows, cols, in_place),
                 .replicas = R,
                 .operands = {make.uniform(size), in_place ? make.uniform(1) : make.output(size), make.uniform(cols),
                              make.uniform(cols), make.uniform(cols), make.uniform(cols, 0.1f, 2)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::BatchNorm{R, groups, rows, cols, b[0], in_place ? b[0] : b[1], b[2], b[3], b[4],
                                                 b[5], Floats{}, 0.1f, 1e-5f, false, split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t i = 0; i < size; ++i) {
                         const int64_t j = i % cols;
                         v[in_place ? 0 : 1][i] =
                             (v[0][i] - v[4][j]) / std::sqrt(v[5][j] + kEpsilon) * v[2][j] + v[3][j];
                       }
                     }});
    }
}

TEST(BatchNormGrad, EqualsTheGradientOfTheFormula) {
  for (const auto& [R, groups, rows, cols] : kShapes)
    for (const bool with_dx : {true, false})
      for (const bool with_parameters : {true, false}) {
        if (!with_dx && !with_parameters) continue;
        if (rows < 5) continue;  // two samples normalise to +1 and -1 whatever they are: dx is all cancellation
        Operands make(R, 4);
        const int64_t size = groups * rows * cols;
        auto x = make.uniform(size);
        auto saved = make.uniform(groups * 2 * cols);
        for (int64_t r = 0; r < R; ++r)
          for (int64_t g = 0; g < groups; ++g)
            for (int64_t j = 0; j < cols; ++j) {
              const auto* first = &x.values[r * size + g * rows * cols];
              const Doubles group(first, first + rows * cols);
              const Moments m(&group[j], rows, cols);
              float* to = &saved.values[((r * groups + g) * 2) * cols + j];
              to[0] = static_cast<float>(m.mean);
              to[cols] = static_cast<float>(m.inverse());
            }
        run_check(
            {.name = fmt::format("{}x{}x{}x{} dx {} parameters {}", R, groups, rows, cols, with_dx, with_parameters),
             .replicas = R,
             .operands = {x, make.uniform(size), make.uniform(cols), saved,
                          with_dx ? make.output(size) : make.uniform(1),
                          with_parameters ? make.output(cols) : make.uniform(1),
                          with_parameters ? make.output(cols) : make.uniform(1)},
             .run =
                 [&](Device& device, const Blocks& b, bool split) {
                   device.run(ops::BatchNormGrad{R, groups, rows, cols, b[0], b[1], b[2], b[3],
                                                 with_dx ? b[4] : Floats{}, with_parameters ? b[5] : Floats{},
                                                 with_parameters ? b[6] : Floats{}, split});
                 },
             .reference =
                 [&](Values& v, int64_t) {
                   if (with_parameters) v[5].assign(cols, 0.), v[6].assign(cols, 0.);
                   for (int64_t g = 0; g < groups; ++g)
                     for (int64_t j = 0; j < cols; ++j) {
                       const int64_t first = g * rows * cols + j;
                       const Moments m(&v[0][first], rows, cols);
                       if (with_dx)
                         normalise_gradient(&v[0][first], &v[1][first], &v[4][first], rows, cols,
                                            [&](int64_t) { return v[2][j]; });
                       for (int64_t i = 0; with_parameters && i < rows; ++i) {
                         v[5][j] += v[1][first + i * cols] * (v[0][first + i * cols] - m.mean) * m.inverse();
                         v[6][j] += v[1][first + i * cols];
                       }
                     }
                 }});
      }
}

TEST(LayerNorm, NormalisesEachRow) {
  for (const auto& [R, groups, rows, cols] : kShapes) {
    if (cols == 1) continue;
    Operands make(R, 5);
    run_check({.name = fmt::format("{}x{}x{}", R, rows, cols),
               .replicas = R,
               .operands = {make.uniform(rows * cols), make.output(rows * cols), make.uniform(cols), make.uniform(cols),
                            make.output(rows * 2)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::LayerNorm{R, rows, cols, b[0], b[1], b[2], b[3], b[4], 1e-5f, split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int64_t row = 0; row < rows; ++row) {
                       const double* x = &v[0][row * cols];
                       const Moments m(x, cols, 1);
                       normalise(
                           x, &v[1][row * cols], cols, 1, [&](int64_t j) { return v[2][j]; },
                           [&](int64_t j) { return v[3][j]; });
                       v[4][row * 2] = m.mean;
                       v[4][row * 2 + 1] = m.inverse();
                     }
                   },
               // Three close values in a row: 1/deviation magnifies the rounding of the mean.
               .tolerance = cols < 5 ? 2e-5 : 2e-6});
  }
}

TEST(LayerNormGrad, EqualsTheGradientOfTheFormula) {
  for (const auto& [R, groups, rows, cols] : kShapes)
    for (const bool with_dx : {true, false})
      for (const bool with_parameters : {true, false}) {
        if (cols < 5 || (!with_dx && !with_parameters)) continue;
        Operands make(R, 6);
        auto x = make.uniform(rows * cols);
        auto saved = make.uniform(rows * 2);
        for (int64_t row = 0; row < R * rows; ++row) {
          const Doubles values(&x.values[row * cols], &x.values[row * cols] + cols);
          const Moments m(values.data(), cols, 1);
          saved.values[row * 2] = static_cast<float>(m.mean);
          saved.values[row * 2 + 1] = static_cast<float>(m.inverse());
        }
        run_check({.name = fmt::format("{}x{}x{} dx {} parameters {}", R, rows, cols, with_dx, with_parameters),
                   .replicas = R,
                   .operands = {x, make.uniform(rows * cols), make.uniform(cols), saved,
                                with_dx ? make.output(rows * cols) : make.uniform(1),
                                with_parameters ? make.output(cols) : make.uniform(1),
                                with_parameters ? make.output(cols) : make.uniform(1)},
                   .run =
                       [&](Device& device, const Blocks& b, bool split) {
                         device.run(ops::LayerNormGrad{R, rows, cols, b[0], b[1], b[2], b[3], with_dx ? b[4] : Floats{},
                                                       with_parameters ? b[5] : Floats{},
                                                       with_parameters ? b[6] : Floats{}, split});
                       },
                   .reference =
                       [&](Values& v, int64_t) {
                         if (with_parameters) v[5].assign(cols, 0.), v[6].assign(cols, 0.);
                         for (int64_t row = 0; row < rows; ++row) {
                           const double *x = &v[0][row * cols], *dy = &v[1][row * cols];
                           const Moments m(x, cols, 1);
                           if (with_dx)
                             normalise_gradient(x, dy, &v[4][row * cols], cols, 1, [&](int64_t j) { return v[2][j]; });
                           for (int64_t j = 0; with_parameters && j < cols; ++j) {
                             v[5][j] += dy[j] * (x[j] - m.mean) * m.inverse();
                             v[6][j] += dy[j];
                           }
                         }
                       }});
      }
}

}  // namespace
}  // namespace agon
