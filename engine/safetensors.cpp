// The safetensors format: u64 header length, JSON header, tensor bytes. https://github.com/huggingface/safetensors
#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the Python package
constexpr size_t kAlignment = 64;             // of the first tensor byte; the format asks for 8
constexpr size_t kMaxDimensions = 32;
constexpr const char* kChecksumKey = "checksum";
constexpr const char* kHeaderChecksumKey = "header_checksum";

struct DtypeSize {
  const char* name;
  size_t bytes;
};
constexpr std::array<DtypeSize, 15> kDtypes = {{{"BOOL", 1},
                                                {"U8", 1},
                                                {"I8", 1},
                                                {"F8_E4M3", 1},
                                                {"F8_E5M2", 1},
                                                {"I16", 2},
                                                {"U16", 2},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"I32", 4},
                                                {"U32", 4},
                                                {"F32", 4},
                                                {"I64", 8},
                                                {"U64", 8},
                                                {"F64", 8}}};

/// Elements times element size, or false when a dimension is negative or the product overflows.
bool tensor_bytes(const std::vector<int64_t>& shape, size_t element, uint64_t* bytes) {
  *bytes = element;
  for (int64_t extent : shape)
    if (extent < 0 || __builtin_mul_overflow(*bytes, static_cast<uint64_t>(extent), bytes)) return false;
  return *bytes <= static_cast<uint64_t>(INT64_MAX);
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool is_index(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
}

/// Parses the header and refuses what nlohmann/json would let pass: two tensors of one name.
json parse_header(std::span<const std::byte> text, const std::string& path) {
  std::set<std::string> names;
  std::string duplicate;
  const auto watch_names = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::key && depth == 1 && !names.insert(parsed.get<std::string>()).second)
      duplicate = parsed.get<std::string>();
    return true;
  };
  const auto* first = reinterpret_cast<const char*>(text.data());
  json header;
  try {
    header = json::parse(first, first + text.size(), watch_names);
  } catch (const json::parse_error& error) {
    fail(Fault::kData,
         "the header of {} is no valid JSON from its byte {} on: the file is corrupt or no safetensors file", path,
         error.byte);
  } catch (const json::exception&) {  // a number that no double can hold
    fail(Fault::kData, "the header of {} holds an absurd number: the file is corrupt or no safetensors file", path);
  }
  if (!header.is_object()) fail(Fault::kData, "expected a JSON object as the header of {}, found another value", path);
  if (!duplicate.empty()) fail(Fault::kData, "tensor \"{}\" appears twice in the header of {}", duplicate, path);
  return header;
}

/// Of what a header says, its two checksums aside, however it is written.
std::string checksum_of(json header) {
  for (const char* key : {kChecksumKey, kHeaderChecksumKey}) header["__metadata__"].erase(key);
  const std::string text = header.dump();
  return checksum_text(checksum64(text.data(), text.size()));
}

/// One entry of the header: `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`.
SafeTensor parse_tensor(const std::string& name, const json& entry, std::span<const std::byte> payload,
                        const std::string& path) {
  const auto field = [&](const char* key) -> const json& {
    const auto found = entry.is_object() ? entry.find(key) : entry.end();
    if (!entry.is_object() || found == entry.end())
      fail(Fault::kData, "tensor \"{}\" of {} has no \"{}\" in the header", name, path, key);
    return *found;
  };
  SafeTensor tensor;
  tensor.name = name;
  const json& dtype = field("dtype");
  if (!dtype.is_string() || dtype_bytes(dtype.get<std::string>()) == 0)
    fail(Fault::kData, "tensor \"{}\" of {} has an unknown dtype", name, path);
  tensor.dtype = dtype.get<std::string>();

  const json& shape = field("shape");
  if (!shape.is_array() || shape.size() > kMaxDimensions || !std::all_of(shape.begin(), shape.end(), is_index))
    fail(Fault::kData, "expected a list of at most {} sizes as the shape of tensor \"{}\" in {}", kMaxDimensions, name,
         path);
  tensor.shape = shape.get<std::vector<int64_t>>();

  const json& offsets = field("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !is_index(offsets[0]) || !is_index(offsets[1]))
    fail(Fault::kData, "expected two offsets for tensor \"{}\" in {}", name, path);
  const auto begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
  if (begin > end || end > payload.size())
    fail(Fault::kData, "tensor \"{}\" lies at bytes {} to {}, but {} holds {} tensor bytes: it is truncated or corrupt",
         name, begin, end, path, payload.size());
  uint64_t bytes = 0;
  if (!tensor_bytes(tensor.shape, dtype_bytes(tensor.dtype), &bytes) || bytes != end - begin)
    fail(Fault::kData, "tensor \"{}\" of {} is {} {}, which does not fit its {} bytes", name, path, tensor.dtype,
         shape_text(tensor.shape), end - begin);
  tensor.data = payload.data() + begin;
  tensor.bytes = end - begin;
  return tensor;
}

}  // namespace

