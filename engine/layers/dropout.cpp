// Dropout. The mask is a function of the random key, so nothing is stored for the backward pass.
#include "engine/layer.h"

namespace agon {
namespace {

class Dropout final : public Layer {
 public:
  explicit Dropout(float rate) : rate_(rate) {}

  Shape output(const Shape& in) const override { return in; }
  bool in_place() const override { return true; }
  void forward(const LayerCall& c) const override { run(c, c.x, c.y); }
  void backward(const LayerCall& c) const override {
    if (c.dx) run(c, c.dy, c.dx);
  }

 private:
  void run(const LayerCall& c, const Tensor& from, const Tensor& to) const {
    const float rate = c.training ? rate_ : 0.f;
    if (rate == 0.f && from.data == to.data) return;
    c.device.run(ops::Dropout{.replicas = c.replicas,
                              .count = c.batch * from.row_size(),
                              .x = from.block(),
                              .y = to.block(),
                              .rate = rate,
                              .key = c.key,
                              .split = c.split});
  }
  float rate_;
};

const LayerRegistration registration{{"dropout",
                                      {"rate"},
                                      "zeroes a share of the values in training: rate = 0.5",
                                      [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
                                        const double rate = spec.number("rate", 0.5);
                                        if (!(rate >= 0 && rate < 1))
                                          fail(Fault::kUsage, "{}: \"rate\" is {}, expected 0 or more and below 1",
                                               spec.where, rate);
                                        return std::make_unique<Dropout>(static_cast<float>(rate));
                                      }}};

}  // namespace
}  // namespace agon
