#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace agon {

/// Which gradients a backward pass computes. Computing F_n must not compute D's weight gradients, and D's own step must
/// not compute the input gradient of its first layer.
enum class Grads { kInput, kParams, kBoth };

/// One array of weights (or of running statistics) that a layer owns in its fleet's arena.
struct Parameter {
  enum class Role { kWeight, kBias, kGain, kTable, kFixedTable, kRunningMean, kRunningVar };

  std::string name;  ///< PyTorch's: "weight", "bias", "running_mean"
  Role role;
  std::vector<int64_t> dims;  ///< in the arena, slowest first
  std::vector<int> to_torch;  ///< PyTorch's dimension i is the arena's dimension to_torch[i]
  int64_t fan_in = 1, fan_out = 1;

  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : dims) n *= d;
    return n;
  }
  /// Running statistics and fixed tables are state: they travel with the model, but no optimiser touches them.
  bool trained() const { return role != Role::kFixedTable && role != Role::kRunningMean && role != Role::kRunningVar; }
};

/// Everything that one call of a layer needs, for all replicas of a fleet at once.
struct LayerCall {
  Device& device;
  int64_t replicas;
  int64_t batch;       ///< samples per replica
  int64_t groups = 1;  ///< equal parts of the batch with statistics of their own (real, generated)
  bool training = true;
  bool split = false;
  Precision precision = Precision::kFp32;

  Tensor x, y;
  std::vector<Floats> parameters;  ///< one block for each of parameters(), in that order
  Floats saved;                    ///< saved_floats() per replica, kept from forward to backward
  ConstInts labels;                ///< [R, B] or null
  RandomKey key;

  // Backward only.
  Tensor dy;                      ///< may be overwritten
  Tensor dx;                      ///< null: not wanted
  std::vector<Floats> gradients;  ///< one block per trained parameter (null for the others); empty: not wanted
};

/// A layer: shapes, weights and the operations of its passes. It holds no weights and no activations itself, so that
/// one layer object serves all replicas and all batch sizes.
class Layer {
 public:
  virtual ~Layer() = default;

  virtual Shape output(const Shape& in) const = 0;  ///< throws Error(kUsage) when `in` does not fit
  virtual std::vector<Parameter> parameters(const Shape& in) const {
    (void)in;
    return {};
  }
  virtual int64_t saved_floats(const Shape& in, int64_t batch, int64_t groups) const {
    (void)in, (void)batch, (void)groups;
    return 0;
  }
  /// Multiply-adds of the forward pass for one sample, times two.
  virtual int64_t flops(const Shape& in) const {
    (void)in;
    return 0;
  }

  virtual void forward(const LayerCall& call) const = 0;
  virtual void backward(const LayerCall& call) const = 0;

  /// True when the output is the input's memory, re-read with another shape (flatten of a vector): nothing is computed.
  virtual bool is_view(const Shape& in) const {
    (void)in;
    return false;
  }
  /// Takes over the activation that follows, and returns true, if this layer computes it along with its own output.
  virtual bool fuse(Activation activation, float slope) {
    (void)activation, (void)slope;
    return false;
  }
  /// The activation, if this layer is one.
  virtual std::optional<std::pair<Activation, float>> activation() const { return std::nullopt; }
  /// True if it may write its output over its input, and dx over dy.
  virtual bool in_place() const { return false; }
  /// True if the backward pass reads y, so that the next layer must not write over it.
  virtual bool keeps_output() const { return false; }
  virtual bool takes_labels() const { return false; }
};

/// One entry of a network's layer list: the layer's name and its numbers, e.g. {"conv2d", {filters: 16, kernel: 3}}.
class LayerSpec {
 public:
  LayerSpec(std::string type, std::map<std::string, double> numbers, std::string where)
      : type(std::move(type)), numbers(std::move(numbers)), where(std::move(where)) {}

  std::string type;
  std::map<std::string, double> numbers;
  std::string where;  ///< `layer 3 "conv2d" of the generator`, for error messages

  double number(const std::string& key) const;  ///< required
  double number(const std::string& key, double otherwise) const;
  int64_t integer(const std::string& key, int64_t least = 0) const;
  int64_t integer(const std::string& key, std::optional<int64_t> otherwise, int64_t least) const;
};

/// How a layer makes itself known: a line in its own file,
///   const LayerRegistration registration{{"dense", {"units", "bias"}, "fully connected: units", make_dense}};
struct LayerKind {
  std::string name;
  std::vector<std::string> numbers;  ///< keys that it understands
  std::string meaning;
  std::unique_ptr<Layer> (*make)(const LayerSpec& spec);
};
struct LayerRegistration {
  explicit LayerRegistration(LayerKind kind);
};
const std::map<std::string, LayerKind>& layer_kinds();
/// Throws Error(kUsage) naming the nearest kind or key when the spec's is unknown.
std::unique_ptr<Layer> make_layer(const LayerSpec& spec);

}  // namespace agon
