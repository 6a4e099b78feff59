// CIFAR-10 and CIFAR-100 in their binary version: a folder, or the .tar.gz as downloaded.
// https://www.cs.toronto.edu/~kriz/cifar.html
#include "datasets/cifar.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>

#include "datasets/archive.h"
#include "datasets/reader.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 32;
constexpr int64_t kImageBytes = 3 * kSide * kSide;

/// What distinguishes the two sets.
struct Flavour {
  std::string kind, folder, archive, class_names_file, python_folder;
  CifarLayout layout;
  std::function<bool(const std::string&file)> is_train, is_test;
};

bool is_batch(const std::string& file) { return file.starts_with("data_batch_") && file.ends_with(".bin"); }

const Flavour& cifar10() {
  static const Flavour flavour = {.kind = "cifar10",
                                  .folder = "cifar-10-batches-bin",
                                  .archive = "cifar-10",
                                  .class_names_file = "batches.meta.txt",
                                  .python_folder = "cifar-10-batches-py",
                                  .layout = kCifar10Layout,
                                  .is_train = is_batch,
                                  .is_test = [](const std::string& file) { return file == "test_batch.bin"; }};
  return flavour;
}

const Flavour& cifar100() {
  static const Flavour flavour = {.kind = "cifar100",
                                  .folder = "cifar-100-binary",
                                  .archive = "cifar-100",
                                  .class_names_file = "fine_label_names.txt",
                                  .python_folder = "cifar-100-python",
                                  .layout = kCifar100Layout,
                                  .is_train = [](const std::string& file) { return file == "train.bin"; },
                                  .is_test = [](const std::string& file) { return file == "test.bin"; }};
  return flavour;
}

/// One file of the set, wherever it lies.
struct Part {
  std::string name, path;
  std::span<const std::byte> bytes;
};

/// All files of the set, by name, and what keeps their bytes alive.
struct Parts {
  std::vector<Part> files;
  std::vector<std::unique_ptr<FileContents>> storage;

  void add_folder(const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      if (!entry.is_regular_file() || !(name.ends_with(".bin") || name.ends_with(".txt"))) continue;
      storage.push_back(std::make_unique<FileContents>(entry.path()));
      files.push_back({name, entry.path(), storage.back()->bytes()});
    }
  }

  void add_archive(const fs::path& archive) {
    storage.push_back(std::make_unique<FileContents>(archive));
    for (const TarMember& member : tar_members(storage.back()->bytes(), archive))
      files.push_back({fs::path(member.name).filename(), archive.string() + ":" + member.name, member.bytes});
  }
};

bool is_archive(const std::string& file) {
  return file.ends_with(".tar.gz") || file.ends_with(".tgz") || file.ends_with(".tar");
}

/// The folder or archive to read when `path` may be one level above it; empty when it holds neither.
fs::path locate(const fs::path& path, const Flavour& flavour) {
  if (!fs::is_directory(path)) return is_archive(path.filename()) ? path : fs::path();
  if (fs::is_directory(path / flavour.folder)) return path / flavour.folder;
  fs::path archive;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    if (flavour.is_train(name) && name.ends_with(".bin")) return path;
    if (name.starts_with(flavour.archive + "-") && is_archive(name)) archive = entry.path();
  }
  return archive;
}

std::vector<std::string> lines(std::span<const std::byte> bytes) {
  std::vector<std::string> result(1);
  for (std::byte b : bytes) {
    const auto c = std::to_integer<char>(b);
    if (c == '\n') {
      result.emplace_back();
    } else if (c != '\r') {
      result.back() += c;
    }
  }
  std::erase_if(result, [](const std::string& line) { return line.empty(); });
  return result;
}

std::vector<std::string> class_names(const Parts& parts, const Flavour& flavour) {
  for (const Part& part : parts.files)
    if (part.name == flavour.class_names_file) {
      std::vector<std::string> names = lines(part.bytes);
      if (static_cast<int64_t>(names.size()) != flavour.layout.classes)
        fail(Fault::kData, "expected {} class names, found {} in {}", flavour.layout.classes, names.size(), part.path);
      return names;
    }
  std::vector<std::string> numbers;
  for (int64_t c = 0; c < flavour.layout.classes; ++c) numbers.push_back(std::to_string(c));
  return numbers;
}

