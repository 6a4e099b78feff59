// Bias and activation in one pass; the backward pass also sums the bias gradient.
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/formulas.h"

namespace agon::cuda {
namespace {

/// y = f(y + bias).
template <class F>
struct Forward : NothingAfter {
  ops::BiasActivation op;
  Divisor cols;
  F f;

  struct Replica {
    float* y;
    const float* bias;
    Divisor cols;
    F f;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      Pack<kWidth> v = Pack<kWidth>::load(y + i);
      uint32_t column = bias ? cols.remainder(static_cast<uint32_t>(i)) : 0;
      for (int lane = 0; lane < kWidth; ++lane) {
        v[lane] = f(v[lane] + (bias ? bias[column] : 0.f));
        if (++column == cols.value()) column = 0;
      }
      v.store(y + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const {
    return {op.y.at(r), op.bias ? op.bias.at(r) : nullptr, cols, f};
  }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.y.at(r); }
};

/// dy = dy * f'(y).
template <class F>
struct Backward : NothingAfter {
  ops::BiasActivationGrad op;
  F f;

  struct Replica {
    float* dy;
    const float* y;
    F f;
    template <int kWidth>
    AGON_DEVICE_INLINE void run(int64_t i) const {
      Pack<kWidth> d = Pack<kWidth>::load(dy + i);
      const Pack<kWidth> out = Pack<kWidth>::load(y + i);
      for (int lane = 0; lane < kWidth; ++lane) d[lane] *= f.derivative(out[lane]);
      d.store(dy + i);
    }
  };
  AGON_DEVICE_INLINE Replica replica(int64_t r) const { return {op.dy.at(r), op.y.at(r), f}; }
  AGON_DEVICE_INLINE const float* anchor(int64_t r) const { return op.dy.at(r); }
};

/// The same, one element of a column sum at a time; without an activation there may be no y.
template <class F>
struct BackwardAndBias {
  static constexpr int kSums = 1;
  ops::BiasActivationGrad op;
  F f;

  AGON_DEVICE_INLINE void add(int64_t r, int64_t, int64_t row, int64_t col, float* sums) const {
    float& dy = op.dy.at(r)[row * op.cols + col];
    float d = dy;
    if constexpr (!std::is_same_v<F, formulas::Identity>) dy = d *= f.derivative(op.y.at(r)[row * op.cols + col]);
    sums[0] += d;
  }
};

struct WriteBias {
  Floats dbias;
  AGON_DEVICE_INLINE void operator()(int64_t r, int64_t col, const RowTotals<1>& totals) const {
    dbias.at(r)[col] = static_cast<float>(totals.of(0, col, 0));
  }
};

}  // namespace

void launch(Context& context, const ops::BiasActivation& op) {
  if (!op.bias && op.activation == Activation::kNone) return;
  check_count(op.rows * op.cols);
  formulas::with_activation(op.activation, op.slope, [&](auto f) {
    start_each_element(context, op.replicas, op.rows * op.cols, {op.y},
                       Forward<decltype(f)>{{}, op, Divisor(op.cols), f});
  });
}

void launch(Context& context, const ops::BiasActivationGrad& op) {
  if (!op.dbias && op.activation == Activation::kNone) return;
  formulas::with_activation(op.activation, op.slope, [&](auto f) {
    if (op.dbias)
      sum_rows(context, {op.replicas, 1, op.rows, op.cols}, BackwardAndBias<decltype(f)>{op, f}, WriteBias{op.dbias});
    else
      start_each_element(context, op.replicas, op.rows * op.cols, {op.dy, op.y}, Backward<decltype(f)>{{}, op, f});
  });
}

}  // namespace agon::cuda
