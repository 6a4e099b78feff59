#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/algorithm.h"
#include "engine/network_model.h"

namespace agon {

/// Simulated time: when each participant has done what an AlgorithmPlan asks of it, on the machines and links of a
/// NetworkModel. Everybody has a clock; who receives a message waits for it, others do not.
///   links   a participant sends one message after the other, and receives one after the other
///   cell    those who send in a phase share the band; a broadcast is one transmission, as slow as the worst receiver;
///           messages between devices go up and down
class SimulatedClock {
 public:
  explicit SimulatedClock(std::shared_ptr<const NetworkModel> network);

  /// Goes through the phases of an iteration, which is over when the server and all of `awaited` are done.
  void advance(const std::vector<AlgorithmPlan::Phase>& phases, int64_t iteration, const std::vector<int64_t>& awaited);
  /// When the latest iteration was over.
  double seconds() const { return seconds_; }
  /// When a participant has done everything so far.
  double ready(int64_t participant) const { return times_[static_cast<size_t>(participant + 1)].ready; }

  nlohmann::json to_json() const;
  void restore(const nlohmann::json& state);

 private:
  /// Of the server (0) and the workers (1 .. N), in seconds: until when it computes or waits, sends, receives.
  struct Times {
    double ready = 0, sends = 0, receives = 0;
  };
  Times& of(int64_t participant) { return times_[static_cast<size_t>(participant + 1)]; }
  std::vector<double> arrivals(const AlgorithmPlan::Phase& phase, int64_t iteration);

  std::shared_ptr<const NetworkModel> network_;
  std::vector<Times> times_;
  double seconds_ = 0;
};

}  // namespace agon
