#pragma once

#include <string>
#include <vector>

#include "engine/network_model.h"

namespace agon {

/// Which devices take part in a round (Ren et al. 2021, section II.B and Figure 6).
enum class ScheduleKind {
  kAll,
  kRoundRobin,        ///< one group after the other
  kProportionalFair,  ///< whose channel is best compared with its own mean: everybody's turn comes
  kBestChannels,      ///< whose channel is best
};
ScheduleKind parse_schedule(const std::string& name);

/// The scheduled devices of a round, ascending: a pure function of the round, so that a resumed run schedules alike.
/// `ratio` in (0, 1] of the living are scheduled, rounded, at least one.
std::vector<int64_t> scheduled(ScheduleKind kind, double ratio, int64_t round, const std::vector<int64_t>& living,
                               const NetworkModel& network);

}  // namespace agon
