#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "engine/comm/communicator.h"

namespace agon {

/// Where the processes of a run that nobody has introduced to each other meet: at the first one's machine and port.
struct Meeting {
  std::string host;
  uint16_t port = 0;
  int rank = 0, size = 1;
  std::string job;  ///< of a scheduler, so that another run's processes are not let in
};

/// What torchrun sets, and SLURM's users: MASTER_ADDR, MASTER_PORT, WORLD_SIZE (or SLURM_NTASKS), RANK (or
/// SLURM_PROCID). Nothing without MASTER_ADDR; Error(kUsage) if a number is missing or wrong.
std::optional<Meeting> meeting_of_environment();

/// The processes that meet, each two of them over a TCP connection of their own. If the port is taken, as torchrun does
/// it for itself, they meet at one of the next. Throws Error(kRun) if not all have come within a minute.
std::shared_ptr<Communicator> meet(const Meeting& meeting);

}  // namespace agon
