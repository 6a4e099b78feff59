// Batch normalisation (Ioffe & Szegedy 2015) and layer normalisation (Ba et al. 2016).
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/rows.h"

namespace agon::cpu {
namespace {

/// Strips of per-column parameters: `n` rows of strip_width(cols) floats in this thread's scratch memory.
class Strips {
 public:
  Strips(int64_t n, int64_t cols)
      : cols_(cols), width_(strip_width(cols)), data_(scratch(kParameterSlot, n * width_)) {}
  const float* operator[](int64_t n) const { return data_ + n * width_; }

  /// Row n from value(column).
  template <class Value>
  void set(int64_t n, Value value) {
    float* row = data_ + n * width_;
    for (int64_t j = 0; j < cols_; ++j) row[j] = static_cast<float>(value(j));
    for (int64_t i = cols_; i < width_; i += cols_) std::copy_n(row, cols_, row + i);
  }

 private:
  int64_t cols_, width_;
  float* data_;
};

/// Group g of replica r of a [R, groups, rows, cols] block.
template <class T, class Op>
T* group_of(const Block<T>& block, const Op& op, int64_t r, int64_t g) {
  return block.at(r) + g * op.rows * op.cols;
}

/// saved [R, groups, 2, cols]: which 0 the mean, 1 the inverse standard deviation.
template <class T, class Op>
T* saved_of(const Block<T>& saved, const Op& op, int64_t r, int64_t g, int64_t which) {
  return saved.at(r) + (g * 2 + which) * op.cols;
}

/// Mean and inverse standard deviation of every group, into `saved`; the running statistics follow.
/// In two passes: the squares are taken of what remains after the mean is gone, so nothing cancels.
void batch_statistics(Stream& stream, const ops::BatchNorm& op) {
  const RowShape shape{op.replicas, op.groups, op.rows, op.cols};
  const RowSums sum =
      sum_rows(stream, shape, 1, op.split, [op](int64_t r, int64_t g, int64_t begin, int64_t end, float* total) {
        const float* base = group_of(op.x, op, r, g);
        each_strip(begin, end, op.cols, [=](int64_t first, int64_t count) {
          const float* __restrict x = base + first;
          float* __restrict s = total;
          for (int64_t i = 0; i < count; ++i) s[i] += x[i];
        });
      });
  stream.add({op.replicas, 1, false, [=](int64_t r, int64_t) {
                for (int64_t g = 0; g < op.groups; ++g)
                  for (int64_t j = 0; j < op.cols; ++j)
                    saved_of(op.saved, op, r, g, 0)[j] =
                        static_cast<float>(sum.at(r, g)[j] / static_cast<double>(op.rows));
              }});
  const RowSums squares =
      sum_rows(stream, shape, 1, op.split, [op](int64_t r, int64_t g, int64_t begin, int64_t end, float* total) {
        Strips mean(1, op.cols);
        mean.set(0, [&](int64_t j) { return saved_of(op.saved, op, r, g, 0)[j]; });
        const float* base = group_of(op.x, op, r, g);
        each_strip(begin, end, op.cols, [=, mean = mean[0]](int64_t first, int64_t count) {
          const float* __restrict x = base + first;
          const float* __restrict m = mean;
          float* __restrict s = total;
          for (int64_t i = 0; i < count; ++i) s[i] = std::fma(x[i] - m[i], x[i] - m[i], s[i]);
        });
      });
  stream.add({op.replicas, 1, false, [=](int64_t r, int64_t) {
                const double n = static_cast<double>(op.rows), momentum = op.momentum;
                for (int64_t g = 0; g < op.groups; ++g)
                  for (int64_t j = 0; j < op.cols; ++j) {
                    const double square = squares.at(r, g)[j], variance = square / n;
                    const double unbiased = op.rows > 1 ? square / (n - 1) : variance;
                    float &mean = op.running_mean.at(r)[j], &var = op.running_var.at(r)[j];
                    saved_of(op.saved, op, r, g, 1)[j] = static_cast<float>(1 / std::sqrt(variance + op.epsilon));
                    mean = static_cast<float>((1 - momentum) * mean + momentum * saved_of(op.saved, op, r, g, 0)[j]);
                    var = static_cast<float>((1 - momentum) * var + momentum * unbiased);
                  }
              }});
}

/// What a queued piece that covers rows begin .. end-1 of all groups covers of each group: body(group, begin, end).
template <class Body>
void each_group(int64_t rows, int64_t begin, int64_t end, Body body) {
  for (int64_t g = begin / rows; g * rows < end; ++g)
    body(g, std::max<int64_t>(begin - g * rows, 0), std::min(end - g * rows, rows));
}

}  // namespace

void enqueue(Stream& stream, const ops::BatchNorm& op) {
  if (op.training) batch_statistics(stream, op);
  each_row(stream, op.replicas, op.groups * op.rows, op.cols, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    each_group(op.rows, begin, end, [&](int64_t g, int64_t begin, int64_t end) {
      Strips parameters(3, op.cols);
      parameters.set(
          0, [&](int64_t j) { return op.training ? saved_of(op.saved, op, r, g, 0)[j] : op.running_mean.at(r)[j]; });
      parameters.set(1, [&](int64_t j) {
        const double inverse = op.training ? saved_of(op.saved, op, r, g, 1)[j]
                                           : 1 / std::sqrt(static_cast<double>(op.running_var.at(r)[j]) + op.epsilon);
        return inverse * op.gamma.at(r)[j];
      });
      parameters.set(2, [&](int64_t j) { return op.beta.at(r)[j]; });
      const float *from = group_of(op.x, op, r, g), *mean = parameters[0], *scale = parameters[1],
                  *beta = parameters[2];
      float* to = group_of(op.y, op, r, g);
      each_strip(begin, end, op.cols, [=](int64_t first, int64_t count) {
        const float* x = from + first;
        float* y = to + first;
#pragma GCC ivdep  // y may be x
        for (int64_t i = 0; i < count; ++i) y[i] = std::fma(x[i] - mean[i], scale[i], beta[i]);
      });
    });
  });
  if (!op.training && op.saved) {
    stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                  for (int64_t g = 0; g < op.groups; ++g)
                    for (int64_t j = 0; j < op.cols; ++j) {
                      const double variance = static_cast<double>(op.running_var.at(r)[j]) + op.epsilon;
                      saved_of(op.saved, op, r, g, 0)[j] = op.running_mean.at(r)[j];
                      saved_of(op.saved, op, r, g, 1)[j] = static_cast<float>(1 / std::sqrt(variance));
                    }
                }});
  }
}

