#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "engine/files.h"
#include "engine/fleet.h"

namespace agon {

/// How a scorer is trained: Adam, learning rate falling to 0 along half a cosine, each epoch in a fresh order.
struct ScorerOptions {
  int64_t epochs = 0;  ///< 0: as many as make about 3,000 steps, from 4 to 40
  int64_t batch = 100;
  double learning_rate = 1e-3;
  uint64_t seed = 1;
};

struct ScorerProgress {
  int64_t step = 0, steps = 0;
  double loss = 0;  ///< mean cross-entropy since the last report
};
using ScorerWatch = std::function<void(const ScorerProgress&)>;

/// What a scorer was trained on and how good it is; every score states it.
struct ScorerCard {
  Shape input;
  int64_t classes = 0;
  std::string layers;     ///< as JSON, to rebuild the network
  std::string source;     ///< name of the training data
  uint64_t checksum = 0;  ///< of the training data
  double accuracy = 0;    ///< share of `tested` pictures recognised
  int64_t tested = 0;
  std::string tested_on;  ///< "test" or, where there is no test split, "train"
};

/// The classifier behind MNIST score and Frechet distance: a small convolutional network that agon trains itself on any
/// labelled images. Pictures go in as (uint8 - 128) / 128, as in the script of MD-GAN's authors.
class Scorer {
 public:
  Scorer(std::shared_ptr<Device> device, ScorerCard card, std::span<const float> weights);
  /// Opens a file that save() wrote. Error(kData) when it is no scorer, or damaged.
  static Scorer open(std::shared_ptr<Device> device, const std::string& path);
  /// Writes a safetensors file (weights under PyTorch's names and in its layout, nn.Sequential), atomically.
  void save(const std::string& path) const;
  /// The same into a file that is open already and is committed by the caller.
  void save(AtomicFile& file) const;

  const ScorerCard& card() const { return card_; }
  /// XXH64 of the weights, 16 hex digits.
  std::string hash() const;

  /// The scorer's view of n pictures, on the host.
  struct View {
    int64_t count = 0, classes = 0, width = 0;
    std::vector<float> logits;    ///< [count, classes], raw
    std::vector<float> features;  ///< [count, width]: the layer before the logits, after its activation

    int64_t recognised(int64_t i) const;        ///< the class of picture i's largest logit
    std::vector<int64_t> class_counts() const;  ///< how many are recognised as each class [classes]
  };
  /// `pictures` U8 [count, H, W, C], channels last. Error(kUsage) when the size does not fit.
  View look(std::span<const uint8_t> pictures, int64_t count);
  /// Share of the labelled images of `data` that are recognised.
  double accuracy(const Dataset& data);

 private:
  std::shared_ptr<Device> device_;
  ScorerCard card_;
  std::unique_ptr<Fleet> fleet_;
  TensorBuffer input_;
};

/// Pictures `indices` of an image data set, U8 [indices, H, W, C] channels last.
std::vector<uint8_t> pictures_of(const Dataset& data, std::span<const int32_t> indices);

/// Trains a scorer on data.train and tests it on data.test. Error(kUsage) for data without labels or images.
Scorer train_scorer(std::shared_ptr<Device> device, const DataSource& data, const ScorerOptions& options = {},
                    const ScorerWatch& watch = {});

/// The scorer of a data set: from the cache folder ($AGON_CACHE, $XDG_CACHE_HOME/agon or ~/.cache/agon;
/// `fallback_folder` when none can be written), or trained now and put there. Keyed by the data's checksum and the
/// scorer's version; concurrent runs may share the folder.
Scorer cached_scorer(std::shared_ptr<Device> device, const DataSource& data, const ScorerWatch& watch = {},
                     const std::string& fallback_folder = "");

}  // namespace agon
