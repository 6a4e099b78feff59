// Activations, element by element: y = f(x). After a dense or convolution layer they are computed by that layer.
#include "engine/layer.h"

namespace agon {
namespace {

class ActivationLayer final : public Layer {
 public:
  ActivationLayer(Activation kind, float slope) : kind_(kind), slope_(slope) {}

  Shape output(const Shape& in) const override { return in; }
  std::optional<std::pair<Activation, float>> activation() const override { return std::pair{kind_, slope_}; }
  bool in_place() const override { return true; }
  bool keeps_output() const override { return true; }

  void forward(const LayerCall& c) const override {
    copy_unless_same(c, c.x, c.y);
    c.device.run(ops::BiasActivation{.replicas = c.replicas,
                                     .rows = c.batch,
                                     .cols = c.x.row_size(),
                                     .y = c.y.block(),
                                     .activation = kind_,
                                     .slope = slope_,
                                     .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    if (!c.dx) return;
    copy_unless_same(c, c.dy, c.dx);
    c.device.run(ops::BiasActivationGrad{.replicas = c.replicas,
                                         .rows = c.batch,
                                         .cols = c.x.row_size(),
                                         .dy = c.dx.block(),
                                         .y = c.y.block(),
                                         .activation = kind_,
                                         .slope = slope_,
                                         .split = c.split});
  }

 private:
  static void copy_unless_same(const LayerCall& c, const Tensor& from, const Tensor& to) {
    if (from.data == to.data) return;
    c.device.run(ops::Axpby{.replicas = c.replicas,
                            .count = c.batch * from.row_size(),
                            .x = from.block(),
                            .y = to.block(),
                            .a = 0.f,
                            .b = 1.f,
                            .split = c.split});
  }

  Activation kind_;
  float slope_;
};

template <Activation kind>
std::unique_ptr<Layer> make(const LayerSpec& spec) {
  constexpr float kSlope = kind == Activation::kElu ? 1.0f : 0.2f;
  const double slope = spec.number("slope", kSlope);
  // The derivative is read off the output, whose sign must be the input's.
  if (!(slope >= 0 && slope < 1e6)) fail(Fault::kUsage, "{}: \"slope\" is {}, expected 0 or more", spec.where, slope);
  return std::make_unique<ActivationLayer>(kind, static_cast<float>(slope));
}

const LayerRegistration relu{{"relu", {}, "max(x, 0)", make<Activation::kRelu>}};
const LayerRegistration leaky{
    {"leaky_relu", {"slope"}, "x, or slope x below 0: slope = 0.2", make<Activation::kLeakyRelu>}};
const LayerRegistration tanh{{"tanh", {}, "hyperbolic tangent", make<Activation::kTanh>}};
const LayerRegistration sigmoid{{"sigmoid", {}, "1 / (1 + exp(-x))", make<Activation::kSigmoid>}};
const LayerRegistration elu{{"elu", {"slope"}, "x, or slope (exp(x) - 1) below 0: slope = 1", make<Activation::kElu>}};

}  // namespace
}  // namespace agon
