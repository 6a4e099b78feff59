#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "algorithms/algorithm.h"
#include "engine/world.h"

namespace agon {

/// Everything that training consists of between two iterations: all replicas' weights, running statistics, moments,
/// step counts and learning rates, who lives, the iteration (from which random numbers and data positions follow) and
/// the ledger. One safetensors file `iteration-000001000.safetensors`, written atomically, with a checksum over its
/// contents. Of a run in several processes that all see the folder it has the server's models, and each process writes
/// those of its workers beside it, `iteration-000001000.part-2-of-3.safetensors`, all at once: it is the last file that
/// is written, lists the others with their checksums, and without it they are nothing.
struct CheckpointInfo {
  std::string signature;   ///< of the algorithm, its networks and its data: what it fits to
  nlohmann::json trainer;  ///< seconds spent, events
};

/// Writes a checkpoint into `folder` and removes older ones but the newest `keep`, and any of later iterations: they
/// are damaged, or of a past that this run does not continue. Returns its path. Throws Error(kRun) when
/// it cannot be written (earlier ones stay), or when a weight is not a number (nothing is written): in all processes
/// the same, whichever could not write. Called by all.
std::string write_checkpoint(const std::string& folder, Algorithm& algorithm, const World& world,
                             const CheckpointInfo& info, int64_t keep);

/// Restores the newest checkpoint in `folder` that is whole. nullopt when there is none. A damaged one is passed over,
/// and `damaged` lists why. Throws Error(kData) for one with another signature. Called by all processes, which take the
/// same one, however many had written it.
std::optional<CheckpointInfo> read_checkpoint(const std::string& folder, Algorithm& algorithm, World& world,
                                              const std::string& signature, std::vector<std::string>& damaged);

/// Checkpoints in `folder`, oldest first.
std::vector<std::string> list_checkpoints(const std::string& folder);

}  // namespace agon
