#pragma once

#include "datasets/partition.h"
#include "engine/fleet.h"
#include "engine/network_model.h"
#include "engine/settings.h"

namespace agon {

/// Every key that all algorithms share, with defaults and meanings.
std::vector<Settings::Option> run_options();

/// run.iterations; at most nine digits, as the names of checkpoints have.
int64_t iterations_of(const Settings& settings);

/// How data.* says that the data are dealt; random as run.seed says.
PartitionOptions partition_options(const Settings& settings);

/// The optimiser of "generator" or "discriminator".
OptimiserOptions optimiser_options(const Settings& settings, const std::string& network);

/// The machines and links of the keys network.*.
NetworkModel::Options network_options(const Settings& settings);

/// The layer list of "generator" or "discriminator", from its own `layers` or the named network.
nlohmann::json layer_list(const Settings& settings, const std::string& network);

}  // namespace agon
