#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/files.h"

namespace agon {

/// One tensor of a safetensors file. `data` is row-major, little-endian, lives as long as the file object, and in files
/// written by other programs may be unaligned: take values() unless dtype is a byte.
struct SafeTensor {
  std::string name;
  std::string dtype;           ///< as in the file: BOOL U8 I8 I16 U16 F16 BF16 I32 U32 F32 I64 U64 F64
  std::vector<int64_t> shape;  ///< empty for a scalar
  const std::byte* data = nullptr;
  size_t bytes = 0;

  /// A copy of its elements, which the caller knows to be of type T.
  template <class T>
  std::vector<T> values() const {
    std::vector<T> copy(bytes / sizeof(T));
    if (!copy.empty()) std::memcpy(copy.data(), data, bytes);
    return copy;
  }
};

/// Bytes per element of a safetensors dtype; 0 for an unknown name.
size_t dtype_bytes(const std::string& dtype);

/// A safetensors file, memory-mapped, with every field of its header checked before it is believed: lengths against
/// the file's size, shapes against overflow and dtype, offsets against each other. What does not fit is Error(kData).
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);
  /// The same from memory, which must outlive the object; `path` is for error messages.
  static SafetensorsFile parse(std::span<const std::byte> bytes, const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<SafeTensor>& tensors() const { return tensors_; }  ///< in the order of their bytes in the file
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::string metadata(const std::string& key, const std::string& otherwise = "") const;

  bool contains(const std::string& name) const { return find(name) != nullptr; }
  const SafeTensor* find(const std::string& name) const;
  const SafeTensor& at(const std::string& name) const;
  /// As at(), and Error(kData) when the tensor has another dtype or shape.
  const SafeTensor& at(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) const;

  /// Compares the tensors' bytes and what the header says with the checksums that agon's writer keeps in the metadata;
  /// Error(kData) when they differ. Files without a checksum pass.
  void verify() const;

 private:
  std::shared_ptr<const MappedFile> mapping_;
  std::string path_;
  std::span<const std::byte> payload_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::string header_checksum_;  // found, if one is expected
};

/// Writes a safetensors file atomically in one pass, without holding a copy of any tensor. Tensors are laid out by
/// element size, largest first (otherwise in order of add), so that all are aligned; the metadata gets "checksum", the
/// XXH64 of all tensor bytes in that order, and "header_checksum" of everything else.
class SafetensorsWriter {
 public:
  /// Hands out the next bytes of a tensor.
  using Sink = std::function<void(const void* data, size_t bytes)>;

  /// `data` must stay valid until write().
  void add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape, const void* data);
  /// A tensor whose bytes are produced, in order, only when the file is written.
  void add_streamed(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
                    std::function<void(const Sink&)> produce);
  void metadata(const std::string& key, const std::string& value);
  /// Returns the checksum. Error(kRun) when the file cannot be written; an older file of that name then stays.
  uint64_t write(const std::string& path) const;
  /// The same into a file that is open already and is committed by the caller.
  uint64_t write(AtomicFile& file) const;

 private:
  struct Entry {
    std::string name, dtype;
    std::vector<int64_t> shape;
    size_t bytes;
    std::function<void(const Sink&)> produce;
  };
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace agon
