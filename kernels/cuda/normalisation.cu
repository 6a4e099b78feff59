// Batch normalisation (Ioffe & Szegedy 2015) and layer normalisation (Ba et al. 2016).
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/rows.cuh"

namespace agon::cuda {
namespace {

/// Mean and sum of squared deviations of a chunk of rows: partial [R, groups, chunks, 2, cols]. The squares are taken
/// of what remains when the chunk's mean is gone, so nothing cancels.
__global__ void __launch_bounds__(kThreads)
    chunk_moments(ops::BatchNorm op, int64_t tiles, int64_t chunk_rows, double* partial) {
  const int64_t tile = blockIdx.x % tiles, chunk = blockIdx.x / tiles, chunks = gridDim.x / tiles;
  const int64_t col = tile * blockDim.x + threadIdx.x, begin = chunk * chunk_rows;
  const int64_t end = begin + chunk_rows < op.rows ? begin + chunk_rows : op.rows;
  for (int64_t r = blockIdx.z; r < op.replicas; r += gridDim.z)
    for (int64_t g = blockIdx.y; g < op.groups; g += gridDim.y) {
      const float* x = op.x.at(r) + g * op.rows * op.cols + col;
      const auto sum_of = [&](auto value) {
        float sum = 0.f;
        if (col < op.cols)
          for (int64_t row = begin + threadIdx.y; row < end; row += blockDim.y) sum += value(x[row * op.cols]);
        add_up<1>(&sum);
        return sum;
      };
      const float mean = sum_of([](float v) { return v; }) / static_cast<float>(end - begin);
      const float squares = sum_of([mean](float v) { return (v - mean) * (v - mean); });
      // What the rounded mean leaves over is taken out of the squares, and added to the mean.
      const float rest = sum_of([mean](float v) { return v - mean; });
      if (threadIdx.y != 0 || col >= op.cols) continue;
      const double n = static_cast<double>(end - begin), shift = static_cast<double>(rest) / n;
      double* to = partial + ((r * op.groups + g) * chunks + chunk) * 2 * op.cols + col;
      to[0] = mean + shift;
      to[op.cols] = static_cast<double>(squares) - n * shift * shift;
    }
}

/// Joins the chunks of each group in order (Chan, Golub & LeVeque 1979), into `saved`; the running statistics follow.
struct JoinMoments {
  ops::BatchNorm op;
  int64_t chunks, chunk_rows;
  const double* partial;

  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t col) const {
    const double rows = static_cast<double>(op.rows), momentum = op.momentum;
    for (int64_t g = 0; g < op.groups; ++g) {
      double mean = 0, squares = 0, n = 0;
      for (int64_t c = 0; c < chunks; ++c) {
        const double* from = partial + ((r * op.groups + g) * chunks + c) * 2 * op.cols + col;
        const int64_t left = op.rows - c * chunk_rows;
        const double more = static_cast<double>(left < chunk_rows ? left : chunk_rows), apart = from[0] - mean;
        squares += from[op.cols] + apart * apart * n * more / (n + more);
        mean += apart * more / (n + more);
        n += more;
      }
      const double variance = squares / rows, unbiased = op.rows > 1 ? squares / (rows - 1) : variance;
      float* saved = op.saved.at(r) + g * 2 * op.cols + col;
      float &running_mean = op.running_mean.at(r)[col], &running_var = op.running_var.at(r)[col];
      saved[0] = static_cast<float>(mean);
      saved[op.cols] = static_cast<float>(1 / sqrt(variance + op.epsilon));
      running_mean = static_cast<float>((1 - momentum) * running_mean + momentum * saved[0]);
      running_var = static_cast<float>((1 - momentum) * running_var + momentum * unbiased);
    }
  }
};

/// saved from the running statistics, for every group.
struct SaveRunning {
  ops::BatchNorm op;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t col) const {
    for (int64_t g = 0; g < op.groups; ++g) {
      float* saved = op.saved.at(r) + g * 2 * op.cols + col;
      saved[0] = op.running_mean.at(r)[col];
      saved[op.cols] = static_cast<float>(1 / sqrt(static_cast<double>(op.running_var.at(r)[col]) + op.epsilon));
    }
  }
};

/// y = (x - mean) * inverse * gamma + beta.
struct Normalise {
  ops::BatchNorm op;
  Divisor cols, rows;

  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    uint32_t row = e;
    const int64_t col = cols.take(row), g = rows.quotient(row);
    const float* saved = op.training ? op.saved.at(r) + g * 2 * op.cols + col : nullptr;
    const float mean = saved ? saved[0] : op.running_mean.at(r)[col];
    const double inverse =
        saved ? saved[op.cols] : 1 / sqrt(static_cast<double>(op.running_var.at(r)[col]) + op.epsilon);
    const float scale = static_cast<float>(inverse * op.gamma.at(r)[col]);
    op.y.at(r)[e] = std::fma(op.x.at(r)[e] - mean, scale, op.beta.at(r)[col]);
  }
};

