// The commands convert, synth, info, preview and split.
#include "datasets/commands.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "datasets/packed.h"
#include "engine/files.h"
#include "engine/image.h"
#include "kernels/error.h"

namespace agon {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxPreviewClasses = 64;
constexpr int64_t kMapSide = 512;  // pixels of a map of points

/// Where the two splits go. The test file of an earlier conversion would be taken for this one's, so it is in the way.
std::string destination_for_test(const std::string& destination, const std::string& source, bool has_test) {
  if (!destination.ends_with(".safetensors"))
    fail(Fault::kUsage, "expected a destination that ends in .safetensors, got {}", destination);
  const std::string test = test_sibling(destination);
  if (!has_test && fs::exists(test))
    fail(Fault::kUsage,
         "{} has no test split, but {} is there from another conversion: remove it or choose another name", source,
         test);
  return test;
}

/// Both splits are complete before either appears, the test split first: a training file never stands there without it.
template <class Split>
std::vector<std::string> pack(const std::string& destination, const std::string& source, const Split& train,
                              const std::optional<Split>& test) {
  const std::string test_path = destination_for_test(destination, source, test.has_value());
  AtomicFile train_file(destination);
  write_packed(train_file, train, "train");
  train_file.sync();
  if (test) write_atomically(test_path, [&](AtomicFile& file) { write_packed(file, *test, "test"); });
  train_file.commit();
  return test ? std::vector{destination, test_path} : std::vector{destination};
}

std::string summary(const char* split, const Dataset& data) {
  return fmt::format("{:<6} {:>8} {} of {} x {} x {} ({}), checksum {}\n", split, data.count(),
                     data.is_points() ? "points" : "images", data.channels(), data.height(), data.width(),
                     data.is_points() ? "F32" : "U8", checksum_text(data.checksum()));
}

/// The first items of each class, one row of pixels after the other; short classes leave the row's end white.
void preview_classes(const Dataset& data, const std::string& path, int64_t per_class) {
  if (const int64_t most = kMaxSheetSide / data.width(); per_class > most)
    fail(Fault::kUsage, "expected 1 to {} pictures of each class, which fit side by side, got {}", most, per_class);
  const int64_t rows = std::min(data.classes(), kMaxPreviewClasses);
  const auto item = static_cast<size_t>(data.values_per_item());
  std::vector<uint8_t> pictures(static_cast<size_t>(rows * per_class) * item, 255);
  std::vector<int64_t> filled(static_cast<size_t>(data.classes()));
  for (int64_t i = 0; i < data.count(); ++i) {
    const int64_t label = data.labels()[static_cast<size_t>(i)];
    if (label >= rows || filled[static_cast<size_t>(label)] == per_class) continue;
    const int64_t place = label * per_class + filled[static_cast<size_t>(label)]++;
    std::copy_n(data.images() + static_cast<size_t>(i) * item, item,
                pictures.data() + static_cast<size_t>(place) * item);
  }
  write_png(path, contact_sheet_planar(pictures.data(), rows * per_class, data.channels(), data.height(), data.width(),
                                       {.columns = per_class}));
}

/// A map of the square [-1, 1] x [-1, 1]: the darker, the more points.
void preview_points(const Dataset& data, const std::string& path) {
  std::vector<int64_t> hits(kMapSide * kMapSide);
  const auto cell = [](float v) { return static_cast<int64_t>(std::floor((v + 1) / 2 * kMapSide)); };
  for (int64_t i = 0; i < data.count(); ++i) {
    const float* point = data.points() + i * data.channels();
    const float x = std::clamp(point[0], -2.0f, 2.0f),
                y = std::clamp(data.channels() > 1 ? point[1] : 0.0f, -2.0f, 2.0f);
    const int64_t column = cell(x), row = cell(-y);
    if (column >= 0 && column < kMapSide && row >= 0 && row < kMapSide)
      ++hits[static_cast<size_t>(row * kMapSide + column)];
  }
  Image map{.height = kMapSide, .width = kMapSide, .channels = 1, .pixels = {}};
  for (int64_t n : hits) map.pixels.push_back(static_cast<uint8_t>(255.0 / static_cast<double>(1 + n)));
  write_png(path, map);
}

}  // namespace

