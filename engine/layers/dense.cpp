// Fully connected layer: y = f(x W + bias).
//   x [R, B, in]   W [R, in, out]   y [R, B, out]
#include "engine/layers/biased_layer.h"

namespace agon {
namespace {

class Dense final : public BiasedLayer {
 public:
  Dense(int64_t units, bool bias, std::string where) : BiasedLayer(bias), units_(units), where_(std::move(where)) {}

  Shape output(const Shape& in) const override {
    if (!in.flat())
      fail(Fault::kUsage, "{}: expected a flat input, got {}; put \"flatten\" before it", where_, in.text());
    return {1, 1, units_};
  }
  std::vector<Parameter> parameters(const Shape& in) const override {
    std::vector<Parameter> list{{"weight", Parameter::Role::kWeight, {in.size(), units_}, {1, 0}, in.size(), units_}};
    if (has_bias()) list.push_back({"bias", Parameter::Role::kBias, {units_}, {0}, in.size(), units_});
    return list;
  }
  int64_t flops(const Shape& in) const override { return 2 * in.size() * units_; }

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
    finish_forward(c);
  }

  void backward(const LayerCall& c) const override {
    begin_backward(c);
    if (!c.gradients.empty())  // dW = x^T dy
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
  std::string where_;
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
