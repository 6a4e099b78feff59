#pragma once

#include <map>
#include <memory>

#include "kernels/cuda/check.h"
#include "kernels/ops.h"

namespace agon::cuda {

class Context;

/// cuDNN's plan for one shape: descriptors, a deterministic algorithm and the work space that it wants. (The legacy
/// convolution calls; behind this class they can be exchanged for others.)
class DnnPlan {
 public:
  /// Null if cuDNN has no deterministic code for the shape, or none within `most_space` bytes.
  static std::unique_ptr<DnnPlan> make(cudnnHandle_t dnn, const ops::Convolution& op, size_t most_space);
  ~DnnPlan();
  DnnPlan(const DnnPlan&) = delete;
  DnnPlan& operator=(const DnnPlan&) = delete;

  size_t space() const { return space_; }
  /// One replica: x [B, H, W, Cin], w [Cout, K, K, Cin] (cuDNN's order for channels last), y [B, H', W', Cout].
  void run(cudnnHandle_t dnn, float* x, float* w, float* y, void* space) const;

 private:
  DnnPlan() = default;
  bool choose(cudnnHandle_t dnn, size_t most_space);
  /// The first algorithm, in cuDNN's own order of expected speed, that gives the same bits every time, keeps to the
  /// precision and needs no more than most_space bytes of work space.
  template <class Performance, class SpaceOf>
  bool take_first(const Performance* found, int count, size_t most_space, SpaceOf space_of);

  ops::Convolution::Direction direction_{};
  Precision precision_{};
  cudnnTensorDescriptor_t x_ = nullptr, y_ = nullptr;
  cudnnFilterDescriptor_t w_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  int algorithm_ = 0;
  size_t space_ = 0;
};

/// The plans of a device, made when a shape is first met.
class DnnPlans {
 public:
  /// Null if cuDNN cannot compute the operation, or not better than one replica after the other of very many.
  const DnnPlan* plan(Context& context, const ops::Convolution& op);

 private:
  std::map<std::string, std::unique_ptr<DnnPlan>> plans_;
};

/// By `plan`, replica after replica, with the weights brought to cuDNN's order and back.
void convolve_by_dnn(Context& context, const DnnPlan& plan, const ops::Convolution& op);

/// A text that is equal for operations of the same shape and precision, for any number of replicas.
std::string shape_of(const ops::Convolution& op);

}  // namespace agon::cuda
