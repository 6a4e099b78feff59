#pragma once

#include "engine/layer.h"

namespace agon {

/// What dense and convolution layers share: after the product with the weights a bias per channel and an activation,
/// which is that of the layer behind it if there is one.
///   y = f(y + bias)   y [R, B, H, W, channels]   bias [R, channels], the second parameter
class BiasedLayer : public Layer {
 public:
  bool fuse(Activation activation, float slope) override {
    activation_ = activation, slope_ = slope;
    return true;
  }
  bool keeps_output() const override { return activation_ != Activation::kNone; }

 protected:
  explicit BiasedLayer(bool bias) : bias_(bias) {}

  bool has_bias() const { return bias_; }
  /// y <- f(y + bias), in place.
  void finish_forward(const LayerCall& c) const {
    if (!bias_ && activation_ == Activation::kNone) return;
    c.device.run(ops::BiasActivation{.replicas = c.replicas,
                                     .rows = rows(c),
                                     .cols = c.y.shape.channels,
                                     .y = c.y.block(),
                                     .bias = bias_ ? c.parameters[1] : Floats{},
                                     .activation = activation_,
                                     .slope = slope_,
                                     .split = c.split});
  }
  /// dy <- dy * f'(y), in place, and the bias's gradient if gradients are wanted.
  void begin_backward(const LayerCall& c) const {
    const bool learn_bias = bias_ && !c.gradients.empty();
    if (!learn_bias && activation_ == Activation::kNone) return;
    c.device.run(ops::BiasActivationGrad{.replicas = c.replicas,
                                         .rows = rows(c),
                                         .cols = c.y.shape.channels,
                                         .dy = c.dy.block(),
                                         .y = c.y.block(),
                                         .dbias = learn_bias ? c.gradients[1] : Floats{},
                                         .activation = activation_,
                                         .slope = slope_,
                                         .split = c.split});
  }

 private:
  static int64_t rows(const LayerCall& c) { return c.batch * c.y.shape.height * c.y.shape.width; }

  bool bias_;
  Activation activation_ = Activation::kNone;
  float slope_ = 0;
};

}  // namespace agon
