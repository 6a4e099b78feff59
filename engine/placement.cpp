#include "engine/placement.h"

#include <algorithm>

#include "kernels/error.h"

namespace agon {

ServerPlace parse_server_place(const std::string& name) {
  if (name == "auto") return ServerPlace::kAuto;
  if (name == "shared") return ServerPlace::kShared;
  if (name == "alone") return ServerPlace::kAlone;
  fail(Fault::kUsage, "\"{}\" is not a place for the server, expected auto, shared or alone", name);
}

Placement place_evenly(int64_t workers, int processes, ServerPlace server) {
  const bool alone =
      processes > 1 && (server == ServerPlace::kAlone || (server == ServerPlace::kAuto && processes > workers));
  const int first = alone ? 1 : 0;
  if (processes - first > workers)
    fail(Fault::kUsage, "{} processes share this run, but it has only a server and {} worker{}; start at most {}",
         processes, workers, workers == 1 ? "" : "s", workers + (server == ServerPlace::kShared ? 0 : 1));
  Placement placement;
  for (int64_t n = 0; n < workers; ++n)
    placement.worker.push_back(first + static_cast<int>(n * (processes - first) / workers));
  return placement;
}

Placement place_listed(const std::vector<int64_t>& ranks, int64_t workers, int processes) {
  if (std::ssize(ranks) != workers)
    fail(Fault::kUsage, "world.ranks lists {} rank{}, expected one for each of {} workers", ranks.size(),
         ranks.size() == 1 ? "" : "s", workers);
  if (processes == 1) return {.worker = std::vector<int>(ranks.size(), 0)};
  Placement placement;
  for (int64_t rank : ranks) {
    if (rank < 0 || rank >= processes)
      fail(Fault::kUsage, "world.ranks has rank {}, but {} processes share this run: 0 to {}", rank, processes,
           processes - 1);
    placement.worker.push_back(static_cast<int>(rank));
  }
  for (int rank = 1; rank < processes; ++rank)  // the first has the server
    if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end())
      fail(Fault::kUsage, "no worker is at rank {} in world.ranks; start fewer processes", rank);
  return placement;
}

}  // namespace agon
