// The list of readers, and the parallel decoding that all of them share.
#include "datasets/reader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "engine/image.h"
#include "engine/text.h"
#include "kernels/error.h"

namespace agon {
namespace {

constexpr int64_t kBlockBytes = 8 << 20;
constexpr int64_t kMaxThreads = 8;

std::vector<Reader>& registry() {
  static std::vector<Reader> readers;
  return readers;
}

/// What the file system refuses, such as a folder without permission, is bad data to a reader.
template <class Use>
auto readable(const Use& use) {
  try {
    return use();
  } catch (const std::filesystem::filesystem_error& error) {
    fail(Fault::kData, "cannot read {}: {}", error.path1().string(), error.code().message());
  }
}

/// Decodes images first .. first+count-1 by as many threads as there are processors; the first error is thrown again.
void decode(const RawSplit& split, int64_t first, int64_t count, uint8_t* pixels) {
  std::atomic<int64_t> next = 0;
  std::mutex guard;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (int64_t i; (i = next++) < count;) split.image(first + i, pixels + i * split.image_bytes());
    } catch (...) {
      next = count;
      const std::lock_guard lock(guard);
      if (!error) error = std::current_exception();
    }
  };
  const int64_t threads = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, std::min(kMaxThreads, count));
  std::vector<std::jthread> helpers;
  for (int64_t t = 1; t < threads; ++t) helpers.emplace_back(work);
  work();
  helpers.clear();  // joins
  if (error) std::rethrow_exception(error);
}

/// The middle squares of a split's images, scaled to side x side; as they are if they have that size.
RawSplit scaled(RawSplit split, int64_t side) {
  if (split.height == side && split.width == side) return split;
  const int64_t height = split.height, width = split.width, channels = split.channels;
  split.image = [=, original = std::move(split.image)](int64_t index, uint8_t* pixels) {
    std::vector<uint8_t> planes(static_cast<size_t>(channels * height * width));
    original(index, planes.data());
    for (auto plane = planes.begin(); plane != planes.end(); plane += height * width) {
      const Image square = cropped_square({height, width, 1, {plane, plane + height * width}}, side);
      pixels = std::copy(square.pixels.begin(), square.pixels.end(), pixels);
    }
  };
  split.height = split.width = side;
  return split;
}

}  // namespace

RegisterReader::RegisterReader(Reader reader) {
  auto& list = registry();
  const auto after = [](const Reader& a, const Reader& b) { return a.rank < b.rank; };
  list.insert(std::upper_bound(list.begin(), list.end(), reader, after), reader);
}

const std::vector<Reader>& readers() { return registry(); }

const Reader& reader(const std::string& kind) {
  std::vector<std::string> kinds;
  for (const Reader& candidate : readers()) {
    if (candidate.kind == kind) return candidate;
    kinds.push_back(candidate.kind);
  }
  fail(Fault::kUsage, "unknown data format \"{}\", the nearest is \"{}\" (there are {})", kind, nearest(kind, kinds),
       listed(kinds));
}

const Reader& recognised(const std::filesystem::path& path) {
  std::vector<std::string> kinds;
  for (const Reader& candidate : readers()) {
    if (readable([&] { return candidate.recognises(path); })) return candidate;
    kinds.push_back(candidate.expects);
  }
  fail(Fault::kData, "cannot tell what data {} holds; expected a packed .safetensors file, {}", path.string(),
       listed(kinds, "or"));
}

RawSource read_raw(const Reader& reader, const std::filesystem::path& path, const ReadOptions& options) {
  if (options.size < 0) fail(Fault::kUsage, "expected a size of at least 1 pixel, got {}", options.size);
  RawSource source = readable([&] { return reader.read(path, options); });
  for (const RawSplit* split : {&source.train, source.test ? &*source.test : nullptr})
    if (split) classes_of(split->name, split->count, split->labels, split->class_names);
  if (options.size > 0) {
    source.train = scaled(std::move(source.train), options.size);
    if (source.test) source.test = scaled(std::move(*source.test), options.size);
  }
  const RawSplit& train = source.train;
  if (!source.test) return source;
  const RawSplit& test = *source.test;
  if (train.channels != test.channels || train.height != test.height || train.width != test.width)
    fail(Fault::kData, "expected images of {} x {} x {} as in {}, found {} x {} x {} in {}", train.channels,
         train.height, train.width, train.name, test.channels, test.height, test.width, test.name);
  return source;
}

void for_each_block(const RawSplit& split, const std::function<void(const uint8_t* pixels, int64_t images)>& take) {
  const int64_t block = std::min(split.count, std::max<int64_t>(1, kBlockBytes / split.image_bytes()));
  std::vector<uint8_t> pixels(static_cast<size_t>(block * split.image_bytes()));
  for (int64_t first = 0; first < split.count; first += block) {
    const int64_t images = std::min(block, split.count - first);
    decode(split, first, images, pixels.data());
    take(pixels.data(), images);
  }
}

Dataset in_memory(const RawSplit& split) {
  const auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(split.count * split.image_bytes()));
  decode(split, 0, split.count, pixels->data());
  return Dataset({.name = split.name,
                  .count = split.count,
                  .channels = split.channels,
                  .height = split.height,
                  .width = split.width,
                  .images = pixels->data(),
                  .labels = split.labels,
                  .class_names = split.class_names,
                  .storage = pixels});
}

}  // namespace agon
