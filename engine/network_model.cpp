// Simulated machines, cables and radio channels.
#include "engine/network_model.h"

#include <algorithm>
#include <cmath>

#include "engine/random.h"

namespace agon {
namespace {

/// What a draw of the stream kNetwork is for.
enum Draw : uint32_t { kPlace, kFading, kSpeed, kStraggler };

double from_decibels(double decibels) { return std::pow(10.0, decibels / 10); }

}  // namespace

NetworkModel::NetworkModel(const Options& options, int64_t workers, uint64_t seed)
    : options_(options), workers_(workers), seed_(seed) {}

double NetworkModel::compute_seconds(int64_t participant, int64_t iteration, double flops) const {
  if (participant == kServer) return flops / options_.server_flops;
  const auto worker = static_cast<uint32_t>(participant);
  double speed = options_.worker_flops;
  if (options_.spread > 0)
    speed *= 1 + options_.spread * (2 * HostRandom(seed_, RandomStream::kNetwork, worker, 0, kSpeed).uniform() - 1);
  if (options_.straggler_chance > 0 &&
      HostRandom(seed_, RandomStream::kNetwork, worker, static_cast<uint64_t>(iteration), kStraggler).uniform() <
          options_.straggler_chance)
    speed /= options_.straggler_slowdown;
  return flops / speed;
}

double NetworkModel::distance(int64_t worker) const {
  HostRandom random(seed_, RandomStream::kNetwork, static_cast<uint32_t>(worker), 0, kPlace);
  return std::max(1.0, options_.cell_radius * std::sqrt(random.uniform()));  // the formula ends a metre from the mast
}

double NetworkModel::gain(int64_t worker, int64_t iteration) const {
  const double gain = from_decibels(-(128.1 + 37.6 * std::log10(distance(worker) / 1000)));
  if (!options_.fading) return gain;
  HostRandom random(seed_, RandomStream::kNetwork, static_cast<uint32_t>(worker), static_cast<uint64_t>(iteration),
                    kFading);
  return gain * -std::log(1 - random.uniform());  // the power of a Rayleigh amplitude is exponential, of mean 1
}

/// Shannon's, of an equal share of the band. A device puts all its power into its share, the server a share of its own.
double NetworkModel::capacity(double gain, Direction direction, int64_t sharers) const {
  const double parts = static_cast<double>(std::max<int64_t>(1, sharers)), band = options_.cell_bandwidth / parts;
  const double power =
      direction == Direction::kUp ? from_decibels(options_.device_power) : from_decibels(options_.server_power) / parts;
  return band * std::log2(1 + power * gain / (from_decibels(options_.noise_density) * band));
}

double NetworkModel::rate(int64_t worker, int64_t iteration, Direction direction, int64_t sharers) const {
  if (cell()) return capacity(gain(worker, iteration), direction, sharers);
  return std::min(options_.bandwidth, options_.server_bandwidth / static_cast<double>(std::max<int64_t>(1, sharers)));
}

double NetworkModel::mean_rate(int64_t worker, Direction direction, int64_t sharers) const {
  if (!cell() || !options_.fading) return rate(worker, 0, direction, sharers);
  // Over the exponential distribution, at the middles of 64 equally probable parts.
  constexpr int kParts = 64;
  const double path = from_decibels(-(128.1 + 37.6 * std::log10(distance(worker) / 1000)));
  double sum = 0;
  for (int i = 0; i < kParts; ++i) sum += capacity(path * -std::log(1 - (i + 0.5) / kParts), direction, sharers);
  return sum / kParts;
}

bool NetworkModel::in_time(int64_t worker, int64_t iteration, double seconds, int64_t bytes, int64_t sharers) const {
  if (options_.deadline <= 0) return true;
  const double latency = cell() ? 0 : options_.latency;
  return seconds + latency + 8.0 * static_cast<double>(bytes) / rate(worker, iteration, Direction::kUp, sharers) <=
         options_.deadline;
}

}  // namespace agon
