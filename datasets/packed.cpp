// Packed data sets: one safetensors file a split.
#include "datasets/packed.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr const char* kFormat = "agon data set 1";
constexpr size_t kMaxVerified = size_t{1} << 30;  // a tenth of a second, or two from a slow disk

template <class T>
std::vector<int32_t> widened(const SafeTensor& tensor, const std::string& path) {
  std::vector<int32_t> labels;
  labels.reserve(tensor.bytes / sizeof(T));
  for (const T label : tensor.values<T>()) {
    const auto narrow = static_cast<int32_t>(label);
    if (static_cast<T>(narrow) != label)
      fail(Fault::kData, "label {} of image {} in {} is absurd", label, labels.size(), path);
    labels.push_back(narrow);
  }
  return labels;
}

std::vector<int32_t> read_labels(const SafetensorsFile& file) {
  const SafeTensor& tensor = file.at("labels");
  if (tensor.shape.size() == 1) {
    if (tensor.dtype == "U8") return widened<uint8_t>(tensor, file.path());
    if (tensor.dtype == "I32") return widened<int32_t>(tensor, file.path());
    if (tensor.dtype == "I64") return widened<int64_t>(tensor, file.path());
  }
  fail(Fault::kData, "expected \"labels\" as a list of U8, I32 or I64, found {} [{}] in {}", tensor.dtype,
       fmt::join(tensor.shape, ", "), file.path());
}

std::vector<std::string> read_class_names(const SafetensorsFile& file) {
  const std::string text = file.metadata("class_names");
  if (text.empty()) return {};
  const auto list = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  bool texts = list.is_array();
  for (const auto& name : list) texts = texts && name.is_string();
  if (!texts) fail(Fault::kData, "expected class_names in the metadata of {} to be a JSON list of names", file.path());
  return list.get<std::vector<std::string>>();
}

/// What both ways of packing write besides the images.
void add_description(SafetensorsWriter& writer, const std::string& source, const std::vector<std::string>& class_names,
                     const std::string& split, const std::vector<int32_t>& labels) {
  if (!labels.empty()) writer.add("labels", "I32", {static_cast<int64_t>(labels.size())}, labels.data());
  writer.metadata("format", kFormat);
  writer.metadata("source", source);
  writer.metadata("split", split);
  if (!class_names.empty()) writer.metadata("class_names", json_text(class_names));
}

}  // namespace

Dataset read_packed(const SafetensorsFile& file, std::shared_ptr<const void> storage) {
  const SafeTensor& images = file.at("images");
  const bool points = images.dtype == "F32";
  if (images.shape.size() != 4 || !(images.dtype == "U8" || points))
    fail(Fault::kData, "expected \"images\" as U8 [count, channels, height, width], found {} [{}] in {}", images.dtype,
         fmt::join(images.shape, ", "), file.path());
  if (points && (images.shape[2] != 1 || images.shape[3] != 1))
    fail(Fault::kData, "expected images as U8 or points as F32 [count, channels, 1, 1], found F32 [{}] in {}",
         fmt::join(images.shape, ", "), file.path());

  DatasetContents contents{.name = file.metadata("source", file.path()),
                           .count = images.shape[0],
                           .channels = images.shape[1],
                           .height = images.shape[2],
                           .width = images.shape[3],
                           .class_names = read_class_names(file),
                           .storage = std::move(storage)};
  if (file.contains("labels")) contents.labels = read_labels(file);
  if (points) {
    const auto values = std::make_shared<std::vector<float>>(images.values<float>());
    if (!std::all_of(values->begin(), values->end(), [](float v) { return std::isfinite(v); }))
      fail(Fault::kData, "expected finite points, found NaN or infinity in {}", file.path());
    contents.points = values->data();
    contents.storage = values;
    if (const SafeTensor* centres = file.find("centres")) {
      contents.centres =
          file.at("centres", "F32", {centres->shape.empty() ? 0 : centres->shape[0], images.shape[1]}).values<float>();
      contents.spread = std::strtod(file.metadata("spread", "0").c_str(), nullptr);
    }
  } else {
    contents.images = reinterpret_cast<const uint8_t*>(images.data);
  }
  // agon's own files carry the data set's checksum as the checksum of all tensor bytes; others are read through once.
  const std::string known = file.metadata("format") == kFormat ? file.metadata("checksum") : "";
  if (known.size() == 16 && known.find_first_not_of("0123456789abcdef") == std::string::npos)
    contents.checksum = std::stoull(known, nullptr, 16);
  return Dataset(std::move(contents));
}

Dataset read_packed(const std::string& path) {
  const auto file = std::make_shared<const SafetensorsFile>(SafetensorsFile::open(path));
  const SafeTensor* images = file->find("images");
  if (images != nullptr && images->bytes <= kMaxVerified) file->verify();
  return read_packed(*file, file);
}

void write_packed(const std::string& path, const Dataset& data, const std::string& split,
                  const std::vector<int32_t>* subset) {
  write_atomically(path, [&](AtomicFile& file) { write_packed(file, data, split, subset); });
}

void write_packed(AtomicFile& file, const Dataset& data, const std::string& split, const std::vector<int32_t>* subset) {
  std::vector<int32_t> labels = data.labels();
  if (subset != nullptr && !labels.empty()) {
    labels.clear();
    for (int32_t index : *subset) labels.push_back(data.labels()[static_cast<size_t>(index)]);
  }
  SafetensorsWriter writer;
  add_description(writer, data.name(), data.class_names(), split, labels);

  const int64_t count = subset != nullptr ? static_cast<int64_t>(subset->size()) : data.count();
  const auto* items = data.is_points() ? reinterpret_cast<const std::byte*>(data.points())
                                       : reinterpret_cast<const std::byte*>(data.images());
  const size_t item_bytes = static_cast<size_t>(data.values_per_item()) * (data.is_points() ? sizeof(float) : 1);
  writer.add_streamed("images", data.is_points() ? "F32" : "U8", {count, data.channels(), data.height(), data.width()},
                      [&](const SafetensorsWriter::Sink& sink) {
                        if (subset == nullptr) return sink(items, static_cast<size_t>(count) * item_bytes);
                        for (int32_t index : *subset) sink(items + static_cast<size_t>(index) * item_bytes, item_bytes);
                      });
  if (!data.centres().empty()) {
    const auto modes = static_cast<int64_t>(data.centres().size()) / data.channels();
    writer.add("centres", "F32", {modes, data.channels()}, data.centres().data());
    writer.metadata("spread", fmt::format("{}", data.spread()));
  }
  writer.write(file);
}

void write_packed(AtomicFile& file, const RawSplit& data, const std::string& split) {
  SafetensorsWriter writer;
  add_description(writer, data.name, data.class_names, split, data.labels);
  writer.add_streamed("images", "U8", {data.count, data.channels, data.height, data.width},
                      [&](const SafetensorsWriter::Sink& sink) {
                        for_each_block(data, [&](const uint8_t* pixels, int64_t images) {
                          sink(pixels, static_cast<size_t>(images * data.image_bytes()));
                        });
                      });
  writer.write(file);
}

std::string test_sibling(const std::string& path) {
  const std::filesystem::path file(path);
  return file.parent_path() / (file.stem().string() + "-test" + file.extension().string());
}

}  // namespace agon
