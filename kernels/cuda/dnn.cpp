// Convolutions by cuDNN.
#include "kernels/cuda/dnn.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/cuda/context.h"
#include "kernels/cuda/transpose.h"
#include "kernels/error.h"

namespace agon::cuda {
namespace {

using Direction = ops::Convolution::Direction;

constexpr size_t kMostSpace = size_t{256} << 20;
constexpr int64_t kMostReplicas = 16;  // each is a call of its own

}  // namespace

std::string shape_of(const ops::Convolution& op) {
  const char* const directions[] = {"forward", "input grad", "weight grad"};
  const char* const precisions[] = {"fp32", "tf32", "bf16"};
  return fmt::format("conv {} B{} {}x{}x{} to {}x{}x{} k{} s{} p{} {}", directions[static_cast<int>(op.direction)],
                     op.batch, op.height, op.width, op.in_channels, op.out_height, op.out_width, op.out_channels,
                     op.kernel, op.stride, op.pad, precisions[static_cast<int>(op.precision)]);
}

std::unique_ptr<DnnPlan> DnnPlan::make(cudnnHandle_t dnn, const ops::Convolution& op, size_t most_space) {
  std::unique_ptr<DnnPlan> plan(new DnnPlan);
  plan->direction_ = op.direction, plan->precision_ = op.precision;
  const auto i = [](int64_t n) { return static_cast<int>(n); };
  const auto done = [](cudnnStatus_t status) { return status == CUDNN_STATUS_SUCCESS; };
  // The default mode allows tf32, and only that.
  const cudnnMathType_t math = op.precision == Precision::kTf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
  // What cuDNN does not take is computed in another way.
  const bool described =
      done(cudnnCreateTensorDescriptor(&plan->x_)) && done(cudnnCreateTensorDescriptor(&plan->y_)) &&
      done(cudnnCreateFilterDescriptor(&plan->w_)) && done(cudnnCreateConvolutionDescriptor(&plan->convolution_)) &&
      done(cudnnSetTensor4dDescriptor(plan->x_, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, i(op.batch), i(op.in_channels),
                                      i(op.height), i(op.width))) &&
      done(cudnnSetTensor4dDescriptor(plan->y_, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, i(op.batch), i(op.out_channels),
                                      i(op.out_height), i(op.out_width))) &&
      done(cudnnSetFilter4dDescriptor(plan->w_, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, i(op.out_channels),
                                      i(op.in_channels), i(op.kernel), i(op.kernel))) &&
      done(cudnnSetConvolution2dDescriptor(plan->convolution_, i(op.pad), i(op.pad), i(op.stride), i(op.stride), 1, 1,
                                           CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT)) &&
      done(cudnnSetConvolutionMathType(plan->convolution_, math));
  return described && plan->choose(dnn, most_space) ? std::move(plan) : nullptr;
}

DnnPlan::~DnnPlan() {
  if (convolution_) (void)cudnnDestroyConvolutionDescriptor(convolution_);
  if (w_) (void)cudnnDestroyFilterDescriptor(w_);
  if (y_) (void)cudnnDestroyTensorDescriptor(y_);
  if (x_) (void)cudnnDestroyTensorDescriptor(x_);
}

template <class Performance, class SpaceOf>
bool DnnPlan::take_first(const Performance* found, int count, size_t most_space, SpaceOf space_of) {
  for (int i = 0; i < count; ++i) {
    if (found[i].status != CUDNN_STATUS_SUCCESS || found[i].determinism != CUDNN_DETERMINISTIC) continue;
    // An algorithm is meant for the kind of arithmetic beside it. Conversion would be to 16 bits.
    const cudnnMathType_t math = found[i].mathType;
    const bool exact = math == CUDNN_FMA_MATH || math == CUDNN_DEFAULT_MATH;
    if (precision_ == Precision::kTf32) {
      if (!exact && math != CUDNN_TENSOR_OP_MATH) continue;
      if (cudnnSetConvolutionMathType(convolution_, math) != CUDNN_STATUS_SUCCESS) continue;
    } else if (!exact) {
      continue;
    }
    if (space_of(found[i].algo, &space_) != CUDNN_STATUS_SUCCESS || space_ > most_space) continue;
    algorithm_ = static_cast<int>(found[i].algo);
    return true;
  }
  return false;
}

bool DnnPlan::choose(cudnnHandle_t dnn, size_t most_space) {
  constexpr int kAsked = 8;
  int count = 0;
  switch (direction_) {
    case Direction::kForward: {
      std::array<cudnnConvolutionFwdAlgoPerf_t, kAsked> found{};
      return cudnnGetConvolutionForwardAlgorithm_v7(dnn, x_, w_, convolution_, y_, kAsked, &count, found.data()) ==
                 CUDNN_STATUS_SUCCESS &&
             take_first(found.data(), count, most_space, [&](cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
               return cudnnGetConvolutionForwardWorkspaceSize(dnn, x_, w_, convolution_, y_, algorithm, bytes);
             });
    }
    case Direction::kInputGrad: {
      std::array<cudnnConvolutionBwdDataAlgoPerf_t, kAsked> found{};
      return cudnnGetConvolutionBackwardDataAlgorithm_v7(dnn, w_, y_, convolution_, x_, kAsked, &count, found.data()) ==
                 CUDNN_STATUS_SUCCESS &&
             take_first(found.data(), count, most_space, [&](cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
               return cudnnGetConvolutionBackwardDataWorkspaceSize(dnn, w_, y_, convolution_, x_, algorithm, bytes);
             });
    }
    case Direction::kWeightGrad: {
      std::array<cudnnConvolutionBwdFilterAlgoPerf_t, kAsked> found{};
      return cudnnGetConvolutionBackwardFilterAlgorithm_v7(dnn, x_, y_, convolution_, w_, kAsked, &count,
                                                           found.data()) == CUDNN_STATUS_SUCCESS &&
             take_first(found.data(), count, most_space, [&](cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
               return cudnnGetConvolutionBackwardFilterWorkspaceSize(dnn, x_, y_, convolution_, w_, algorithm, bytes);
             });
    }
  }
  return false;
}

void DnnPlan::run(cudnnHandle_t dnn, float* x, float* w, float* y, void* space) const {
  const float one = 1.f, zero = 0.f;
  switch (direction_) {
    case Direction::kForward:
      return check(
          cudnnConvolutionForward(dnn, &one, x_, x, w_, w, convolution_,
                                  static_cast<cudnnConvolutionFwdAlgo_t>(algorithm_), space, space_, &zero, y_, y),
          "convolving");
    case Direction::kInputGrad:
      return check(cudnnConvolutionBackwardData(dnn, &one, w_, w, y_, y, convolution_,
                                                static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm_), space, space_,
                                                &zero, x_, x),
                   "computing the input gradient of a convolution");
    case Direction::kWeightGrad:
      return check(cudnnConvolutionBackwardFilter(dnn, &one, x_, x, y_, y, convolution_,
                                                  static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm_), space,
                                                  space_, &zero, w_, w),
                   "computing the weight gradient of a convolution");
  }
}

