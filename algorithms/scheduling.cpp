#include "algorithms/scheduling.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"

namespace agon {

ScheduleKind parse_schedule(const std::string& name) {
  if (name == "all") return ScheduleKind::kAll;
  if (name == "round-robin") return ScheduleKind::kRoundRobin;
  if (name == "proportional-fair") return ScheduleKind::kProportionalFair;
  if (name == "best-channels") return ScheduleKind::kBestChannels;
  fail(Fault::kUsage, "algorithm.schedule is \"{}\", expected all, round-robin, proportional-fair or best-channels",
       name);
}

std::vector<int64_t> scheduled(ScheduleKind kind, double ratio, int64_t round, const std::vector<int64_t>& living,
                               const NetworkModel& network) {
  const auto N = static_cast<int64_t>(living.size());
  const int64_t count = std::clamp<int64_t>(std::llround(ratio * static_cast<double>(N)), 1, std::max<int64_t>(1, N));
  if (kind == ScheduleKind::kAll || count >= N) return living;

  // Fairness among channels that never change is taking turns.
  if (kind == ScheduleKind::kProportionalFair && !(network.cell() && network.options().fading))
    kind = ScheduleKind::kRoundRobin;
  std::vector<int64_t> chosen;
  if (kind == ScheduleKind::kRoundRobin) {
    for (int64_t i = 0; i < count; ++i) chosen.push_back(living[static_cast<size_t>(((round - 1) * count + i) % N)]);
  } else {
    std::vector<std::pair<double, int64_t>> marks;  // the lowest comes first
    for (int64_t worker : living) {
      constexpr auto kUp = NetworkModel::Direction::kUp;
      const double rate = network.rate(worker, round, kUp, count);
      marks.emplace_back(kind == ScheduleKind::kBestChannels ? -rate : -rate / network.mean_rate(worker, kUp, count),
                         worker);
    }
    std::stable_sort(marks.begin(), marks.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (int64_t i = 0; i < count; ++i) chosen.push_back(marks[static_cast<size_t>(i)].second);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace agon
