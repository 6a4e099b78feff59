// Class labels enter a network: rows of a learnt table, alone or multiplied with the input.
#include "kernels/cuda/launch.cuh"

namespace agon::cuda {
namespace {

/// The label of sample b of replica r; -1, with a complaint, if it is none.
template <class Op>
__device__ int64_t label_of(const Op& op, int64_t r, int64_t b, Complaint* complaint) {
  const int32_t label = op.labels.at(r)[b];
  if (label >= 0 && label < op.classes) return label;
  complain(complaint, Complaint::kEmbeddingLabel, label, op.classes);
  return -1;
}

struct Embedding {
  ops::Embedding op;
  Divisor cols;
  Complaint* complaint;
  __device__ void operator()(int64_t r, uint32_t e) const {
    const int64_t label = label_of(op, r, cols.quotient(e), complaint);
    if (label < 0) return;
    const float value = op.table.at(r)[label * op.cols + cols.remainder(e)];
    op.y.at(r)[e] = op.x ? op.x.at(r)[e] * value : value;
  }
};

/// One thread for each element of the table, which looks through the batch in order; one for each element of dx.
struct EmbeddingGrad {
  ops::EmbeddingGrad op;
  Divisor cols;
  uint32_t table_size;  // 0: dtable is not wanted
  Complaint* complaint;

  __device__ void operator()(int64_t r, uint32_t e) const {
    const float* dy = op.dy.at(r);
    if (e >= table_size) {
      e -= table_size;
      const int64_t label = label_of(op, r, cols.quotient(e), complaint);
      if (label >= 0) op.dx.at(r)[e] = dy[e] * op.table.at(r)[label * op.cols + cols.remainder(e)];
      return;
    }
    const int64_t own = cols.quotient(e), col = cols.remainder(e);
    float sum = 0.f;
    for (int64_t b = 0; b < op.batch; ++b)
      if (label_of(op, r, b, complaint) == own)
        sum += op.x ? dy[b * op.cols + col] * op.x.at(r)[b * op.cols + col] : dy[b * op.cols + col];
    op.dtable.at(r)[e] = sum;
  }
};

}  // namespace

void launch(Context& context, const ops::Embedding& op) {
  start_each_index(context, op.replicas, op.batch * op.cols, Embedding{op, Divisor(op.cols), context.complaint()});
}

void launch(Context& context, const ops::EmbeddingGrad& op) {
  const int64_t table = op.dtable ? op.classes * op.cols : 0, inputs = op.dx ? op.batch * op.cols : 0;
  start_each_index(context, op.replicas, table + inputs,
                   EmbeddingGrad{op, Divisor(op.cols), static_cast<uint32_t>(table), context.complaint()});
}

}  // namespace agon::cuda
