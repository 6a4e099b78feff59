// Convolution, and transposed convolution, the generator's upsampling layer. Both stand on one operation between an
// image side and a map side: a convolution reads the image and writes the map, a transposed one goes the other way.
//   conv2d            x [R, B, H, W, Cin]  w [R, K, K, Cin, Cout]  y [R, B, H', W', Cout]
//                     H' = (H + 2 pad - K) / stride + 1
//   conv_transpose2d  x [R, B, H, W, Cin]  w [R, K, K, Cout, Cin]  y [R, B, H', W', Cout]
//                     H' = (H - 1) stride - 2 pad + K + output_pad
#include "engine/layers/biased_layer.h"

namespace agon {
namespace {

using Direction = ops::Convolution::Direction;

class ConvolutionBase : public BiasedLayer {
 public:
  explicit ConvolutionBase(const LayerSpec& spec)
      : BiasedLayer(spec.number("bias", 1) != 0),
        filters_(spec.integer("filters", 1)),
        kernel_(spec.integer("kernel", 1)),
        stride_(spec.integer("stride", 1, 1)),
        pad_(spec.integer("pad", 0, 0)),
        where_(spec.where) {
    if (pad_ >= kernel_)
      fail(Fault::kUsage, "{}: \"pad\" is {}, expected less than the kernel's {}", where_, pad_, kernel_);
  }

  void forward(const LayerCall& c) const override {
    run(c, forward_direction(), c.x, c.parameters[0], c.y);
    finish_forward(c);
  }

  void backward(const LayerCall& c) const override {
    begin_backward(c);
    if (!c.gradients.empty()) run(c, Direction::kWeightGrad, c.x, c.gradients[0], c.dy);
    if (c.dx) run(c, backward_direction(), c.dx, c.parameters[0], c.dy);
  }

 protected:
  virtual Direction forward_direction() const = 0;
  virtual Direction backward_direction() const = 0;
  /// The operation between the layer's input and output sides, whichever of them is the image.
  virtual void run(const LayerCall& c, Direction direction, const Tensor& in, Floats w, const Tensor& out) const = 0;

  void run_between(const LayerCall& c, Direction direction, const Tensor& image, Floats w, const Tensor& map) const {
    c.device.run(ops::Convolution{.direction = direction,
                                  .replicas = c.replicas,
                                  .batch = c.batch,
                                  .height = image.shape.height,
                                  .width = image.shape.width,
                                  .in_channels = image.shape.channels,
                                  .out_height = map.shape.height,
                                  .out_width = map.shape.width,
                                  .out_channels = map.shape.channels,
                                  .kernel = kernel_,
                                  .stride = stride_,
                                  .pad = pad_,
                                  .x = image.block(),
                                  .w = w,
                                  .y = map.block(),
                                  .precision = c.precision,
                                  .split = c.split});
  }
  std::vector<Parameter> weight_and_bias(int64_t image_channels, int64_t map_channels) const {
    const int64_t fan_in = kernel_ * kernel_ * image_channels, fan_out = kernel_ * kernel_ * map_channels;
    std::vector<Parameter> list{{"weight",
                                 Parameter::Role::kWeight,
                                 {kernel_, kernel_, image_channels, map_channels},
                                 {3, 2, 0, 1},
                                 fan_in,
                                 fan_out}};
    if (has_bias()) list.push_back({"bias", Parameter::Role::kBias, {filters_}, {0}, fan_in, fan_out});
    return list;
  }

  int64_t filters_, kernel_, stride_, pad_;
  std::string where_;
};

class Conv2d final : public ConvolutionBase {
 public:
  using ConvolutionBase::ConvolutionBase;

  Shape output(const Shape& in) const override {
    const int64_t h = in.height + 2 * pad_ - kernel_, w = in.width + 2 * pad_ - kernel_;
    if (h < 0 || w < 0)
      fail(Fault::kUsage, "{}: a {}x{} kernel with pad {} does not fit into an input of {}", where_, kernel_, kernel_,
           pad_, in.text());
    return {h / stride_ + 1, w / stride_ + 1, filters_};
  }
  std::vector<Parameter> parameters(const Shape& in) const override { return weight_and_bias(in.channels, filters_); }
  int64_t flops(const Shape& in) const override { return 2 * output(in).size() * kernel_ * kernel_ * in.channels; }

 private:
  Direction forward_direction() const override { return Direction::kForward; }
  Direction backward_direction() const override { return Direction::kInputGrad; }
  void run(const LayerCall& c, Direction direction, const Tensor& in, Floats w, const Tensor& out) const override {
    run_between(c, direction, shaped(in, c.x.shape), w, shaped(out, c.y.shape));
  }
  static Tensor shaped(Tensor t, const Shape& shape) { return t.shape = shape, t; }
};

class ConvTranspose2d final : public ConvolutionBase {
 public:
  explicit ConvTranspose2d(const LayerSpec& spec)
      : ConvolutionBase(spec), output_pad_(spec.integer("output_pad", 0, 0)) {
    if (output_pad_ >= stride_)
      fail(Fault::kUsage, "{}: \"output_pad\" is {}, expected less than the stride's {}", where_, output_pad_, stride_);
  }
  Shape output(const Shape& in) const override {
    const int64_t h = side(in.height), w = side(in.width);
    if (h < 1 || w < 1)
      fail(Fault::kUsage, "{}: nothing is left of an input of {} with pad {}", where_, in.text(), pad_);
    return {h, w, filters_};
  }
  std::vector<Parameter> parameters(const Shape& in) const override { return weight_and_bias(filters_, in.channels); }
  int64_t flops(const Shape& in) const override { return 2 * in.size() * kernel_ * kernel_ * filters_; }

 private:
  int64_t side(int64_t in) const { return (in - 1) * stride_ - 2 * pad_ + kernel_ + output_pad_; }
  Direction forward_direction() const override { return Direction::kInputGrad; }
  Direction backward_direction() const override { return Direction::kForward; }
  void run(const LayerCall& c, Direction direction, const Tensor& in, Floats w, const Tensor& out) const override {
    Tensor image = out, map = in;
    image.shape = c.y.shape, map.shape = c.x.shape;
    run_between(c, direction, image, w, map);
  }

  int64_t output_pad_;
};

template <class Kind>
std::unique_ptr<Layer> make(const LayerSpec& spec) {
  return std::make_unique<Kind>(spec);
}

const LayerRegistration convolution{{"conv2d",
                                     {"filters", "kernel", "stride", "pad", "bias"},
                                     "convolution: filters, kernel, stride = 1, pad = 0, bias = 1",
                                     make<Conv2d>}};
const LayerRegistration transposed{
    {"conv_transpose2d",
     {"filters", "kernel", "stride", "pad", "output_pad", "bias"},
     "transposed convolution: filters, kernel, stride = 1, pad = 0, output_pad = 0, bias = 1",
     make<ConvTranspose2d>}};

}  // namespace
}  // namespace agon