/// sums[0] = sum of dy, sums[1] = sum of dy h, with h = (x - mean) * inverse.
struct AddGradients {
  static constexpr int kSums = 2;
  ops::BatchNormGrad op;
  AGON_DEVICE_INLINE void add(int64_t r, int64_t g, int64_t row, int64_t col, float* sums) const {
    const int64_t e = (g * op.rows + row) * op.cols + col;
    const float* saved = op.saved.at(r) + g * 2 * op.cols + col;
    const float dy = op.dy.at(r)[e];
    sums[0] += dy;
    sums[1] = std::fma(dy, (op.x.at(r)[e] - saved[0]) * saved[op.cols], sums[1]);
  }
};

/// dbeta and dgamma over all groups; the groups' own totals stay for dx: totals [R, groups, 2, cols].
struct WriteGradients {
  ops::BatchNormGrad op;
  double* own;
  AGON_DEVICE_INLINE void operator()(int64_t r, int64_t col, const RowTotals<2>& totals) const {
    double dbeta = 0, dgamma = 0;
    for (int64_t g = 0; g < op.groups; ++g) {
      const double beta = totals.of(g, col, 0), gamma = totals.of(g, col, 1);
      double* to = own + (r * op.groups + g) * 2 * op.cols + col;
      to[0] = beta, to[op.cols] = gamma;
      dbeta += beta, dgamma += gamma;
    }
    if (!op.dgamma) return;
    op.dbeta.at(r)[col] = static_cast<float>(dbeta);
    op.dgamma.at(r)[col] = static_cast<float>(dgamma);
  }
};

/// dx = gamma * inverse * (dy - dbeta / rows - h * dgamma / rows), each over the group's rows.
struct InputGradient {
  ops::BatchNormGrad op;
  Divisor cols, rows;
  const double* own;
  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    uint32_t row = e;
    const int64_t col = cols.take(row), g = rows.quotient(row);
    const float* saved = op.saved.at(r) + g * 2 * op.cols + col;
    const double *sum = own + (r * op.groups + g) * 2 * op.cols + col, n = static_cast<double>(op.rows);
    const float centre = saved[0], inverse = saved[op.cols];
    const float dbeta = static_cast<float>(sum[0] / n), tilt = static_cast<float>(-inverse * sum[op.cols] / n);
    const float scale = op.gamma.at(r)[col] * inverse;
    op.dx.at(r)[e] = scale * std::fma(op.x.at(r)[e] - centre, tilt, op.dy.at(r)[e] - dbeta);
  }
};

}  // namespace

void launch(Context& context, const ops::BatchNorm& op) {
  if (op.replicas * op.groups * op.rows * op.cols == 0) return;
  const RowShape shape{op.replicas, op.groups, op.rows, op.cols};
  if (op.training) {
    const RowCut cut(shape);
    double* partial = context.scratch_of<double>(op.replicas * op.groups * cut.chunks * 2 * op.cols);
    start(context, chunk_moments, cut.grid(shape), cut.block(), op, cut.tiles, cut.chunk_rows, partial);
    start_each_index(context, op.replicas, op.cols, JoinMoments{op, cut.chunks, cut.chunk_rows, partial});
  }
  start_each_index(context, op.replicas, op.groups * op.rows * op.cols,
                   Normalise{op, Divisor(op.cols), Divisor(op.rows)});
  if (!op.training && op.saved) start_each_index(context, op.replicas, op.cols, SaveRunning{op});
}

void launch(Context& context, const ops::BatchNormGrad& op) {
  if (op.replicas * op.groups * op.rows * op.cols == 0) return;
  const RowShape shape{op.replicas, op.groups, op.rows, op.cols};
  const RowCut cut(shape);
  const int64_t totals = op.replicas * op.groups * 2 * op.cols;
  // The groups' totals lie behind the chunks' sums, which sum_rows keeps at the beginning of the work space.
  double* own = context.scratch_of<double>(totals * (cut.chunks + 1)) + totals * cut.chunks;
  sum_rows(context, shape, AddGradients{op}, WriteGradients{op, own});
  if (op.dx)
    start_each_index(context, op.replicas, op.groups * op.rows * op.cols,
                     InputGradient{op, Divisor(op.cols), Divisor(op.rows), own});
}

}  // namespace agon::cuda
