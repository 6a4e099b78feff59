#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "kernels/device.h"

namespace agon {

/// How the floats of generated batches and of feedback are sent: as they are, or in fewer bits. What arrives is
/// computed as well as counted.
struct Compression {
  enum class Kind {
    kNone,
    kBf16,  ///< 2 bytes a value
    kInt8,  ///< 1 byte a value and a scale of 4 for each sample
    kTopK,  ///< of each sample the values of largest magnitude, with their places: 4 + 4 bytes each; the others are 0
  };
  Kind kind = Kind::kNone;
  double share = 1;  ///< of kTopK: how many of a sample's values are sent

  /// Of a message of `samples` samples of `values` floats each.
  int64_t bytes(int64_t samples, int64_t values) const;
  /// x [R, B, ...] becomes what arrives. With `error` [R, B, ...] what was lost is added to the next message.
  void send(Device& device, const Tensor& x, const Floats& error = {}) const;

  /// The message itself, bytes(rows, cols) of them, of rows x [rows, cols] in the host's memory, and what arrives: the
  /// same bits as send() leaves (of a row with NaN in kInt8: all NaN). x may have been through send() already.
  enum class Values { kAsTheyAre, kSent };
  std::vector<std::byte> pack(const float* x, int64_t rows, int64_t cols, Values values = Values::kAsTheyAre) const;
  void unpack(std::span<const std::byte> message, int64_t rows, int64_t cols, float* x) const;

 private:
  int64_t kept(int64_t values) const;
};
/// "none", "bf16", "int8", "top-k".
Compression parse_compression(const std::string& name, double share);

}  // namespace agon
