#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace agon {

/// An IDX file (the format of MNIST): U8 values and their extents. `values` points into the bytes that were parsed.
struct IdxArray {
  std::vector<int64_t> shape;
  const uint8_t* values = nullptr;
};

/// Parses uncompressed IDX bytes of `dimensions` dimensions. Error(kData) when the magic number, the extents or the
/// length do not fit; `path` is for messages.
IdxArray parse_idx(std::span<const std::byte> bytes, size_t dimensions, const std::string& path);

}  // namespace agon
