#pragma once

// The element-wise formulas: one source for every device.
//
// They contain no branches and no calls to the C library, and every fused multiply-add is written out, so that a
// compiler can vectorise any loop over them and a loop's vector body, its scalar tail and another thread's share of it
// give the same bits.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/ops.h"

namespace agon::formulas {

AGON_DEVICE_INLINE float larger(float a, float b) { return a < b ? b : a; }  ///< a when a is NaN
AGON_DEVICE_INLINE float smaller(float a, float b) { return b < a ? b : a; }
AGON_DEVICE_INLINE float absolute(float x) { return std::fabs(x); }
AGON_DEVICE_INLINE float sign(float x) { return (x > 0.f ? 1.f : 0.f) - (x < 0.f ? 1.f : 0.f); }

/// exp(x) = 2^power (1 + rest): the parts from which exp and expm1 are put together. x in [-104, 89].
struct ExpParts {
  int32_t power;
  float rest;  ///< expm1 of the reduced argument, |reduced| <= ln(2) / 2
};
AGON_DEVICE_INLINE ExpParts exp_parts(float x) {
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  const float shifted = std::fma(x, 1.44269504f, kRound);
  const float n = shifted - kRound;
  const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, x));  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  return {std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound), std::fma(p, r * r, r)};
}

/// 2^n for -126 <= n <= 127.
AGON_DEVICE_INLINE float power_of_two(int32_t n) { return std::bit_cast<float>(static_cast<uint32_t>(n + 127) << 23); }

AGON_DEVICE_INLINE float exp(float x) {
  const ExpParts e = exp_parts(smaller(larger(x, -104.f), 89.f));
  const int32_t half = e.power >> 1;  // two steps, so that 2^128 and the denormals are reached
  return (1.f + e.rest) * power_of_two(half) * power_of_two(e.power - half);
}

/// exp(x) - 1 without cancellation, for x <= 88.
AGON_DEVICE_INLINE float expm1(float x) {
  const ExpParts e = exp_parts(smaller(larger(x, -40.f), 88.f));
  const float scale = power_of_two(e.power);
  return std::fma(scale, e.rest, scale - 1.f);
}

/// Natural logarithm of a positive, normal number; NaN and infinity pass through.
AGON_DEVICE_INLINE float log(float x) {
  constexpr int32_t kRootHalf = 0x3f3504f3;  // sqrt(1/2): the mantissa is taken from [sqrt(1/2), sqrt(2))
  const int32_t offset = std::bit_cast<int32_t>(x) - kRootHalf;
  const float n = static_cast<float>(offset >> 23);
  const float f = std::bit_cast<float>((offset & 0x7fffff) + kRootHalf) - 1.f;
  float p = 7.0376836292e-2f;
  p = std::fma(p, f, -1.1514610310e-1f);
  p = std::fma(p, f, 1.1676998740e-1f);
  p = std::fma(p, f, -1.2420140846e-1f);
  p = std::fma(p, f, 1.4249322787e-1f);
  p = std::fma(p, f, -1.6668057665e-1f);
  p = std::fma(p, f, 2.0000714765e-1f);
  p = std::fma(p, f, -2.4999993993e-1f);
  p = std::fma(p, f, 3.3333331174e-1f);
  const float square = f * f;
  float y = std::fma(n, -2.12194440e-4f, p * f * square);
  y = std::fma(-0.5f, square, y) + f;
  return x < std::numeric_limits<float>::infinity() ? std::fma(n, 0.693359375f, y) : x;
}

/// log(1 + x) for x in [0, 1].
AGON_DEVICE_INLINE float log1p(float x) {
  const float u = 1.f + x;
  return log(u) + (x - (u - 1.f)) / u;  // the second term gives back what rounding took from u
}

AGON_DEVICE_INLINE float sigmoid(float x) { return 1.f / (1.f + exp(-x)); }

/// log(1 + exp(x)), also for |x| of thousands.
AGON_DEVICE_INLINE float softplus(float x) { return larger(x, 0.f) + log1p(exp(-absolute(x))); }

AGON_DEVICE_INLINE float tanh(float x) {
  const float e = expm1(smaller(2.f * absolute(x), 40.f));
  return std::copysign(e / (e + 2.f), x);
}

// Activations: f(x), and f'(x) as a function of y = f(x).

struct Identity {
  AGON_DEVICE_INLINE float operator()(float x) const { return x; }
  AGON_DEVICE_INLINE float derivative(float) const { return 1.f; }
};
struct Relu {
  AGON_DEVICE_INLINE float operator()(float x) const { return x < 0.f ? 0.f : x; }
  AGON_DEVICE_INLINE float derivative(float y) const { return y > 0.f ? 1.f : 0.f; }
};
struct LeakyRelu {
  float slope;
  AGON_DEVICE_INLINE float operator()(float x) const { return x > 0.f ? x : slope * x; }
  AGON_DEVICE_INLINE float derivative(float y) const { return y > 0.f ? 1.f : slope; }
};
struct Tanh {
  AGON_DEVICE_INLINE float operator()(float x) const { return tanh(x); }
  AGON_DEVICE_INLINE float derivative(float y) const { return std::fma(-y, y, 1.f); }
};
struct Sigmoid {
  AGON_DEVICE_INLINE float operator()(float x) const { return sigmoid(x); }
  AGON_DEVICE_INLINE float derivative(float y) const { return y * (1.f - y); }
};
struct Elu {
  float alpha;
  AGON_DEVICE_INLINE float operator()(float x) const { return x > 0.f ? x : alpha * expm1(smaller(x, 0.f)); }
  AGON_DEVICE_INLINE float derivative(float y) const { return y > 0.f ? 1.f : y + alpha; }
};

