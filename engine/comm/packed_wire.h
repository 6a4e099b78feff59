#pragma once

#include <cstddef>
#include <vector>

#include "engine/comm/wire.h"
#include "engine/compression.h"

namespace agon {

/// Moves floats in device memory between processes in as few bits as `compression` says: what arrives is what
/// Compression::send() would have made of it, to the bit. Used as a Wire is. What stays in its process is copied as it
/// is.
class PackedWire {
 public:
  using Values = Compression::Values;
  PackedWire(Device& device, Communicator& processes, Carrier& carrier, const Compression& compression,
             Values values = Values::kAsTheyAre)
      : device_(device),
        processes_(processes),
        compression_(compression),
        values_(values),
        plain_(device, processes, carrier) {}

  /// `rows` samples of `cols` floats each.
  void move(int from, const float* source, int to, float* target, int64_t rows, int64_t cols);
  void run();

 private:
  struct Parcel {
    int other;      ///< process
    float* floats;  ///< here
    int64_t rows, cols;
    std::vector<std::byte> packed;
  };

  Device& device_;
  Communicator& processes_;
  const Compression compression_;
  const Values values_;
  Wire plain_;  // for what is not compressed
  std::vector<Parcel> out_, in_;
};

}  // namespace agon
