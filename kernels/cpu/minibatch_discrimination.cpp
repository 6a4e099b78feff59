// Mini-batch discrimination (Salimans et al. 2016, section 3.2): how close each sample is to the others of its batch.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/slots.h"
#include "kernels/formulas.h"

namespace agon::cpu {
namespace {

/// One group's samples with the kernels innermost, [batch, dims, kernels], so that the loops over pairs vectorise;
/// with work space for the closeness of one pair, [kernels], and for `more` values per sample.
class Samples {
 public:
  template <class Op>
  Samples(const Op& op, int64_t r, int64_t g, int64_t more)
      : kernels_(op.kernels),
        dims_(op.dims),
        size_(op.kernels * op.dims),
        data_(scratch(kPairSlot, op.batch * size_ + op.kernels + op.batch * more)),
        closeness_(data_ + op.batch * size_),
        more_(closeness_ + op.kernels) {
    const float* m = op.m.at(r) + g * op.batch * size_;
    for (int64_t i = 0; i < op.batch; ++i)
      for (int64_t k = 0; k < kernels_; ++k)
        for (int64_t d = 0; d < dims_; ++d) data_[i * size_ + d * kernels_ + k] = m[i * size_ + k * dims_ + d];
  }
  const float* operator[](int64_t i) const { return data_ + i * size_; }
  float* more() const { return more_; }

  /// exp(-|m_ik - m_jk|_1) for every kernel k.
  const float* closeness(int64_t i, int64_t j) const {
    float* __restrict c = closeness_;
    std::fill_n(c, kernels_, 0.f);
    for (int64_t d = 0; d < dims_; ++d) {
      const float* __restrict a = (*this)[i] + d * kernels_, * __restrict b = (*this)[j] + d * kernels_;
      for (int64_t k = 0; k < kernels_; ++k) c[k] += formulas::absolute(a[k] - b[k]);
    }
    for (int64_t k = 0; k < kernels_; ++k) c[k] = formulas::exp(-c[k]);
    return c;
  }

 private:
  int64_t kernels_, dims_, size_;
  float *data_, *closeness_, *more_;
};

/// Queues body(replica, group); with `split`, each group is a piece that threads can share.
template <class Op, class Body>
void each_group(Stream& stream, const Op& op, Body body) {
  const int64_t step = op.split ? 1 : op.groups;
  stream.add({op.replicas, op.groups / step, false, [=](int64_t r, int64_t chunk) {
                for (int64_t g = chunk * step; g < (chunk + 1) * step; ++g) body(r, g);
              }});
}

/// What the closeness c of samples a and b adds to their gradients da and db, for one dimension of all kernels.
void add_pair(const float* a, const float* b, const float* c, const float* doa, const float* dob, float* __restrict da,
              float* __restrict db, int64_t kernels) {
  for (int64_t k = 0; k < kernels; ++k) {
    const float slope = (doa[k] + dob[k]) * c[k] * formulas::sign(a[k] - b[k]);
    da[k] -= slope;
    db[k] += slope;
  }
}

}  // namespace

void enqueue(Stream& stream, const ops::MinibatchDiscrimination& op) {
  each_group(stream, op, [op](int64_t r, int64_t g) {
    const int64_t cols = op.features + op.kernels;
    const Samples samples(op, r, g, 0);
    const float* x = op.x.at(r) + g * op.batch * op.features;
    float* y = op.y.at(r) + g * op.batch * cols;
    for (int64_t i = 0; i < op.batch; ++i) {
      std::copy_n(x + i * op.features, op.features, y + i * cols);
      std::fill_n(y + i * cols + op.features, op.kernels, 0.f);
    }
    for (int64_t i = 0; i < op.batch; ++i)
      for (int64_t j = i + 1; j < op.batch; ++j) {
        const float* __restrict c = samples.closeness(i, j);
        float* __restrict oi = y + i * cols + op.features, * __restrict oj = y + j * cols + op.features;
        for (int64_t k = 0; k < op.kernels; ++k) {
          oi[k] += c[k];
          oj[k] += c[k];
        }
      }
  });
}

/// c_ijk occurs in o_ik and in o_jk, so dm_ikd = sum over j of -(do_ik + do_jk) c_ijk sign(m_ikd - m_jkd).
void enqueue(Stream& stream, const ops::MinibatchDiscriminationGrad& op) {
  each_group(stream, op, [op](int64_t r, int64_t g) {
    const int64_t cols = op.features + op.kernels, size = op.kernels * op.dims;
    const float* dy = op.dy.at(r) + g * op.batch * cols;
    if (op.dx)
      for (int64_t i = 0; i < op.batch; ++i)
        std::copy_n(dy + i * cols, op.features, op.dx.at(r) + (g * op.batch + i) * op.features);
    const Samples samples(op, r, g, size);
    float* gradient = samples.more();  // [batch, dims, kernels]
    std::fill_n(gradient, op.batch * size, 0.f);
    for (int64_t i = 0; i < op.batch; ++i)
      for (int64_t j = i + 1; j < op.batch; ++j) {
        const float* c = samples.closeness(i, j);
        const float *doi = dy + i * cols + op.features, *doj = dy + j * cols + op.features;
        for (int64_t d = 0; d < op.dims; ++d) {
          const int64_t at_i = i * size + d * op.kernels, at_j = j * size + d * op.kernels;
          add_pair(samples[0] + at_i, samples[0] + at_j, c, doi, doj, gradient + at_i, gradient + at_j, op.kernels);
        }
      }
    float* dm = op.dm.at(r) + g * op.batch * size;
    for (int64_t i = 0; i < op.batch; ++i)
      for (int64_t k = 0; k < op.kernels; ++k)
        for (int64_t d = 0; d < op.dims; ++d) dm[i * size + k * op.dims + d] = gradient[i * size + d * op.kernels + k];
  });
}

}  // namespace agon::cpu