size_t dtype_bytes(const std::string& dtype) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return dtype == d.name; });
  return found == kDtypes.end() ? 0 : found->bytes;
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  SafetensorsFile file = parse(mapping->bytes(), path);
  file.mapping_ = std::move(mapping);
  return file;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, const std::string& path) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes)
    fail(Fault::kData, "expected a safetensors file, found only {} bytes in {}", bytes.size(), path);
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  bytes = bytes.subspan(sizeof header_bytes);
  if (header_bytes > std::min<uint64_t>(kMaxHeader, bytes.size()))
    fail(Fault::kData, "the header of {} claims {} bytes, but the file has {}: it is truncated or no safetensors file",
         path, header_bytes, bytes.size());

  SafetensorsFile file;
  file.path_ = path;
  file.payload_ = bytes.subspan(header_bytes);
  const json header = parse_header(bytes.first(header_bytes), path);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") {
      file.tensors_.push_back(parse_tensor(name, entry, file.payload_, path));
      continue;
    }
    const bool texts =
        entry.is_object() && std::all_of(entry.begin(), entry.end(), [](auto& v) { return v.is_string(); });
    if (!texts) fail(Fault::kData, "the metadata of {} may hold only text, found another value", path);
    file.metadata_ = entry.get<std::map<std::string, std::string>>();
  }
  if (file.metadata_.contains(kHeaderChecksumKey)) file.header_checksum_ = checksum_of(header);

  // The format allows neither overlaps nor holes, so every byte belongs to exactly one tensor.
  std::sort(file.tensors_.begin(), file.tensors_.end(), [](const SafeTensor& a, const SafeTensor& b) {
    return a.data != b.data ? a.data < b.data : a.bytes < b.bytes;
  });
  const std::byte* next = file.payload_.data();
  for (const SafeTensor& tensor : file.tensors_) {
    if (tensor.data != next)
      fail(Fault::kData, "tensor \"{}\" of {} {}: the file is corrupt", tensor.name, path,
           tensor.data < next ? "overlaps another one" : "follows bytes that belong to no tensor");
    next += tensor.bytes;
  }
  const auto used = static_cast<size_t>(next - file.payload_.data());
  if (used != file.payload_.size())
    fail(Fault::kData, "expected {} tensor bytes in {}, found {}: the file is corrupt", used, path,
         file.payload_.size());
  return file;
}

std::string SafetensorsFile::metadata(const std::string& key, const std::string& otherwise) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? otherwise : found->second;
}

const SafeTensor* SafetensorsFile::find(const std::string& name) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

const SafeTensor& SafetensorsFile::at(const std::string& name) const {
  if (const SafeTensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const SafeTensor& tensor : tensors_) names.push_back(tensor.name);
  if (names.empty()) fail(Fault::kData, "expected a tensor \"{}\" in {}, which has none at all", name, path_);
  fail(Fault::kData, "expected a tensor \"{}\" in {}, the nearest there is \"{}\"", name, path_, nearest(name, names));
}

const SafeTensor& SafetensorsFile::at(const std::string& name, const std::string& dtype,
                                      const std::vector<int64_t>& shape) const {
  const SafeTensor& tensor = at(name);
  if (tensor.dtype != dtype || tensor.shape != shape)
    fail(Fault::kData, "expected tensor \"{}\" to be {} {}, found {} {} in {}", name, dtype, shape_text(shape),
         tensor.dtype, shape_text(tensor.shape), path_);
  return tensor;
}

