// A folder of pictures: one class per sub-folder, or flat and unlabelled. Sub-folders "train" and "test" (or "val") are
// splits, each of them such a folder.
#include "datasets/folder.h"

#include <algorithm>
#include <memory>

#include "engine/files.h"
#include "engine/image.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSide = 4096;

bool is_picture(const fs::path& path) {
  std::string extension = path.extension();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && !is_hidden(entry.path())) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  return folders;
}

/// [height, width, channels] to [channels, height, width].
void to_planar(const Image& image, uint8_t* planar) {
  const int64_t pixels = image.height * image.width;
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t p = 0; p < pixels; ++p) *planar++ = image.pixels[static_cast<size_t>(p * image.channels + c)];
}

/// `classes` are the class names of the training split, so that the test split numbers its classes alike.
RawSplit read_split(const fs::path& folder, int64_t size, const std::vector<std::string>* classes) {
  std::vector<fs::path> files = pictures_in(folder);
  std::vector<int32_t> labels;
  std::vector<std::string> names = classes != nullptr ? *classes : std::vector<std::string>();
  for (const fs::path& sub : folders_in(folder)) {
    const std::vector<fs::path> members = pictures_in(sub);
    if (members.empty()) continue;
    if (labels.size() != files.size())
      fail(Fault::kData,
           "found pictures both in {} and in its sub-folder {}: expected one sub-folder per class, or none",
           folder.string(), sub.filename().string());
    auto found = std::find(names.begin(), names.end(), sub.filename());
    if (found == names.end()) {
      if (classes != nullptr)
        fail(Fault::kData, "class \"{}\" of {} is not among the classes to train on", sub.filename().string(),
             folder.string());
      found = names.insert(names.end(), sub.filename());
    }
    files.insert(files.end(), members.begin(), members.end());
    labels.resize(files.size(), static_cast<int32_t>(found - names.begin()));
  }
  if (files.empty())
    fail(Fault::kData, "expected PNG or JPEG pictures in the folder {} or in its sub-folders, found none",
         folder.string());
  if (labels.empty()) names.clear();
  return split_of_pictures(folder, std::move(files), std::move(labels), std::move(names), size);
}

RawSource read_folder(const fs::path& path, const ReadOptions& options) {
  if (!fs::is_directory(path)) fail(Fault::kData, "expected a folder of pictures, found none at {}", path.string());
  if (!fs::is_directory(path / "train")) return {.train = read_split(path, options.size, nullptr)};

  RawSource source{.train = read_split(path / "train", options.size, nullptr)};
  for (const char* name : {"test", "val"})
    if (!source.test && fs::is_directory(path / name)) {
      const bool labelled = !source.train.labels.empty();
      source.test = read_split(path / name, options.size, labelled ? &source.train.class_names : nullptr);
    }
  return source;
}

const RegisterReader kFolder({.kind = "folder",
                              .expects = "a folder of PNG or JPEG pictures (one sub-folder per class, or flat)",
                              .recognises = [](const fs::path& path) { return fs::is_directory(path); },
                              .read = read_folder,
                              .rank = 50});

}  // namespace

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && is_picture(entry.path()) && !is_hidden(entry.path())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

RawSplit split_of_pictures(const std::string& name, std::vector<fs::path> files, std::vector<int32_t> labels,
                           std::vector<std::string> class_names, int64_t size) {
  if (size < 0 || size > kMaxSide) fail(Fault::kUsage, "expected a size from 1 to {} pixels, got {}", kMaxSide, size);
  RawSplit split{.name = name,
                 .count = static_cast<int64_t>(files.size()),
                 .channels = 1,
                 .labels = std::move(labels),
                 .class_names = std::move(class_names)};
  for (const fs::path& path : files) {
    const Image header = image_header(MappedFile(path).bytes(), path);
    split.channels = std::max(split.channels, header.channels);
    if (split.height == 0) {
      split.height = header.height;
      split.width = header.width;
    }
    if (size == 0 && (header.height != split.height || header.width != split.width))
      fail(Fault::kData, "expected {} x {} pixels as in {}, found {} x {} in {}: give a size to scale all to",
           split.height, split.width, files[0].filename().string(), header.height, header.width, path.string());
  }
  if (size > 0) split.height = split.width = size;
  split.image = [files = std::move(files), size, channels = split.channels](int64_t index, uint8_t* pixels) {
    const MappedFile file(files[static_cast<size_t>(index)]);
    const Image image = decode_image(file.bytes(), file.path(), channels);
    to_planar(size > 0 ? cropped_square(image, size) : image, pixels);
  };
  return split;
}

}  // namespace agon
