// Activations, optimisers, copies: the operations that treat every element by itself.
#include <gtest/gtest.h>

#include "kernels/formulas.h"
#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;

// The formulas, over their whole range.

/// Largest error of `found` against `exact` over [low, high], in units of the last place of the exact value.
template <class Found, class Exact>
double largest_ulps(double low, double high, Found found, Exact exact) {
  double largest = 0;
  for (int i = 0; i <= 400000; ++i) {
    const float x = static_cast<float>(low + (high - low) * i / 400000);
    const double want = exact(static_cast<double>(x)), got = found(x);
    const double ulp = std::ldexp(1., std::max(std::ilogb(want), -126) - 23);
    EXPECT_TRUE(std::isfinite(got)) << "at " << x;
    largest = std::max(largest, want == 0 ? std::abs(got) * 1e30 : std::abs(got - want) / ulp);
  }
  return largest;
}

TEST(Formulas, StayWithinTwoUnitsInTheLastPlace) {
  using namespace formulas;
  EXPECT_LE(largest_ulps(
                -103, 88.7, [](float x) { return exp(x); }, [](double x) { return std::exp(x); }),
            1.5);
  EXPECT_LE(largest_ulps(
                -2, 2, [](float x) { return exp(x); }, [](double x) { return std::exp(x); }),
            1.5);
  EXPECT_LE(largest_ulps(
                -30, 20, [](float x) { return expm1(x); }, [](double x) { return std::expm1(x); }),
            2);
  EXPECT_LE(largest_ulps(
                -1e-3, 1e-3, [](float x) { return expm1(x); }, [](double x) { return std::expm1(x); }),
            2);
  EXPECT_LE(largest_ulps(
                1e-30, 1e-3, [](float x) { return log(x); }, [](double x) { return std::log(x); }),
            1.5);
  EXPECT_LE(largest_ulps(
                1e-3, 4, [](float x) { return log(x); }, [](double x) { return std::log(x); }),
            1.5);
  EXPECT_LE(largest_ulps(
                4, 1e30, [](float x) { return log(x); }, [](double x) { return std::log(x); }),
            1.5);
  EXPECT_LE(largest_ulps(
                0, 1, [](float x) { return log1p(x); }, [](double x) { return std::log1p(x); }),
            2);
  EXPECT_LE(largest_ulps(
                -12, 12, [](float x) { return tanh(x); }, [](double x) { return std::tanh(x); }),
            3);
  EXPECT_LE(largest_ulps(
                -80, 40, [](float x) { return sigmoid(x); }, [](double x) { return 1 / (1 + std::exp(-x)); }),
            3);
  EXPECT_LE(largest_ulps(
                -80, 1e4, [](float x) { return softplus(x); },
                [](double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }),
            3);
}

TEST(Formulas, ReachTheirLimits) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(formulas::exp(-kInf), 0.f);
  EXPECT_EQ(formulas::exp(-1e4f), 0.f);
  EXPECT_EQ(formulas::exp(0.f), 1.f);
  EXPECT_EQ(formulas::exp(kInf), kInf);
  EXPECT_EQ(formulas::log(1.f), 0.f);
  EXPECT_EQ(formulas::log(kInf), kInf);
  EXPECT_EQ(formulas::tanh(kInf), 1.f);
  EXPECT_EQ(formulas::tanh(-1e30f), -1.f);
  EXPECT_EQ(formulas::tanh(0.f), 0.f);
  EXPECT_EQ(formulas::sigmoid(1e30f), 1.f);
  EXPECT_EQ(formulas::sigmoid(-1e30f), 0.f);
  EXPECT_EQ(formulas::softplus(1e4f), 1e4f);
  EXPECT_EQ(formulas::softplus(-1e4f), 0.f);
  const auto elu = [](float x) { return formulas::Elu{1.f}(x); };
  const auto relu = [](float x) { return formulas::Relu{}(x); };
  for (float (*f)(float) :
       {+[](float x) { return formulas::exp(x); }, +[](float x) { return formulas::log(x); },
        +[](float x) { return formulas::tanh(x); }, +[](float x) { return formulas::sigmoid(x); },
        +[](float x) { return formulas::expm1(x); }, +[](float x) { return formulas::softplus(x); }})
    EXPECT_TRUE(std::isnan(f(kNan)));
  EXPECT_TRUE(std::isnan(elu(kNan)));
  EXPECT_TRUE(std::isnan(relu(kNan)));
}

// Bias and activation.

