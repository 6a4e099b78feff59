// Mini-batch discrimination (Salimans et al. 2016, section 3.2): how close each sample is to the others of its batch.
// A thread makes one number and looks through its group in order; what it reads stays in cache.
#include "kernels/cuda/launch.cuh"
#include "kernels/formulas.h"

namespace agon::cuda {
namespace {

/// exp(-|a - b|_1) over `dims` numbers.
AGON_DEVICE_INLINE float closeness(const float* a, const float* b, int64_t dims) {
  float distance = 0.f;
  for (int64_t d = 0; d < dims; ++d) distance += formulas::absolute(a[d] - b[d]);
  return formulas::exp(-distance);
}

/// An element of y: a feature of x, or the closeness of sample i to its group under kernel k.
struct Forward {
  ops::MinibatchDiscrimination op;
  Divisor cols, batch;  // of y: features + kernels

  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    uint32_t sample = e;
    const int64_t col = cols.take(sample);
    if (col < op.features) {
      op.y.at(r)[e] = op.x.at(r)[sample * op.features + col];
      return;
    }
    const int64_t size = op.kernels * op.dims, k = col - op.features;
    const uint32_t i = batch.remainder(sample);
    const float* group = op.m.at(r) + (sample - i) * size + k * op.dims;
    float sum = 0.f;
    for (int64_t j = 0; j < op.batch; ++j)
      if (j != i) sum += closeness(group + i * size, group + j * size, op.dims);
    op.y.at(r)[e] = sum;
  }
};

/// c_ijk occurs in o_ik and in o_jk, so dm_ikd = sum over j of -(do_ik + do_jk) c_ijk sign(m_ikd - m_jkd).
struct Backward {
  ops::MinibatchDiscriminationGrad op;
  Divisor dims, kernels, batch, features;
  uint32_t projections;  // elements of dm; those of dx follow

  AGON_DEVICE_INLINE void operator()(int64_t r, uint32_t e) const {
    const int64_t cols = op.features + op.kernels, size = op.kernels * op.dims;
    if (e >= projections) {
      e -= projections;
      uint32_t sample = e;
      const int64_t col = features.take(sample);
      op.dx.at(r)[e] = op.dy.at(r)[sample * cols + col];
      return;
    }
    uint32_t sample = e;
    const int64_t d = dims.take(sample), k = kernels.take(sample);
    const uint32_t i = batch.remainder(sample);
    const float* group = op.m.at(r) + (sample - i) * size + k * op.dims;
    const float* slopes = op.dy.at(r) + (sample - i) * cols + op.features + k;
    const float* own = group + i * size;
    float sum = 0.f;
    for (int64_t j = 0; j < op.batch; ++j) {
      if (j == i) continue;
      const float* other = group + j * size;
      sum -= (slopes[i * cols] + slopes[j * cols]) * closeness(own, other, op.dims) * formulas::sign(own[d] - other[d]);
    }
    op.dm.at(r)[e] = sum;
  }
};

}  // namespace

void launch(Context& context, const ops::MinibatchDiscrimination& op) {
  const int64_t cols = op.features + op.kernels;
  start_each_index(context, op.replicas, op.groups * op.batch * cols, Forward{op, Divisor(cols), Divisor(op.batch)});
}

void launch(Context& context, const ops::MinibatchDiscriminationGrad& op) {
  const int64_t samples = op.groups * op.batch, projections = samples * op.kernels * op.dims;
  start_each_index(context, op.replicas, projections + (op.dx ? samples * op.features : 0),
                   Backward{op, Divisor(op.dims), Divisor(op.kernels), Divisor(op.batch), Divisor(op.features),
                            static_cast<uint32_t>(projections)});
}

}  // namespace agon::cuda
