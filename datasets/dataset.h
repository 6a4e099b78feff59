#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace agon {

/// What a reader hands over to make a Dataset. Either `images` or `points` is set; `storage` keeps their memory alive.
struct DatasetContents {
  std::string name;  ///< where the data come from, for people
  int64_t count = 0, channels = 0, height = 0, width = 0;
  const uint8_t* images = nullptr;       ///< [count, channels, height, width]
  const float* points = nullptr;         ///< [count, channels]; then height = width = 1
  std::vector<int32_t> labels;           ///< [count], or empty when unlabelled
  std::vector<std::string> class_names;  ///< may be empty: classes are then counted from the labels
  std::vector<float> centres;            ///< [modes, channels] of a synthetic mixture of Gaussians, else empty
  double spread = 0;                     ///< standard deviation of each Gaussian
  std::shared_ptr<const void> storage;
  std::optional<uint64_t> checksum;  ///< when known already, so that a large mapped file need not be read
};

/// Classes of these labels, one for each of `count` items: those named or, without names, as many as the highest label
/// says; 0 without labels. Error(kData) for a label that is none of them.
int64_t classes_of(const std::string& source, int64_t count, const std::vector<int32_t>& labels,
                   const std::vector<std::string>& names);

/// One split of a data set: U8 images [count, channels, height, width], or F32 points [count, channels, 1, 1], with
/// optional labels 0..classes-1. The pixels are memory-mapped or owned; copies of a Dataset share them.
class Dataset {
 public:
  Dataset() = default;
  /// Checks sizes and labels (Error kData).
  explicit Dataset(DatasetContents contents);

  const std::string& name() const { return contents_.name; }
  int64_t count() const { return contents_.count; }
  int64_t channels() const { return contents_.channels; }
  int64_t height() const { return contents_.height; }
  int64_t width() const { return contents_.width; }
  int64_t values_per_item() const { return channels() * height() * width(); }

  bool is_points() const { return contents_.points != nullptr; }
  const uint8_t* images() const { return contents_.images; }  ///< nullptr for points
  const float* points() const { return contents_.points; }    ///< in [-1, 1]; nullptr for images

  int64_t classes() const { return classes_; }  ///< 0: unlabelled
  const std::vector<int32_t>& labels() const { return contents_.labels; }
  const std::vector<std::string>& class_names() const { return contents_.class_names; }
  /// The name of a class, or its number when it has none.
  std::string class_name(int64_t label) const;
  /// Items of each class [classes].
  std::vector<int64_t> class_counts() const;

  /// Modes of a synthetic mixture, for "modes covered": [modes, channels], and each Gaussian's standard deviation.
  const std::vector<float>& centres() const { return contents_.centres; }
  double spread() const { return contents_.spread; }

  /// XXH64 of labels (I32), items and centres: the same for the raw and the packed form of the same data.
  uint64_t checksum() const { return checksum_; }

 private:
  DatasetContents contents_;
  int64_t classes_ = 0;
  uint64_t checksum_ = 0;
};

struct DataSource {
  Dataset train;
  std::optional<Dataset> test;
};

/// Loads what `--data` names: a packed .safetensors file (and its "-test" sibling), a folder with raw MNIST files, an
/// IDX file, a CIFAR-10/100 archive or folder, CelebA, a folder of images; or a built-in set: strokes, ring, grid.
/// `seed` matters for built-in sets only. Error(kData) says what is wrong with which file.
DataSource load_data(const std::string& path_or_name, uint64_t seed);

}  // namespace agon
