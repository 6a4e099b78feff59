// Layer normalisation (Ba et al. 2016): a warp takes a row.
#include "kernels/cuda/rows.cuh"

namespace agon::cuda {
namespace {

constexpr int64_t kWarp = 32, kRowsPerBlock = kThreads / kWarp;

/// The sum over a warp; every lane gets it.
__device__ double warp_sum(double value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += __shfl_xor_sync(0xffffffffu, value, mask);
  return value;
}

/// The mean of value(i) over i < count.
template <class Value>
__device__ double warp_mean(int64_t count, Value value) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kWarp) sum += value(i);
  return warp_sum(sum) / static_cast<double>(count);
}

/// Calls body(replica, row) with a whole warp for every row.
template <class Body>
__global__ void __launch_bounds__(kThreads) each_row(int64_t replicas, int64_t rows, Body body) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  for (int64_t r = blockIdx.y; r < replicas; r += gridDim.y) body(r, row);
}

template <class Body>
void start_each_row(Context& context, int64_t replicas, int64_t rows, const Body& body) {
  if (replicas * rows == 0) return;
  start(context, each_row<Body>, dim3(static_cast<unsigned>(ceil_div(rows, kRowsPerBlock)), grid_rows(replicas)),
        dim3(kWarp, kRowsPerBlock), replicas, rows, body);
}

struct Forward {
  ops::LayerNorm op;
  __device__ void operator()(int64_t r, int64_t row) const {
    const float *x = op.x.at(r) + row * op.cols, *gamma = op.gamma.at(r), *beta = op.beta.at(r);
    float *y = op.y.at(r) + row * op.cols, *saved = op.saved.at(r) + row * 2;
    const float mean = static_cast<float>(warp_mean(op.cols, [=](int64_t i) { return x[i]; }));
    const double variance = warp_mean(op.cols, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
    const float inverse = static_cast<float>(1 / sqrt(variance + op.epsilon));
    for (int64_t i = threadIdx.x; i < op.cols; i += kWarp) y[i] = std::fma((x[i] - mean) * inverse, gamma[i], beta[i]);
    if (threadIdx.x == 0) saved[0] = mean, saved[1] = inverse;
  }
};

/// As batch normalisation, with the sums over a row.
struct InputGradient {
  ops::LayerNormGrad op;
  __device__ void operator()(int64_t r, int64_t row) const {
    const float *x = op.x.at(r) + row * op.cols, *dy = op.dy.at(r) + row * op.cols, *gamma = op.gamma.at(r);
    const float mean = op.saved.at(r)[row * 2], inverse = op.saved.at(r)[row * 2 + 1];
    float* dx = op.dx.at(r) + row * op.cols;
    const auto h = [=](int64_t i) { return (x[i] - mean) * inverse; };
    const auto dh = [=](int64_t i) { return dy[i] * gamma[i]; };
    const float mean_dh = static_cast<float>(warp_mean(op.cols, dh));
    const float slope = static_cast<float>(warp_mean(op.cols, [=](int64_t i) { return dh(i) * h(i); }));
    for (int64_t i = threadIdx.x; i < op.cols; i += kWarp) dx[i] = inverse * std::fma(-slope, h(i), dh(i) - mean_dh);
  }
};

struct AddGradients {
  static constexpr int kSums = 2;
  ops::LayerNormGrad op;
  AGON_DEVICE_INLINE void add(int64_t r, int64_t, int64_t row, int64_t col, float* sums) const {
    const int64_t e = row * op.cols + col;
    const float* saved = op.saved.at(r) + row * 2;
    const float dy = op.dy.at(r)[e];
    sums[0] += dy;
    sums[1] = std::fma(dy, (op.x.at(r)[e] - saved[0]) * saved[1], sums[1]);
  }
};

struct WriteGradients {
  ops::LayerNormGrad op;
  AGON_DEVICE_INLINE void operator()(int64_t r, int64_t col, const RowTotals<2>& totals) const {
    op.dbeta.at(r)[col] = static_cast<float>(totals.of(0, col, 0));
    op.dgamma.at(r)[col] = static_cast<float>(totals.of(0, col, 1));
  }
};

}  // namespace

void launch(Context& context, const ops::LayerNorm& op) { start_each_row(context, op.replicas, op.rows, Forward{op}); }

void launch(Context& context, const ops::LayerNormGrad& op) {
  if (op.dgamma) sum_rows(context, {op.replicas, 1, op.rows, op.cols}, AddGradients{op}, WriteGradients{op});
  if (op.dx) start_each_row(context, op.replicas, op.rows, InputGradient{op});
}

}  // namespace agon::cuda
