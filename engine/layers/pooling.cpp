// Max and average pooling. x [R, B, H, W, C] -> y [R, B, H', W', C], H' = (H + 2 pad - K) / stride + 1.
#include "engine/layer.h"

namespace agon {
namespace {

using Kind = ops::Pool::Kind;

class Pooling final : public Layer {
 public:
  Pooling(Kind kind, const LayerSpec& spec)
      : kind_(kind),
        kernel_(spec.integer("kernel", 2, 1)),
        stride_(spec.integer("stride", kernel_, 1)),
        pad_(spec.integer("pad", 0, 0)),
        where_(spec.where) {
    if (2 * pad_ > kernel_)
      fail(Fault::kUsage, "{}: \"pad\" is {}, expected at most half of the kernel's {}", where_, pad_, kernel_);
  }
  Shape output(const Shape& in) const override {
    const int64_t h = in.height + 2 * pad_ - kernel_, w = in.width + 2 * pad_ - kernel_;
    if (h < 0 || w < 0)
      fail(Fault::kUsage, "{}: a {}x{} window does not fit into an input of {}", where_, kernel_, kernel_, in.text());
    return {h / stride_ + 1, w / stride_ + 1, in.channels};
  }
  bool keeps_output() const override { return kind_ == Kind::kMax; }

  void forward(const LayerCall& c) const override {
    const Shape &in = c.x.shape, &out = c.y.shape;
    c.device.run(ops::Pool{.kind = kind_,
                           .replicas = c.replicas,
                           .batch = c.batch,
                           .height = in.height,
                           .width = in.width,
                           .channels = in.channels,
                           .out_height = out.height,
                           .out_width = out.width,
                           .kernel = kernel_,
                           .stride = stride_,
                           .pad = pad_,
                           .x = c.x.block(),
                           .y = c.y.block(),
                           .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    if (!c.dx) return;
    const Shape &in = c.x.shape, &out = c.y.shape;
    c.device.run(ops::PoolGrad{.kind = kind_,
                               .replicas = c.replicas,
                               .batch = c.batch,
                               .height = in.height,
                               .width = in.width,
                               .channels = in.channels,
                               .out_height = out.height,
                               .out_width = out.width,
                               .kernel = kernel_,
                               .stride = stride_,
                               .pad = pad_,
                               .x = c.x.block(),
                               .y = c.y.block(),
                               .dy = c.dy.block(),
                               .dx = c.dx.block(),
                               .split = c.split});
  }

 private:
  Kind kind_;
  int64_t kernel_, stride_, pad_;
  std::string where_;
};

template <Kind kind>
std::unique_ptr<Layer> make(const LayerSpec& spec) {
  return std::make_unique<Pooling>(kind, spec);
}

const LayerRegistration maximum{{"max_pool2d",
                                 {"kernel", "stride", "pad"},
                                 "maximum of windows: kernel = 2, stride = kernel, pad = 0",
                                 make<Kind::kMax>}};
const LayerRegistration average{{"average_pool2d",
                                 {"kernel", "stride", "pad"},
                                 "mean of windows: kernel = 2, stride = kernel, pad = 0",
                                 make<Kind::kAverage>}};

}  // namespace
}  // namespace agon
