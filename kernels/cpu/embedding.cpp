// Class labels enter a network: rows of a learnt table, alone or multiplied with the input.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/rows.h"
#include "kernels/inputs.h"

namespace agon::cpu {
namespace {

/// The label of sample b of replica r; it selects a row of the table, so it must be one.
template <class Op>
int64_t label_of(const Op& op, int64_t r, int64_t b) {
  const int32_t label = op.labels.at(r)[b];
  if (label < 0 || label >= op.classes) fail_label("embedding", label, op.classes);
  return label;
}

}  // namespace

void enqueue(Stream& stream, const ops::Embedding& op) {
  each_row(stream, op.replicas, op.batch, op.cols, op.split, [op](int64_t r, int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const float* row = op.table.at(r) + label_of(op, r, b) * op.cols;
      float* y = op.y.at(r) + b * op.cols;
      if (op.x) {
        const float* x = op.x.at(r) + b * op.cols;
        for (int64_t i = 0; i < op.cols; ++i) y[i] = x[i] * row[i];
      } else {
        std::copy_n(row, op.cols, y);
      }
    }
  });
}

/// Samples may share a row of the table, so a replica is one piece of work.
void enqueue(Stream& stream, const ops::EmbeddingGrad& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                if (op.dtable) std::fill_n(op.dtable.at(r), op.classes * op.cols, 0.f);
                for (int64_t b = 0; b < op.batch; ++b) {
                  const int64_t row = label_of(op, r, b) * op.cols;
                  const float* dy = op.dy.at(r) + b * op.cols;
                  if (op.dtable) {
                    float* dtable = op.dtable.at(r) + row;
                    const float* x = op.x ? op.x.at(r) + b * op.cols : nullptr;
                    for (int64_t i = 0; i < op.cols; ++i) dtable[i] += x ? dy[i] * x[i] : dy[i];
                  }
                  if (op.dx) {
                    const float* table = op.table.at(r) + row;
                    float* dx = op.dx.at(r) + b * op.cols;
                    for (int64_t i = 0; i < op.cols; ++i) dx[i] = dy[i] * table[i];
                  }
                }
              }});
}

}  // namespace agon::cpu
