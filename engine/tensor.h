#pragma once

#include <cstdint>
#include <string>

#include "kernels/device.h"
#include "kernels/error.h"

namespace agon {

/// The shape of one sample, channels last. A feature vector is 1 x 1 x features.
struct Shape {
  int64_t height = 1, width = 1, channels = 1;

  int64_t size() const { return height * width * channels; }
  bool flat() const { return height == 1 && width == 1; }
  bool operator==(const Shape&) const = default;
  std::string text() const {
    return flat() ? fmt::format("{} features", channels) : fmt::format("{}x{}x{}", height, width, channels);
  }
};

/// A view of samples on a device, [R, B, H, W, C]: `batch` samples for each replica, replicas `stride` floats apart.
/// Does not own its memory.
struct Tensor {
  float* data = nullptr;
  int64_t replicas = 0, batch = 0;
  Shape shape;
  int64_t stride = 0;

  int64_t row_size() const { return shape.size(); }
  int64_t size_per_replica() const { return batch * shape.size(); }
  explicit operator bool() const { return data != nullptr; }
  Floats block() const { return {data, stride}; }
  /// Samples begin .. begin+count-1 of each replica.
  Tensor rows(int64_t begin, int64_t count) const {
    return {data + begin * shape.size(), replicas, count, shape, stride};
  }
};

/// Class labels of samples on a device, [R, B].
struct Labels {
  int32_t* data = nullptr;
  int64_t replicas = 0, batch = 0;
  int64_t stride = 0;

  explicit operator bool() const { return data != nullptr; }
  Ints block() const { return {data, stride}; }
  Labels rows(int64_t begin, int64_t count) const { return {data + begin, replicas, count, stride}; }
};

/// Device memory for a Tensor.
class TensorBuffer {
 public:
  TensorBuffer() = default;
  TensorBuffer(std::shared_ptr<Device> device, int64_t replicas, int64_t batch, Shape shape)
      : buffer_(std::move(device), replicas * batch * shape.size()),
        view_{buffer_.data(), replicas, batch, shape, batch * shape.size()} {}
  const Tensor& view() const { return view_; }
  operator Tensor() const { return view_; }
  std::vector<float> host() const { return buffer_.host(); }
  void set(std::span<const float> values) { buffer_.set(values); }

 private:
  Buffer<float> buffer_;
  Tensor view_;
};

/// Device memory for Labels.
class LabelBuffer {
 public:
  LabelBuffer() = default;
  LabelBuffer(std::shared_ptr<Device> device, int64_t replicas, int64_t batch)
      : buffer_(std::move(device), replicas * batch), view_{buffer_.data(), replicas, batch, batch} {}
  const Labels& view() const { return view_; }
  operator Labels() const { return view_; }
  std::vector<int32_t> host() const { return buffer_.host(); }
  void set(std::span<const int32_t> values) { buffer_.set(values); }

 private:
  Buffer<int32_t> buffer_;
  Labels view_;
};

}  // namespace agon
