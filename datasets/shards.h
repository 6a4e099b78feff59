#pragma once

#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "engine/world.h"

namespace agon {

/// A data set on a device, dealt to workers: pictures stay U8 there and become floats in [-1, 1] as batches are drawn.
class Shards {
 public:
  Shards(std::shared_ptr<Device> device, const Dataset& data, const Partition& partition);

  /// Draws the next batch of every worker into `to` [N, b, H, W, C]: its shard in a fresh random order each epoch, so
  /// that every sample is seen once per epoch. The position follows from (iteration, draw): `draws` batches per
  /// iteration.
  void sample(const RandomKey& key, uint32_t draws, const Batch& to) const;

  int64_t size(int64_t worker) const { return sizes_[static_cast<size_t>(worker)]; }  ///< m_n
  int64_t smallest() const;
  double mean_size() const;  ///< m = floor(|B| / N)
  Shape shape() const { return {data_.height(), data_.width(), data_.channels()}; }
  int64_t classes() const { return data_.classes(); }

 private:
  std::shared_ptr<Device> device_;
  Dataset data_;  // keeps its memory alive where the device reads that
  std::vector<int64_t> sizes_;
  const uint8_t* images_ = nullptr;  // in the buffer, or the data set's own where the device can read that
  const float* points_ = nullptr;
  Buffer<uint8_t> image_buffer_;
  Buffer<float> point_buffer_;
  Buffer<int32_t> labels_, indices_;
  Buffer<int64_t> begin_;
};

}  // namespace agon
