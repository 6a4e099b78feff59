#include "engine/placement.h"

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

}  // namespace agon
