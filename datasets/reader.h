#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace agon {

/// Options of `agon data convert` and of readers.
struct ReadOptions {
  int64_t size = 0;        ///< side that images are resized to after a centre crop; 0: as they are (celeba: 128)
  std::string attributes;  ///< celeba: the file list_attr_celeba.txt
  std::string attribute;   ///< celeba: the column that becomes the label, e.g. Smiling
};

/// One split as a reader found it: everything but the pixels, and a way to get these image by image, so that a set
/// larger than memory can be packed.
struct RawSplit {
  std::string name;
  int64_t count = 0, channels = 0, height = 0, width = 0;
  std::vector<int32_t> labels;
  std::vector<std::string> class_names;
  std::function<void(int64_t index, uint8_t* pixels)> image;  ///< writes [channels, height, width]; thread-safe

  int64_t image_bytes() const { return channels * height * width; }
};

struct RawSource {
  RawSplit train;
  std::optional<RawSplit> test;
};

/// A format that agon converts. A new one is one new file with a file-scope `const RegisterReader`.
struct Reader {
  std::string kind;     ///< as in `agon data convert KIND`
  std::string expects;  ///< what the source must be, for error messages and help
  /// Whether a path looks like this format, judged by names alone. The first reader in order of `rank` takes it.
  std::function<bool(const std::filesystem::path&)> recognises;
  std::function<RawSource(const std::filesystem::path&, const ReadOptions&)> read;
  int rank = 0;
};

struct RegisterReader {
  explicit RegisterReader(Reader reader);
};

const std::vector<Reader>& readers();           ///< in order of rank
const Reader& reader(const std::string& kind);  ///< Error(kUsage) names the nearest kind

/// The reader of what lies at a path. Error(kData) lists what is understood.
const Reader& recognised(const std::filesystem::path& path);

/// Runs a reader; what the file system refuses, and labels that are no classes, become Error(kData).
RawSource read_raw(const Reader& reader, const std::filesystem::path& path, const ReadOptions& options);

/// Decodes all images of a split, by several threads, and hands them over in order, a block at a time.
void for_each_block(const RawSplit& split, const std::function<void(const uint8_t* pixels, int64_t images)>& take);

/// The split with its pixels in memory.
Dataset in_memory(const RawSplit& split);

}  // namespace agon
