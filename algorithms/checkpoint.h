#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "algorithms/algorithm.h"
#include "engine/world.h"

namespace agon {

/// Everything that training consists of between two iterations: all replicas' weights, running statistics, moments,
/// step counts and learning rates, who lives, the iteration (from which random numbers and data positions follow) and
/// the ledger. One safetensors file `iteration-000001000.safetensors`, written atomically, with checksums over its
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

/// What a checkpoint is read into.
struct CheckpointTarget {
  Algorithm& algorithm;
  World& world;
  const std::string& signature;
  std::function<void(const nlohmann::json& trainer)> restore_trainer;
};

/// Restores the checkpoint at `path`. False, and why in `damaged`, when it is not whole: the target is then of no use
/// until another one is read. Throws Error(kData) for one with another signature. Called by all processes.
bool read_checkpoint(const std::string& path, const CheckpointTarget& target, std::vector<std::string>& damaged);

/// The same with the newest one in `folder` that is whole: a damaged one is passed over, and `damaged` lists why. False
/// when there is none at all; throws Error(kData) when none is whole. All processes take the same one, however many had
/// written it.
bool read_newest_checkpoint(const std::string& folder, const CheckpointTarget& target,
                            std::vector<std::string>& damaged);

/// Checkpoints in `folder`, oldest first.
std::vector<std::string> list_checkpoints(const std::string& folder);

}  // namespace agon
