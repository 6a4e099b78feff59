#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "algorithms/run_folder.h"

// Runs, read back. Everything that the commands look at is of the kind that agon writes there; otherwise Error(kData)
// names the file and the key.

namespace agon::cli {

RunRecord read_record(const std::string& folder);

/// The summary.json of a run that has ended.
nlohmann::json read_summary(const std::string& folder);

/// Before folder_state(): a summary.json that is no JSON counts as none, but what stands in one is looked at.
void check_summary(const std::string& folder);

}  // namespace agon::cli
