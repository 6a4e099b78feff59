// Losses: their values and gradients. A batch of logits is small, so each replica is one piece of work.
#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/formulas.h"
#include "kernels/inputs.h"

namespace agon::cpu {
namespace {

/// Cross-entropy of softmax(logits) with a label: -log p_label; gradient = scale * (p - onehot(label)).
double softmax_cross_entropy(const float* logits, int64_t classes, int32_t label, float scale, float* gradient) {
  if (label < 0 || label >= classes) fail_label("class head", label, classes);
  float largest = logits[0];
  for (int64_t c = 1; c < classes; ++c) largest = formulas::larger(largest, logits[c]);
  float sum = 0.f;
  for (int64_t c = 0; c < classes; ++c) sum += gradient[c] = formulas::exp(logits[c] - largest);
  const double loss = static_cast<double>(formulas::log(sum)) + largest - logits[label];
  for (int64_t c = 0; c < classes; ++c) gradient[c] = scale * (gradient[c] / sum - (c == label ? 1.f : 0.f));
  return loss;
}

void add_mean(const Floats& loss, int64_t replica, double total, int64_t batch) {
  if (loss) *loss.at(replica) += static_cast<float>(total / static_cast<double>(batch));
}

}  // namespace

void enqueue(Stream& stream, const ops::GanLoss& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                double total = 0;
                for (int64_t b = 0; b < op.batch; ++b) {
                  const int64_t row = b * (1 + op.classes);
                  const float* logits = op.logits.at(r) + row;
                  float* gradient = op.dlogits.at(r) + row;
                  const formulas::ValueAndSlope source = formulas::gan_loss(op.kind, op.role, logits[0]);
                  gradient[0] = op.scale * source.slope;
                  total += source.value;
                  if (op.classes > 0)
                    total += op.auxiliary_weight * softmax_cross_entropy(logits + 1, op.classes, op.labels.at(r)[b],
                                                                         op.scale * op.auxiliary_weight, gradient + 1);
                }
                add_mean(op.loss, r, total, op.batch);
              }});
}

void enqueue(Stream& stream, const ops::SoftmaxLoss& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                double total = 0;
                int64_t correct = 0;
                for (int64_t b = 0; b < op.batch; ++b) {
                  const float* logits = op.logits.at(r) + b * op.classes;
                  const int32_t label = op.labels.at(r)[b];
                  total +=
                      softmax_cross_entropy(logits, op.classes, label, op.scale, op.dlogits.at(r) + b * op.classes);
                  correct += std::max_element(logits, logits + op.classes) - logits == label;
                }
                add_mean(op.loss, r, total, op.batch);
                if (op.correct) *op.correct.at(r) += static_cast<float>(correct);
              }});
}

}  // namespace agon::cpu
