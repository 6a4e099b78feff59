#include "datasets/dataset.h"

#include <algorithm>

#include "engine/checksum.h"
#include "kernels/error.h"

namespace agon {
namespace {

// Of labels without names: as many as there are items, or as few items of a large set may have.
constexpr int64_t kMaxClasses = 1'000'000, kPlausibleClasses = 65'536;

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

int64_t classes_of(const std::string& source, int64_t count, const std::vector<int32_t>& labels,
                   const std::vector<std::string>& names) {
  if (labels.empty()) return 0;
  if (static_cast<int64_t>(labels.size()) != count)
    fail(Fault::kData, "expected {} labels in {}, found {}", count, source, labels.size());
  const auto [lowest, highest] = std::minmax_element(labels.begin(), labels.end());
  const auto named = static_cast<int64_t>(names.size());
  const int64_t limit = named > 0 ? named : std::clamp(count, kPlausibleClasses, kMaxClasses);
  if (*lowest < 0 || *highest >= limit)
    fail(Fault::kData, "expected labels from 0 to {} in {}, found {}{}", limit - 1, source,
         *lowest < 0 ? *lowest : *highest, named > 0 ? "" : "; more classes than items need class_names");
  return named > 0 ? named : *highest + 1;
}

Dataset::Dataset(DatasetContents contents) : contents_(std::move(contents)) {
  const std::string& name = contents_.name;
  if (count() < 1) fail(Fault::kData, "{} holds no images", name);
  if (channels() < 1 || height() < 1 || width() < 1)
    fail(Fault::kData, "the images of {} have an impossible size of {} x {} x {}", name, channels(), height(), width());

  classes_ = classes_of(name, count(), contents_.labels, contents_.class_names);
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