/// The chosen files one after the other, in order of their names. nullopt when there are none.
std::optional<RawSplit> join(const std::shared_ptr<const Parts>& parts, const Flavour& flavour, const std::string& name,
                             const std::function<bool(const std::string&)>& chosen) {
  RawSplit split{.name = name, .channels = 3, .height = kSide, .width = kSide};
  const auto records = std::make_shared<std::vector<const std::byte*>>();
  for (const Part& part : parts->files) {
    if (!chosen(part.name)) continue;
    const int64_t count = check_cifar_records(part.bytes, flavour.layout, part.path);
    for (int64_t i = 0; i < count; ++i) {
      const std::byte* pixels = part.bytes.data() + i * flavour.layout.record_bytes() + flavour.layout.labels;
      records->push_back(pixels);
      split.labels.push_back(std::to_integer<int32_t>(pixels[-1]));
    }
  }
  if (records->empty()) return std::nullopt;
  split.count = static_cast<int64_t>(records->size());
  split.class_names = class_names(*parts, flavour);
  split.image = [parts, records](int64_t index, uint8_t* pixels) {
    std::memcpy(pixels, (*records)[static_cast<size_t>(index)], kImageBytes);
  };
  return split;
}

RawSource read_cifar(const fs::path& path, const Flavour& flavour) {
  const fs::path found = locate(path, flavour);
  const auto parts = std::make_shared<Parts>();
  if (!found.empty()) fs::is_directory(found) ? parts->add_folder(found) : parts->add_archive(found);
  std::sort(parts->files.begin(), parts->files.end(), [](const Part& a, const Part& b) { return a.name < b.name; });

  auto train = join(parts, flavour, found, flavour.is_train);
  if (!train) {
    const bool python = std::any_of(parts->files.begin(), parts->files.end(), [&](const Part& part) {
      return part.path.find(flavour.python_folder) != std::string::npos;
    });
    if (python)
      fail(Fault::kData,
           "expected the binary version of {}, found the Python version in {}: get the \"-binary\" archive",
           flavour.kind, path.string());
    fail(Fault::kData, "expected {} (a folder {} or its .tar.gz), found no training batch of it in {}", flavour.kind,
         flavour.folder, path.string());
  }
  return {.train = std::move(*train), .test = join(parts, flavour, found, flavour.is_test)};
}

const RegisterReader kCifar10({.kind = "cifar10",
                               .expects = "cifar-10-binary.tar.gz or its folder cifar-10-batches-bin",
                               .recognises = [](const fs::path& path) { return !locate(path, cifar10()).empty(); },
                               .read = [](const fs::path& path,
                                          const ReadOptions&) { return read_cifar(path, cifar10()); },
                               .rank = 31});
// Asked before CIFAR-10, which takes any archive.
const RegisterReader kCifar100({.kind = "cifar100",
                                .expects = "cifar-100-binary.tar.gz or its folder cifar-100-binary",
                                .recognises =
                                    [](const fs::path& path) {
                                      const bool named = fs::is_directory(path) ||
                                                         path.filename().string().find("100") != std::string::npos;
                                      return named && !locate(path, cifar100()).empty();
                                    },
                                .read = [](const fs::path& path,
                                           const ReadOptions&) { return read_cifar(path, cifar100()); },
                                .rank = 30});

}  // namespace

int64_t check_cifar_records(std::span<const std::byte> bytes, const CifarLayout& layout, const std::string& path) {
  const auto record = static_cast<size_t>(layout.record_bytes());
  if (bytes.empty() || bytes.size() % record != 0)
    fail(Fault::kData, "expected records of {} bytes, found {} bytes in {}: it is truncated or no such file", record,
         bytes.size(), path);
  const auto count = static_cast<int64_t>(bytes.size() / record);
  for (int64_t i = 0; i < count; ++i) {
    const auto label = std::to_integer<int64_t>(bytes[static_cast<size_t>(i) * record + layout.labels - 1]);
    if (label >= layout.classes)
      fail(Fault::kData, "expected labels below {}, found {} at image {} of {}", layout.classes, label, i, path);
  }
  return count;
}

}  // namespace agon
