#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace agon {

/// Which process each participant lives in. The server is at rank 0.
struct Placement {
  int server = 0;
  std::vector<int> worker;  ///< [N], ranks
};

/// Where a user wants the server: with workers, or in a process of its own; kAuto: alone if there are N + 1 processes.
enum class ServerPlace { kAuto, kShared, kAlone };
ServerPlace parse_server_place(const std::string& name);

/// Workers in order, as evenly as can be. Throws Error(kUsage) if there are more processes than participants.
Placement place_evenly(int64_t workers, int processes, ServerPlace server);

/// Workers where a user lists them, a rank for each. Throws Error(kUsage) if a rank does not exist, a worker has none,
/// or a process has no participant. One process has them all, wherever else they were meant to be.
Placement place_listed(const std::vector<int64_t>& ranks, int64_t workers, int processes);

}  // namespace agon
