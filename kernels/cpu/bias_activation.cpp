// Bias and activation in one pass, and their backward pass, which also sums the bias gradient.
#include "kernels/cpu/operations.h"
#include "kernels/cpu/rows.h"
#include "kernels/formulas.h"

namespace agon::cpu {

void enqueue(Stream& stream, const ops::BiasActivation& op) {
  if (!op.bias && op.activation == Activation::kNone) return;
  formulas::with_activation(op.activation, op.slope, [&](auto f) {
    each_row(stream, op.replicas, op.rows, op.cols, op.split, [op, f](int64_t r, int64_t begin, int64_t end) {
      float* bias = scratch(kParameterSlot, strip_width(op.cols));
      if (op.bias) {
        fill_strip(bias, op.bias.at(r), op.cols);
      } else {
        std::fill_n(bias, strip_width(op.cols), 0.f);
      }
      each_strip(begin, end, op.cols, [f, bias, y = op.y.at(r)](int64_t first, int64_t count) {
        float* __restrict out = y + first;
        const float* __restrict b = bias;
        for (int64_t i = 0; i < count; ++i) out[i] = f(out[i] + b[i]);
      });
    });
  });
}

void enqueue(Stream& stream, const ops::BiasActivationGrad& op) {
  if (!op.dbias && op.activation == Activation::kNone) return;
  formulas::with_activation(op.activation, op.slope, [&](auto f) {
    if (!op.dbias) {
      each_row(stream, op.replicas, op.rows, op.cols, op.split, [op, f](int64_t r, int64_t begin, int64_t end) {
        float* __restrict dy = op.dy.at(r);
        const float* __restrict y = op.y.at(r);
        for (int64_t i = begin * op.cols; i < end * op.cols; ++i) dy[i] *= f.derivative(y[i]);
      });
      return;
    }
    constexpr bool kActive = !std::is_same_v<decltype(f), formulas::Identity>;
    const RowShape shape{op.replicas, 1, op.rows, op.cols};
    const auto add = [op, f](int64_t r, int64_t, int64_t begin, int64_t end, float* total) {
      float* const gradient = op.dy.at(r);
      const float* const output = kActive ? op.y.at(r) : gradient;
      each_strip(begin, end, op.cols, [=](int64_t first, int64_t n) {
        float* __restrict dy = gradient + first, * __restrict sum = total;
        const float* __restrict y = output + first;
        for (int64_t i = 0; i < n; ++i) {
          float d = dy[i];
          if constexpr (kActive) dy[i] = d *= f.derivative(y[i]);  // else there may be no y
          sum[i] += d;
        }
      });
    };
    const RowSums sums = sum_rows(stream, shape, 1, op.split, add);
    stream.add({op.replicas, 1, false, [=](int64_t r, int64_t) {
                  const double* sum = sums.at(r, 0);
                  for (int64_t i = 0; i < op.cols; ++i) op.dbias.at(r)[i] = static_cast<float>(sum[i]);
                }});
  });
}

}  // namespace agon::cpu
