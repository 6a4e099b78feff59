#pragma once

#include <compare>

#include "kernels/cpu/dnnl_plan.h"
#include "kernels/ops.h"

namespace agon::cpu {

/// One convolution of one replica, or of a part of it.
struct ConvShape {
  ops::Convolution::Direction direction;
  int64_t batch, height, width, in_channels, out_height, out_width, out_channels, kernel, stride, pad;
  Precision precision;
  auto operator<=>(const ConvShape&) const = default;

  int64_t x_count() const { return batch * height * width * in_channels; }
  int64_t w_count() const { return kernel * kernel * in_channels * out_channels; }
  int64_t y_count() const { return batch * out_height * out_width * out_channels; }
};

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
  dnnl::memory activations(int slot, const dnnl::memory::desc& desc, const float* from) const;

  ConvShape shape_;
  dnnl::primitive primitive_;
  dnnl::memory::desc x_, w_, y_, scratchpad_;
  dnnl::memory::desc plain_;  ///< the arena's weights
  dnnl::reorder pack_, unpack_;
  bool reference_ = false;
};

}  // namespace agon::cpu