/// With h = (x - mean) * inverse:  dbeta = sum dy,  dgamma = sum dy h,
/// dx = gamma * inverse * (dy - dbeta / rows - h * dgamma / rows), each over the group's rows.
void enqueue(Stream& stream, const ops::BatchNormGrad& op) {
  const RowShape shape{op.replicas, op.groups, op.rows, op.cols};
  const RowSums sums =
      sum_rows(stream, shape, 2, op.split, [op](int64_t r, int64_t g, int64_t begin, int64_t end, float* total) {
        Strips saved(2, op.cols);
        saved.set(0, [&](int64_t j) { return saved_of(op.saved, op, r, g, 0)[j]; });
        saved.set(1, [&](int64_t j) { return saved_of(op.saved, op, r, g, 1)[j]; });
        const float *x_base = group_of(op.x, op, r, g), *dy_base = group_of(op.dy, op, r, g);
        const float *mean = saved[0], *inverse = saved[1];
        float *beta = total, *gamma = total + strip_width(op.cols);
        each_strip(begin, end, op.cols, [=](int64_t first, int64_t count) {
          const float* __restrict x = x_base + first, * __restrict dy = dy_base + first;
          float* __restrict dbeta = beta, * __restrict dgamma = gamma;
          for (int64_t i = 0; i < count; ++i) {
            dbeta[i] += dy[i];
            dgamma[i] = std::fma(dy[i], (x[i] - mean[i]) * inverse[i], dgamma[i]);
          }
        });
      });
  if (op.dgamma) {
    stream.add({op.replicas, 1, false, [=](int64_t r, int64_t) {
                  for (int64_t j = 0; j < op.cols; ++j) {
                    double dbeta = 0, dgamma = 0;
                    for (int64_t g = 0; g < op.groups; ++g) {
                      dbeta += sums.at(r, g)[j];
                      dgamma += sums.at(r, g)[op.cols + j];
                    }
                    op.dbeta.at(r)[j] = static_cast<float>(dbeta);
                    op.dgamma.at(r)[j] = static_cast<float>(dgamma);
                  }
                }});
  }
  if (!op.dx) return;
  each_row(stream, op.replicas, op.groups * op.rows, op.cols, op.split, [=](int64_t r, int64_t begin, int64_t end) {
    each_group(op.rows, begin, end, [&](int64_t g, int64_t begin, int64_t end) {
      const float *mean = saved_of(op.saved, op, r, g, 0), *inverse = saved_of(op.saved, op, r, g, 1);
      const double *sum = sums.at(r, g), n = static_cast<double>(op.rows);
      Strips parameters(4, op.cols);
      parameters.set(0, [&](int64_t j) { return mean[j]; });
      parameters.set(1, [&](int64_t j) { return sum[j] / n; });
      parameters.set(2, [&](int64_t j) { return -inverse[j] * sum[op.cols + j] / n; });
      parameters.set(3, [&](int64_t j) { return op.gamma.at(r)[j] * inverse[j]; });
      const float *x_base = group_of(op.x, op, r, g), *dy_base = group_of(op.dy, op, r, g);
      const float *centre = parameters[0], *dbeta = parameters[1], *tilt = parameters[2], *scale = parameters[3];
      float* to = group_of(op.dx, op, r, g);
      each_strip(begin, end, op.cols, [=](int64_t first, int64_t count) {
        const float *x = x_base + first, *dy = dy_base + first;
        float* dx = to + first;
#pragma GCC ivdep  // dx may be dy
        for (int64_t i = 0; i < count; ++i) dx[i] = scale[i] * std::fma(x[i] - centre[i], tilt[i], dy[i] - dbeta[i]);
      });
    });
  });
}

