// Losses: their values and gradients. A block takes a replica's batch, a thread its samples in turn; their values are
// added up in double, thread by thread, as a tree.
#include "kernels/cuda/launch.cuh"
#include "kernels/formulas.h"

namespace agon::cuda {
namespace {

/// Adds the values of all threads of a block; every thread gets the sum.
template <class T>
__device__ T block_sum(T value) {
  __shared__ T shared[kThreads];
  shared[threadIdx.x] = value;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads();
  const T sum = shared[0];
  __syncthreads();  // before the memory is used again
  return sum;
}

/// Cross-entropy of softmax(logits) with a label: -log p_label; gradient = scale * (p - onehot(label)).
__device__ double softmax_cross_entropy(const float* logits, int64_t classes, int32_t label, float scale,
                                        float* gradient, Complaint* complaint) {
  if (label < 0 || label >= classes) {
    complain(complaint, Complaint::kHeadLabel, label, classes);
    return 0;
  }
  float largest = logits[0];
  for (int64_t c = 1; c < classes; ++c) largest = formulas::larger(largest, logits[c]);
  float sum = 0.f;
  for (int64_t c = 0; c < classes; ++c) sum += gradient[c] = formulas::exp(logits[c] - largest);
  const double loss = static_cast<double>(formulas::log(sum)) + largest - logits[label];
  for (int64_t c = 0; c < classes; ++c) gradient[c] = scale * (gradient[c] / sum - (c == label ? 1.f : 0.f));
  return loss;
}

__device__ void add_mean(const Floats& loss, int64_t r, double total, int64_t batch) {
  if (loss && threadIdx.x == 0) *loss.at(r) += static_cast<float>(total / static_cast<double>(batch));
}

__global__ void __launch_bounds__(kThreads) gan_loss(ops::GanLoss op, Complaint* complaint) {
  for (int64_t r = blockIdx.x; r < op.replicas; r += gridDim.x) {
    double total = 0;
    for (int64_t b = threadIdx.x; b < op.batch; b += blockDim.x) {
      const int64_t row = b * (1 + op.classes);
      const float* logits = op.logits.at(r) + row;
      float* gradient = op.dlogits.at(r) + row;
      const formulas::ValueAndSlope source = formulas::gan_loss(op.kind, op.role, logits[0]);
      gradient[0] = op.scale * source.slope;
      total += source.value;
      if (op.classes > 0)
        total += op.auxiliary_weight * softmax_cross_entropy(logits + 1, op.classes, op.labels.at(r)[b],
                                                             op.scale * op.auxiliary_weight, gradient + 1, complaint);
    }
    add_mean(op.loss, r, block_sum(total), op.batch);
  }
}

__global__ void __launch_bounds__(kThreads) softmax_loss(ops::SoftmaxLoss op, Complaint* complaint) {
  for (int64_t r = blockIdx.x; r < op.replicas; r += gridDim.x) {
    double total = 0;
    int correct = 0;
    for (int64_t b = threadIdx.x; b < op.batch; b += blockDim.x) {
      const float* logits = op.logits.at(r) + b * op.classes;
      const int32_t label = op.labels.at(r)[b];
      total += softmax_cross_entropy(logits, op.classes, label, op.scale, op.dlogits.at(r) + b * op.classes, complaint);
      int64_t largest = 0;
      for (int64_t c = 1; c < op.classes; ++c)
        if (logits[c] > logits[largest]) largest = c;
      correct += largest == label;
    }
    add_mean(op.loss, r, block_sum(total), op.batch);
    const int all_correct = block_sum(correct);
    if (op.correct && threadIdx.x == 0) *op.correct.at(r) += static_cast<float>(all_correct);
  }
}

/// As many threads as samples, in whole warps.
template <class Op>
dim3 block_of(const Op& op) {
  unsigned threads = 32;
  while (threads < kThreads && threads < op.batch) threads *= 2;
  return dim3(threads);
}

}  // namespace

void launch(Context& context, const ops::GanLoss& op) {
  if (op.replicas > 0) start(context, gan_loss, dim3(grid_rows(op.replicas)), block_of(op), op, context.complaint());
}

void launch(Context& context, const ops::SoftmaxLoss& op) {
  if (op.replicas > 0)
    start(context, softmax_loss, dim3(grid_rows(op.replicas)), block_of(op), op, context.complaint());
}

}  // namespace agon::cuda
