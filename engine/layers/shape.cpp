// Layers that only change the shape: flatten, reshape, nearest-neighbour upsampling.
// Flat features are in PyTorch's order (channel, row, column), images in memory are channels last; where the two orders
// differ the samples are transposed, so that exported weights mean the same there.
#include "engine/layer.h"

namespace agon {
namespace {

void transpose(const LayerCall& c, const Tensor& from, const Tensor& to, int64_t rows, int64_t cols) {
  c.device.run(ops::Transpose{.replicas = c.replicas,
                              .batch = c.batch,
                              .rows = rows,
                              .cols = cols,
                              .x = from.block(),
                              .y = to.block(),
                              .split = c.split});
}

class Flatten final : public Layer {
 public:
  Shape output(const Shape& in) const override { return {1, 1, in.size()}; }
  bool is_view(const Shape& in) const override { return in.channels == 1 || in.flat(); }
  void forward(const LayerCall& c) const override {
    transpose(c, c.x, c.y, c.x.shape.height * c.x.shape.width, c.x.shape.channels);
  }
  void backward(const LayerCall& c) const override {
    if (c.dx) transpose(c, c.dy, c.dx, c.x.shape.channels, c.x.shape.height * c.x.shape.width);
  }
};

class Reshape final : public Layer {
 public:
  Reshape(Shape shape, std::string where) : shape_(shape), where_(std::move(where)) {}

  Shape output(const Shape& in) const override {
    if (!in.flat())
      fail(Fault::kUsage, "{}: expected a flat input, got {}; put \"flatten\" before it", where_, in.text());
    // Side by side first: absurd sides must not overflow the product.
    const int64_t most = in.size();
    if (shape_.height > most || shape_.width > most || shape_.channels > most || shape_.size() != most)
      fail(Fault::kUsage, "{}: {} cannot be made of an input of {}", where_, shape_.text(), in.text());
    return shape_;
  }
  bool is_view(const Shape&) const override { return shape_.channels == 1 || shape_.flat(); }
  void forward(const LayerCall& c) const override {
    transpose(c, c.x, c.y, shape_.channels, shape_.height * shape_.width);
  }
  void backward(const LayerCall& c) const override {
    if (c.dx) transpose(c, c.dy, c.dx, shape_.height * shape_.width, shape_.channels);
  }

 private:
  Shape shape_;
  std::string where_;
};

class Upsample final : public Layer {
 public:
  explicit Upsample(int64_t factor) : factor_(factor) {}

  Shape output(const Shape& in) const override { return {in.height * factor_, in.width * factor_, in.channels}; }
  void forward(const LayerCall& c) const override {
    const Shape& s = c.x.shape;
    c.device.run(ops::Upsample{.replicas = c.replicas,
                               .batch = c.batch,
                               .height = s.height,
                               .width = s.width,
                               .channels = s.channels,
                               .factor = factor_,
                               .x = c.x.block(),
                               .y = c.y.block(),
                               .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    if (!c.dx) return;
    const Shape& s = c.x.shape;
    c.device.run(ops::UpsampleGrad{.replicas = c.replicas,
                                   .batch = c.batch,
                                   .height = s.height,
                                   .width = s.width,
                                   .channels = s.channels,
                                   .factor = factor_,
                                   .dy = c.dy.block(),
                                   .dx = c.dx.block(),
                                   .split = c.split});
  }

 private:
  int64_t factor_;
};

const LayerRegistration flatten{{"flatten", {}, "an image as a vector", [](const LayerSpec&) -> std::unique_ptr<Layer> {
                                   return std::make_unique<Flatten>();
                                 }}};
const LayerRegistration reshape{
    {"reshape",
     {"height", "width", "channels"},
     "a vector as an image: height, width, channels",
     [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
       return std::make_unique<Reshape>(
           Shape{spec.integer("height", 1), spec.integer("width", 1), spec.integer("channels", 1)}, spec.where);
     }}};
const LayerRegistration upsample{
    {"upsample", {"factor"}, "nearest neighbour: factor = 2", [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
       return std::make_unique<Upsample>(spec.integer("factor", 2, 1));
     }}};

}  // namespace
}  // namespace agon
