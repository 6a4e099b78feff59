#include "datasets/dataset.h"

#include <algorithm>

#include "engine/checksum.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr int32_t kMaxClasses = 1'000'000;

uint64_t fingerprint(const DatasetContents& contents) {
  const auto values = static_cast<size_t>(contents.count * contents.channels * contents.height * contents.width);
  Checksum sum;
  sum.add(contents.labels.data(), contents.labels.size() * sizeof(int32_t));
  if (contents.points != nullptr) {
    sum.add(contents.points, values * sizeof(float));
    sum.add(contents.centres.data(), contents.centres.size() * sizeof(float));
  } else {
    sum.add(contents.images, values);
  }
  return sum.value();
}

}  // namespace

Dataset::Dataset(DatasetContents contents) : contents_(std::move(contents)) {
  const std::string& name = contents_.name;
  if (count() < 1) fail(Fault::kData, "{} holds no images", name);
  if (channels() < 1 || height() < 1 || width() < 1)
    fail(Fault::kData, "the images of {} have an impossible size of {} x {} x {}", name, channels(), height(), width());

  const auto& labels = contents_.labels;
  if (!labels.empty()) {
    if (static_cast<int64_t>(labels.size()) != count())
      fail(Fault::kData, "expected {} labels in {}, found {}", count(), name, labels.size());
    const auto [lowest, highest] = std::minmax_element(labels.begin(), labels.end());
    const auto named = static_cast<int64_t>(contents_.class_names.size());
    const int64_t limit = named > 0 ? named : kMaxClasses;
    if (*lowest < 0 || *highest >= limit)
      fail(Fault::kData, "expected labels from 0 to {} in {}, found {}", limit - 1, name,
           *lowest < 0 ? *lowest : *highest);
    classes_ = named > 0 ? named : *highest + 1;
  }
  checksum_ = contents_.checksum ? *contents_.checksum : fingerprint(contents_);
}

std::string Dataset::class_name(int64_t label) const {
  const auto& names = contents_.class_names;
  return label < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(label)] : std::to_string(label);
}

std::vector<int64_t> Dataset::class_counts() const {
  std::vector<int64_t> counts(static_cast<size_t>(classes_));
  for (int32_t label : contents_.labels) ++counts[static_cast<size_t>(label)];
  return counts;
}

}  // namespace agon