struct ActivationRow {
  const char* name;
  Activation kind;
  double (*f)(double x);
  double (*slope)(double y);
};
constexpr double kSlope = static_cast<double>(0.2f);
const ActivationRow kActivations[] = {
    {"none", Activation::kNone, [](double x) { return x; }, [](double) { return 1.; }},
    {"relu", Activation::kRelu, [](double x) { return std::max(x, 0.); }, [](double y) { return y > 0 ? 1. : 0.; }},
    {"leaky relu", Activation::kLeakyRelu, [](double x) { return x > 0 ? x : kSlope * x; },
     [](double y) { return y > 0 ? 1 : kSlope; }},
    {"tanh", Activation::kTanh, [](double x) { return std::tanh(x); }, [](double y) { return 1 - y * y; }},
    {"sigmoid", Activation::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); },
     [](double y) { return y * (1 - y); }},
    {"elu", Activation::kElu, [](double x) { return x > 0 ? x : kSlope * std::expm1(x); },
     [](double y) { return y > 0 ? 1 : y + kSlope; }},
};
struct MatrixShape {
  int64_t R, rows, cols;
};
const MatrixShape kMatrices[] = {{3, 7, 5},   {1, 1, 1},     {2, 3000, 1}, {4, 1, 33},
                                 {2, 777, 3}, {1, 2500, 16}, {5, 10, 512}};

TEST(BiasActivation, EqualsItsFormula) {
  for (const ActivationRow& a : kActivations)
    for (const auto& [R, rows, cols] : kMatrices)
      for (const bool biased : {true, false}) {
        Operands make(R, 1);
        run_check({.name = fmt::format("{} {}x{}x{} bias {}", a.name, R, rows, cols, biased),
                   .replicas = R,
                   .operands = {make.uniform(rows * cols, -3, 3), make.uniform(cols)},
                   .run =
                       [&](Device& device, const Blocks& b, bool split) {
                         device.run(ops::BiasActivation{R, rows, cols, b[0], biased ? b[1] : Floats{}, a.kind,
                                                        static_cast<float>(kSlope), split});
                       },
                   .reference =
                       [&](Values& v, int64_t) {
                         for (int64_t i = 0; i < rows * cols; ++i)
                           v[0][i] = a.f(v[0][i] + (biased ? v[1][i % cols] : 0));
                       }});
      }
}

TEST(BiasActivationGrad, EqualsItsFormulaAndSumsTheBias) {
  for (const ActivationRow& a : kActivations)
    for (const auto& [R, rows, cols] : kMatrices)
      for (const bool biased : {true, false}) {
        Operands make(R, 2);
        auto y = make.uniform(rows * cols, a.kind == Activation::kSigmoid ? 0 : -0.19f, 0.99f);
        run_check({.name = fmt::format("{} {}x{}x{} bias {}", a.name, R, rows, cols, biased),
                   .replicas = R,
                   .operands = {make.uniform(rows * cols), y, biased ? make.output(cols) : make.uniform(cols)},
                   .run =
                       [&](Device& device, const Blocks& b, bool split) {
                         device.run(ops::BiasActivationGrad{R, rows, cols, b[0], b[1], biased ? b[2] : Floats{}, a.kind,
                                                            static_cast<float>(kSlope), split});
                       },
                   .reference =
                       [&](Values& v, int64_t) {
                         if (biased) v[2].assign(cols, 0.);
                         for (int64_t i = 0; i < rows * cols; ++i) {
                           v[0][i] *= a.slope(v[1][i]);
                           if (biased) v[2][i % cols] += v[0][i];
                         }
                       }});
      }
}

TEST(Activations, DerivativesAreThoseOfTheFormulas) {
  for (const ActivationRow& a : kActivations)
    for (double x = -2.95; x < 3; x += 0.1) {
      const double h = 1e-5, numeric = (a.f(x + h) - a.f(x - h)) / (2 * h);
      EXPECT_NEAR(a.slope(a.f(x)), numeric, 1e-9) << a.name << " at " << x;
    }
}

// Optimisers. Several steps, so that moments and step counts carry over.

constexpr int64_t kCounts[] = {1, 19, 40001};
constexpr int kSteps = 4;

TEST(Adam, FollowsAlgorithmOne) {
  for (const int64_t count : kCounts) {
    constexpr int64_t R = 3;
    Operands make(R, 3);
    auto steps = make.labels(1, 50);
    ops::Adam adam{
        .replicas = R, .count = count, .beta1 = 0.5f, .beta2 = 0.999f, .epsilon = 1e-8f, .grad_scale = 0.25f};
    run_check({.name = fmt::format("{} weights", count),
               .replicas = R,
               .operands = {make.uniform(count), make.uniform(count), make.uniform(count, -0.1f, 0.1f),
                            make.uniform(count, 0.001f, 0.1f), make.uniform(1, 1e-3f, 1e-2f), steps},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     ops::Adam op = adam;
                     op.w = b[0], op.g = b[1], op.m = b[2], op.v = b[3], op.learning_rate = b[4], op.steps = b.ints(5);
                     op.split = split;
                     for (int step = 0; step < kSteps; ++step) device.run(op);
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     const double b1 = adam.beta1, b2 = adam.beta2, lr = v[4][0];
                     for (int step = 0; step < kSteps; ++step) {
                       const double t = ++v[5][0];
                       for (int64_t i = 0; i < count; ++i) {
                         const double g = adam.grad_scale * v[1][i];
                         v[2][i] = b1 * v[2][i] + (1 - b1) * g;
                         v[3][i] = b2 * v[3][i] + (1 - b2) * g * g;
                         const double m_hat = v[2][i] / (1 - std::pow(b1, t)), v_hat = v[3][i] / (1 - std::pow(b2, t));
                         v[0][i] -= lr * m_hat / (std::sqrt(v_hat) + adam.epsilon);
                       }
                     }
                   }});
  }
}