std::vector<std::string> convert(const std::string& kind, const std::string& source, const std::string& destination,
                                 const ReadOptions& options) {
  const Reader& format = reader(kind);
  if (!fs::exists(source)) fail(Fault::kData, "there is no file or folder {}; expected {}", source, format.expects);
  if (kind != "celeba" && !(options.attribute + options.attributes).empty())
    fail(Fault::kUsage, "--attribute and --attributes are for celeba, but the format is {}; leave them out", kind);
  const RawSource raw = read_raw(format, source, options);
  return pack(destination, source, raw.train, raw.test);
}

std::vector<std::string> synth(const std::string& name, const std::string& destination,
                               const SyntheticOptions& options) {
  const DataSource source = synthesise(name, options);
  return pack(destination, name, source.train, source.test);
}

std::string describe(const DataSource& source) {
  std::string text = fmt::format("source {}\n", source.train.name()) + summary("train", source.train);
  if (source.test) text += summary("test", *source.test);
  if (source.train.classes() == 0) return text + "no labels\n";

  const auto train = source.train.class_counts();
  const auto test = source.test && source.test->classes() > 0 ? source.test->class_counts() : std::vector<int64_t>();
  text += fmt::format("{} classes\n", train.size());
  for (size_t c = 0; c < train.size(); ++c) {
    text += fmt::format("  {:<20} {:>8}", source.train.class_name(static_cast<int64_t>(c)), train[c]);
    text += c < test.size() ? fmt::format(" {:>8} test\n", test[c]) : "\n";
  }
  return text;
}

void preview(const Dataset& data, const std::string& path, const PreviewOptions& options) {
  if (options.per_class < 1 || options.unlabelled < 1) fail(Fault::kUsage, "expected at least one picture to preview");
  if (!path.ends_with(".png")) fail(Fault::kUsage, "expected a preview's name to end in .png, got {}", path);
  if (!data.is_points() && data.channels() != 1 && data.channels() != 3)
    fail(Fault::kData, "expected pictures of 1 or 3 channels to preview, found {} in {}", data.channels(), data.name());
  if (data.is_points()) {
    preview_points(data, path);
  } else if (data.classes() > 0) {
    preview_classes(data, path, options.per_class);
  } else {
    write_png(path, contact_sheet_planar(data.images(), std::min(data.count(), options.unlabelled), data.channels(),
                                         data.height(), data.width()));
  }
}

std::string class_table(const Dataset& data, const Partition& partition) {
  std::string text = fmt::format("{:>8} {:>8}", "worker", "items");
  for (int64_t c = 0; c < data.classes(); ++c) text += fmt::format(" {:>8.8}", data.class_name(c));
  const auto counts = partition.class_counts(data.labels(), data.classes());
  for (size_t n = 0; n < partition.shards.size(); ++n) {
    text += fmt::format("\n{:>8} {:>8}", n, partition.shards[n].size());
    for (int64_t items : counts[n]) text += fmt::format(" {:>8}", items);
  }
  return text + "\n";
}

std::string split(const Dataset& data, const std::string& folder, int64_t workers, const PartitionOptions& options) {
  const Partition parts = partition(data.labels(), data.count(), data.classes(), workers, options);
  if (folder.empty()) return class_table(data, parts);
  const auto name = [](int64_t worker) { return fmt::format("worker-{}.safetensors", worker); };
  // A shard of an earlier split would be taken for one of this.
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / name(workers), ignored))
    fail(Fault::kUsage, "{} holds the shards of more than {} workers: remove them or choose another folder", folder,
         workers);
  FolderDraft draft(folder);
  for (int64_t n = 0; n < workers; ++n)
    write_packed(draft.path(name(n)), data, fmt::format("train, worker {} of {}", n, workers),
                 &parts.shards[static_cast<size_t>(n)]);
  draft.commit();
  return class_table(data, parts);
}

}  // namespace agon
