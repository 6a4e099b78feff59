#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace agon {

/// The records of CIFAR's binary files: labels (one byte each, the last one counts), then 3 x 32 x 32 bytes, red first.
struct CifarLayout {
  int64_t labels;   ///< label bytes in a record: 1 in CIFAR-10, 2 in CIFAR-100 (coarse, fine)
  int64_t classes;  ///< values that the counting label may have

  int64_t record_bytes() const { return labels + 3 * 32 * 32; }
};

constexpr CifarLayout kCifar10Layout = {.labels = 1, .classes = 10};
constexpr CifarLayout kCifar100Layout = {.labels = 2, .classes = 100};

/// Checks one file's length and labels and returns its number of records, which may be any: parts of CIFAR are fine.
/// Error(kData); `path` is for messages.
int64_t check_cifar_records(std::span<const std::byte> bytes, const CifarLayout& layout, const std::string& path);

}  // namespace agon
