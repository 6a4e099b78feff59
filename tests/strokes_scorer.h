#pragma once

// What the tests of scorers and of evaluations share: drawn digits, a scorer of them, and pictures of nothing.

#include <memory>
#include <numeric>
#include <vector>

#include "algorithms/scorer.h"
#include "datasets/synthetic.h"
#include "engine/random.h"

namespace agon {

inline std::shared_ptr<Device> cpu() {
  static const std::shared_ptr<Device> device = open_device("cpu");
  return device;
}

inline const DataSource& strokes() {
  static const DataSource data = synthesise("strokes", {.count = 2500, .test_count = 1000, .seed = 7});
  return data;
}

/// A scorer of strokes, trained once for all tests; under a sanitizer, where nobody asks how well it does, briefly.
inline Scorer& strokes_scorer() {
#ifdef __SANITIZE_ADDRESS__
  constexpr int64_t kEpochs = 1;
#else
  constexpr int64_t kEpochs = 4;
#endif
  static Scorer scorer = train_scorer(cpu(), strokes(), {.epochs = kEpochs, .batch = 20});
  return scorer;
}

/// Items first .. first+count-1 of an image data set, as a set of their own.
inline Dataset part(const Dataset& data, const std::vector<int32_t>& indices, bool labelled = true) {
  const auto size = static_cast<size_t>(data.values_per_item());
  auto pixels = std::make_shared<std::vector<uint8_t>>();
  DatasetContents contents{.name = "part of " + data.name(),
                           .count = static_cast<int64_t>(indices.size()),
                           .channels = data.channels(),
                           .height = data.height(),
                           .width = data.width()};
  for (int32_t i : indices) {
    const uint8_t* image = data.images() + static_cast<size_t>(i) * size;
    pixels->insert(pixels->end(), image, image + size);
    if (labelled) contents.labels.push_back(data.labels()[static_cast<size_t>(i)]);
  }
  contents.images = pixels->data();
  contents.storage = pixels;
  if (labelled) contents.class_names = data.class_names();
  return Dataset(std::move(contents));
}

inline std::vector<int32_t> numbers(int32_t first, int32_t count) {
  std::vector<int32_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  return indices;
}

/// Every picture the same noise process: nothing that a scorer has seen.
inline Dataset noise(const Shape& shape, int64_t count) {
  auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(shape.size() * count));
  HostRandom random(3, RandomStream::kSynthetic);
  for (uint8_t& p : *pixels) p = static_cast<uint8_t>(random.below(256));
  return Dataset({.name = "noise",
                  .count = count,
                  .channels = shape.channels,
                  .height = shape.height,
                  .width = shape.width,
                  .images = pixels->data(),
                  .storage = pixels});
}

}  // namespace agon
