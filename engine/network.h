#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/layer.h"

namespace agon {

/// Initial weights. kGlorot: uniform +-sqrt(6 / (fan_in + fan_out)), biases 0 (Keras, what MD-GAN's authors used);
/// kTorch: uniform +-1/sqrt(fan_in), biases too (PyTorch); kNormal: N(0, 0.02), biases 0 (DCGAN).
enum class Init { kGlorot, kTorch, kNormal };
Init parse_init(const std::string& name);

/// An architecture: a checked list of layers with their shapes and the place of every weight. Immutable; holds no
/// weights.
class Network {
 public:
  /// So that the random draws of every layer of a pass have numbers of their own.
  static constexpr uint32_t kMostLayers = 256;

  struct Step {
    std::shared_ptr<Layer> layer;
    std::string kind;
    int64_t index;  ///< in the list of layers: PyTorch's name in nn.Sequential
    Shape in, out;
    std::vector<Parameter> parameters;
    std::vector<int64_t> offsets;  ///< of each parameter within its arena (weights or state)
    bool view;                     ///< nothing to compute
  };

  /// Builds from layer specs; `name` stands in error messages ("generator").
  Network(std::string name, const Shape& input, const std::vector<LayerSpec>& layers);

  const std::string& name() const { return name_; }
  const Shape& input() const { return input_; }
  const Shape& output() const;
  const std::vector<Step>& steps() const { return steps_; }
  int64_t parameters() const { return parameters_; }  ///< P, floats per replica
  int64_t state() const { return state_; }            ///< running statistics, floats per replica
  int64_t table_parameters() const;                   ///< of P, the class embedding's (reported apart)
  int64_t flops() const;                              ///< forward, one sample
  bool takes_labels() const;
  std::string summary() const;  ///< a line per layer: kind, output, parameters
  /// Identity of the architecture, for checkpoints: same layers, same shapes.
  std::string signature() const;

 private:
  std::string name_;
  Shape input_;
  std::vector<Step> steps_;
  int64_t parameters_ = 0, state_ = 0;
};

/// Reads a layer list as it stands in TOML: strings ("tanh", "leaky_relu 0.2", "dense 512") or tables
/// ({layer = "conv2d", filters = 16, kernel = 3, stride = 2, pad = 1}). `heads` is what `units = "heads"` stands for.
std::vector<LayerSpec> parse_layers(const nlohmann::json& list, const std::string& network, int64_t heads);

/// A pair of networks by name (engine/models.cpp): "mnist-mlp", "mnist-cnn", "cifar10-cnn", "celeba-cnn", "ring-mlp",
/// ...
struct Model {
  std::string name;
  std::string meaning;
  std::string generator;  ///< its layers, as a JSON list
  std::string discriminator;
};
const std::vector<Model>& models();
const Model& model(const std::string& name);  ///< throws Error(kUsage) naming the nearest

}  // namespace agon
