// Batch normalisation (statistics per replica, and per group of the batch) and layer normalisation.
#include "engine/layer.h"

namespace agon {
namespace {

class BatchNorm final : public Layer {
 public:
  BatchNorm(float momentum, float epsilon) : momentum_(momentum), epsilon_(epsilon) {}

  Shape output(const Shape& in) const override { return in; }
  std::vector<Parameter> parameters(const Shape& in) const override {
    const int64_t c = in.channels;
    return {{"weight", Parameter::Role::kGain, {c}, {0}, c, c},
            {"bias", Parameter::Role::kBias, {c}, {0}, c, c},
            {"running_mean", Parameter::Role::kRunningMean, {c}, {0}, c, c},
            {"running_var", Parameter::Role::kRunningVar, {c}, {0}, c, c}};
  }
  int64_t saved_floats(const Shape& in, int64_t, int64_t groups) const override { return groups * 2 * in.channels; }

  void forward(const LayerCall& c) const override {
    const int64_t groups = c.training ? c.groups : 1;
    c.device.run(ops::BatchNorm{.replicas = c.replicas,
                                .groups = groups,
                                .rows = rows(c, groups),
                                .cols = c.x.shape.channels,
                                .x = c.x.block(),
                                .y = c.y.block(),
                                .gamma = c.parameters[0],
                                .beta = c.parameters[1],
                                .running_mean = c.parameters[2],
                                .running_var = c.parameters[3],
                                .saved = c.saved,
                                .momentum = momentum_,
                                .epsilon = epsilon_,
                                .training = c.training,
                                .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    const bool learn = !c.gradients.empty();
    if (!learn && !c.dx) return;
    c.device.run(ops::BatchNormGrad{.replicas = c.replicas,
                                    .groups = c.groups,
                                    .rows = rows(c, c.groups),
                                    .cols = c.x.shape.channels,
                                    .x = c.x.block(),
                                    .dy = c.dy.block(),
                                    .gamma = c.parameters[0],
                                    .saved = c.saved,
                                    .dx = c.dx.block(),
                                    .dgamma = learn ? c.gradients[0] : Floats{},
                                    .dbeta = learn ? c.gradients[1] : Floats{},
                                    .split = c.split});
  }

 private:
  static int64_t rows(const LayerCall& c, int64_t groups) {
    return c.batch / groups * c.x.shape.height * c.x.shape.width;
  }
  float momentum_, epsilon_;
};

class LayerNorm final : public Layer {
 public:
  explicit LayerNorm(float epsilon) : epsilon_(epsilon) {}

  Shape output(const Shape& in) const override { return in; }
  std::vector<Parameter> parameters(const Shape& in) const override {
    return {{"weight", Parameter::Role::kGain, {in.channels}, {0}, in.channels, in.channels},
            {"bias", Parameter::Role::kBias, {in.channels}, {0}, in.channels, in.channels}};
  }
  int64_t saved_floats(const Shape& in, int64_t batch, int64_t) const override {
    return 2 * batch * in.height * in.width;
  }
  void forward(const LayerCall& c) const override {
    c.device.run(ops::LayerNorm{.replicas = c.replicas,
                                .rows = rows(c),
                                .cols = c.x.shape.channels,
                                .x = c.x.block(),
                                .y = c.y.block(),
                                .gamma = c.parameters[0],
                                .beta = c.parameters[1],
                                .saved = c.saved,
                                .epsilon = epsilon_,
                                .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    const bool learn = !c.gradients.empty();
    if (!learn && !c.dx) return;
    c.device.run(ops::LayerNormGrad{.replicas = c.replicas,
                                    .rows = rows(c),
                                    .cols = c.x.shape.channels,
                                    .x = c.x.block(),
                                    .dy = c.dy.block(),
                                    .gamma = c.parameters[0],
                                    .saved = c.saved,
                                    .dx = c.dx.block(),
                                    .dgamma = learn ? c.gradients[0] : Floats{},
                                    .dbeta = learn ? c.gradients[1] : Floats{},
                                    .split = c.split});
  }

 private:
  static int64_t rows(const LayerCall& c) { return c.batch * c.x.shape.height * c.x.shape.width; }
  float epsilon_;
};

float epsilon(const LayerSpec& spec) {
  const double value = spec.number("epsilon", 1e-5);
  if (!(value > 0 && value < 1)) fail(Fault::kUsage, "{}: \"epsilon\" is {}, expected 0 to 1", spec.where, value);
  return static_cast<float>(value);
}

float momentum(const LayerSpec& spec) {
  const double value = spec.number("momentum", 0.1);
  if (!(value >= 0 && value <= 1)) fail(Fault::kUsage, "{}: \"momentum\" is {}, expected 0 to 1", spec.where, value);
  return static_cast<float>(value);
}

const LayerRegistration batch_norm{{"batch_norm",
                                    {"momentum", "epsilon"},
                                    "batch normalisation: momentum = 0.1, epsilon = 1e-5",
                                    [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
                                      return std::make_unique<BatchNorm>(momentum(spec), epsilon(spec));
                                    }}};
const LayerRegistration layer_norm{
    {"layer_norm",
     {"epsilon"},
     "layer normalisation over the channels: epsilon = 1e-5",
     [](const LayerSpec& spec) -> std::unique_ptr<Layer> { return std::make_unique<LayerNorm>(epsilon(spec)); }}};

}  // namespace
}  // namespace agon
