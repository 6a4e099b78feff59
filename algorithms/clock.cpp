// Simulated time, phase by phase.
#include "algorithms/clock.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace agon {
namespace {

using Direction = NetworkModel::Direction;

double flops_of(const std::vector<AlgorithmPlan::Pass>& passes) {
  double flops = 0;
  for (const AlgorithmPlan::Pass& pass : passes) flops += static_cast<double>(pass.flops());
  return flops;
}

/// How many devices send in a phase, and how many are sent to by the server: they share the band.
struct Sharers {
  explicit Sharers(const std::vector<Transfer>& messages) {
    std::set<int64_t> senders, receivers;
    for (const Transfer& message : messages) {
      if (message.from != kServer) senders.insert(message.from);
      if (message.to != kServer) receivers.insert(message.to);
    }
    up = std::ssize(senders), down = std::ssize(receivers);
  }
  int64_t up, down;
};

}  // namespace

SimulatedClock::SimulatedClock(std::shared_ptr<const NetworkModel> network)
    : network_(std::move(network)), times_(static_cast<size_t>(network_->workers() + 1)) {}

/// When the last message of each participant arrives; 0 without one.
std::vector<double> SimulatedClock::arrivals(const AlgorithmPlan::Phase& phase, int64_t iteration) {
  const NetworkModel& network = *network_;
  const Sharers sharers(phase.messages);
  std::vector<Transfer> messages = phase.messages;
  std::stable_sort(messages.begin(), messages.end(),
                   [&](const Transfer& a, const Transfer& b) { return of(a.from).ready < of(b.from).ready; });
  double slowest = 0;  // receiver of a broadcast, bit/s
  if (network.cell() && phase.broadcast)
    for (const Transfer& message : messages) {
      const double rate = network.rate(message.to, iteration, Direction::kDown, 1);
      slowest = slowest > 0 ? std::min(slowest, rate) : rate;
    }

  std::vector<double> arrival(times_.size(), 0.0);
  for (const Transfer& message : messages) {
    Times &from = of(message.from), &to = of(message.to);
    const double bits = 8.0 * static_cast<double>(message.bytes);
    double begin = from.ready, seconds = 0;
    if (network.cell()) {
      if (message.from != kServer) seconds += bits / network.rate(message.from, iteration, Direction::kUp, sharers.up);
      if (message.to != kServer)
        seconds += bits / (slowest > 0 ? slowest : network.rate(message.to, iteration, Direction::kDown, sharers.down));
      // Each device has its share of the band to itself: whichever end of the message it is.
      double& busy = message.from == kServer ? to.receives : from.sends;
      begin = std::max(begin, busy);
      busy = begin + seconds;
    } else {
      const NetworkModel::Options& o = network.options();
      const auto cable = [&](int64_t who) { return who == kServer ? o.server_bandwidth : o.bandwidth; };
      begin = std::max({begin, from.sends, to.receives});
      seconds = bits / std::min(cable(message.from), cable(message.to));
      from.sends = to.receives = begin + seconds;
      seconds += o.latency * static_cast<double>(message.messages);
    }
    double& at = arrival[static_cast<size_t>(message.to + 1)];
    at = std::max(at, begin + seconds);
  }
  return arrival;
}

void SimulatedClock::advance(const std::vector<AlgorithmPlan::Phase>& phases, int64_t iteration,
                             const std::vector<int64_t>& awaited) {
  for (const AlgorithmPlan::Phase& phase : phases) {
    if (!phase.server.empty())
      of(kServer).ready += network_->compute_seconds(kServer, iteration, flops_of(phase.server));
    if (const double flops = flops_of(phase.workers); flops > 0)
      for (int64_t worker : phase.who) of(worker).ready += network_->compute_seconds(worker, iteration, flops);
    if (phase.messages.empty()) continue;
    const std::vector<double> arrival = arrivals(phase, iteration);
    for (size_t i = 0; i < times_.size(); ++i) times_[i].ready = std::max(times_[i].ready, arrival[i]);
  }
  seconds_ = std::max(seconds_, of(kServer).ready);
  for (int64_t worker : awaited) seconds_ = std::max(seconds_, of(worker).ready);
}

nlohmann::json SimulatedClock::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Times& t : times_) list.push_back({t.ready, t.sends, t.receives});
  return {{"seconds", seconds_}, {"times", list}};
}

void SimulatedClock::restore(const nlohmann::json& state) {
  seconds_ = state.at("seconds").get<double>();
  for (size_t i = 0; i < times_.size(); ++i) {
    const nlohmann::json& t = state.at("times").at(i);
    times_[i] = {t.at(0).get<double>(), t.at(1).get<double>(), t.at(2).get<double>()};
  }
}

}  // namespace agon
