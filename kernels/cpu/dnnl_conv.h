#pragma once

#include "kernels/cpu/conv_shape.h"
#include "kernels/cpu/dnnl_plan.h"

namespace agon::cpu {

/// A convolution that oneDNN computes with code made for its shape. Weights are packed into the layout that oneDNN
/// prefers and unpacked again.
class DnnlConv {
 public:
  /// Null where oneDNN would use its slow reference code, or cannot do it at all.
  static std::shared_ptr<const DnnlConv> get(const ConvShape& shape);

  /// x [B, H, W, Cin], w [K, K, Cin, Cout], y [B, H', W', Cout]; the direction says which one is overwritten.
  void run(float* x, float* w, float* y) const;

 private:
  explicit DnnlConv(const ConvShape& shape);
  static std::shared_ptr<const DnnlConv> make(const ConvShape& shape);
  /// An image or map as oneDNN takes it: rounded to bf16, unless it is the `output` of this convolution.
  dnnl::memory activations(int slot, const dnnl::memory::desc& desc, ops::Convolution::Direction output,
                           const float* from) const;

  ConvShape shape_;
  dnnl::primitive primitive_;
  dnnl::memory::desc x_, w_, y_, scratchpad_;
  dnnl::memory::desc plain_;  ///< the arena's weights
  dnnl::reorder pack_, unpack_;
  bool reference_ = false;
};

}  // namespace agon::cpu
