// IDX files, gzipped or not: MNIST and the many sets that copied its format. http://yann.lecun.com/exdb/mnist
#include "datasets/idx.h"

#include <cstring>
#include <filesystem>

#include "datasets/archive.h"
#include "datasets/reader.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kUnsignedByte = 0x08;

uint32_t big_endian(std::span<const std::byte> bytes, size_t at) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return __builtin_bswap32(value);
}

/// The name with the last `from` in it replaced by `to`; empty when there is none.
std::string sibling(const std::string& name, const std::string& from, const std::string& to) {
  const size_t at = name.rfind(from);
  return at == std::string::npos ? "" : name.substr(0, at) + to + name.substr(at + from.size());
}

/// The labels' file that belongs to an images' file, packed or not; empty when there is none.
fs::path labels_of(const fs::path& images) {
  std::string name = sibling(images.filename(), "images", "labels");
  if (const auto renamed = sibling(name, "idx3", "idx1"); !renamed.empty()) name = renamed;
  if (name.empty()) return {};
  const bool packed = images.extension() == ".gz";
  const std::string plain = packed ? fs::path(name).stem().string() : name;
  for (const std::string& candidate : {plain, plain + ".gz"})
    if (fs::is_regular_file(images.parent_path() / candidate)) return images.parent_path() / candidate;
  return {};
}

/// The first file in the folder, in alphabetical order, that starts with `prefix` and holds IDX images.
fs::path find_images(const fs::path& folder, const std::string& prefix) {
  fs::path found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    const bool fits = name.starts_with(prefix) && name.find("images") != std::string::npos &&
                      name.find("idx3") != std::string::npos && entry.is_regular_file(ignored);
    if (fits && (found.empty() || entry.path() < found)) found = entry.path();
  }
  return found;
}

RawSplit read_split(const fs::path& images_path) {
  const auto file = std::make_shared<const FileContents>(images_path);
  const IdxArray images = parse_idx(file->bytes(), 3, images_path);
  RawSplit split{.name = images_path,
                 .count = images.shape[0],
                 .channels = 1,
                 .height = images.shape[1],
                 .width = images.shape[2]};
  const auto bytes = static_cast<size_t>(split.image_bytes());
  split.image = [file, values = images.values, bytes](int64_t index, uint8_t* pixels) {
    std::memcpy(pixels, values + static_cast<size_t>(index) * bytes, bytes);
  };
  const fs::path labels_path = labels_of(images_path);
  if (labels_path.empty()) return split;

  const FileContents labels_file(labels_path);
  const IdxArray labels = parse_idx(labels_file.bytes(), 1, labels_path);
  if (labels.shape[0] != split.count)
    fail(Fault::kData, "expected {} labels, one for each image, found {} in {}", split.count, labels.shape[0],
         labels_path.string());
  split.labels.assign(labels.values, labels.values + split.count);
  return split;
}

RawSource read_idx(const fs::path& path, const ReadOptions&) {
  if (fs::is_regular_file(path)) return {.train = read_split(path)};
  fs::path train = find_images(path, "train"), test = find_images(path, "t10k");
  if (test.empty()) test = find_images(path, "test");
  if (train.empty()) train = find_images(path, "images");
  if (train.empty())
    fail(Fault::kData,
         "expected train-images-idx3-ubyte or images-idx3-ubyte (.gz or not) in the folder {}, found neither",
         path.string());
  RawSource source{.train = read_split(train)};
  if (!test.empty()) source.test = read_split(test);
  return source;
}

/// MNIST is an IDX folder whose labels must be there and are digits.
RawSource read_mnist(const fs::path& path, const ReadOptions& options) {
  RawSource source = read_idx(path, options);
  for (RawSplit* split : {&source.train, source.test ? &*source.test : nullptr}) {
    if (split == nullptr) continue;
    if (split->labels.empty())
      fail(Fault::kData, "expected a labels file beside {}, found none: convert it as \"idx\" if it has no labels",
           split->name);
    for (int digit = 0; digit < 10; ++digit) split->class_names.push_back(std::to_string(digit));
  }
  return source;
}

bool is_mnist(const fs::path& path) { return fs::is_directory(path) && !find_images(path, "train").empty(); }

bool is_idx(const fs::path& path) {
  if (fs::is_directory(path)) return !find_images(path, "images").empty();
  return path.filename().string().find("idx3-ubyte") != std::string::npos;
}

const RegisterReader kMnist(
    {.kind = "mnist",
     .expects = "a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz or not)",
     .recognises = is_mnist,
     .read = read_mnist,
     .rank = 10});
const RegisterReader kIdx({.kind = "idx",
                           .expects = "a file like NAME-images-idx3-ubyte (.gz or not), or a folder with one",
                           .recognises = is_idx,
                           .read = read_idx,
                           .rank = 20});

}  // namespace

IdxArray parse_idx(std::span<const std::byte> bytes, size_t dimensions, const std::string& path) {
  const size_t header = 4 + 4 * dimensions;
  if (bytes.size() < header)
    fail(Fault::kData, "expected an IDX header of {} bytes, found {} bytes in all in {}: it is truncated", header,
         bytes.size(), path);
  const uint32_t magic = big_endian(bytes, 0);
  if (magic != (kUnsignedByte << 8 | dimensions))
    fail(Fault::kData, "expected the IDX number {:#010x} (bytes in {} dimensions), found {:#010x} in {}",
         kUnsignedByte << 8 | dimensions, dimensions, magic, path);

  IdxArray array;
  array.values = reinterpret_cast<const uint8_t*>(bytes.data() + header);
  uint64_t promised = 1;
  bool absurd = false;
  for (size_t d = 0; d < dimensions; ++d) {
    const uint32_t extent = big_endian(bytes, 4 + 4 * d);
    array.shape.push_back(extent);
    absurd = absurd || extent == 0 || __builtin_mul_overflow(promised, uint64_t{extent}, &promised);
  }
  if (!array.shape.empty() && array.shape.front() == 0 && bytes.size() == header)
    fail(Fault::kData, "expected images or labels in {}, found none: it is an IDX file of 0 items", path);
  if (absurd || promised != bytes.size() - header)
    fail(Fault::kData, "the header of {} promises {} values, but {} follow: it is truncated or corrupt", path,
         fmt::join(array.shape, " x "), bytes.size() - header);
  return array;
}

}  // namespace agon