TEST(Sgd, FollowsItsFormula) {
  for (const int64_t count : kCounts)
    for (const float momentum : {0.f, 0.9f}) {
      constexpr int64_t R = 2;
      Operands make(R, 4);
      run_check({.name = fmt::format("{} weights, momentum {}", count, momentum),
                 .replicas = R,
                 .operands = {make.uniform(count), make.uniform(count), make.uniform(count),
                              make.uniform(1, 0.f, 0.1f, true), make.labels(1, 50)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       for (int step = 0; step < kSteps; ++step)
                         device.run(ops::Sgd{R, count, b[0], b[1], momentum > 0 ? b[2] : Floats{}, b[3], b.ints(4),
                                             momentum, 0.5f, split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int step = 0; step < kSteps; ++step) {
                         v[4][0] += 1;
                         for (int64_t i = 0; i < count; ++i) {
                           const double m = momentum * v[2][i] + 0.5 * v[1][i];
                           if (momentum > 0) v[2][i] = m;
                           v[0][i] -= v[3][0] * m;
                         }
                       }
                     }});
    }
}

TEST(RmsProp, FollowsItsFormula) {
  for (const int64_t count : kCounts) {
    constexpr int64_t R = 2;
    Operands make(R, 5);
    const double alpha = 0.99f, epsilon = 1e-8f;
    run_check({.name = fmt::format("{} weights", count),
               .replicas = R,
               .operands = {make.uniform(count), make.uniform(count), make.uniform(count, 0.001f, 1.f),
                            make.uniform(1, 1e-3f, 1e-2f), make.labels(1, 50)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     for (int step = 0; step < kSteps; ++step)
                       device.run(ops::RmsProp{R, count, b[0], b[1], b[2], b[3], b.ints(4), 0.99f, 1e-8f, 2.f, split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (int step = 0; step < kSteps; ++step) {
                       v[4][0] += 1;
                       for (int64_t i = 0; i < count; ++i) {
                         const double g = 2 * v[1][i];
                         v[2][i] = alpha * v[2][i] + (1 - alpha) * g * g;
                         v[0][i] -= v[3][0] * g / (std::sqrt(v[2][i]) + epsilon);
                       }
                     }
                   }});
  }
}

TEST(Clip, BoundsTheWeights) {
  for (const int64_t count : kCounts) {
    Operands make(3, 6);
    run_check({.name = fmt::format("{} weights", count),
               .replicas = 3,
               .operands = {make.uniform(count)},
               .run =
                   [&](Device& device, const Blocks& b, bool split) {
                     device.run(ops::Clip{3, count, b[0], 0.25f, split});
                   },
               .reference =
                   [&](Values& v, int64_t) {
                     for (double& w : v[0]) w = std::clamp(w, -0.25, 0.25);
                   },
               .tolerance = 0});
  }
}

TEST(Fill, WritesTheValue) {
  Operands make(3, 7);
  run_check({.name = "fill",
             .replicas = 3,
             .operands = {make.output(77)},
             .run =
                 [&](Device& device, const Blocks& b, bool) {
                   device.run(ops::Fill{3, 77, b[0], 1.5f});
                 },
             .reference = [](Values& v, int64_t) { v[0].assign(77, 1.5); },
             .tolerance = 0});
}

TEST(Axpby, AddsAndReplaces) {
  for (const int64_t count : kCounts)
    for (const float a : {0.f, 1.f, -0.75f}) {
      Operands make(3, 8);
      run_check({.name = fmt::format("{} elements, a = {}", count, a),
                 .replicas = 3,
                 .operands = {make.uniform(count), a == 0.f ? make.output(count) : make.uniform(count)},
                 .run =
                     [&](Device& device, const Blocks& b, bool split) {
                       device.run(ops::Axpby{3, count, b[0], b[1], a, 0.3f, split});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t i = 0; i < count; ++i)
                         v[1][i] = (a == 0.f ? 0 : a * v[1][i]) + static_cast<double>(0.3f) * v[0][i];
                     }});
    }
}

TEST(Advance, CountsAfterEverythingBeforeIt) {
  const auto device = test_device(2);
  Buffer<uint64_t> counter(device, 1);
  for (int i = 0; i < 5; ++i) device->run(ops::Advance{counter.data()});
  EXPECT_EQ(counter.host().at(0), 5u);
}

}  // namespace
}  // namespace agon
