#include "engine/compression.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/bfloat.h"
#include "kernels/error.h"
#include "kernels/largest.h"

namespace agon {

int64_t Compression::kept(int64_t values) const {
  return std::clamp<int64_t>(std::llround(share * static_cast<double>(values)), 1, values);
}

int64_t Compression::bytes(int64_t samples, int64_t values) const {
  switch (kind) {
    case Kind::kNone:
      return samples * values * 4;
    case Kind::kBf16:
      return samples * values * 2;
    case Kind::kInt8:
      return samples * (values + 4);
    case Kind::kTopK:
      return samples * kept(values) * 8;
  }
  return 0;
}

void Compression::send(Device& device, const Tensor& x, const Floats& error) const {
  using Codec = ops::Compress::Codec;
  if (kind == Kind::kNone) return;
  device.run(ops::Compress{.codec = kind == Kind::kBf16   ? Codec::kBf16
                                    : kind == Kind::kInt8 ? Codec::kInt8
                                                          : Codec::kTopK,
                           .replicas = x.replicas,
                           .rows = x.batch,
                           .cols = x.row_size(),
                           .x = x.block(),
                           .error = error,
                           .keep = kept(x.row_size())});
}

namespace {

/// A message that grows, or is read from its beginning.
class Writer {
 public:
  explicit Writer(int64_t bytes) { message_.reserve(static_cast<size_t>(bytes)); }
  template <class T>
  void put(T value) {
    const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
    message_.insert(message_.end(), bytes, bytes + sizeof(T));
  }
  std::vector<std::byte> message() && { return std::move(message_); }

 private:
  std::vector<std::byte> message_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> message) : next_(message.data()) {}
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, next_, sizeof(T));
    next_ += sizeof(T);
    return value;
  }

 private:
  const std::byte* next_;
};

float largest_magnitude(const float* x, int64_t cols) {
  float largest = 0;
  for (int64_t i = 0; i < cols; ++i) largest = std::isnan(x[i]) || std::abs(x[i]) > largest ? std::abs(x[i]) : largest;
  return largest;
}

float steps_of(float x, float step) { return step > 0 && std::isfinite(step) ? std::nearbyint(x / step) + 0.f : 0.f; }

/// How wide the 127 steps to the largest magnitude are.
float step_of(const float* x, int64_t cols) { return largest_magnitude(x, cols) / 127.f; }

/// The same of values that are whole steps already: as 127 times a step is rounded, it may be one of the neighbours.
float step_of_sent(const float* x, int64_t cols) {
  const float about = step_of(x, cols), infinity = std::numeric_limits<float>::infinity();
  const float below = std::nextafter(about, 0.f), above = std::nextafter(about, infinity);
  for (const float step : {about, below, above, std::nextafter(below, 0.f), std::nextafter(above, infinity)})
    if (std::all_of(x, x + cols, [&](float value) { return steps_of(value, step) * step == value; })) return step;
  return about;  // no numbers
}

}  // namespace

std::vector<std::byte> Compression::pack(const float* x, int64_t rows, int64_t cols, Values values) const {
  Writer message(bytes(rows, cols));
  for (int64_t row = 0; row < rows; ++row, x += cols) switch (kind) {
      case Kind::kNone:
        for (int64_t i = 0; i < cols; ++i) message.put(x[i]);
        break;
      case Kind::kBf16:
        for (int64_t i = 0; i < cols; ++i) message.put(to_bfloat16(x[i]));
        break;
      case Kind::kInt8: {
        const float step = values == Values::kSent ? step_of_sent(x, cols) : step_of(x, cols);
        message.put(step);
        for (int64_t i = 0; i < cols; ++i) message.put(static_cast<int8_t>(steps_of(x[i], step)));
        break;
      }
      case Kind::kTopK:
        for (const int32_t i : places_of_largest(x, cols, kept(cols))) message.put(i), message.put(x[i]);
        break;
    }
  return std::move(message).message();
}

void Compression::unpack(std::span<const std::byte> message, int64_t rows, int64_t cols, float* x) const {
  Reader from(message);
  for (int64_t row = 0; row < rows; ++row, x += cols) switch (kind) {
      case Kind::kNone:
        for (int64_t i = 0; i < cols; ++i) x[i] = from.take<float>();
        break;
      case Kind::kBf16:
        for (int64_t i = 0; i < cols; ++i) x[i] = to_float(from.take<Bfloat16>());
        break;
      case Kind::kInt8: {
        const auto step = from.take<float>();
        for (int64_t i = 0; i < cols; ++i) x[i] = static_cast<float>(from.take<int8_t>()) * step;
        break;
      }
      case Kind::kTopK:
        std::fill_n(x, cols, 0.f);
        for (int64_t i = 0; i < kept(cols); ++i) {
          const auto place = from.take<int32_t>();
          x[std::clamp<int64_t>(place, 0, cols - 1)] = from.take<float>();
        }
        break;
    }
}

Compression parse_compression(const std::string& name, double share) {
  using Kind = Compression::Kind;
  if (name == "none") return {};
  if (name == "bf16") return {Kind::kBf16};
  if (name == "int8") return {Kind::kInt8};
  if (name == "top-k") return {Kind::kTopK, share};
  fail(Fault::kUsage, "\"{}\" is not a way to send floats, expected none, bf16, int8 or top-k", name);
}

}  // namespace agon