void SafetensorsFile::verify() const {
  const auto of_header = metadata_.find(kHeaderChecksumKey);
  if (of_header != metadata_.end() && of_header->second != header_checksum_)
    fail(Fault::kData, "expected checksum {} of the header, found {} in {}: the file is corrupt", of_header->second,
         header_checksum_, path_);
  const auto expected = metadata_.find(kChecksumKey);
  if (expected == metadata_.end()) return;
  const std::string found = checksum_text(checksum64(payload_.data(), payload_.size()));
  if (found != expected->second)
    fail(Fault::kData, "expected checksum {}, found {} in {}: the file is corrupt", expected->second, found, path_);
}

void SafetensorsWriter::add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
                            const void* data) {
  add_streamed(name, dtype, shape, nullptr);
  Entry& entry = entries_.back();
  entry.produce = [data, bytes = entry.bytes](const Sink& sink) { sink(data, bytes); };
}

void SafetensorsWriter::add_streamed(const std::string& name, const std::string& dtype,
                                     const std::vector<int64_t>& shape, std::function<void(const Sink&)> produce) {
  const size_t element = dtype_bytes(dtype);
  uint64_t bytes = 0;
  if (element == 0) fail(Fault::kRun, "safetensors has no dtype {} for tensor \"{}\"", dtype, name);
  if (!tensor_bytes(shape, element, &bytes))
    fail(Fault::kRun, "tensor \"{}\" has an impossible shape {}", name, shape_text(shape));
  const bool taken = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.name == name; });
  if (taken || name == "__metadata__") fail(Fault::kRun, "a safetensors file cannot hold two tensors \"{}\"", name);
  entries_.push_back({name, dtype, shape, bytes, std::move(produce)});
}

void SafetensorsWriter::metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }

uint64_t SafetensorsWriter::write(const std::string& path) const {
  AtomicFile file(path);
  const uint64_t checksum = write(file);
  file.commit();
  return checksum;
}

uint64_t SafetensorsWriter::write(AtomicFile& file) const {
  std::vector<const Entry*> order;
  for (const Entry& entry : entries_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const Entry* a, const Entry* b) { return dtype_bytes(a->dtype) > dtype_bytes(b->dtype); });

  // The checksum is known only after the tensors went by: its place in the header is kept free by 16 zeros.
  const std::string placeholder = checksum_text(0);
  nlohmann::ordered_json header;
  header["__metadata__"] = metadata_;
  header["__metadata__"][kChecksumKey] = placeholder;
  uint64_t offset = 0;
  for (const Entry* entry : order) {
    header[entry->name] = {
        {"dtype", entry->dtype}, {"shape", entry->shape}, {"data_offsets", {offset, offset + entry->bytes}}};
    offset += entry->bytes;
  }
  const auto written = [&] { return header.dump(-1, ' ', false, json::error_handler_t::replace); };
  header["__metadata__"][kHeaderChecksumKey] = checksum_of(json::parse(written()));
  std::string text = written();
  const uint64_t length =
      (sizeof(uint64_t) + text.size() + kAlignment - 1) / kAlignment * kAlignment - sizeof(uint64_t);
  text.resize(length, ' ');
  const std::string field = fmt::format("\"{}\":\"{}\"", kChecksumKey, placeholder);
  const uint64_t checksum_at = sizeof length + text.find(field) + field.size() - 1 - placeholder.size();

  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  Checksum sum;
  for (const Entry* entry : order) {
    uint64_t produced = 0;
    entry->produce([&](const void* data, size_t bytes) {
      produced += bytes;
      sum.add(data, bytes);
      file.write(data, bytes);
    });
    if (produced != entry->bytes)
      fail(Fault::kRun, "tensor \"{}\" of {} was to have {} bytes, got {}", entry->name, file.path(), entry->bytes,
           produced);
  }
  file.rewrite(checksum_at, checksum_text(sum.value()).data(), placeholder.size());
  return sum.value();
}

}  // namespace agon
