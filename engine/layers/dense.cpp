// Fully connected layer: y = f(x W + bias).
//   x [R, B, in]   W [R, in, out]   y [R, B, out]
#include "engine/layer.h"

namespace agon {
namespace {

class Dense final : public Layer {
 public:
  Dense(int64_t units, bool bias, std::string where) : units_(units), bias_(bias), where_(std::move(where)) {}

  Shape output(const Shape& in) const override {
    if (!in.flat())
      fail(Fault::kUsage, "{}: expected a flat input, got {}; put \"flatten\" before it", where_, in.text());
    return {1, 1, units_};
  }
  std::vector<Parameter> parameters(const Shape& in) const override {
    std::vector<Parameter> list{{"weight", Parameter::Role::kWeight, {in.size(), units_}, {1, 0}, in.size(), units_}};
    if (bias_) list.push_back({"bias", Parameter::Role::kBias, {units_}, {0}, in.size(), units_});
    return list;
  }
  int64_t flops(const Shape& in) const override { return 2 * in.size() * units_; }
  bool fuse(Activation activation, float slope) override {
    activation_ = activation, slope_ = slope;
    return true;
  }
  bool keeps_output() const override { return activation_ != Activation::kNone; }

  void forward(const LayerCall& c) const override {
    c.device.run(ops::Gemm{.replicas = c.replicas,
                           .m = c.batch,
                           .n = units_,
                           .k = c.x.row_size(),
                           .a = c.x.block(),
                           .b = c.parameters[0],
                           .c = c.y.block(),
                           .precision = c.precision,
                           .split = c.split});
    if (bias_ || activation_ != Activation::kNone)
      c.device.run(ops::BiasActivation{.replicas = c.replicas,
                                       .rows = c.batch,
                                       .cols = units_,
                                       .y = c.y.block(),
                                       .bias = bias_ ? c.parameters[1] : Floats{},
                                       .activation = activation_,
                                       .slope = slope_,
                                       .split = c.split});
  }

  void backward(const LayerCall& c) const override {
    const bool learn = !c.gradients.empty();
    if (activation_ != Activation::kNone || (learn && bias_))
      c.device.run(ops::BiasActivationGrad{.replicas = c.replicas,
                                           .rows = c.batch,
                                           .cols = units_,
                                           .dy = c.dy.block(),
                                           .y = c.y.block(),
                                           .dbias = learn && bias_ ? c.gradients[1] : Floats{},
                                           .activation = activation_,
                                           .slope = slope_,
                                           .split = c.split});
    if (learn)  // dW = x^T dy
      c.device.run(ops::Gemm{.replicas = c.replicas,
                             .m = c.x.row_size(),
                             .n = units_,
                             .k = c.batch,
                             .transpose_a = true,
                             .a = c.x.block(),
                             .b = c.dy.block(),
                             .c = c.gradients[0],
                             .precision = c.precision,
                             .split = c.split});
    if (c.dx)  // dx = dy W^T
      c.device.run(ops::Gemm{.replicas = c.replicas,
                             .m = c.batch,
                             .n = c.x.row_size(),
                             .k = units_,
                             .transpose_b = true,
                             .a = c.dy.block(),
                             .b = c.parameters[0],
                             .c = c.dx.block(),
                             .precision = c.precision,
                             .split = c.split});
  }

 private:
  int64_t units_;
  bool bias_;
  std::string where_;
  Activation activation_ = Activation::kNone;
  float slope_ = 0;
};

const LayerRegistration registration{{"dense",
                                      {"units", "bias"},
                                      "fully connected: units, bias = 1",
                                      [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
                                        return std::make_unique<Dense>(spec.integer("units", 1),
                                                                       spec.number("bias", 1) != 0, spec.where);
                                      }}};

}  // namespace
}  // namespace agon