/// Calls use(f) with the functor of an activation.
template <class Use>
void with_activation(Activation activation, float slope, Use use) {
  switch (activation) {
    case Activation::kNone:
      return use(Identity{});
    case Activation::kRelu:
      return use(Relu{});
    case Activation::kLeakyRelu:
      return use(LeakyRelu{slope});
    case Activation::kTanh:
      return use(Tanh{});
    case Activation::kSigmoid:
      return use(Sigmoid{});
    case Activation::kElu:
      return use(Elu{slope});
  }
}

// Losses of one logit: the value and its derivative.

struct ValueAndSlope {
  float value, slope;
};
/// -log sigmoid(l): "this logit should say real".
AGON_DEVICE_INLINE ValueAndSlope minus_log_real(float l) { return {softplus(-l), -sigmoid(-l)}; }
/// -log(1 - sigmoid(l)): "this logit should say generated".
AGON_DEVICE_INLINE ValueAndSlope minus_log_fake(float l) { return {softplus(l), sigmoid(l)}; }

AGON_DEVICE_INLINE ValueAndSlope gan_loss(ops::GanLossKind kind, ops::GanRole role, float l) {
  using ops::GanLossKind, ops::GanRole;
  const bool fake = role == GanRole::kFake, generator = role == GanRole::kGenerator;
  switch (kind) {
    case GanLossKind::kMinimax:
      if (generator) return {-softplus(l), -sigmoid(l)};
      [[fallthrough]];
    case GanLossKind::kNonSaturating:
      return fake ? minus_log_fake(l) : minus_log_real(l);
    case GanLossKind::kLeastSquares: {
      const float miss = fake ? l : l - 1.f;
      return {0.5f * miss * miss, miss};
    }
    case GanLossKind::kHinge:
      if (!generator) {
        const float way = fake ? 1.f : -1.f;
        const float miss = 1.f + way * l;
        return {miss < 0.f ? 0.f : miss, miss <= 0.f ? 0.f : way};
      }
      [[fallthrough]];
    case GanLossKind::kWasserstein:
      return fake ? ValueAndSlope{l, 1.f} : ValueAndSlope{-l, -1.f};
  }
  return {};
}

// Optimisers: the update of one weight.

/// Adam, Kingma & Ba 2014, algorithm 1, with the bias corrections folded into two factors of the whole step.
struct AdamStep {
  float beta1, beta2, epsilon, grad_scale;
  float rate;        ///< learning rate / (1 - beta1^t)
  float correction;  ///< 1 / sqrt(1 - beta2^t)
  AGON_DEVICE_INLINE void operator()(float& w, float gradient, float& m, float& v) const {
    const float g = grad_scale * gradient;
    m = std::fma(beta1, m, (1.f - beta1) * g);
    v = std::fma(beta2, v, (1.f - beta2) * g * g);
    w = std::fma(-rate, m / std::fma(std::sqrt(v), correction, epsilon), w);
  }
};
struct SgdStep {
  float rate, momentum, grad_scale;
  AGON_DEVICE_INLINE void operator()(float& w, float gradient, float& m) const {
    m = std::fma(momentum, m, grad_scale * gradient);
    w = std::fma(-rate, m, w);
  }
};
struct RmsPropStep {
  float rate, alpha, epsilon, grad_scale;
  AGON_DEVICE_INLINE void operator()(float& w, float gradient, float& v) const {
    const float g = grad_scale * gradient;
    v = std::fma(alpha, v, (1.f - alpha) * g * g);
    w = std::fma(-rate, g / (std::sqrt(v) + epsilon), w);
  }
};

// Random numbers from 32 random bits.

/// Uniform in [0, 1), a multiple of 2^-24.
AGON_DEVICE_INLINE float uniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// Uniform in 0 .. classes-1.
AGON_DEVICE_INLINE int32_t uniform_label(uint32_t bits, int64_t classes) {
  return static_cast<int32_t>((static_cast<uint64_t>(bits) * static_cast<uint64_t>(classes)) >> 32);
}

/// Two independent standard normal numbers (Box & Muller 1958).
struct NormalPair {
  float first, second;
};
AGON_DEVICE_INLINE NormalPair normal_pair(uint32_t radius_bits, uint32_t angle_bits) {
  const float u = std::fma(static_cast<float>(radius_bits), 0x1p-32f, 0x1p-33f);  // in (0, 1]
  const float radius = std::sqrt(-2.f * log(u));
  // The angle is angle_bits / 2^32 of a turn: a quadrant, and up to an eighth of a turn to either side of its axis.
  const uint32_t quadrant = (angle_bits + 0x20000000u) >> 30;
  const float a = static_cast<float>(static_cast<int32_t>(angle_bits - (quadrant << 30))) * 1.46291807927e-9f;
  const float z = a * a;
  const float sine =
      std::fma(std::fma(std::fma(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f) * z, a, a);
  const float cosine =
      std::fma(std::fma(std::fma(std::fma(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f),
                        z, -0.5f),
               z, 1.f);
  const bool swapped = quadrant & 1;
  const float c = swapped ? -sine : cosine, s = swapped ? cosine : sine;
  const float half_turn = quadrant & 2 ? -radius : radius;
  return {half_turn * c, half_turn * s};
}

}  // namespace agon::formulas
