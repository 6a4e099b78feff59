#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checksum.h"

namespace agon {

/// Read-only memory map of a whole file. Throws Error(kData) when the file is missing, unreadable or no regular file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// A file that appears under its name only when it is complete: bytes go to a hidden temporary file in the same folder,
/// which commit() syncs to disk and renames. Without commit(), or when anything fails (full disk, unwritable folder),
/// the temporary file is removed and a file that was there before stays as it was. Two writers of one file take turns.
/// Failures are Error(kRun).
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  /// Overwrites bytes written before, e.g. a checksum in a header.
  void rewrite(uint64_t offset, const void* data, size_t bytes);
  /// All bytes to disk, still under the temporary name: of several files that belong together, each before any
  /// commit().
  void sync();
  void commit();

  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void give_up(int error);
  void discard() noexcept;

  std::string path_, temporary_;
  int file_ = -1;
};

/// Files that belong together: each is written in a hidden sub-folder, which commit() empties into the folder when all
/// are complete. Before that it removes those of earlier times, so that whatever happens they are not mixed. Without
/// commit() they are removed. Two drafts of one folder take turns.
class FolderDraft {
 public:
  explicit FolderDraft(const std::string& folder);  ///< made if it is not there
  ~FolderDraft();
  FolderDraft(const FolderDraft&) = delete;
  FolderDraft& operator=(const FolderDraft&) = delete;

  /// Where a file NAME is to be written.
  std::string path(const std::string& name);
  void commit();

 private:
  std::string folder_, hidden_;
  std::vector<std::string> names_;
  int lock_ = -1;
};

void write_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_atomically(const std::string& path, std::string_view text);
void write_atomically(const std::string& path, const std::function<void(AtomicFile&)>& write_contents);

/// The whole file as text. Error(kData) when it cannot be read.
std::string read_text(const std::string& path);

/// Creates the folder and those above it; fine when it is there already. Error(kRun) otherwise.
void make_folder(const std::string& path);

}  // namespace agon
