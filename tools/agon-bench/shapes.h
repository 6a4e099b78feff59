#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace agon::bench {

/// A dense layer; "mlp D1" is the first of the discriminator of the network "mlp".
struct DenseShape {
  std::string name;
  int64_t in, out;
};

/// A convolution of square images; of a transposed one, that which it reverses: its map is the layer's input.
struct ConvolutionShape {
  std::string name;
  int64_t size, in, out, kernel, stride, pad;
};

/// What the papers' networks consist of, each shape once, under the name of the first network that has it.
struct Shapes {
  std::vector<DenseShape> dense;
  std::vector<ConvolutionShape> convolutions;
};
const Shapes& paper_shapes();

}  // namespace agon::bench
