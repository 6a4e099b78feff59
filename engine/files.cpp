// Reading files by memory map and replacing them atomically.
#include "engine/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "kernels/error.h"

namespace agon {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

/// Why a file cannot be made, and what to do about it.
std::string remedy(const std::filesystem::path& path, int error) {
  std::error_code ignored;
  const std::filesystem::path folder = folder_of(path);
  if (error == ENOENT && !std::filesystem::exists(folder, ignored))
    return fmt::format("there is no folder {}; make it, or give another one", folder.string());
  if (error == EACCES || error == EPERM || error == EROFS || error == ENOTDIR)
    return reason(error) + "; give a folder that can be written";
  return reason(error);
}

void expect_replaceable(const std::string& path) {
  std::error_code ignored;
  const auto found = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found))
    fail(Fault::kRun, "cannot write {}: a {} of that name is in the way; give another name", path,
         std::filesystem::is_directory(found) ? "folder" : "device");
}

/// Waits for the lock of an open file or folder; errno, or 0.
int locked(int file) {
  while (flock(file, LOCK_EX) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

/// True when the path still names the file behind the descriptor, i.e. nobody renamed it while we waited for the lock.
bool still_names(const std::string& path, int file) {
  struct stat by_path, by_descriptor;
  return stat(path.c_str(), &by_path) == 0 && fstat(file, &by_descriptor) == 0 &&
         by_path.st_dev == by_descriptor.st_dev && by_path.st_ino == by_descriptor.st_ino;
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(Fault::kData, "cannot read {}: {}", path, reason(errno));
  struct stat status;
  const int error = fstat(file, &status) == 0 ? 0 : errno;
  const bool regular = error == 0 && S_ISREG(status.st_mode);
  void* mapped = nullptr;
  int map_error = 0;
  if (regular && status.st_size > 0) {
    mapped = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) map_error = errno;
  }
  close(file);
  if (error != 0) fail(Fault::kData, "cannot read {}: {}", path, reason(error));
  if (!regular)
    fail(Fault::kData, "expected a file, found {} at {}", S_ISDIR(status.st_mode) ? "a folder" : "a device", path);
  if (map_error != 0) fail(Fault::kData, "cannot map {} into memory: {}", path, reason(map_error));
  data_ = static_cast<const std::byte*>(mapped);
  size_ = static_cast<size_t>(status.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  expect_replaceable(path);
  // One fixed temporary name per file, so that what a killed process left behind is reused and not hoarded.
  const std::filesystem::path target(path);
  temporary_ = folder_of(target) / ("." + target.filename().string() + ".partial");
  do {
    if (file_ >= 0) close(file_);
    file_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) fail(Fault::kRun, "cannot write {}: {}", path, remedy(target, errno));
    if (const int error = locked(file_)) give_up(error);
  } while (!still_names(temporary_, file_));
  if (ftruncate(file_, 0) != 0) give_up(errno);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (file_ < 0) return;
  unlink(temporary_.c_str());
  close(file_);
  file_ = -1;
}

void AtomicFile::give_up(int error) {
  discard();
  fail(Fault::kRun, "cannot write {}: {}; nothing was changed", path_, reason(error));
}

void AtomicFile::write(const void* data, size_t bytes) {
  const auto* next = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(file_, next, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) give_up(errno);
    next += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::rewrite(uint64_t offset, const void* data, size_t bytes) {
  const auto* next = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t written = pwrite(file_, next, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) give_up(errno);
    next += written;
    offset += static_cast<uint64_t>(written);
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::sync() {
  if (fsync(file_) != 0) give_up(errno);
}

void AtomicFile::commit() {
  sync();
  if (rename(temporary_.c_str(), path_.c_str()) != 0) give_up(errno);
  close(file_);
  file_ = -1;
  // The new name is on disk only when the folder is; file systems that cannot sync folders have nothing to lose.
  const int folder = open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
}

FolderDraft::FolderDraft(const std::string& folder) : folder_(folder), hidden_(folder + "/.partial") {
  make_folder(folder);
  lock_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int error = lock_ < 0 ? errno : locked(lock_);
  std::error_code failure(error, std::generic_category());
  if (!failure) std::filesystem::remove_all(hidden_, failure);  // what a killed process left behind
  if (!failure) std::filesystem::create_directory(hidden_, failure);
  if (!failure) return;
  if (lock_ >= 0) close(lock_);
  fail(Fault::kRun, "cannot write into {}: {}", folder, remedy(hidden_, failure.value()));
}

FolderDraft::~FolderDraft() {
  std::error_code ignored;
  std::filesystem::remove_all(hidden_, ignored);
  close(lock_);
}

std::string FolderDraft::path(const std::string& name) {
  expect_replaceable(folder_ + "/" + name);
  names_.push_back(name);
  return hidden_ + "/" + name;
}

void FolderDraft::commit() {
  std::error_code ignored;
  for (const std::string& name : names_) std::filesystem::remove(folder_ + "/" + name, ignored);
  for (const std::string& name : names_) {
    const std::string target = folder_ + "/" + name;
    if (rename((hidden_ + "/" + name).c_str(), target.c_str()) != 0)
      fail(Fault::kRun, "cannot write {}: {}", target, reason(errno));
  }
  fsync(lock_);
}

void write_atomically(const std::string& path, const std::function<void(AtomicFile&)>& write_contents) {
  AtomicFile file(path);
  write_contents(file);
  file.commit();
}

void write_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_atomically(path, [&](AtomicFile& file) { file.write(bytes.data(), bytes.size()); });
}

void write_atomically(const std::string& path, std::string_view text) {
  write_atomically(path, std::as_bytes(std::span(text)));
}

std::string read_text(const std::string& path) {
  const MappedFile file(path);
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail(Fault::kRun, "cannot create the folder {}: {}", path, error.message());
}

}  // namespace agon
