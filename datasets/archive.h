#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/files.h"

namespace agon {

/// The most that one compressed file may unpack to; more is refused as absurd.
constexpr uint64_t kMaxUnpacked = uint64_t{8} << 30;

bool is_gzip(std::span<const std::byte> bytes);

/// Unpacks gzip. Memory grows with the data that really arrive, whatever a header promises. Error(kData) when the
/// stream is truncated or corrupt, goes on after its end, or unpacks to more than `limit` bytes. `path` is for
/// messages.
std::vector<std::byte> gunzip(std::span<const std::byte> bytes, const std::string& path, uint64_t limit = kMaxUnpacked);

/// The bytes of a file, unpacked when they are gzip; a plain file stays memory-mapped.
class FileContents {
 public:
  explicit FileContents(const std::string& path);
  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return mapping_.path(); }

 private:
  MappedFile mapping_;
  std::vector<std::byte> unpacked_;
  std::span<const std::byte> bytes_;
};

struct TarMember {
  std::string name;  ///< path inside the archive
  std::span<const std::byte> bytes;
};

/// The regular files of a tar archive (ustar, GNU or pax; names over 100 characters only in ustar's prefix field).
/// Error(kData) when a header's checksum or size does not fit, or the block of zeros at the end is missing.
std::vector<TarMember> tar_members(std::span<const std::byte> archive, const std::string& path);

}  // namespace agon