namespace {

/// Sum of value(i) over a row, in a fixed order: sixteen running sums, then those.
template <class Value>
double sum_over(int64_t count, Value value) {
  constexpr int kLanes = 16;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += value(i + lane);
  for (int lane = 0; i < count; ++i, ++lane) lanes[lane] += value(i);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void enqueue(Stream& stream, const ops::LayerNorm& op) {
  each_row(stream, op.replicas, op.rows, op.cols, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const float *gamma = op.gamma.at(r), *beta = op.beta.at(r);
    const double n = static_cast<double>(op.cols);
    for (int64_t row = begin; row < end; ++row) {
      const float* x = op.x.at(r) + row * op.cols;
      float *y = op.y.at(r) + row * op.cols, *saved = op.saved.at(r) + row * 2;
      const float mean = static_cast<float>(sum_over(op.cols, [=](int64_t i) { return x[i]; }) / n);
      const double variance = sum_over(op.cols, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / n;
      const float inverse = static_cast<float>(1 / std::sqrt(variance + op.epsilon));
      for (int64_t i = 0; i < op.cols; ++i) y[i] = std::fma((x[i] - mean) * inverse, gamma[i], beta[i]);
      saved[0] = mean;
      saved[1] = inverse;
    }
  });
}

/// As batch normalisation, with the sums over a row; only dgamma and dbeta are sums over rows.
void enqueue(Stream& stream, const ops::LayerNormGrad& op) {
  if (op.dgamma) {
    const RowShape shape{op.replicas, 1, op.rows, op.cols};
    const RowSums sums =
        sum_rows(stream, shape, 2, op.split, [op](int64_t r, int64_t, int64_t begin, int64_t end, float* total) {
          float* __restrict dbeta = total, * __restrict dgamma = total + strip_width(op.cols);
          for (int64_t row = begin; row < end; ++row) {
            const float *x = op.x.at(r) + row * op.cols, *dy = op.dy.at(r) + row * op.cols;
            const float mean = op.saved.at(r)[row * 2], inverse = op.saved.at(r)[row * 2 + 1];
            for (int64_t i = 0; i < op.cols; ++i) {
              dbeta[i] += dy[i];
              dgamma[i] = std::fma(dy[i], (x[i] - mean) * inverse, dgamma[i]);
            }
          }
        });
    stream.add({op.replicas, 1, false, [=](int64_t r, int64_t) {
                  for (int64_t j = 0; j < op.cols; ++j) {
                    op.dbeta.at(r)[j] = static_cast<float>(sums.at(r, 0)[j]);
                    op.dgamma.at(r)[j] = static_cast<float>(sums.at(r, 0)[op.cols + j]);
                  }
                }});
  }
  if (!op.dx) return;
  each_row(stream, op.replicas, op.rows, op.cols, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    const float* gamma = op.gamma.at(r);
    const double n = static_cast<double>(op.cols);
    for (int64_t row = begin; row < end; ++row) {
      const float *x = op.x.at(r) + row * op.cols, *dy = op.dy.at(r) + row * op.cols;
      float* dx = op.dx.at(r) + row * op.cols;
      const float mean = op.saved.at(r)[row * 2], inverse = op.saved.at(r)[row * 2 + 1];
      const auto h = [=](int64_t i) { return (x[i] - mean) * inverse; };
      const auto dh = [=](int64_t i) { return dy[i] * gamma[i]; };
      const float mean_dh = static_cast<float>(sum_over(op.cols, dh) / n);
      const float slope = static_cast<float>(sum_over(op.cols, [=](int64_t i) { return dh(i) * h(i); }) / n);
      for (int64_t i = 0; i < op.cols; ++i) dx[i] = inverse * std::fma(-slope, h(i), dh(i) - mean_dh);
    }
  });
}

}  // namespace agon::cpu
