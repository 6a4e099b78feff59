// Mini-batch discrimination (Salimans et al. 2016, section 3.2): features that tell how close a sample is to the others
// of its batch, against mode collapse. Real and generated samples are groups of their own.
//   x [R, B, F]   T [R, F, kernels * dims]   y [R, B, F + kernels] = [x, o(x)]
#include "engine/layer.h"

namespace agon {
namespace {

class MinibatchDiscrimination final : public Layer {
 public:
  MinibatchDiscrimination(int64_t kernels, int64_t dims, std::string where)
      : kernels_(kernels), dims_(dims), where_(std::move(where)) {}

  Shape output(const Shape& in) const override {
    if (!in.flat())
      fail(Fault::kUsage, "{}: expected a flat input, got {}; put \"flatten\" before it", where_, in.text());
    return {1, 1, in.size() + kernels_};
  }
  std::vector<Parameter> parameters(const Shape& in) const override {
    return {{"weight", Parameter::Role::kWeight, {in.size(), kernels_ * dims_}, {0, 1}, in.size(), kernels_ * dims_}};
  }
  /// The projection m of every sample, and its gradient.
  int64_t saved_floats(const Shape&, int64_t batch, int64_t) const override { return 2 * batch * kernels_ * dims_; }
  int64_t flops(const Shape& in) const override { return 2 * in.size() * kernels_ * dims_; }
  bool keeps_output() const override { return true; }

  void forward(const LayerCall& c) const override {
    c.device.run(ops::Gemm{.replicas = c.replicas,
                           .m = c.batch,
                           .n = kernels_ * dims_,
                           .k = c.x.row_size(),
                           .a = c.x.block(),
                           .b = c.parameters[0],
                           .c = c.saved,
                           .precision = c.precision,
                           .split = c.split});
    c.device.run(ops::MinibatchDiscrimination{.replicas = c.replicas,
                                              .groups = c.groups,
                                              .batch = c.batch / c.groups,
                                              .features = c.x.row_size(),
                                              .kernels = kernels_,
                                              .dims = dims_,
                                              .x = c.x.block(),
                                              .m = c.saved,
                                              .y = c.y.block(),
                                              .split = c.split});
  }

  void backward(const LayerCall& c) const override {
    const int64_t width = kernels_ * dims_;
    const Floats dm{c.saved.data + c.batch * width, c.saved.stride};
    c.device.run(ops::MinibatchDiscriminationGrad{.replicas = c.replicas,
                                                  .groups = c.groups,
                                                  .batch = c.batch / c.groups,
                                                  .features = c.x.row_size(),
                                                  .kernels = kernels_,
                                                  .dims = dims_,
                                                  .m = c.saved,
                                                  .y = c.y.block(),
                                                  .dy = c.dy.block(),
                                                  .dm = dm,
                                                  .dx = c.dx.block(),
                                                  .split = c.split});
    if (!c.gradients.empty())  // dT = x^T dm
      c.device.run(ops::Gemm{.replicas = c.replicas,
                             .m = c.x.row_size(),
                             .n = width,
                             .k = c.batch,
                             .transpose_a = true,
                             .a = c.x.block(),
                             .b = dm,
                             .c = c.gradients[0],
                             .precision = c.precision,
                             .split = c.split});
    if (c.dx)  // dx += dm T^T
      c.device.run(ops::Gemm{.replicas = c.replicas,
                             .m = c.batch,
                             .n = c.x.row_size(),
                             .k = width,
                             .transpose_b = true,
                             .a = dm,
                             .b = c.parameters[0],
                             .c = c.dx.block(),
                             .accumulate = true,
                             .precision = c.precision,
                             .split = c.split});
  }

 private:
  int64_t kernels_, dims_;
  std::string where_;
};

const LayerRegistration registration{{"minibatch_discrimination",
                                      {"kernels", "dims"},
                                      "closeness to the rest of the batch: kernels = 50, dims = 5",
                                      [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
                                        return std::make_unique<MinibatchDiscrimination>(
                                            spec.integer("kernels", 50, 1), spec.integer("dims", 5, 1), spec.where);
                                      }}};

}  // namespace
}  // namespace agon