const DnnPlan* DnnPlans::plan(Context& context, const ops::Convolution& op) {
  // With bf16 cuDNN would round its results too, and it wants whole 16 bytes.
  const auto aligned = [](const Floats& block) {
    return reinterpret_cast<uintptr_t>(block.data) % 16 == 0 && block.stride % 4 == 0;
  };
  if (op.precision == Precision::kBf16 || op.replicas > kMostReplicas || !aligned(op.x) || !aligned(op.y))
    return nullptr;
  const std::string shape = shape_of(op);
  const auto known = plans_.find(shape);
  if (known != plans_.end()) return known->second.get();
  if (context.capturing) return nullptr;
  return plans_.emplace(shape, DnnPlan::make(context.dnn(), op, kMostSpace)).first->second.get();
}

void convolve_by_dnn(Context& context, const DnnPlan& plan, const ops::Convolution& op) {
  const int64_t taps = op.kernel * op.kernel * op.in_channels, count = (taps * op.out_channels + 63) / 64 * 64;
  const size_t weights = static_cast<size_t>(op.replicas * count) * sizeof(float);
  auto* w = static_cast<float*>(context.scratch(weights + plan.space()));
  void* space = reinterpret_cast<char*>(w) + weights;
  const Floats turned{w, count};
  const bool reads_weights = op.direction != Direction::kWeightGrad;
  if (reads_weights) transpose(context, op.replicas, 1, taps, op.out_channels, op.w, turned);
  for (int64_t r = 0; r < op.replicas; ++r) plan.run(context.dnn(), op.x.at(r), turned.at(r), op.y.at(r), space);
  if (!reads_weights) transpose(context, op.replicas, 1, op.out_channels, taps, turned, op.w);
}

}  // namespace agon::cuda
