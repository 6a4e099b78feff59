// Batches of real samples, drawn from the workers' shards in an order that is new in each epoch.
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/inputs.h"
#include "kernels/shuffle.h"

namespace agon::cpu {
namespace {

/// u8 [C, pixels] -> float [pixels, C]. The usual channel counts are compiled for, so that they vectorise.
template <int64_t kChannels>
void unpack(const uint8_t* from, float* __restrict to, int64_t pixels, int64_t any_channels, float scale, float shift) {
  const int64_t channels = kChannels ? kChannels : any_channels;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c)
      to[p * channels + c] = std::fma(static_cast<float>(from[c * pixels + p]), scale, shift);
}

void gather_sample(const ops::Gather& op, int64_t sample, float* to) {
  const int64_t pixels = op.height * op.width, size = op.channels * pixels;
  if (op.points) {
    const float* from = op.points + sample * size;
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < op.channels; ++c) to[p * op.channels + c] = from[c * pixels + p];
  } else {
    const uint8_t* from = op.images + sample * size;
    const auto convert = op.channels == 1 ? unpack<1> : op.channels == 3 ? unpack<3> : unpack<0>;
    convert(from, to, pixels, op.channels, op.scale, op.shift);
  }
}

}  // namespace

void enqueue(Stream& stream, const ops::Gather& op) {
  stream.add({op.replicas, 1, false, [op](int64_t r, int64_t) {
                const uint32_t worker = op.key.workers ? op.key.workers[r] : static_cast<uint32_t>(r);
                const uint64_t iteration = op.key.iteration ? *op.key.iteration : 0;
                const int32_t* shard = op.indices + op.begin[worker];
                const int64_t samples = op.begin[worker + 1] - op.begin[worker];
                if (samples <= 0) fail_empty_shard(worker);

                const uint64_t first = (iteration * op.draws + op.key.draw) * static_cast<uint64_t>(op.batch);
                const auto order_of = [&](uint64_t epoch) {
                  return epoch_order(op.key.seed, op.key.stream, worker, epoch, static_cast<uint32_t>(samples));
                };
                uint64_t epoch = first / static_cast<uint64_t>(samples);
                Shuffle order = order_of(epoch);
                for (int64_t i = 0; i < op.batch; ++i) {
                  const uint64_t position = first + static_cast<uint64_t>(i);
                  if (position / static_cast<uint64_t>(samples) != epoch)
                    order = order_of(epoch = position / static_cast<uint64_t>(samples));
                  const int64_t sample = shard[order(static_cast<uint32_t>(position % static_cast<uint64_t>(samples)))];
                  gather_sample(op, sample, op.x.at(r) + i * op.channels * op.height * op.width);
                  if (op.y) op.y.at(r)[i] = op.labels ? op.labels[sample] : 0;
                }
              }});
}

}  // namespace agon::cpu
