// GAN losses and softmax cross-entropy: values from their definitions in double precision, gradients from central
// differences of those.
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "kernels/formulas.h"
#include "tests/guarded.h"

namespace agon {
namespace {

using guarded::Blocks;
using guarded::Operands;
using guarded::run_check;
using guarded::Values;
using ops::GanLossKind;
using ops::GanRole;

double log1p_exp(double x) { return std::max(x, 0.) + std::log1p(std::exp(-std::abs(x))); }

/// The loss of one logit as the papers define it, with log D = -log(1 + exp(-l)), log(1 - D) = -log(1 + exp(l)).
double loss_of(GanLossKind kind, GanRole role, double l) {
  const double log_real = -log1p_exp(-l), log_fake = -log1p_exp(l);
  switch (kind) {
    case GanLossKind::kMinimax:
      return role == GanRole::kReal ? -log_real : role == GanRole::kFake ? -log_fake : log_fake;
    case GanLossKind::kNonSaturating:
      return role == GanRole::kFake ? -log_fake : -log_real;
    case GanLossKind::kLeastSquares:
      return role == GanRole::kFake ? l * l / 2 : (l - 1) * (l - 1) / 2;
    case GanLossKind::kHinge:
      return role == GanRole::kReal ? std::max(0., 1 - l) : role == GanRole::kFake ? std::max(0., 1 + l) : -l;
    case GanLossKind::kWasserstein:
      return role == GanRole::kFake ? l : -l;
  }
  return 0;
}

double cross_entropy(const double* logits, int64_t classes, int64_t label) {
  double largest = logits[0], sum = 0;
  for (int64_t c = 0; c < classes; ++c) largest = std::max(largest, logits[c]);
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(logits[c] - largest);
  return std::log(sum) + largest - logits[label];
}

/// Derivative of f at x by a central difference of fourth order.
template <class F>
double derivative(double x, F f) {
  const double h = 1e-3;
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
}

constexpr GanLossKind kKinds[] = {GanLossKind::kMinimax, GanLossKind::kNonSaturating, GanLossKind::kLeastSquares,
                                  GanLossKind::kHinge, GanLossKind::kWasserstein};
constexpr GanRole kRoles[] = {GanRole::kReal, GanRole::kFake, GanRole::kGenerator};

TEST(GanLoss, EqualsItsDefinitionAndGradient) {
  for (const GanLossKind kind : kKinds)
    for (const GanRole role : kRoles)
      for (const int64_t classes : {0, 1, 10})
        for (const int64_t batch : {1, 7, 20}) {
          constexpr int64_t R = 3;
          const int64_t cols = 1 + classes;
          const double scale = 0.25f, auxiliary = 0.5f;
          Operands make(R, 1);
          auto logits = make.uniform(batch * cols, -4, 4);
          for (float& l : logits.values)  // the hinge has no derivative at +-1, and a difference must not cross it
            if (std::abs(std::abs(l) - 1) < 0.01f) l = 0.5f;
          run_check({.name = fmt::format("kind {} role {} classes {} batch {}", static_cast<int>(kind),
                                         static_cast<int>(role), classes, batch),
                     .replicas = R,
                     .operands = {logits, make.labels(batch, std::max<int>(static_cast<int>(classes), 1)),
                                  make.output(batch * cols), make.uniform(1)},
                     .run =
                         [&](Device& device, const Blocks& b, bool) {
                           device.run(ops::GanLoss{kind, role, R, batch, classes, b[0], b.ints(1), b[2], b[3],
                                                   static_cast<float>(scale), static_cast<float>(auxiliary)});
                         },
                     .reference =
                         [&](Values& v, int64_t) {
                           for (int64_t i = 0; i < batch; ++i) {
                             double* l = &v[0][i * cols];
                             const auto sample = [&] {
                               return loss_of(kind, role, l[0]) +
                                      (classes
                                           ? auxiliary * cross_entropy(l + 1, classes, static_cast<int64_t>(v[1][i]))
                                           : 0);
                             };
                             v[3][0] += sample() / static_cast<double>(batch);
                             for (int64_t c = 0; c < cols; ++c) {
                               const double logit = l[c];
                               v[2][i * cols + c] = scale * derivative(logit, [&](double moved) {
                                                      l[c] = moved;
                                                      return sample();
                                                    });
                               l[c] = logit;
                             }
                           }
                         }});
        }
}

TEST(GanLoss, IsStableForHugeLogits) {
  for (const GanLossKind kind : {GanLossKind::kMinimax, GanLossKind::kNonSaturating})
    for (const GanRole role : kRoles)
      for (const float l : {-1e4f, -100.f, -20.f, 0.f, 20.f, 100.f, 1e4f}) {
        const formulas::ValueAndSlope found = formulas::gan_loss(kind, role, l);
        const double value = loss_of(kind, role, l);
        const double sigmoid = l < -700 ? 0 : 1 / (1 + std::exp(-static_cast<double>(l)));
        const double mirrored = l > 700 ? 0 : 1 / (1 + std::exp(static_cast<double>(l)));
        const bool says_fake = role == GanRole::kFake,
                   minimax_generator = role == GanRole::kGenerator && kind == GanLossKind::kMinimax;
        const double slope = says_fake ? sigmoid : minimax_generator ? -sigmoid : -mirrored;
        ASSERT_TRUE(std::isfinite(found.value) && std::isfinite(found.slope)) << l;
        EXPECT_NEAR(found.value, value, 1e-6 * std::abs(value) + 1e-37) << l;
        EXPECT_NEAR(found.slope, slope, 1e-6 * std::abs(slope) + 1e-37) << l;
      }
}

TEST(SoftmaxLoss, EqualsItsDefinitionAndGradient) {
  for (const int64_t classes : {1, 10, 37})
    for (const int64_t batch : {1, 33}) {
      constexpr int64_t R = 2;
      const double scale = 1.5;
      Operands make(R, 2);
      run_check({.name = fmt::format("{} classes, batch {}", classes, batch),
                 .replicas = R,
                 .operands = {make.uniform(batch * classes, -5, 5), make.labels(batch, static_cast<int>(classes)),
                              make.output(batch * classes, 1), make.uniform(1), make.uniform(1)},
                 .run =
                     [&](Device& device, const Blocks& b, bool) {
                       device.run(ops::SoftmaxLoss{R, batch, classes, b[0], b.ints(1), b[2], b[3], b[4],
                                                   static_cast<float>(scale)});
                     },
                 .reference =
                     [&](Values& v, int64_t) {
                       for (int64_t i = 0; i < batch; ++i) {
                         double* l = &v[0][i * classes];
                         const auto label = static_cast<int64_t>(v[1][i]);
                         v[3][0] += cross_entropy(l, classes, label) / static_cast<double>(batch);
                         v[4][0] += std::max_element(l, l + classes) - l == label;
                         for (int64_t c = 0; c < classes; ++c) {
                           const double logit = l[c];
                           v[2][i * classes + c] = scale * derivative(logit, [&](double moved) {
                                                     l[c] = moved;
                                                     return cross_entropy(l, classes, label);
                                                   });
                           l[c] = logit;
                         }
                       }
                     }});
    }
}

TEST(SoftmaxLoss, IsStableForHugeLogits) {
  const auto device = test_device(1);
  Buffer<float> logits(device, 3), gradient(device, 3), loss(device, 1);
  Buffer<int32_t> label(device, 1);
  logits.set(std::vector<float>{1e4f, -1e4f, 0.f});
  label.set(std::vector<int32_t>{1});
  device->run(ops::SoftmaxLoss{1, 1, 3, {logits.data(), 3}, {label.data(), 1}, {gradient.data(), 3}, {loss.data(), 1}});
  EXPECT_EQ(loss.host().at(0), 2e4f);
  EXPECT_EQ(gradient.host(), (std::vector<float>{1.f, -1.f, 0.f}));
}

TEST(SoftmaxLoss, NamesALabelThatDoesNotExist) {
  const auto device = test_device(2);
  Buffer<float> logits(device, 6), gradient(device, 6);
  Buffer<int32_t> label(device, 2);
  label.set(std::vector<int32_t>{0, 3});
  device->run(ops::SoftmaxLoss{2, 1, 3, {logits.data(), 3}, {label.data(), 1}, {gradient.data(), 3}});
  try {
    device->synchronize();
    FAIL() << "label 3 of 3 classes was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kData);
    EXPECT_NE(std::string(error.what()).find("label 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace agon
