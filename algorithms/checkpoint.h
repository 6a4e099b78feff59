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
/// contents.
struct CheckpointInfo {
  std::string signature;   ///< of the algorithm, its networks and its data: what it fits to
  nlohmann::json trainer;  ///< seconds spent, events
};

/// Writes a checkpoint into `folder` and removes older ones but the newest `keep`, and any of later iterations: they
/// are damaged, or of a past that this run does not continue. Returns its path. Throws Error(kRun) when
/// it cannot be written (earlier ones stay), or when a weight is not a number (nothing is written).
std::string write_checkpoint(const std::string& folder, Algorithm& algorithm, const World& world,
                             const CheckpointInfo& info, int64_t keep);

/// Restores the newest checkpoint in `folder` that is whole. nullopt when there is none. A damaged one is passed over,
/// and `damaged` lists why. Throws Error(kData) for one with another signature.
std::optional<CheckpointInfo> read_checkpoint(const std::string& folder, Algorithm& algorithm, World& world,
                                              const std::string& signature, std::vector<std::string>& damaged);

/// Checkpoints in `folder`, oldest first.
std::vector<std::string> list_checkpoints(const std::string& folder);

}  // namespace agon
