#pragma once

#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "engine/fleet.h"

namespace agon {

/// What a generator needs besides its weights: its architecture and what goes in and comes out.
struct GeneratorSpec {
  std::shared_ptr<const Network> network;  ///< input: the latent vector; takes labels if conditional
  std::string layers;                      ///< the layer list as JSON, to rebuild the network from a file
  int64_t latent = 100;
  int64_t classes = 0;  ///< 0: unconditional
  std::vector<std::string> class_names;
  Shape sample;  ///< of what it generates
};

/// A generator's numbers, on the host.
struct GeneratorWeights {
  std::vector<float> weights, state;
};

/// A mixture of generators: a sample comes from members[i] with probability weights[i].
struct GeneratorMixture {
  std::vector<int64_t> members;
  std::vector<double> weights;
  int64_t holder = 0;  ///< whose it is: a worker's number
};

/// A generator of a mixture, and the probability that a sample comes from it.
struct GeneratorShare {
  GeneratorWeights generator;
  double share = 1;
};

/// A generator, or a mixture of several, to look at and to score, apart from any training: one replica, no gradients.
class Generator {
 public:
  Generator(std::shared_ptr<Device> device, GeneratorSpec spec, const GeneratorWeights& weights);
  /// Opens generator.safetensors. Throws Error(kData) when it is not one, or does not fit its own description.
  static Generator open(std::shared_ptr<Device> device, const std::string& path);
  /// Writes weights under PyTorch's names and in PyTorch's layout (nn.Sequential of the same layers), atomically. A
  /// mixture's generators are called "members.0.", "members.1.", ... and their shares are in the metadata as "mixture".
  void save(const std::string& path) const;

  const GeneratorSpec& spec() const { return spec_; }
  void set(const GeneratorWeights& weights);
  /// The mixture of at least one generator; shares are positive or 0, and not all 0.
  void set(std::vector<GeneratorShare> mixture);
  int64_t members() const { return std::ssize(mixture_); }  ///< generators of the mixture; 1 if it is none

  /// `labels` [count] (ignored if unconditional) and noise keyed by (seed, stream, iteration) -> samples
  /// [1, count, H, W, C], images in [-1, 1]; on the device, valid until the next call. Sample i depends on i alone:
  /// `first` is the number of the first one, so that chunks join to the same samples.
  Tensor sample(const std::vector<int32_t>& labels, uint64_t seed, RandomStream stream, uint64_t iteration,
                int64_t first = 0);
  /// The same as U8 [count, H, W, C] on the host.
  std::vector<uint8_t> pictures(const std::vector<int32_t>& labels, uint64_t seed, RandomStream stream,
                                uint64_t iteration);

  Device& device() const { return *device_; }
  std::shared_ptr<Device> shared_device() const { return device_; }

 private:
  void load(size_t member);
  Tensor forward();

  std::shared_ptr<Device> device_;
  GeneratorSpec spec_;
  std::unique_ptr<Fleet> fleet_;
  std::vector<GeneratorShare> mixture_;
  TensorBuffer noise_, mixed_;
  LabelBuffer labels_;
  Buffer<uint32_t> numbers_;
  Buffer<uint64_t> iteration_;
};

/// XXH64 of the weights, as 16 hex digits.
std::string weights_hash(const GeneratorWeights& weights);

}  // namespace agon
