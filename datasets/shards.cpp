#include "datasets/shards.h"

#include <algorithm>
#include <numeric>

namespace agon {

Shards::Shards(std::shared_ptr<Device> device, const Dataset& data, const Partition& partition)
    : device_(std::move(device)), data_(data) {
  const auto upload = [&](auto& buffer, const auto* values, int64_t count) {
    buffer = std::remove_reference_t<decltype(buffer)>(device_, count);
    buffer.set(std::span(values, static_cast<size_t>(count)));
  };
  const auto resident = [&](auto& buffer, const auto* values) {
    if (!values || device_->reads_host_memory()) return values;
    upload(buffer, values, data.count() * data.values_per_item());
    return static_cast<decltype(values)>(buffer.data());
  };
  images_ = resident(image_buffer_, data.images());
  points_ = resident(point_buffer_, data.points());
  if (!data.labels().empty()) upload(labels_, data.labels().data(), data.count());

  std::vector<int32_t> indices;
  std::vector<int64_t> begin{0};
  for (const std::vector<int32_t>& shard : partition.shards) {
    indices.insert(indices.end(), shard.begin(), shard.end());
    begin.push_back(static_cast<int64_t>(indices.size()));
    sizes_.push_back(static_cast<int64_t>(shard.size()));
  }
  upload(indices_, indices.data(), static_cast<int64_t>(indices.size()));
  upload(begin_, begin.data(), static_cast<int64_t>(begin.size()));
}

void Shards::sample(const RandomKey& key, uint32_t draws, const Batch& to) const {
  // Pixels 0..255 become -1..1, as the generators' tanh makes them.
  device_->run(ops::Gather{.replicas = to.x.replicas,
                           .batch = to.x.batch,
                           .channels = data_.channels(),
                           .height = data_.height(),
                           .width = data_.width(),
                           .images = images_,
                           .points = points_,
                           .labels = labels_.data(),
                           .indices = indices_.data(),
                           .begin = begin_.data(),
                           .scale = 1.f / 127.5f,
                           .shift = -1.f,
                           .draws = draws,
                           .key = key,
                           .x = to.x.block(),
                           .y = to.y.block()});
}

int64_t Shards::smallest() const { return *std::min_element(sizes_.begin(), sizes_.end()); }

double Shards::mean_size() const {
  const int64_t total = std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0});
  return static_cast<double>(total / static_cast<int64_t>(sizes_.size()));
}

}  // namespace agon
