#pragma once

#include <cstdint>

#include "engine/ledger.h"

namespace agon {

/// The machines and links of a simulated deployment: how long a computation or a message takes there. A pure function
/// of the options, the seed, the worker and the iteration, so that the plan, a resumed run and every rank agree.
class NetworkModel {
 public:
  /// kLinks: everybody has a cable of his own into a network that is never full. kCell: devices share the radio channel
  /// of a server in their middle (Ren et al. 2021, section IV, whose numbers the defaults are).
  enum class Kind { kLinks, kCell };
  struct Options {
    Kind kind = Kind::kLinks;
    double worker_flops = 1e11, server_flops = 1e12;  ///< floating-point operations per second
    double spread = 0;               ///< worker n is faster or slower by up to this share, for the whole run
    double straggler_chance = 0;     ///< that a worker is slow in an iteration
    double straggler_slowdown = 10;  ///< how many times slower it is then
    double deadline = 0;             ///< seconds from the start of a round to the end of an upload; 0: none

    double bandwidth = 100e6, server_bandwidth = 1e9;  ///< of cables, bit/s in each direction
    double latency = 5e-3;                             ///< of a message, s

    double cell_radius = 300;      ///< m; devices are spread evenly over the disc
    double cell_bandwidth = 10e6;  ///< Hz, shared equally by those who send at the same time
    double noise_density = -174;   ///< dBm/Hz
    double device_power = 24;      ///< dBm
    double server_power = 46;      ///< dBm
    bool fading = false;           ///< Rayleigh: the gain varies from iteration to iteration
  };
  NetworkModel(const Options& options, int64_t workers, uint64_t seed);

  const Options& options() const { return options_; }
  int64_t workers() const { return workers_; }
  bool cell() const { return options_.kind == Kind::kCell; }

  /// Seconds for `flops` operations of a worker, or of kServer, in an iteration.
  double compute_seconds(int64_t participant, int64_t iteration, double flops) const;

  double distance(int64_t worker) const;  ///< from the cell's server, m
  /// Power gain of the channel, as a factor: path loss 128.1 + 37.6 log10(d / km) dB, times the fading.
  double gain(int64_t worker, int64_t iteration) const;
  enum class Direction { kUp, kDown };
  /// bit/s between a worker and the server while `sharers` transmit at the same time: the capacity of its share of the
  /// cell's band, or of its cable.
  double rate(int64_t worker, int64_t iteration, Direction direction, int64_t sharers) const;
  /// What rate() is on average over the fading.
  double mean_rate(int64_t worker, Direction direction, int64_t sharers) const;

  /// True if a worker that computes for `seconds` and then sends `bytes` to the server, as one of `sharers`, is done
  /// before the deadline.
  bool in_time(int64_t worker, int64_t iteration, double seconds, int64_t bytes, int64_t sharers) const;

 private:
  double capacity(double gain, Direction direction, int64_t sharers) const;

  Options options_;
  int64_t workers_;
  uint64_t seed_;
};

}  // namespace agon
