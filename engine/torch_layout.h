#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/network.h"
#include "engine/safetensors.h"

namespace agon {

/// A weight array as PyTorch's nn.Sequential of the same layers names and lays it out.
struct TorchArray {
  std::string name;  ///< "0.weight", "embedding.weight"
  std::vector<int64_t> shape;
  std::vector<float> values;
};

/// One replica's weights [P] and running statistics [S] as PyTorch keeps them.
std::vector<TorchArray> to_torch(const Network& network, std::span<const float> weights, std::span<const float> state);

/// The way back, from a file with those names, after `prefix`, and shapes. Throws Error(kData) naming the array that
/// does not fit.
void from_torch(const Network& network, const SafetensorsFile& file, std::vector<float>& weights,
                std::vector<float>& state, const std::string& prefix = "");

}  // namespace agon
